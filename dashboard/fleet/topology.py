"""Finding the primaries of a cache: asking Sentinels or Cluster nodes where they are."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from dashboard.fleet.errors import Cause, FleetError, Problem, as_error, explain, translated
from dashboard.fleet.text import display
from dashboard.fleet.url import Address, CacheUrl, Kind

MOST_PRIMARIES = 256
SLOTS = 16384

Connect = Callable[[Address, bool], redis.Redis]
"""Opens a client for an address; True: it is a Sentinel."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Where a cache's servers are.

    Args:
        primaries: the servers that take writes; for a plain server that server, whatever its role.
        replicas: how many follow them; None when not known from here.
        slots: of a Cluster: (first slot, last slot, primary) of each stretch, in order.
    """

    primaries: tuple[Address | str, ...]
    replicas: int | None = None
    slots: tuple[tuple[int, int, Address], ...] = ()


def discover(url: CacheUrl, connect: Connect, timeout_s: float, first: int = 0) -> Topology:
    """Find the primaries.

    Args:
        connect: opens a client for one of the URL's nodes; it is closed here.
        timeout_s: seconds for one node; after two of them no further node is asked.
        first: which of the URL's nodes to ask first, so that a caller can go on behind dead ones.

    Raises:
        FleetError: no node gave an answer; the words are of the first that failed.
    """
    if url.path is not None:
        return Topology((url.path,))
    if url.kind is Kind.SERVER:
        return Topology(url.nodes)
    end = time.monotonic() + 2 * timeout_s
    failure: FleetError | None = None
    order = [url.nodes[(first + step) % len(url.nodes)] for step in range(len(url.nodes))]
    for seed in order:
        if failure is not None and time.monotonic() > end:
            break
        client = connect(seed, url.kind is Kind.SENTINEL)
        try:
            with translated(str(seed), url):
                return (
                    _ask_sentinel(client, url, seed)
                    if url.kind is Kind.SENTINEL
                    else _ask_cluster(client, seed)
                )
        except FleetError as error:
            failure = failure or (_of_sentinel(error, seed) if url.kind is Kind.SENTINEL else error)
        finally:
            client.close()
    assert failure is not None
    raise failure


def _of_sentinel(error: FleetError, seed: Address) -> FleetError:
    """The error, saying whose credentials are wrong: a Sentinel has its own."""
    if error.problem.cause not in (Cause.SIGN_IN, Cause.PASSWORD, Cause.NO_PASSWORD):
        return error
    return as_error(
        Problem(
            error.problem.cause,
            f"The Sentinel {seed} does not accept our sign-in; it has a password of its own.",
            "Write it at the end of the URL: ?sentinel_password=… (and &sentinel_username=…).",
        )
    )


def _ask_sentinel(client: Any, url: CacheUrl, seed: Address) -> Topology:
    try:
        reply: Any = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.service)
    except redis.ResponseError as error:
        if "unknown command" in str(error):
            raise as_error(
                Problem(
                    Cause.TOPOLOGY,
                    f"{seed} is not a Sentinel.",
                    "Sentinels usually listen on port 26379; use redis:// for the cache itself.",
                )
            ) from None
        raise
    if reply is None:
        raise as_error(
            Problem(
                Cause.TOPOLOGY,
                f"The Sentinel {seed} does not watch a service of this name.",
                "Check the name after the hosts in the URL; SENTINEL MASTERS lists the names.",
            )
        )
    if not (isinstance(reply, list) and len(reply) == 2):
        raise _unreadable(seed)
    return Topology((_address(reply[0], reply[1], seed),))


def _ask_cluster(client: Any, seed: Address) -> Topology:
    try:
        reply: Any = client.execute_command("CLUSTER", "SLOTS")
    except redis.ResponseError as error:
        if "cluster support disabled" in str(error):
            raise as_error(
                Problem(
                    Cause.TOPOLOGY,
                    f"{seed} is not part of a Cluster.",
                    "Use redis:// instead of redis+cluster://.",
                )
            ) from None
        raise
    if not isinstance(reply, list):
        raise _unreadable(seed)
    primaries: dict[Address, None] = {}
    replicas: set[Address] = set()
    slots: list[tuple[int, int, Address]] = []
    for span in reply:
        if not isinstance(span, list) or len(span) < 3:
            raise _unreadable(seed)
        first, last = span[:2]
        if not (isinstance(first, int) and isinstance(last, int) and 0 <= first <= last < SLOTS):
            raise _unreadable(seed)
        found = []
        for server in span[2:]:
            if not isinstance(server, list) or len(server) < 2:
                raise _unreadable(seed)
            found.append(_address(server[0], server[1], seed))
        primaries.setdefault(found[0])
        slots.append((first, last, found[0]))
        replicas.update(found[1:])
    if not primaries:
        raise as_error(
            Problem(
                Cause.TOPOLOGY,
                f"{seed} knows no node that serves keys: the Cluster has no slots assigned.",
                "Finish creating the Cluster: redis-cli --cluster create.",
            )
        )
    if len(primaries) > MOST_PRIMARIES:
        raise _unreadable(seed)
    return Topology(
        tuple(primaries), len(replicas - set(primaries)), tuple(sorted(slots, key=lambda each: each[0]))
    )


def _address(host: object, port: object, seed: Address) -> Address:
    # No host means "the one you asked" (cluster-preferred-endpoint-type unknown-endpoint).
    name = display(host, 253) if isinstance(host, bytes) else ""
    try:
        number = int(port)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise _unreadable(seed) from None
    if not 1 <= number <= 65535:
        raise _unreadable(seed)
    return Address(seed.host if name in ("", "?") else name, number)


def _unreadable(seed: Address) -> FleetError:
    return as_error(explain(redis.exceptions.InvalidResponse("topology"), str(seed), CacheUrl(Kind.SERVER)))
