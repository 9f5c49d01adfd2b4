"""Open connections, one set per cache, shared by the threads of a process."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from dashboard.fleet.errors import FleetError, translated
from dashboard.fleet.packing import pack
from dashboard.fleet.topology import Topology, discover
from dashboard.fleet.transport import make_client
from dashboard.fleet.url import Address, CacheUrl, Kind

TOPOLOGY_TTL_S = 30.0
Command = tuple[str | int | bytes, ...]


class Node:
    """One server of a cache.

    Args:
        id: "host:port", or a socket's path.
        url: of the cache it belongs to.
        client: for whoever needs more than ``run``.
        on_doubt: called when the node fails or is no primary any more, so that it is looked for anew.
    """

    def __init__(
        self, id: str, url: CacheUrl, client: redis.Redis, on_doubt: Callable[[], None] = lambda: None
    ) -> None:
        self.id = id
        self.url = url
        self.client = client
        self.doubt = on_doubt
        self._lock = threading.Lock()
        self._users = 0
        self._is_closed = False
        self.memory: dict[str, Any] = {}
        """What ``commands`` learnt about this server; lives as long as the node's address and credentials."""

    def __repr__(self) -> str:
        return f"Node({self.id})"

    def run(self, commands: Sequence[Command]) -> tuple[list[Any], float]:
        """Send all commands at once and read all replies: one round trip.

        Returns:
            (raw replies, a ResponseError standing where a command was refused; seconds from the first byte
            sent to the last received, without connecting).

        Raises:
            FleetError: the server can't be used at all.
        """
        try:
            with translated(self.id, self.url):
                return self._exchange(commands)
        except FleetError:
            self.doubt()
            raise

    def _exchange(self, commands: Sequence[Command]) -> tuple[list[Any], float]:
        with self._lock:
            self._users += 1
        try:
            return self._send_and_read(commands)
        finally:
            with self._lock:
                self._users -= 1
                self._close_if_done()

    def _send_and_read(self, commands: Sequence[Command]) -> tuple[list[Any], float]:
        pool: Any = self.client.connection_pool
        connection = pool.get_connection()
        try:
            packed = pack(commands)
            start = time.perf_counter()
            connection.send_packed_command((packed,), check_health=False)
            replies: list[Any] = []
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except redis.ResponseError as error:
                    replies.append(error)
            return replies, time.perf_counter() - start
        except BaseException:
            # Replies that were not read must not be taken for those of the next command.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)

    def close(self) -> None:
        """Close the pooled connections.

        Exchanges that run come to their end first: that a cache was saved meanwhile is no failure of it.
        """
        with self._lock:
            self._is_closed = True
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._is_closed and not self._users:
            self.client.connection_pool.disconnect()


