"""Sockets with a deadline and a byte limit, under redis-py's connections.

redis-py's own time-outs are per read: a server that drips one byte a second is never late. Here one exchange
(from a send to the end of its replies) as a whole has a time and a size.
"""

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dashboard.fleet.parser import PARSER
from dashboard.fleet.url import Address, CacheUrl

LARGEST_REPLY_BYTES = 32 * 1024 * 1024
POOL_SIZE = 4


class ReplyTooLarge(OSError):
    """One exchange brought more than LARGEST_REPLY_BYTES."""


def resolve(host: str, port: int, timeout_s: float) -> list[tuple[Any, ...]]:
    """``socket.getaddrinfo`` that ends: a dead name server may otherwise hold a poll for half a minute.

    Raises:
        socket.gaierror: the name is not known.
        TimeoutError: no answer in ``timeout_s`` seconds.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    answer: queue.SimpleQueue[list[tuple[Any, ...]] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(
                error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, "not a host name")
            )

    # The resolver can't be interrupted: the thread is left to end by itself.
    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        found = answer.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError("the name server did not answer") from None
    if isinstance(found, OSError):
        raise found
    return found


def dial(target: Address | str, timeout_s: float) -> socket.socket:
    """Open a TCP connection, or a Unix socket if ``target`` is a path.

    All addresses of a name share one deadline.

    Raises:
        OSError: refused, no route, name not found, too late.
    """
    if isinstance(target, str):
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            unix.settimeout(timeout_s)
            unix.connect(target)
        except OSError:
            unix.close()
            raise
        return unix
    end = time.monotonic() + timeout_s
    last: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in resolve(target.host, target.port, timeout_s):
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.connect(address)
            return sock
        except OSError as error:
            last = error
            sock.close()
    raise last


def tls_context(url: CacheUrl) -> ssl.SSLContext:
    """The TLS settings a URL asks for.

    Raises:
        OSError: a certificate file can't be read (ssl.SSLError: it is not a certificate).
    """
    context = ssl.create_default_context(cafile=url.ca_file)
    if not url.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if url.cert_file:
        context.load_cert_chain(url.cert_file, url.key_file)
    return context


class BoundedSocket:
    """A socket on which each exchange has a deadline and a byte limit; each send begins a new one."""

    def __init__(
        self, sock: socket.socket, timeout_s: float, largest_bytes: int = LARGEST_REPLY_BYTES
    ) -> None:
        self._sock = sock
        self._exchange_s = timeout_s
        self._largest = largest_bytes
        self._timeout: float | None = timeout_s
        self._begin()

    def _begin(self) -> None:
        self._end = time.monotonic() + self._exchange_s
        self._left = self._largest

    def _arm(self) -> None:
        if self._timeout == 0:
            return
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)

    def _took(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ReplyTooLarge(f"the reply is larger than {self._largest} bytes")

    def resume(self) -> None:
        """Start the clock again for answers to what was sent a while ago; their bytes are counted on."""
        self._end = time.monotonic() + self._exchange_s

    def sendall(self, data: bytes) -> None:
        """Send, and start the clock of a new exchange."""
        self._begin()
        self._sock.settimeout(self._exchange_s)
        self._sock.sendall(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As socket.recv, within the exchange's bounds."""
        self._arm()
        data = self._sock.recv(size, flags)
        if not flags & socket.MSG_PEEK:
            self._took(len(data))
        return data

    def recv_into(self, *args: Any) -> int:
        """As socket.recv_into, within the exchange's bounds."""
        self._arm()
        count = self._sock.recv_into(*args)
        self._took(count)
        return count

    def settimeout(self, timeout_s: float | None) -> None:
        """Zero means non-blocking; any other value is replaced by what is left of the exchange."""
        self._timeout = timeout_s
        self._sock.settimeout(timeout_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class CacheConnection(redis.Connection):
    """A redis-py connection that is opened by ``dial`` and bounded, whatever lies under it.

    Args:
        dialler: opens the socket (TCP, TLS or Unix).
        exchange_s: seconds one exchange may take.

    Attributes:
        socket: the one it speaks through at present.
    """

    def __init__(self, *, dialler: Callable[[], socket.socket], exchange_s: float, **kwargs: Any) -> None:
        self._dialler = dialler
        self._exchange_s = exchange_s
        self.socket: BoundedSocket | None = None
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]

    def _connect(self) -> BoundedSocket:
        self.socket = BoundedSocket(self._dialler(), self._exchange_s)
        return self.socket


def _dialler(target: Address | str, url: CacheUrl, timeout_s: float) -> Callable[[], socket.socket]:
    def connect() -> socket.socket:
        sock = dial(target, timeout_s)
        if not url.tls or isinstance(target, str):
            return sock
        try:
            sock.settimeout(timeout_s)
            return tls_context(url).wrap_socket(sock, server_hostname=target.host)
        except OSError:
            sock.close()
            raise

    return connect


class _Greeter:
    """Names our connections, so that an operator finds them in CLIENT LIST; gives up where it is forbidden."""

    def __init__(self, client_name: str) -> None:
        self._name = client_name
        self._allowed = True

    def __call__(self, connection: Any) -> None:
        connection.on_connect()
        if not self._allowed:
            return
        connection.send_command("CLIENT", "SETNAME", self._name, check_health=False)
        try:
            connection.read_response()
        except redis.ResponseError as error:
            # Words such as DENIED mean the whole connection, not this command.
            if str(getattr(error, "status_code", None) or error).partition(" ")[0] not in ("NOPERM", "ERR"):
                raise
            # Asking again on each connection would only raise the server's error counters.
            self._allowed = False


def make_client(
    target: Address | str,
    url: CacheUrl,
    *,
    timeout_s: float,
    client_name: str,
    username: str | None,
    password: str | None,
    db: int = 0,
) -> redis.Redis:
    """A redis-py client that returns raw replies, never retries and never waits longer than it was told.

    RESP2, because its replies look the same on every server and version; no CLIENT SETINFO, which raises
    error counters where it is forbidden or unknown.

    Args:
        target: address, or path of a Unix socket.
        timeout_s: seconds to connect (with TLS), and again for each exchange.
    """
    address = target if isinstance(target, Address) else Address("localhost", 0)
    pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
        max_connections=POOL_SIZE,
        timeout=timeout_s,
        connection_class=CacheConnection,
        parser_class=PARSER,
        dialler=_dialler(target, url, timeout_s),
        exchange_s=timeout_s,
        host=address.host,
        port=address.port,
        username=username,
        password=password,
        db=db,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,
        redis_connect_func=_Greeter(client_name),
    )
    # The pool is its own, and is closed with it.
    client = redis.Redis.from_pool(pool)
    # Replies are untrusted bytes; they are read by our own, bounded code.
    client.response_callbacks.clear()
    return client
