"""The protocol's decisions, without I/O.

Each function is a generator: it yields what to do next (``Send``, ``Pause``, ``Load``), is sent the outcome, and
returns a result. A driver executes the steps; the one for threads is in ``cache``, one for asyncio would differ
only in how it waits. Why the order of the steps is safe is told in docs/library.md.
"""

import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from redis.exceptions import ResponseError

from dashboard.caching import tags as tagging
from dashboard.caching import ttl
from dashboard.caching.counters import Tally
from dashboard.caching.policy import Policy, Strategy
from dashboard.caching.wire import (
    ABORT,
    ACQUIRE,
    ANNOUNCE,
    CLAIM,
    COMMIT,
    DROP,
    FILL,
    GUARD_KEY,
    REFRESH,
    TAG_OPEN,
    TAKE,
    Kind,
    kind_of,
    placeholder,
)


class Away:
    """Stands for the replies when Redis did not answer."""


AWAY: Final = Away()
"""It is away, as far as this process can tell."""
UNHEARD: Final = Away()
"""It is well, but this question was not answered: all connections were busy, or it refused. Unlike AWAY, which all
readers of a process see as long as it lasts, it says nothing about what stands in the cache."""


class Asked(Enum):
    """What a reader knows before its first step."""

    NOTHING = 0
    """It has not asked yet: take the lease at once."""


@dataclass(slots=True)
class Send:
    """One round trip; the driver sends back the list of replies, or AWAY."""

    commands: Sequence[tuple[Any, ...]]


@dataclass(slots=True)
class Pause:
    """Sleep; the driver sends back nothing of interest."""

    seconds: float


@dataclass(slots=True)
class Load:
    """Run the loader; the driver sends back ``Loaded``, or throws what the loader raised into the generator."""

    basis: bytes | Away | None
    """What stood in the cache when the load began; see ``flight``."""


@dataclass(slots=True)
class Loaded:
    """A loader's result."""

    value: Any
    took_s: float
    encode: Callable[[Any], bytes]


@dataclass(slots=True)
class Outcome:
    """What a read came to."""

    payload: bytes | None
    """The serialised value; None when there is only ``value``."""
    value: Any = None
    is_loaded: bool = False
    """Whether ``value`` is the loader's own result."""
    as_of: float = 0.0
    """Monotonic seconds at which the question was asked that this answers."""
    basis: bytes | Away | None = None
    raw: bytes | None = None
    """The value as it is stored, where it was found together with ``left_ms`` and may be due for a refresh."""
    left_ms: int = -1
    """Reply to PTTL."""


@dataclass(slots=True)
class Context:
    """What the decisions need to know about the key at hand."""

    key: bytes
    policy: Policy
    tally: Tally
    tags: tuple[str, ...]
    monotonic: Callable[[], float]
    chance: Callable[[], float]
    stored: Callable[[Mapping[str, int], bytes, int], None] = lambda versions, key, ms: None
    """Told of tags' versions, key and longest life of what was stored: the key belongs into the tags' indexes."""
    is_kept: Callable[[Iterable[str]], bool] = lambda tags: False
    """Whether the purge of one of these tags has not got through yet: then what is stored proves nothing."""

    @property
    def watches_ttl(self) -> bool:
        """Whether a read needs to know how long the value has left."""
        protection = self.policy.protection
        return protection.early_refresh_beta is not None or protection.grace_s is not None

    @property
    def lease_ms(self) -> int:
        """How long a load of this prefix may take."""
        return ttl.lease_ms(self.tally.mean_load_s)

    def ask(self) -> Send:
        """Read the value and, in the same round trip, the versions of its tags."""
        return Send([(b"GET", self.key), *(version_of(tag) for tag in self.tags)])

    def open_tags(self) -> list[tuple[Any, ...]]:
        """Before a load or a write: the versions of the tags, made where they are gone, and the key in the index."""
        if not self.tags:
            return []
        ms = self.index_ms
        return [
            (
                TAG_OPEN,
                tagging.tag_key(tag),
                tagging.VERSION,
                tagging.new_version(),
                self.key,
                ms,
                tagging.MAX_MEMBERS,
            )
            for tag in self.tags
        ]

    @property
    def index_ms(self) -> int:
        """How long an index remembers the key: it must outlive the value, wherever in its lease it is filled."""
        return ttl.MAX_LEASE_MS + (ttl.life_ms(self.policy, lambda: 1.0) if self.policy.is_cached else 0)


