"""Redis Cluster and Sentinel of real processes."""

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from dashboard.fleet.topology import SLOTS
from tests.support.servers import free_port, skip_or_fail, wait_for_port


class Servers:
    """redis-server processes that are stopped in the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._commands: dict[int, list[str]] = {}

    def start(self, *arguments: str, port: int | None = None, sentinel: str | None = None) -> int:
        """Start one; ``sentinel``: its configuration as a Sentinel."""
        program = shutil.which("redis-server")
        if program is None:
            skip_or_fail("CACHEWARDEN_REQUIRE_REDIS", "redis-server is not installed")
        assert program is not None
        port = port or free_port()
        folder = self._folder / str(port)
        folder.mkdir(exist_ok=True)
        command = [program]
        if sentinel is not None:
            config = folder / "sentinel.conf"
            config.write_text(sentinel)
            command += [str(config), "--sentinel"]
        command += [*arguments, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        if sentinel is None:
            command += ["--save", ""]
        self._commands[port] = command
        self._run(port)
        return port

    def _run(self, port: int) -> None:
        self.processes[port] = subprocess.Popen(
            self._commands[port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_port(port)

    def kill(self, port: int) -> None:
        """As a machine that loses its power."""
        process = self.processes.pop(port)
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def bring_back(self, port: int) -> None:
        """Start one of a cluster again that was killed, and wait until it is the replica of whoever took over."""
        self._run(port)
        deadline = time.monotonic() + 60
        while role(port) != "slave" or info_field(port, "master_link_status") != "up":
            assert time.monotonic() < deadline, "it does not come back"
            time.sleep(0.05)

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(10)


def replicated(primary: "redis.Redis") -> None:
    """Wait until a replica has all that was written until now, by whomever."""
    offset = primary.info("replication")["master_repl_offset"]
    deadline = time.monotonic() + 60
    while True:
        replica = primary.info("replication").get("slave0", {})
        if replica.get("state") == "online" and replica["offset"] >= offset:
            return
        assert time.monotonic() < deadline, f"the replica does not get there: {replica}"
        time.sleep(0.02)


@contextmanager
def servers() -> Iterator[Servers]:
    """Processes for one test."""
    with tempfile.TemporaryDirectory(prefix="cachewarden-cluster-", ignore_cleanup_errors=True) as folder:
        made = Servers(Path(folder))
        try:
            yield made
        finally:
            made.stop()


def cluster_port() -> int:
    """A port that is free together with that of its cluster bus, 10,000 above: both below those that the system hands
    out to whoever asks for any, another test's server or a client among them."""
    while True:
        port = 11_000 + free_port() % 11_000
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


def make_cluster(made: Servers, primaries: int = 3) -> tuple[list[int], list[int]]:
    """A cluster with one replica for each primary; returns the ports of both."""
    ports = [
        made.start(
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--repl-diskless-sync-delay",
            "0",
            port=cluster_port(),
        )
        for _ in range(2 * primaries)
    ]
    join(ports)
    share = SLOTS // primaries
    for number, port in enumerate(ports[:primaries]):
        last = SLOTS - 1 if number == primaries - 1 else share * (number + 1) - 1
        with redis.Redis(port=port) as node:
            node.execute_command("CLUSTER ADDSLOTSRANGE", share * number, last)
    ids = [own_id(port) for port in ports[:primaries]]
    for number, port in enumerate(ports[primaries:]):
        with redis.Redis(port=port) as node:
            node.execute_command("CLUSTER REPLICATE", ids[number % primaries])
    deadline = time.monotonic() + 30
    while True:
        states = [info(port, "cluster_state") == "ok" for port in ports]
        roles = {port: role(port) for port in ports}
        links = [info_field(port, "master_link_status") == "up" for port in ports if roles[port] == "slave"]
        if all(states) and len(links) == primaries and all(links):
            break
        assert time.monotonic() < deadline, "the cluster does not come up"
        time.sleep(0.1)
    return (
        [port for port in ports if roles[port] == "master"],
        [port for port in ports if roles[port] == "slave"],
    )


def join(ports: list[int]) -> None:
    """Have nodes meet, and wait until each knows all: whom a busy machine keeps from answering is met again."""
    for number, port in enumerate(ports):
        with redis.Redis(port=port) as node:
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
    deadline = time.monotonic() + 60
    while any(len(known_to(port)) < len(ports) for port in ports):
        assert time.monotonic() < deadline, "the nodes do not meet"
        with redis.Redis(port=ports[0]) as first:
            for port in set(ports) - known_to(ports[0]):
                first.execute_command("CLUSTER MEET", "127.0.0.1", port)
        time.sleep(0.5)


def known_to(port: int) -> set[int]:
    """Ports of the nodes that a node has met, its own among them."""
    with redis.Redis(port=port) as node:
        nodes = node.cluster("NODES")
    return {int(name.rpartition(":")[2]) for name, each in nodes.items() if "handshake" not in each["flags"]}


def own_id(port: int) -> str:
    with redis.Redis(port=port, decode_responses=True) as node:
        return str(node.execute_command("CLUSTER MYID"))


def info(port: int, field: str) -> str:
    """A field of CLUSTER INFO."""
    with redis.Redis(port=port, decode_responses=True) as client:
        return str(client.execute_command("CLUSTER INFO")[field])


def role(port: int) -> str:
    """master or slave."""
    return info_field(port, "role")


def info_field(port: int, field: str) -> str:
    """A field of INFO replication."""
    with redis.Redis(port=port, decode_responses=True) as client:
        return str(client.info("replication").get(field, ""))
