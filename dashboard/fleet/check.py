"""The connection test: one step after the other, and words for the first that fails."""

import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import redis

from dashboard.fleet import replies
from dashboard.fleet.commands import INFO_VARIANTS, info_denied
from dashboard.fleet.errors import Cause, FleetError, Problem, explain, quoted
from dashboard.fleet.permissions import acl_line
from dashboard.fleet.registry import Command, Node, open_client
from dashboard.fleet.text import display
from dashboard.fleet.topology import Topology, discover
from dashboard.fleet.transport import dial, tls_context
from dashboard.fleet.url import Address, CacheUrl, Kind

CLIENT_NAME = "cachewarden-test"


class State(StrEnum):
    """How a step ended; WAIT: it was not tried."""

    OK = "ok"
    WARN = "warn"
    CRIT = "crit"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the result.

    Args:
        title: what was tried, in words that fit its state.
        detail: what was measured; may be empty.
        subject: a name inside the title, shown in the type of values.
    """

    state: State
    title: str
    detail: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the connection test found.

    Args:
        ok: the cache can be watched; parts of it may be missing.
        problem: one sentence, Redis' own word first; empty when all is well.
        advice: the way out.
        acl_line: the ACL SETUSER command that grants what is missing; None where that would not help.
        acl_all: the ACL SETUSER command with all that watching needs, for the same user; None as above.
        failed_at: number of the failed step, from 1; None when ok.
        nodes: how many primaries there are; the ACL lines are to be run on each.
        took_s: seconds the whole test took.
        taken_at: when it ended, aware, UTC.
    """

    steps: tuple[Step, ...]
    ok: bool
    problem: str
    advice: str
    acl_line: str | None
    acl_all: str | None
    failed_at: int | None
    nodes: int
    took_s: float
    taken_at: datetime


@dataclass
class _Run:
    """The test while it runs."""

    url: CacheUrl
    timeout_s: float
    steps: list[Step] = field(default_factory=list)
    targets: tuple[Address | str, ...] = ()
    version: str = ""
    missing: list[tuple[str, str]] = field(default_factory=list)
    noperm: list[str] = field(default_factory=list)
    caution: str = ""


class _Failed(Exception):
    """A step failed: ``step`` replaces its line."""

    def __init__(
        self, title: str, problem: Problem, detail: str = "", commands: tuple[str, ...] = ()
    ) -> None:
        super().__init__(problem.words)
        self.title = title
        self.problem = problem
        self.detail = detail
        self.commands = commands


def check_connection(url: CacheUrl, timeout_s: float = 2.0) -> CheckReport:
    """Try all that watching a cache needs, without writing and without reading a value.

    Never raises for what a server does: the report says it. Takes at most a few times ``timeout_s``.

    Args:
        timeout_s: seconds to connect, and again for each exchange.
    """
    start = time.perf_counter()
    run = _Run(url, timeout_s)
    plan: list[tuple[str, Callable[[_Run], Step]]] = [(_reach_title(url), _reach)]
    if url.tls:
        plan.append(("TLS certificate", _tls))
    if url.kind is not Kind.SERVER:
        plan.append(
            ("Sentinel names the primary" if url.kind is Kind.SENTINEL else "Nodes of the Cluster", _find)
        )
    plan += [
        ("Sign-in", _sign_in),
        ("INFO", _info),
        ("CLIENT LIST, SLOWLOG and CONFIG GET", _tables),
        ("SCAN and MEMORY USAGE", _keys),
    ]
    failure: _Failed | None = None
    failed_at: int | None = None
    for number, (title, step) in enumerate(plan, 1):
        if failure is not None:
            run.steps.append(Step(State.WAIT, title, "not tried"))
            continue
        try:
            run.steps.append(step(run))
        except _Failed as error:
            failure, failed_at = error, number
            run.steps.append(Step(State.CRIT, error.title, error.detail))
    return _report(run, failure, failed_at, time.perf_counter() - start)