Step = Send | Pause | Load
Steps = Generator[Step, Any, Outcome]

Versions = dict[str, int] | None


def version_of(tag: str) -> tuple[Any, ...]:
    """The command that asks for a tag's version."""
    return (b"ZSCORE", tagging.tag_key(tag), tagging.VERSION)


def count_versions(context: Context, replies: Sequence[Any]) -> None:
    """Replies to ``version_of``: ZSCORE is a lookup as well, and none of the application's."""
    if replies:
        missing = replies.count(None)
        if missing < len(replies):
            context.tally.add("own_hits", len(replies) - missing)
        if missing:
            context.tally.add("own_misses", missing)


def usable(context: Context, raw: bytes, replies: Sequence[Any]) -> Generator[Step, Any, bytes | None]:
    """The payload of a value that is not a placeholder; None when a tag of it was purged.

    Args:
        context: the key at hand.
        raw: the value as it is stored.
        replies: to ``version_of`` the context's tags.
    """
    if not raw.startswith(tagging.HEADER):
        # Stored by a call that knew no tags; this one does, and a purge must reach what it returns.
        return None if context.tags else raw
    tagged = tagging.unwrap(raw)
    if tagged is None or not set(context.tags) <= set(tagged.versions):
        return None
    if context.is_kept(tagged.versions):
        return None
    asked: tuple[str, ...] = context.tags
    unasked = tuple(tag for tag in tagged.versions if tag not in asked)
    if unasked:
        more = yield Send([version_of(tag) for tag in unasked])
        if isinstance(more, Away) or any(isinstance(reply, Away) for reply in more):
            return None
        count_versions(context, more)
        asked, replies = (*asked, *unasked), [*replies, *more]
    return tagged.payload if tagging.is_current(tagged, asked, replies) else None


def read(
    context: Context,
    replies: "list[Any] | Away | Asked",
    asked_at: float,
    is_readable: Callable[[bytes], bool],
) -> Steps:
    """Read a key, load it if need be.

    Args:
        context: the key at hand.
        replies: to ``context.ask()``, if it was asked already.
        asked_at: when, monotonic seconds.
        is_readable: whether the codec can read a payload.

    Returns:
        the outcome; what the loader raises goes through after the lease was given back.
    """
    tally = context.tally
    deadline = asked_at + context.policy.longest_wait_s
    token = placeholder(Kind.LOAD)
    looked = 0
    turn = 0
    left_ms = -1
    while True:
        seen: Any = None
        if isinstance(replies, Away):
            return (yield from load_only(context, replies))
        if isinstance(replies, list):
            seen = replies[0]
            if isinstance(seen, ResponseError):
                tally.add("errors")
                return (yield from load_only(context, UNHEARD))
            looked += 1
        if isinstance(seen, bytes):
            kind = kind_of(seen)
            if kind is None:
                assert isinstance(replies, list)
                payload = yield from usable(context, seen, replies[1:])
                if payload is not None and is_readable(payload):
                    # The lookups before this one were none of the application's.
                    if turn:
                        tally.add("waits")
                    tally.add("misses" if turn else "hits")
                    return Outcome(payload, as_of=asked_at, raw=seen, left_ms=left_ms)
                tally.add("own_hits")
            else:
                tally.add("own_hits")
                is_load = kind is Kind.LOAD and context.policy.protection.lease
                left_s = deadline - context.monotonic()
                if not is_load or left_s <= 0:
                    if turn and is_load:
                        tally.add("waits")
                        tally.add("wait_timeouts")
                    return (yield from load_only(context, seen))
                yield Pause(min(left_s, ttl.pause_s(turn, context.chance)))
                turn += 1
                left_ms = -1
                asked_at, replies = yield from _ask(context)
                continue
        elif looked > 1:
            tally.add("own_misses")
        # Nothing there, or nothing of use: try to become the one that loads.
        lease_ms = context.lease_ms
        take: tuple[Any, ...] = (TAKE, context.key, seen, token, lease_ms)
        if seen is None:
            take = (ACQUIRE, context.key, token, lease_ms)
        commands = [take]
        is_first = not isinstance(replies, list)
        # The tags' versions must be known before the load begins: a purge in between then counts.
        versions = None if isinstance(replies, Asked) else versions_in(context, replies[1:])
        is_opened = not is_first and versions is None
        if is_first:
            commands.extend(version_of(tag) for tag in context.tags)
            if context.watches_ttl:
                commands.append((b"PTTL", context.key))
        elif is_opened:
            commands.extend(context.open_tags())
        asked_at = context.monotonic()
        answers = yield Send(commands)
        if isinstance(answers, Away):
            return (yield from load_only(context, answers))
        held, *others = answers
        if isinstance(held, ResponseError):
            if is_first:
                # There is no room for a placeholder (OOM), or no right to write. What is there can still be read.
                tally.acquires_first = False
                asked_at, replies = yield from _ask(context)
                continue
            tally.add("not_stored")
            return (yield from load_only(context, UNHEARD))
        if is_first and context.watches_ttl:
            answer = others.pop()
            left_ms = answer if isinstance(answer, int) else -1
            tally.add("own_misses" if answer == -2 else "own_hits")
        if is_first:
            count_versions(context, others)
        if held is not None and held != token:
            # Somebody was faster: look at what is there now.
            replies = [held, *others]
            if not is_first and not is_opened and context.tags:
                # The versions are from before it.
                asked_at, replies = yield from _ask(context)
            continue
        if looked or seen is not None:
            tally.add("own_misses" if seen is None else "own_hits")
        if is_opened:
            versions = versions_in(context, others)
        elif is_first:
            versions = versions_in(context, others)
            if versions is None:
                is_opened = True
                answers = yield Send(context.open_tags())
                versions = None if isinstance(answers, Away) else versions_in(context, answers)
        return (yield from _load_and_fill(context, token, lease_ms, versions, is_opened))


