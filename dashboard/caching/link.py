"""The way to Redis: one round trip at a time, with short time-outs and without hidden retries.

redis-py's own calls are made for convenience: a GET spends half of its time in bookkeeping around the two system
calls. We keep redis-py's connections (TLS, credentials, Sentinel, parsers) and leave out the rest.
"""

import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import (
    ClusterError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from dashboard.caching.breaker import Breaker
from dashboard.caching.errors import CacheSettingsWarning, UsageError
from dashboard.caching.wire import ACQUIRE, Script

CONNECT_TIMEOUT_S: Final = 0.1
COMMAND_TIMEOUT_S: Final = 0.25
SLOWEST_TIMEOUT_S: Final = 1.0
"""A client with longer ones is warned about."""
POOL_SIZE: Final = 64
POOL_WAIT_S: Final = 0.25

Command = tuple[Any, ...]
"""A name and its arguments, or a Script, its key and its arguments."""


class Unreachable(Exception):
    """Redis did not answer.

    Args:
        cause: why.
        is_ill: False: only our own connections were all busy.
        is_unsent: the commands did not reach it; otherwise they may have been executed.
    """

    def __init__(self, cause: Exception | str, is_ill: bool = True, is_unsent: bool = False) -> None:
        super().__init__(str(cause))
        self.is_ill = is_ill
        self.is_unsent = is_unsent


class Link(Protocol):
    """What the library needs of a client."""

    client: Any
    """The client itself, for publish/subscribe."""
    has_nodes: bool
    """Whether keys are spread over several servers, of which one can be away."""

    def get(self, key: bytes) -> bytes | None:
        """``GET``. Raises Unreachable, or ResponseError when the server refuses."""

    def get_with_ttl(self, key: bytes) -> tuple[bytes | None, int]:
        """``GET`` and ``PTTL`` in one round trip; raises as ``get`` does."""

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send all, read all; where the server refuses, its ResponseError stands in the list.

        Raises Unreachable.
        """

    def exchange_each(self, commands: Sequence[Command]) -> list[Any]:
        """As ``exchange``, but where one server of several does not answer, Unreachable stands for its replies."""

    def exchange_once(self, commands: Sequence[Command]) -> list[Any]:
        """As ``exchange`` for commands that must not be executed twice.

        Raises Unreachable, which says whether they may have been executed.
        """

    def breaker(self, key: bytes) -> Breaker:
        """The circuit breaker of the server that holds ``key``."""

    def after_fork(self) -> None:
        """In a child process: forget the parent's connections."""

    def close(self) -> None:
        """Close the connections that are not in use."""


def connect(client_or_url: Any, pool_size: int) -> Link:
    """The link for a URL, a ``redis.Redis`` (also a Sentinel's ``master_for``) or a ``RedisCluster``.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(client_or_url, str):
        try:
            client = redis.Redis.from_url(
                client_or_url,
                protocol=2,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                socket_timeout=COMMAND_TIMEOUT_S,
                socket_keepalive=True,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise UsageError(f"Not a Redis URL: {error}") from None
        return DirectLink(client, pool_size)
    if isinstance(client_or_url, RedisCluster):
        settings: dict[str, Any] = client_or_url.get_connection_kwargs()  # type: ignore[no-untyped-call]
        _warn(settings, None)
        if settings.get("decode_responses"):
            raise UsageError(
                "a RedisCluster with decode_responses=True can't hold bytes; leave that option out"
            )
        return ClusterLink(client_or_url)
    if isinstance(client_or_url, redis.Redis):
        pool = client_or_url.connection_pool
        settings = dict(pool.connection_kwargs)
        _warn(settings, settings.get("retry"))
        # Who is primary is asked of the Sentinels, in the middle of a read.
        for sentinel in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()):
            asked = sentinel.connection_pool.connection_kwargs
            _warn(asked, asked.get("retry"), "The client of a Sentinel")
        return DirectLink(client_or_url, pool_size)
    raise UsageError(
        f"Cache takes a URL, a redis.Redis or a RedisCluster, not {type(client_or_url).__name__}"
    )


def _warn(settings: Any, retry: Any, whose: str = "This client") -> None:
    wrong = []
    for name in ("socket_connect_timeout", "socket_timeout"):
        # redis-py 8 puts its own default where nothing is given.
        value = settings.get(name, 5)
        if value is None or value > SLOWEST_TIMEOUT_S:
            wrong.append(f"{name}={'None' if value is None else f'{value:g}'}")
    if retry is not None and retry.get_retries() > 0:
        wrong.append(f"{retry.get_retries()} retries")
    if wrong:
        warnings.warn(
            f"{whose} has {', '.join(wrong)}: when Redis hangs, every read waits for that. Give Cache the URL, "
            f"or set socket_connect_timeout={CONNECT_TIMEOUT_S}, socket_timeout={COMMAND_TIMEOUT_S} and "
            "retry=Retry(NoBackoff(), 0).",
            CacheSettingsWarning,
            stacklevel=4,
        )


class DirectLink:
    """One server, or whichever one Sentinel names.

    Args:
        client: where the connections' settings come from; its pool is left to its owner.
        size: most connections at once.
    """

    has_nodes = False

    def __init__(self, client: Any, size: int) -> None:
        self.client = client
        self._size = size
        self._make = client.connection_pool.connection_class
        self._settings = client.connection_pool.connection_kwargs
        self._has_nx_get = True
        self.after_fork()

    def after_fork(self) -> None:
        """Forget all connections without closing them: they may be a parent process's."""
        self._idle: deque[Any] = deque()
        self._free = threading.Condition()
        self._open = 0
        self._waiting = 0
        self._breaker = Breaker()

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            try:
                self._drop(self._idle.pop())
            except IndexError:
                break

    def breaker(self, key: bytes) -> Breaker:
        """There is one server only."""
        return self._breaker

    def get(self, key: bytes) -> bytes | None:
        """``GET``: the way of every hit, hence written out."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._first(key)
        try:
            connection.send_packed_command((b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key),), False)
            reply: bytes | None = connection.read_response(True)
        except ResponseError:
            self._give(connection)
            raise
        except (redis.ConnectionError, OSError):
            self._drop(connection)
            return self._first(key)
        except redis.RedisError as error:
            self._drop(connection)
            raise Unreachable(error) from error
        except BaseException:
            self._drop(connection)
            raise
        self._idle.append(connection)
        if self._waiting:
            self._wake()
        return reply

    def get_with_ttl(self, key: bytes) -> tuple[bytes | None, int]:
        """``GET`` and ``PTTL`` in one round trip."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._first_with_ttl(key)
        size = len(key)
        try:
            connection.send_packed_command(
                (
                    b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n*2\r\n$4\r\nPTTL\r\n$%d\r\n%b\r\n"
                    % (size, key, size, key),
                ),
                False,
            )
            try:
                reply: bytes | None = connection.read_response(True)
            except ResponseError:
                connection.read_response(True)
                raise
            left_ms: int = connection.read_response(True)
        except ResponseError:
            self._give(connection)
            raise
        except (redis.ConnectionError, OSError):
            self._drop(connection)
            return self._first_with_ttl(key)
        except redis.RedisError as error:
            self._drop(connection)
            raise Unreachable(error) from error
        except BaseException:
            self._drop(connection)
            raise
        self._idle.append(connection)
        if self._waiting:
            self._wake()
        return reply, left_ms

    def get_tagged(self, key: bytes, commands: Sequence[Command], packed: bytes, with_ttl: bool) -> list[Any]:
        """``GET``, then ``commands`` (which ``packed`` is), then, if asked for, ``PTTL``; as ``exchange``."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._talk(_tagged(key, commands, with_ttl))
        size = len(key)
        sent = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n%b" % (size, key, packed)
        if with_ttl:
            sent += b"*2\r\n$4\r\nPTTL\r\n$%d\r\n%b\r\n" % (size, key)
        replies: list[Any] = []
        try:
            connection.send_packed_command((sent,), False)
            for _ in range(len(commands) + 1 + with_ttl):
                try:
                    replies.append(connection.read_response(True))
                except ResponseError as error:
                    replies.append(error)
        except (redis.ConnectionError, OSError):
            self._drop(connection)
            return self._talk(_tagged(key, commands, with_ttl))
        except redis.RedisError as error:
            self._drop(connection)
            raise Unreachable(error) from error
        except BaseException:
            self._drop(connection)
            raise
        self._idle.append(connection)
        if self._waiting:
            self._wake()
        return replies

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """See ``Link``."""
        replies = self._talk([self._spelt(command) for command in commands])
        again = [index for index, reply in enumerate(replies) if self._is_unknown(commands[index], reply)]
        if again:
            whole = [self._spelt(commands[index], with_source=True) for index in again]
            for index, reply in zip(again, self._talk(whole), strict=True):
                replies[index] = reply
        return replies

    def exchange_each(self, commands: Sequence[Command]) -> list[Any]:
        """See ``Link``; there is one server only."""
        return self.exchange(commands)

    def exchange_once(self, commands: Sequence[Command]) -> list[Any]:
        """See ``Link``."""
        return self._talk([self._spelt(command) for command in commands], is_once=True)

    def _first(self, key: bytes) -> bytes | None:
        reply = self._talk([(b"GET", key)])[0]
        if isinstance(reply, Exception):
            raise reply
        found: bytes | None = reply
        return found

    def _first_with_ttl(self, key: bytes) -> tuple[bytes | None, int]:
        return _both(self._talk([(b"GET", key), (b"PTTL", key)]))

    def _is_unknown(self, command: Command, reply: Any) -> bool:
        if isinstance(reply, NoScriptError):
            return True
        # Before Redis 7.0, SET refuses NX and GET together.
        if command[0] is ACQUIRE and isinstance(reply, ResponseError) and "syntax" in str(reply).lower():
            self._has_nx_get = False
            return True
        return False

    def _spelt(self, command: Command, with_source: bool = False) -> Command:
        if command[0] is ACQUIRE and self._has_nx_get and not with_source:
            _, key, token, ms = command
            return (b"SET", key, token, b"NX", b"GET", b"PX", ms)
        return spelt(command, with_source)

    def _talk(self, commands: Sequence[Command], is_once: bool = False) -> list[Any]:
        packed = pack(commands)
        connection, is_reused = self._take()
        if is_once and is_reused and _is_over(connection):
            # Not sent, so nothing can happen twice; all the idle ones are probably over as well.
            self.close()
            connection, is_reused = self._connected(connection), False
        while True:
            try:
                connection.send_packed_command((packed,), False)
                replies: list[Any] = []
                for _ in commands:
                    try:
                        replies.append(connection.read_response(True))
                    except ResponseError as error:
                        replies.append(error)
                break
            except (RedisError, OSError) as error:
                if is_reused and not is_once and not isinstance(error, redis.TimeoutError):
                    # The server closed it while it was idle, and so probably all the others. Every command
                    # that comes here may be sent twice: what is written is bound to a placeholder or removes.
                    self.close()
                    connection, is_reused = self._connected(connection), False
                    continue
                self._drop(connection)
                raise Unreachable(error) from error
            except BaseException:
                self._drop(connection)
                raise
        self._give(connection)
        return replies

    def _take(self) -> tuple[Any, bool]:
        """A connection, and whether it was used before."""
        try:
            return self._idle.pop(), True
        except IndexError:
            pass
        deadline = time.monotonic() + POOL_WAIT_S
        with self._free:
            # Counted before the look at what is idle: who gives one back without the lock looks at it afterwards.
            self._waiting += 1
            try:
                while True:
                    try:
                        return self._idle.pop(), True
                    except IndexError:
                        pass
                    if self._open < self._size:
                        self._open += 1
                        break
                    left_s = deadline - time.monotonic()
                    if left_s <= 0:
                        message = f"all {self._size} connections are busy"
                        raise Unreachable(message, is_ill=False, is_unsent=True)
                    self._free.wait(left_s)
            finally:
                self._waiting -= 1
        return self._connected(), False

    def _connected(self, instead_of: Any = None) -> Any:
        """A new connection; its place among the open ones is taken already.

        Args:
            instead_of: one that is over, and whose place it takes.
        """
        connection = self._make(**self._settings)
        try:
            if instead_of is not None:
                instead_of.disconnect()
            connection.connect()
        except (RedisError, OSError) as error:
            self._drop(connection)
            raise Unreachable(error, is_unsent=True) from error
        except BaseException:
            self._drop(connection)
            raise
        return connection

    def _give(self, connection: Any) -> None:
        self._idle.append(connection)
        if self._waiting:
            self._wake()

    def _drop(self, connection: Any) -> None:
        try:
            connection.disconnect()
        finally:
            with self._free:
                self._open -= 1
                self._free.notify()

    def _wake(self) -> None:
        with self._free:
            self._free.notify()


class ClusterLink:
    """A Redis Cluster, through redis-py's own client, which follows its slots.

    Args:
        client: the application's.
    """

    has_nodes = True

    def __init__(self, client: Any) -> None:
        self.client = client
        self.after_fork()

    def after_fork(self) -> None:
        """redis-py's pools notice a fork themselves."""
        self._breakers: dict[str, Breaker] = {}

    def close(self) -> None:
        """The connections belong to the application's client."""

    def breaker(self, key: bytes) -> Breaker:
        """One breaker for each node: a dead primary does not open the way around the others."""
        try:
            name = self.client.get_node_from_key(key).name
        except Exception:  # whatever the client's view of the cluster is just now
            name = ""
        return self._breakers.setdefault(name, Breaker())

    def get(self, key: bytes) -> bytes | None:
        """``GET``."""
        reply = self.exchange([(b"GET", key)])[0]
        if isinstance(reply, Exception):
            raise reply
        found: bytes | None = reply
        return found

    def get_with_ttl(self, key: bytes) -> tuple[bytes | None, int]:
        """``GET`` and ``PTTL`` in one round trip."""
        return _both(self.exchange([(b"GET", key), (b"PTTL", key)]))

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """See ``Link``; plain commands go in one pipeline.

        Scripts go one by one: in a pipeline redis-py would ask any node about them, also one that is dead.
        """
        try:
            plain = [c for c in commands if not isinstance(c[0], Script)]
            plain_replies = iter(self._pipeline(plain) if len(plain) > 1 else [self._one(c) for c in plain])
            return [self._script(c) if isinstance(c[0], Script) else next(plain_replies) for c in commands]
        except (RedisError, RedisClusterException, ClusterError, OSError) as error:
            # redis-py does not say how far it came; what it waited for in vain was sent.
            raise Unreachable(error, is_unsent=not isinstance(error, redis.TimeoutError)) from error

    def exchange_each(self, commands: Sequence[Command]) -> list[Any]:
        """See ``Link``.

        At first all together; only when that fails once more for each node, to see who is to blame. A command may be
        sent twice then, which ours allow.
        """
        try:
            return self.exchange(commands)
        except Unreachable as error:
            nodes: dict[Breaker, list[int]] = {}
            for index, command in enumerate(commands):
                nodes.setdefault(self.breaker(command[1]), []).append(index)
            if len(nodes) == 1:
                raise
            replies: list[Any] = [error] * len(commands)
        for indices in nodes.values():
            try:
                answered: Sequence[Any] = self.exchange([commands[index] for index in indices])
            except Unreachable as error:
                answered = [error] * len(indices)
            for index, reply in zip(indices, answered, strict=True):
                replies[index] = reply
        return replies

    def exchange_once(self, commands: Sequence[Command]) -> list[Any]:
        """See ``Link``. redis-py repeats by itself what a node that is failing over did not answer."""
        return self.exchange(commands)

    def _pipeline(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*_named(command))
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception) and not _is_refusal(reply):
                raise reply
        return replies

    def _one(self, command: Command) -> Any:
        try:
            return self.client.execute_command(*_named(command))
        except ResponseError as error:
            if not _is_refusal(error):
                raise
            return error

    def _script(self, command: Command) -> Any:
        # ACQUIRE, too, though SET could do it: redis-py makes a truth value of what SET replies.
        reply = self._one(spelt(command, with_source=False))
        return self._one(spelt(command, with_source=True)) if isinstance(reply, NoScriptError) else reply