def _report(run: _Run, failure: _Failed | None, failed_at: int | None, took_s: float) -> CheckReport:
    problem = advice = ""
    line = everything = None
    if failure is not None:
        problem, advice = failure.problem.words, failure.problem.advice
        if failure.commands:
            line, everything = acl_line(run.url.username, failure.commands), acl_line(run.url.username)
            advice = "Grant it with:"
    elif run.noperm:
        names = " and ".join(filter(None, (", ".join(run.noperm[:-1]), run.noperm[-1])))
        problem = (
            f"NOPERM: this user may not run {names}. The cache can be watched; those parts will say no data."
        )
        advice = "Grant it with:"
        line, everything = acl_line(run.url.username, tuple(run.noperm)), acl_line(run.url.username)
    elif run.missing:
        names = ", ".join(name for name, _ in run.missing)
        problem = (
            f"This server does not offer {names}. The cache can be watched; those parts will say no data."
        )
        advice = "Managed services often take these away; nothing needs to be done."
    elif run.caution:
        problem, _, advice = run.caution.partition("\n")
    return CheckReport(
        steps=tuple(run.steps),
        ok=failure is None,
        problem=problem,
        advice=advice,
        acl_line=line,
        acl_all=everything,
        failed_at=failed_at,
        nodes=max(1, len(run.targets)),
        took_s=took_s,
        taken_at=datetime.now(UTC),
    )


def _seeds(url: CacheUrl) -> tuple[Address | str, ...]:
    return (url.path,) if url.path is not None else url.nodes


def _what(url: CacheUrl) -> str:
    return {Kind.SERVER: "server", Kind.SENTINEL: "Sentinels", Kind.CLUSTER: "seed nodes"}[url.kind]


def _reach_title(url: CacheUrl) -> str:
    return f"Reach the {_what(url)}"


def _try_dial(target: Address | str, timeout_s: float) -> float | BaseException:
    start = time.perf_counter()
    try:
        with closing(dial(target, timeout_s)):
            return time.perf_counter() - start
    except OSError as error:
        return error


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _reach(run: _Run) -> Step:
    seeds = _seeds(run.url)
    # At once, so that dead seeds cost one time-out together.
    with ThreadPoolExecutor(max_workers=len(seeds)) as pool:
        found = list(pool.map(lambda seed: _try_dial(seed, run.timeout_s), seeds))
    times = [result for result in found if isinstance(result, float)]
    errors = [
        explain(result, str(seed), run.url)
        for seed, result in zip(seeds, found, strict=True)
        if isinstance(result, BaseException)
    ]
    run.targets = tuple(seed for seed, result in zip(seeds, found, strict=True) if isinstance(result, float))
    if not times:
        title = (
            f"The {_what(run.url)} can't be reached"
            if len(seeds) == 1
            else f"Reached 0 of {len(seeds)} {_what(run.url)}"
        )
        raise _Failed(title, errors[0], str(errors[0].cause).replace("-", " "))
    if len(seeds) == 1:
        return Step(State.OK, f"Reached {seeds[0]}", _milliseconds(times[0]))
    title = f"Reached {len(times)} of {len(seeds)} {_what(run.url)}"
    if errors:
        run.caution = f"{errors[0].words}\n{errors[0].advice}"
    return Step(State.WARN if errors else State.OK, title, _milliseconds(min(times)))