def _ask(context: Context) -> Generator[Step, Any, tuple[float, list[Any] | Away]]:
    """Look anew; returns when, and the replies."""
    asked_at = context.monotonic()
    replies = yield context.ask()
    if not isinstance(replies, Away):
        count_versions(context, replies[1:])
    return asked_at, replies


def versions_in(context: Context, replies: Sequence[Any]) -> Versions:
    """Tag -> version from the replies to ``version_of`` or ``open_tags``; None when one is gone or can't be had."""
    versions: dict[str, int] = {}
    for tag, reply in zip(context.tags, replies, strict=True):
        version = tagging.parse_version(reply)
        if version is None:
            return None
        versions[tag] = version
    return versions


def load_only(context: Context, basis: bytes | Away) -> Steps:
    """Load and store nothing; ``basis`` is what stood in the cache when that was decided."""
    context.tally.add("misses")
    began = context.monotonic()
    try:
        loaded: Loaded = yield Load(basis)
    except BaseException:
        context.tally.add("load_errors")
        raise
    context.tally.loaded(loaded.took_s)
    payload, _ = _encoded(loaded)
    return Outcome(payload, loaded.value, True, began, basis)


def _load_and_fill(
    context: Context, token: bytes, lease_ms: int, versions: Versions, is_indexed: bool
) -> Steps:
    tally, key = context.tally, context.key
    tally.add("misses")
    began = context.monotonic()
    try:
        loaded: Loaded = yield Load(token)
    except BaseException:
        tally.add("load_errors")
        yield Send([(ABORT, key, token)])
        raise
    tally.loaded(loaded.took_s)
    if loaded.took_s * 1000 > lease_ms:
        tally.add("overrun_leases")
    payload, is_sound = _encoded(loaded)
    outcome = Outcome(payload, loaded.value, True, began, token)
    ms = store_ms(context, loaded.value)
    if payload is None or not is_sound or versions is None or not ms:
        if payload is None or not is_sound or versions is None:
            tally.add("not_stored")
        yield Send([(ABORT, key, token)])
        return outcome
    answers = yield Send([(FILL, key, token, tagging.wrap(versions, payload), ms)])
    if isinstance(answers, Away):
        return outcome
    if isinstance(answers[0], ResponseError):
        tally.add("not_stored")
        yield Send([(ABORT, key, token)])
    elif answers[0] == 1:
        tally.add("own_hits")
        if versions and not is_indexed:
            context.stored(versions, key, context.index_ms)
    else:
        tally.add("rejected_fills")
    return outcome


def _encoded(loaded: Loaded) -> tuple[bytes | None, bool]:
    """The payload and whether it may be stored: nothing that could be taken for one of our own marks."""
    try:
        payload = loaded.encode(loaded.value)
    except Exception:
        # Whatever a codec raises: the value is the caller's, it is only not stored.
        return None, False
    return payload, is_storable(payload)


def is_storable(payload: bytes) -> bool:
    """Whether a payload can't be taken for a placeholder or a tagged value."""
    return kind_of(payload) is None and not payload.startswith(tagging.HEADER)


