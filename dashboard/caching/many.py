"""The protocol for many keys at once: one look, one load for all that miss. Without I/O, as in ``protocol``.

Of several servers one can be away: to a ``Send`` of these steps the driver always answers with a list, in which AWAY
stands for what could not be had.
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from dashboard.caching import tags as tagging
from dashboard.caching import ttl
from dashboard.caching.protocol import (
    Away,
    Context,
    Pause,
    Send,
    Step,
    count_versions,
    is_storable,
    store_ms,
    usable,
    versions_in,
)
from dashboard.caching.wire import ABORT, ACQUIRE, FILL, TAKE, Kind, kind_of, placeholder


@dataclass(slots=True)
class LoadMany:
    """Run the loader for these keys; the driver sends back ``LoadedMany`` or throws what it raised."""

    contexts: Sequence[Context]
    is_away: bool


@dataclass(slots=True)
class LoadedMany:
    """A loader's results, in the order of the contexts."""

    values: Sequence[Any]
    took_s: float
    encode: Callable[[Any], bytes]


@dataclass(slots=True)
class Found:
    """What came of it."""

    payloads: dict[bytes, bytes] = field(default_factory=dict)
    """Keys that the cache answered -> serialised values."""
    values: dict[bytes, Any] = field(default_factory=dict)
    """Keys that were loaded -> the loader's own results."""


@dataclass(slots=True)
class _Lease:
    context: Context
    token: bytes
    lease_ms: int
    versions: dict[str, int] | None


def read_many(
    contexts: Sequence[Context], replies: Sequence[list[Any] | Away], is_readable: Callable[[bytes], bool]
) -> Generator[Step | LoadMany, Any, Found]:
    """Read several keys; load those that miss with one call, and what others load in vain with a second.

    Args:
        contexts: the keys.
        replies: for each, to its ``ask()``, or AWAY.
        is_readable: whether the codec can read a payload.
    """
    found = Found()
    answered = next((reply for reply in replies if not isinstance(reply, Away)), [])
    # Asked for once, for all of them.
    count_versions(contexts[0], answered[1:])
    away: list[Context] = []
    bare: list[Context] = []
    waiting: list[Context] = []
    wanted: list[tuple[Context, Any]] = []
    for context, reply in zip(contexts, replies, strict=True):
        if isinstance(reply, Away):
            away.append(context)
            continue
        seen = reply[0]
        if isinstance(seen, ResponseError):
            context.tally.add("errors")
            bare.append(context)
        elif seen is None:
            wanted.append((context, None))
        elif (kind := kind_of(seen)) is not None:
            context.tally.add("own_hits")
            (waiting if _is_awaited(context, kind) else bare).append(context)
        else:
            payload = yield from usable(context, seen, reply[1:])
            if payload is not None and is_readable(payload):
                context.tally.add("hits")
                found.payloads[context.key] = payload
            else:
                context.tally.add("own_hits")
                wanted.append((context, seen))
    leases: list[_Lease] = []
    if wanted:
        tries = [(context, seen, placeholder(Kind.LOAD), context.lease_ms) for context, seen in wanted]
        commands: list[tuple[Any, ...]] = []
        for context, seen, token, lease_ms in tries:
            commands.append(
                (ACQUIRE, context.key, token, lease_ms)
                if seen is None
                else (TAKE, context.key, seen, token, lease_ms)
            )
            commands.extend(context.open_tags())
        rest = iter((yield Send(commands)))
        for context, _, token, lease_ms in tries:
            held = next(rest)
            versions = versions_in(context, [next(rest) for _ in context.tags])
            if isinstance(held, Away):
                away.append(context)
            elif held is None or held == token:
                context.tally.add("own_misses")
                leases.append(_Lease(context, token, lease_ms, versions))
            elif isinstance(held, ResponseError):
                context.tally.add("not_stored")
                bare.append(context)
            elif (kind := kind_of(held)) is not None and not _is_awaited(context, kind):
                bare.append(context)
            else:
                waiting.append(context)
    if leases or bare or away:
        wanting = [*away, *bare, *(lease.context for lease in leases)]
        yield from _load(found, wanting, leases, is_away=bool(away))
    if waiting:
        late, is_away = yield from _wait(found, waiting, is_readable)
        if late:
            yield from _load(found, late, [], is_away)
    return found