def _tls(run: _Run) -> Step:
    target = run.targets[0]
    assert isinstance(target, Address)
    try:
        with closing(dial(target, run.timeout_s)) as plain:
            plain.settimeout(run.timeout_s)
            with tls_context(run.url).wrap_socket(plain, server_hostname=target.host) as sock:
                certificate: Any = sock.getpeercert() or {}
                version = sock.version() or "TLS"
    except TimeoutError:
        raise _Failed(
            "TLS handshake got no answer",
            Problem(
                Cause.TLS,
                f"TLS failed: {target} does not answer the handshake.",
                "Use redis:// instead of rediss:// if the port does not speak TLS.",
            ),
        ) from None
    except OSError as error:
        problem = explain(error, str(target), run.url)
        if problem.cause is Cause.CLOSED:
            problem = Problem(
                Cause.TLS,
                f"TLS failed: {target} closed the connection during the handshake.",
                "Use redis:// instead of rediss:// if the port does not speak TLS.",
            )
        raise _Failed("TLS failed", problem) from None
    if not run.url.verify:
        return Step(State.WARN, "TLS without checking the certificate", version)
    ends = certificate.get("notAfter")
    days = int((ssl.cert_time_to_seconds(ends) - time.time()) // 86400) if ends else None
    if days is not None and days < 14:
        run.caution = (
            f"The certificate of {target} ends in {days} days.\nRenew it; polls fail once it has ended."
        )
        return Step(State.WARN, "TLS certificate ends soon", f"{days} days left")
    return Step(State.OK, "TLS certificate is valid", version if days is None else f"{days} days left")


def _find(run: _Run) -> Step:
    def connect(target: Address, sentinel: bool) -> redis.Redis:
        return open_client(run.url, target, sentinel=sentinel, timeout_s=run.timeout_s, name=CLIENT_NAME)

    first = run.url.nodes.index(run.targets[0]) if isinstance(run.targets[0], Address) else 0
    try:
        found: Topology = discover(run.url, connect, run.timeout_s, first)
    except FleetError as error:
        if error.problem.cause is Cause.NOPERM and run.url.kind is Kind.CLUSTER:
            problem = Problem(Cause.NOPERM, "NOPERM: this user may not run CLUSTER SLOTS.", "")
            raise _Failed("CLUSTER SLOTS was refused", problem, commands=("CLUSTER SLOTS",)) from None
        title = (
            "Sentinel named no primary"
            if run.url.kind is Kind.SENTINEL
            else "The Cluster's nodes were not found"
        )
        raise _Failed(title, error.problem) from None
    run.targets = found.primaries
    if run.url.kind is Kind.SENTINEL:
        return Step(State.OK, "Sentinel named the primary", str(found.primaries[0]))
    replicas = f", {found.replicas} replicas" if found.replicas else ""
    return Step(State.OK, "Found the Cluster's nodes", f"{len(found.primaries)} primaries{replicas}")


def _on_all(run: _Run, commands: list[Command]) -> list[tuple[str, list[Any], float] | FleetError]:
    """Run the commands on every primary; at once, so that dead nodes cost one time-out together."""

    def one(target: Address | str) -> tuple[str, list[Any], float] | FleetError:
        client = open_client(run.url, target, sentinel=False, timeout_s=run.timeout_s, name=CLIENT_NAME)
        node = Node(str(target), run.url, client)
        try:
            replies_, took_s = node.run(commands)
            return node.id, replies_, took_s
        except FleetError as error:
            return error
        finally:
            node.close()

    with ThreadPoolExecutor(max_workers=min(8, len(run.targets))) as pool:
        return list(pool.map(one, run.targets))


def _answers(run: _Run, title: str, commands: list[Command]) -> list[tuple[str, list[Any], float]]:
    found = _on_all(run, commands)
    errors = [result for result in found if isinstance(result, FleetError)]
    if errors:
        where = f"on {len(errors)} of {len(found)} nodes" if len(found) > 1 else ""
        raise _Failed(title, errors[0].problem, where)
    return [result for result in found if not isinstance(result, FleetError)]


def _is_web_server(target: Address | str, timeout_s: float) -> bool:
    """Whether it speaks HTTP: a web server hangs up on Redis' protocol, often before its answer is read."""
    try:
        with closing(dial(target, timeout_s)) as sock:
            sock.settimeout(timeout_s)
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return sock.recv(5).upper() == b"HTTP/"
    except OSError:
        return False


_NO_SIGN_IN = {
    Cause.NOT_REDIS: "Not a Redis",
    Cause.TIMEOUT: "No answer",
    Cause.CLOSED: "The connection was closed",
    Cause.DATABASE: "No such database",
    Cause.LOADING: "Not ready yet",
    Cause.CLIENTS: "No connection is free",
    Cause.BUSY: "The server is busy",
}
"""What went wrong at the first exchange when it was not the sign-in itself."""


def _sign_in(run: _Run) -> Step:
    try:
        answers = _answers(run, "Sign-in failed", [("PING",)])
    except _Failed as error:
        if error.problem.cause is Cause.CLOSED and _is_web_server(run.targets[0], run.timeout_s):
            error.problem = explain(redis.exceptions.InvalidResponse("HTTP/"), str(run.targets[0]), run.url)
        error.title = _NO_SIGN_IN.get(error.problem.cause, error.title)
        raise
    for node, (ping,), _took in answers:
        # No right to PING is no failed sign-in; any other word than PONG is not a Redis.
        if ping != b"PONG" and not isinstance(ping, redis.ResponseError):
            raise _Failed("Sign-in failed", explain(redis.exceptions.InvalidResponse("PING"), node, run.url))
    title = "Signed in as" if run.url.username or run.url.password else "Connected as"
    return Step(
        State.OK,
        title,
        _milliseconds(min(took for _, _, took in answers)),
        subject=display((run.url.username or "default").encode(), 64),
    )


def _info(run: _Run) -> Step:
    answers = _answers(run, "INFO failed", list(INFO_VARIANTS))
    refused = [node for node, got, _ in answers if isinstance(got[0], redis.exceptions.NoPermissionError)]
    if refused:
        problem = info_denied(run.url.username)
        where = f"on {len(refused)} of {len(answers)} nodes" if len(answers) > 1 else ""
        raise _Failed("INFO was refused", problem, where, ("INFO",))
    for node, got, _ in answers:
        good = next((reply for reply in got if isinstance(reply, bytes) and reply.strip()), None)
        if good is None:
            raise _Failed("INFO failed", _info_problem(got[-1], node, run.url))
        mode = replies.info_field(good, b"redis_mode") or replies.info_field(good, b"server_mode")
        if mode == "sentinel":
            raise _Failed(
                "INFO is that of a Sentinel",
                Problem(
                    Cause.TOPOLOGY,
                    f"{node} is a Sentinel, not a cache.",
                    "Use redis+sentinel://host:26379/service as the URL.",
                ),
            )
        run.version = _version(good)
        if mode == "cluster" and run.url.kind is Kind.SERVER:
            run.caution = (
                f"{node} is one node of a Cluster; only this node will be watched.\n"
                "Use redis+cluster:// to watch all of it."
            )
        elif replies.info_field(good, b"role") == "slave" and run.url.kind is Kind.SERVER:
            run.caution = f"{node} is a replica.\nIts evictions and expirations are counted on its primary."
        if replies.info_field(good, b"loading") == "1":
            run.caution = (
                f"LOADING: {node} is reading its data from disk.\nIt can be watched once it has loaded."
            )
    return Step(State.WARN if run.caution else State.OK, "INFO is readable", run.version)


def _info_problem(reply: Any, node: str, url: CacheUrl) -> Problem:
    if isinstance(reply, redis.ResponseError):
        return explain(reply, node, url)
    return explain(redis.exceptions.InvalidResponse("INFO"), node, url)


def _version(info: bytes) -> str:
    valkey = replies.info_field(info, b"valkey_version")
    if valkey:
        return f"Valkey {valkey}"
    dragonfly = replies.info_field(info, b"dragonfly_version")
    if dragonfly:
        return f"Dragonfly {dragonfly.removeprefix('df-').removeprefix('v')}"
    version = replies.info_field(info, b"redis_version")
    return f"Redis {version}" if version else ""


def _optional(run: _Run, commands: dict[str, Command], good: str, bad: str) -> Step:
    """A step whose failure only leaves something out."""
    answers = _answers(run, bad, list(commands.values()))
    missing: dict[str, str] = {}
    denied: dict[str, None] = {}
    for _, got, _ in answers:
        for name, reply in zip(commands, got, strict=True):
            if not isinstance(reply, redis.ResponseError) or isinstance(reply, redis.exceptions.MovedError):
                # "Another node has this key" is an answer: the command itself is allowed.
                continue
            missing.setdefault(name, quoted(reply, run.url))
            if isinstance(reply, redis.exceptions.NoPermissionError):
                denied.setdefault(name)
    if not missing:
        return Step(State.OK, good)
    run.missing += missing.items()
    run.noperm += denied
    return Step(State.WARN, bad, f"without {', '.join(missing)}")


def _tables(run: _Run) -> Step:
    return _optional(
        run,
        {
            "CLIENT LIST": ("CLIENT", "LIST"),
            "SLOWLOG GET": ("SLOWLOG", "GET", 1),
            "CONFIG GET": ("CONFIG", "GET", "maxmemory"),
        },
        "CLIENT LIST, SLOWLOG and CONFIG GET",
        "Some tables will be missing",
    )


def _keys(run: _Run) -> Step:
    return _optional(
        run,
        # A key of this name does not exist; MEMORY USAGE counts neither as a hit nor as a miss.
        {"SCAN": ("SCAN", 0, "COUNT", 1), "MEMORY USAGE": ("MEMORY", "USAGE", "cachewarden:test")},
        "SCAN and MEMORY USAGE",
        "Keys can't be looked at",
    )