def store_ms(context: Context, value: Any) -> int:
    """How long to store a value, milliseconds; 0: not at all."""
    if value is None:
        return context.policy.negative_ttl_s * 1000
    return ttl.life_ms(context.policy, context.chance)


def is_due(context: Context, left_ms: int) -> tuple[bool, bool]:
    """Whether a value should be refreshed, and whether it is past its TTL (stale).

    Args:
        context: the key at hand.
        left_ms: reply to PTTL.
    """
    protection = context.policy.protection
    fresh_ms = left_ms - (protection.grace_s or 0) * 1000
    if left_ms < 0:
        # Without expiry, or gone between the two commands.
        return False, False
    if fresh_ms < 0:
        return True, protection.grace_s is not None
    beta = protection.early_refresh_beta
    if beta is None:
        return False, False
    return ttl.is_early(fresh_ms, context.tally.mean_load_s, beta, context.chance), False


def refresh(context: Context, raw: bytes) -> Steps:
    """Replace a value that is near its end, or past it, by a new one, unless anything else happens to it first.

    Args:
        context: the key at hand.
        raw: the value as it was read; not None, whose shorter life is left to end by itself.
    """
    if raw.startswith(tagging.HEADER) and (tagged := tagging.unwrap(raw)) is not None:
        # A reader that names no tags takes none off: a purge must reach the new value as well.
        context = replace(context, tags=tuple(tagged.versions))
    tally, key = context.tally, context.key
    digest = hashlib.sha1(raw, usedforsecurity=False).hexdigest().encode()
    guard = (b"SET", GUARD_KEY + key, b"1", b"NX", b"PX", context.lease_ms)
    answers = yield Send([guard])
    nothing = Outcome(None)
    if isinstance(answers, Away) or answers[0] is None or isinstance(answers[0], ResponseError):
        return nothing
    least_ms = ttl.life_ms(context.policy, lambda: 0.0)
    answers = yield Send([(CLAIM, key, digest, least_ms), *context.open_tags()])
    if isinstance(answers, Away) or answers[0] is None or isinstance(answers[0], ResponseError):
        return nothing
    tally.add("own_hits", 2)
    expiry, versions = answers[0], versions_in(context, answers[1:])
    began = context.monotonic()
    try:
        loaded: Loaded = yield Load(None)
    except BaseException:
        tally.add("load_errors")
        raise
    tally.loaded(loaded.took_s)
    tally.add("refreshes")
    payload, is_sound = _encoded(loaded)
    ms = store_ms(context, loaded.value)
    if payload is None or not is_sound or versions is None:
        tally.add("not_stored")
        return nothing
    if not ms:
        # There is none any more, and that is not remembered.
        answers = yield Send([(ABORT, key, raw)])
    else:
        value = tagging.wrap(versions, payload)
        answers = yield Send([(REFRESH, key, digest, expiry, value, ms)])
    if not isinstance(answers, Away):
        if isinstance(answers[0], ResponseError):
            tally.add("not_stored")
        elif answers[0] == 1:
            tally.add("own_hits")
        else:
            tally.add("rejected_fills")
    return Outcome(payload, loaded.value, True, began)


def count_removal(tally: Tally, found: int) -> None:
    """Count what DROP, HOLD or ANNOUNCE found: a lookup of our own, and a value that is gone."""
    tally.add("own_hits" if found else "own_misses")
    if found == 2:
        tally.add("removals")


def announce(context: Context, token: bytes, lease_ms: int) -> Send:
    """Begin a write-through: from here on nobody stores what they read before the commit."""
    return Send([(ANNOUNCE, context.key, token, lease_ms), *context.open_tags()])


def conclude(
    context: Context, token: bytes, payload: bytes | None, is_none: bool, versions: Versions
) -> Send:
    """End a write-through after the commit: store the value, or leave nothing behind.

    Args:
        context: the key at hand.
        token: the write's placeholder.
        payload: the new value; None: only invalidate.
        is_none: the value is None.
        versions: of the tags when the write was announced; None: they could not be had.
    """
    is_stored = context.policy.is_cached and context.policy.strategy is Strategy.WRITE_THROUGH
    if is_stored and payload is not None and versions is not None and is_storable(payload):
        ms = store_ms(context, None if is_none else payload)
        if ms:
            return Send([(COMMIT, context.key, token, tagging.wrap(versions, payload), ms)])
    return Send([(DROP, context.key)])