def _is_awaited(context: Context, kind: Kind) -> bool:
    return kind is Kind.LOAD and context.policy.protection.lease


def _load(
    found: Found, contexts: Sequence[Context], leases: Sequence[_Lease], is_away: bool = False
) -> Generator[Step | LoadMany, Any, None]:
    for context in contexts:
        context.tally.add("misses")
    try:
        loaded: LoadedMany = yield LoadMany(contexts, is_away)
    except BaseException:
        for context in contexts:
            context.tally.add("load_errors")
        if leases:
            yield Send([(ABORT, lease.context.key, lease.token) for lease in leases])
        raise
    for context, value in zip(contexts, loaded.values, strict=True):
        found.values[context.key] = value
    # Each key counts, with its share of the time: so a hit saves what loading its key costs.
    for tally, keys in Counter(context.tally for context in contexts).items():
        tally.loaded(loaded.took_s, keys, len(contexts))
    if not leases:
        return
    commands: list[tuple[Any, ...]] = []
    fills: list[_Lease] = []
    for lease in leases:
        context, value = lease.context, found.values[lease.context.key]
        if loaded.took_s * 1000 > lease.lease_ms:
            context.tally.add("overrun_leases")
        ms = store_ms(context, value)
        payload = _payload(loaded.encode, value)
        if payload is None or lease.versions is None:
            context.tally.add("not_stored")
        if payload is None or lease.versions is None or not ms:
            commands.append((ABORT, context.key, lease.token))
        else:
            commands.insert(
                len(fills), (FILL, context.key, lease.token, tagging.wrap(lease.versions, payload), ms)
            )
            fills.append(lease)
    answers = yield Send(commands)
    refused: list[tuple[Any, ...]] = []
    for lease, answer in zip(fills, answers, strict=False):
        if isinstance(answer, Away):
            continue
        if isinstance(answer, ResponseError):
            lease.context.tally.add("not_stored")
            refused.append((ABORT, lease.context.key, lease.token))
        else:
            lease.context.tally.add("own_hits" if answer == 1 else "rejected_fills")
    if refused:
        yield Send(refused)


def _payload(encode: Callable[[Any], bytes], value: Any) -> bytes | None:
    try:
        payload = encode(value)
    except Exception:
        # Whatever a codec raises: the value is the caller's, it is only not stored.
        return None
    return payload if is_storable(payload) else None


def _wait(
    found: Found, waiting: list[Context], is_readable: Callable[[bytes], bool]
) -> Generator[Step | LoadMany, Any, tuple[list[Context], bool]]:
    """Wait for what others load; returns those that did not come, and whether that is because Redis is away."""
    began = waiting[0].monotonic()
    late: list[Context] = []
    is_away = False
    turn = 0
    while waiting:
        yield Pause(ttl.pause_s(turn, waiting[0].chance))
        turn += 1
        commands = [command for context in waiting for command in context.ask().commands]
        rest = iter((yield Send(commands)))
        still: list[Context] = []
        for context in waiting:
            seen = next(rest)
            versions = [next(rest) for _ in context.tags]
            if any(isinstance(reply, Away) for reply in (seen, *versions)):
                is_away = True
                late.append(context)
                continue
            count_versions(context, versions)
            kind = kind_of(seen) if isinstance(seen, bytes) else None
            if kind is not None and _is_awaited(context, kind):
                context.tally.add("own_hits")
                is_over = context.monotonic() - began >= context.policy.longest_wait_s
                (late if is_over else still).append(context)
                if is_over:
                    context.tally.add("waits")
                    context.tally.add("wait_timeouts")
                continue
            payload = None
            if isinstance(seen, bytes) and kind is None:
                payload = yield from usable(context, seen, versions)
            if payload is not None and is_readable(payload):
                context.tally.add("waits")
                context.tally.add("misses")
                found.payloads[context.key] = payload
            else:
                context.tally.add("own_misses" if seen is None else "own_hits")
                late.append(context)
        waiting = still
    return late, is_away