def _is_over(connection: Any) -> bool:
    """Whether the server closed a connection while it was idle: nothing else comes unasked."""
    try:
        return bool(connection.can_read(0))
    except (RedisError, OSError):
        return True


def _tagged(key: bytes, commands: Sequence[Command], with_ttl: bool) -> list[Command]:
    return [(b"GET", key), *commands, *([(b"PTTL", key)] if with_ttl else [])]


def _both(replies: Sequence[Any]) -> tuple[bytes | None, int]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies[0], replies[1]


def _named(command: Command) -> Command:
    """redis-py's cluster client looks commands up by their name as text."""
    return (command[0].decode(), *command[1:])


def _is_refusal(error: Exception) -> bool:
    """Whether the server answered and said no, rather than that there is no cluster to answer."""
    return isinstance(error, ResponseError) and not isinstance(error, ClusterError | redis.ConnectionError)


def pack(commands: Sequence[Command]) -> bytes:
    """Commands as Redis reads them, in one piece: as two, a large value would wait for an acknowledgement."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            if type(argument) is not bytes:
                argument = str(argument).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(argument), argument))
    return b"".join(parts)


def spelt(command: Command, with_source: bool) -> Command:
    """A command as it is sent: a script by its digest, or as a whole where the server doesn't know it yet."""
    script = command[0]
    if not isinstance(script, Script):
        return command
    name, body = (b"EVAL", script.source) if with_source else (b"EVALSHA", script.digest)
    return (name, body, b"1", *command[1:])
