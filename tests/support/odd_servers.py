"""Servers on loopback that are not, or not quite, a plain Redis."""

import contextlib
import datetime
import ipaddress
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support import servers

Talk = Callable[[socket.socket], None]


@contextmanager
def listener(talk: Talk) -> Iterator[int]:
    """Accept connections and hand each to ``talk`` in a thread; yields the port."""
    held: list[socket.socket] = []
    threads: list[threading.Thread] = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.05)
    ended = threading.Event()

    def accept() -> None:
        while not ended.is_set():
            try:
                sock, _ = server.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            sock.settimeout(10)
            held.append(sock)
            thread = threading.Thread(target=guarded, args=(sock,), daemon=True)
            threads.append(thread)
            thread.start()

    def guarded(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            talk(sock)

    accepter = threading.Thread(target=accept, daemon=True)
    accepter.start()
    try:
        yield server.getsockname()[1]
    finally:
        ended.set()
        accepter.join(5)
        server.close()
        for sock in held:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in threads:
            thread.join(5)


def says(*answers: bytes) -> Talk:
    """Answers each read with the next of ``answers``, the last one again and again."""

    def talk(sock: socket.socket) -> None:
        for number in range(1000):
            if not sock.recv(65536):
                return
            sock.sendall(answers[min(number, len(answers) - 1)])

    return talk


def silent(sock: socket.socket) -> None:
    """Reads and never answers."""
    while sock.recv(65536):
        pass


def dripping(sock: socket.socket) -> None:
    """Begins a reply and sends one byte of it every fifth of a second."""
    sock.recv(65536)
    sock.sendall(b"$1000\r\n")
    for _ in range(100):
        time.sleep(0.2)
        sock.sendall(b"x")


def flooding(sock: socket.socket) -> None:
    """Sends a text of a gigabyte."""
    sock.recv(65536)
    sock.sendall(b"$1000000000\r\n")
    while True:
        sock.sendall(b"x" * 262144)


def closing(sock: socket.socket) -> None:
    """Reads, then hangs up."""
    sock.recv(65536)
    sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def http_server() -> Iterator[int]:
    """A web server; yields its port."""

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def certificate(folder: Path, *, days: int = 90, name: str = "localhost") -> tuple[Path, Path]:
    """A self-signed certificate for ``name`` and 127.0.0.1; returns (certificate, key) files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}-{days}.crt", folder / f"{name}-{days}.key"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


@contextmanager
def sentinel_group(folder: Path, *, password: str, sentinel_password: str) -> Iterator[tuple[int, int, int]]:
    """A primary, a replica and a Sentinel that watches them as ``shop``; yields their ports."""
    with ExitStack() as stack:
        login = ("--requirepass", password, "--masterauth", password)
        primary = stack.enter_context(servers.redis_server(*login))
        replica = stack.enter_context(servers.redis_server(*login, "--replicaof", "127.0.0.1", str(primary)))
        port = servers.free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"requirepass {sentinel_password}\n"
            f"sentinel monitor shop 127.0.0.1 {primary} 1\n"
            f"sentinel auth-pass shop {password}\n"
            "sentinel down-after-milliseconds shop 500\n"
            "sentinel failover-timeout shop 2000\n"
        )
        process = subprocess.Popen(
            ["redis-server", str(config), "--sentinel"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            servers.wait_for_port(port)
            wait_until(
                lambda: _ask(replica, password, "INFO", "replication")["master_link_status"] == "up",
                "the replica follows",
            )
            wait_until(
                lambda: len(_ask(port, sentinel_password, "SENTINEL", "REPLICAS", "shop")) == 1,
                "the Sentinel knows the replica",
            )
            yield primary, replica, port
        finally:
            process.kill()
            process.wait(10)


def _ask(port: int, password: str, *command: str) -> Any:
    with redis.Redis(port=port, password=password) as client:
        return client.execute_command(*command)


@contextmanager
def cluster(folder: Path) -> Iterator[list[int]]:
    """A Cluster of three primaries; yields their ports."""
    with ExitStack() as stack:
        ports = []
        for number in range(3):
            # The Cluster's own port is 10,000 higher, and must exist.
            port = _cluster_port()
            home = folder / str(number)
            home.mkdir()
            arguments = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
            ports.append(stack.enter_context(servers.redis_server(*arguments, port=port, folder=home)))
        share = 16384 // 3 + 1
        for number, port in enumerate(ports):
            with redis.Redis(port=port) as client:
                last = min((number + 1) * share, 16384) - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
                if number:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
        wait_until(lambda: all(_is_whole(port) for port in ports), "the Cluster is whole")
        yield ports


def _cluster_port() -> int:
    while True:
        port = servers.free_port()
        if port < 55000:
            return port


def _is_whole(port: int) -> bool:
    with redis.Redis(port=port) as client:
        state = client.execute_command("CLUSTER INFO")
        return state["cluster_state"] == "ok" and len(client.execute_command("CLUSTER SLOTS")) == 3


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Wait until ``is_so()``; errors of a server that is starting count as "not yet"."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(redis.RedisError, KeyError):
            if is_so():
                return
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.05)