class Connection:
    """One cache: its address, and the nodes behind it as far as they were looked up."""

    def __init__(self, url: CacheUrl, *, timeout_s: float, client_name: str) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._client_name = client_name
        self._lock = threading.Lock()
        self._nodes: dict[str, Node] = {}
        self._topology: Topology | None = None
        self._fresh_until = 0.0
        self._first = 0
        self._holders = 0
        self._is_closed = False

    def __repr__(self) -> str:
        return f"Connection({self.url.masked})"

    def nodes(self) -> list[Node]:
        """The primaries: the server itself, the Sentinel group's current primary, or all of a Cluster.

        They are looked up anew every TOPOLOGY_TTL_S seconds and after any failure. While neither Sentinels
        nor Cluster answer, the last known ones are returned: they may well be alive.

        Raises:
            FleetError: they were never found.
        """
        self.topology()
        with self._lock:
            return list(self._nodes.values())

    def topology(self) -> Topology:
        """Where the servers are; see ``nodes``."""
        with self._lock:
            if self._topology is not None and time.monotonic() < self._fresh_until:
                return self._topology
            try:
                found = discover(self.url, self._connect, self._timeout_s, self._first)
            except FleetError:
                # The next look begins with the next of the URL's nodes: dead ones don't block the rest.
                self._first += 2
                if self._topology is None:
                    raise
                return self._topology
            self._accept(found)
            return found

    def reach(self, target: Address) -> Node:
        """A server beside the primaries, such as a replica; nothing is sent yet. Whoever asks for it closes it."""
        return Node(str(target), self.url, self._connect(target, False))

    def refresh(self) -> None:
        """Look for the servers anew at the next question; a plain server is always where it is."""
        self._doubt()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep what is open open for long work, also when it is closed meanwhile: that happens at its end then.

        Somebody who saves the cache's form would otherwise have each exchange of a running scan connect anew.
        """
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                self._close_if_free()

    def close(self) -> None:
        """Close every connection. Whoever still uses the object may go on; nothing stays open after each exchange,
        or after ``held``."""
        with self._lock:
            self._is_closed = True
            self._close_if_free()

    def _close_if_free(self) -> None:
        if self._is_closed and not self._holders:
            for node in self._nodes.values():
                node.close()

    def _accept(self, found: Topology) -> None:
        nodes = {}
        for target in found.primaries:
            name = str(target)
            nodes[name] = (
                self._nodes.pop(name)
                if name in self._nodes
                else Node(name, self.url, self._connect(target, False), self._doubt)
            )
        for gone in self._nodes.values():
            gone.close()
        self._nodes = nodes
        self._close_if_free()
        self._topology = found
        moving = self.url.kind is not Kind.SERVER
        self._fresh_until = time.monotonic() + TOPOLOGY_TTL_S if moving else float("inf")

    def _doubt(self) -> None:
        if self.url.kind is not Kind.SERVER:
            self._fresh_until = 0.0

    def _connect(self, target: Address | str, sentinel: bool) -> redis.Redis:
        return open_client(
            self.url, target, sentinel=sentinel, timeout_s=self._timeout_s, name=self._client_name
        )


def open_client(
    url: CacheUrl, target: Address | str, *, sentinel: bool, timeout_s: float, name: str
) -> redis.Redis:
    """A client for one server of ``url``; a Sentinel gets its own credentials, never the cache's."""
    return make_client(
        target,
        url,
        timeout_s=timeout_s,
        client_name=name,
        username=url.sentinel_username if sentinel else url.username,
        password=url.sentinel_password if sentinel else url.password,
        db=0 if sentinel else url.db,
    )


class Fleet:
    """All caches of this process.

    Args:
        timeout_s: seconds to connect to a cache, and again for each exchange with it.
        client_name: how our connections are called in CLIENT LIST.
    """

    def __init__(self, *, timeout_s: float = 2.0, client_name: str = "cachewarden") -> None:
        self.timeout_s = timeout_s
        self.client_name = client_name
        self._lock = threading.Lock()
        self._connections: dict[int, tuple[int | None, Connection]] = {}

    def open(self, cache_id: int, url: CacheUrl, revision: int | None = None) -> Connection:
        """The cache's connection; nothing is sent yet.

        It is replaced when the URL differs from last time, or the revision (None: whichever): saving a
        cache again makes Cachewarden ask again for what was forbidden.
        """
        with self._lock:
            held = self._connections.get(cache_id)
            if held is not None and held[1].url == url and revision in (None, held[0]):
                return held[1]
            fresh = Connection(url, timeout_s=self.timeout_s, client_name=self.client_name)
            self._connections[cache_id] = (revision, fresh)
        if held is not None:
            held[1].close()
        return fresh

    def forget(self, cache_id: int) -> None:
        """Close a cache's connections; one that is not open is fine."""
        with self._lock:
            held = self._connections.pop(cache_id, None)
        if held is not None:
            held[1].close()

    def close(self) -> None:
        """Close everything."""
        with self._lock:
            held = list(self._connections.values())
            self._connections = {}
        for _, connection in held:
            connection.close()
