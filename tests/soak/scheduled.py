"""Interleavings of the protocol's own steps, one chosen at random after the other, against a real server.

One thread executes: at each turn chance picks an actor and lets it take its next step (one round trip, one look at
the database, one commit). So every order of steps can come up, also those that threads meet once in a million. The
database is one row that flips between few values, because a value that changes back is the hardest to tell apart.
Round trips fail by chance in every way they can, readers are killed, and what a caller gave up may arrive later.
"""

import json
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final

import redis

from dashboard.caching import protocol
from dashboard.caching.counters import Tally
from dashboard.caching.indexing import Index
from dashboard.caching.link import DirectLink, Unreachable
from dashboard.caching.policy import Policy, Protection, Strategy
from dashboard.caching.protocol import AWAY, Asked, Context, Load, Loaded, Outcome, Pause, Send
from dashboard.caching.removal import Removal
from dashboard.caching.tags import VERSION, new_version, tag_key
from dashboard.caching.wire import TAG_OPEN, Kind, kind_of
from dashboard.caching.writing import Write
from tests.soak.faulty import FaultyLink

Actor = Generator[None, None, None]

JITTER_S: Final = 10
POLICY = Policy(
    prefix=b"",
    tier="hot",
    base_ttl_s=60,
    jitter_s=JITTER_S,
    strategy=Strategy.WRITE_THROUGH,
    protection=Protection(grace_s=30),
    longest_wait_s=0.001,
)
FAULTS: Final = 0.12
"""So many of the round trips fail, in the interleavings that have failures."""
KILLED: Final = 0.04
SAYS_NO: Final = 0.2
GARBAGE: Final = b"not one of ours: "
"""How bytes begin that no reader can use. No two are alike: a refresh could not tell equal ones apart that somebody
else stores twice with a life of the same millisecond, and docs say so."""


class SaysNo(Exception):
    """What a loader raises when the database refuses."""


@dataclass
class World:
    """One row, its lock, its replica, and its key."""

    link: FaultyLink
    chance: random.Random
    key: bytes
    tags: tuple[str, ...]
    lags: bool
    """Whether loaders read from a replica that follows when it likes."""
    is_aligned: bool
    """Whether what should expire at different moments expires in the same millisecond, as it may by chance."""
    value: int = 0
    replica: int = 0
    told: int = 0
    """The number of the newest commit that the cache was told of."""
    served: int = 0
    """Reads that were given something from before a commit that the cache had been told of when they began."""
    locked_by: object | None = None
    """The writer that holds the row's lock."""
    touched: int = 0
    """How often something removed or replaced what was under the key that may do so at any time."""
    is_excused: bool = False
    """A writer died between its commit and the end of its write, and its placeholder was gone before."""

    def __post_init__(self) -> None:
        self.index = Index(self.link)  # type: ignore[arg-type]
        self.commits = [self.value]
        """All values that the row had."""

    def context(self) -> Context:
        jitter = self._aligned if self.is_aligned else self.chance.random
        return Context(self.key, POLICY, Tally(b""), self.tags, time.monotonic, jitter, self.index.add)

    @property
    def until_next_ms(self) -> float:
        """Until a moment that is the same for all who ask within ten seconds."""
        return JITTER_S * 1000 - time.time() * 1000 % (JITTER_S * 1000)

    def _aligned(self) -> float:
        return self.until_next_ms / (JITTER_S * 1000 + 1)

    def lease_ms(self) -> int:
        """How long a write may take."""
        return 10_000 + (int(self.until_next_ms) if self.is_aligned else 0)

    def send(self, *commands: tuple[Any, ...]) -> list[Any]:
        """One round trip that does not fail."""
        return self.link.link.exchange(commands)

    def commit(self, value: int) -> None:
        self.value = value
        self.commits.append(value)
        if not self.lags:
            self.replica = value

    def tell(self, commit: int) -> None:
        """The cache was told of this commit and of all before it, and has answered."""
        self.told = max(self.told, commit)

    def serve(self, told: int, value: int) -> None:
        """A read that began when ``told`` was the newest was given a value."""
        # Whoever loads from a replica that lags gets what it has.
        if not self.lags and not self.is_excused:
            self.served += value not in self.commits[told:]

    def removal(self) -> Removal:
        """A process that tells Redis, and keeps what it could not be told."""
        return Removal(self.link, "retry")  # type: ignore[arg-type]


def drive(world: World, steps: Generator[Any, Any, Outcome], told: int | None = None) -> Actor:
    """Take a read's or refresh's steps, one per turn.

    Args:
        world: the row.
        steps: its steps.
        told: what the cache had been told of when the read began; None: nobody is given what comes of it.
    """
    try:
        step = next(steps)
        while True:
            yield
            if isinstance(step, Send):
                if world.chance.random() < KILLED:
                    steps.close()
                    return
                try:
                    answers: Any = world.link.exchange(step.commands)
                except Unreachable:
                    answers = AWAY
                step = steps.send(answers)
            elif isinstance(step, Pause):
                step = next(steps)
            elif isinstance(step, Load):
                value = world.replica
                yield
                if world.chance.random() < SAYS_NO:
                    step = steps.throw(SaysNo())
                else:
                    step = steps.send(Loaded({"v": value}, 0.001, lambda v: json.dumps(v).encode()))
    except StopIteration as stop:
        if told is not None:
            outcome: Outcome = stop.value
            value = outcome.value if outcome.payload is None else json.loads(outcome.payload)
            world.serve(told, value["v"])
    except SaysNo:
        return


def is_readable(payload: bytes) -> bool:
    return not payload.startswith(GARBAGE)


def reader(world: World) -> Actor:
    context, told = world.context(), world.told
    asked: Any = Asked.NOTHING
    if world.chance.random() < 0.7:
        try:
            asked = world.link.exchange(context.ask().commands)
        except Unreachable:
            asked = AWAY
        yield
    yield from drive(world, protocol.read(context, asked, time.monotonic(), is_readable), told)


def refresher(world: World) -> Actor:
    """A refresh of what is there; another process's guard is never in the way, it is an optimisation only."""
    context = world.context()
    raw = world.send((b"GET", world.key))[0]
    if raw is None or kind_of(raw) is not None:
        return
    world.send((b"UNLINK", b"cachewarden:guard:" + world.key))
    yield
    yield from drive(world, protocol.refresh(context, raw))


def _locked(world: World, me: object) -> Actor:
    while world.locked_by is not None:
        yield
    world.locked_by = me


def _changed(world: World, value: int | None = None) -> Actor:
    """A transaction that gives the row a value, perhaps the one it has; None: any."""
    me = object()
    yield from _locked(world, me)
    yield
    world.commit(world.chance.randrange(3) if value is None else value)
    world.locked_by = None
    yield


def _told(world: World, removal: Removal, tell: Callable[[], object], commit: int | None = None) -> Actor:
    """Tell Redis, and again until it is told: of a commit, or of all that there were."""
    if commit is None:
        commit = len(world.commits) - 1
    world.touched += 1
    tell()
    while removal.pending:
        yield
        world.touched += 1
        removal.repeat()
    world.tell(commit)


def invalidator(world: World) -> Actor:
    yield from _changed(world)
    removal = world.removal()
    yield from _told(world, removal, lambda: removal.remove([world.key], None, None, lambda _: None))


def flipper(world: World) -> Actor:
    """The row changes and changes back before anybody is told."""
    before = world.value
    yield from _changed(world)
    for _ in range(world.chance.randrange(8)):
        yield
    yield from _changed(world, before)
    removal = world.removal()
    yield from _told(world, removal, lambda: removal.remove([world.key], None, None, lambda _: None))


def holder(world: World) -> Actor:
    """The replica may not have it yet: hold the key."""
    yield from _changed(world)
    removal, ms = world.removal(), world.chance.choice((100_000, 300_000))
    yield from _told(world, removal, lambda: removal.remove([world.key], ms, None, lambda _: None))


def dropper(world: World) -> Actor:
    """An invalidation for nothing, or for something that is not of this row."""
    removal = world.removal()
    yield
    yield from _told(world, removal, lambda: removal.remove([world.key], None, None, lambda _: None))


def brief_holder(world: World) -> Actor:
    """The same with a hold that is over at once."""
    removal = world.removal()
    yield
    yield from _told(world, removal, lambda: removal.remove([world.key], 1, None, lambda _: None))
    # Whatever comes next comes after it, on a machine that is quick, too.
    time.sleep(0.002)


def tag_purger(world: World) -> Actor:
    yield from _changed(world)
    removal = world.removal()
    yield from _told(world, removal, lambda: removal.purge(world.tags, None))


def indexer(world: World) -> Actor:
    for _ in range(world.chance.randrange(4)):
        yield
    world.index.flush()


def _write(world: World, value: int | None, *, may_crash: bool) -> Actor:
    """Write-through under the row's lock; None: it is rolled back."""
    removal = world.removal()
    write = Write(
        context=world.context(),
        link=world.link,  # type: ignore[arg-type]
        removal=removal,
        encode=lambda v: json.dumps(v).encode(),
        detach=lambda _: None,
        is_bypassed=False,
        lease_ms=world.lease_ms(),
        on_error="retry",
    )
    failures = world.link.failures
    write.__enter__()
    world.touched += 1
    touched, is_announced = world.touched, world.link.failures == failures
    yield
    commit = 0
    if value is not None:
        world.commit(value)
        commit = len(world.commits) - 1
    world.locked_by = None
    yield
    if may_crash and world.chance.random() < 0.2:
        # Its placeholder keeps old values out. Where that never came to be, or something took it away that may do
        # so, nothing can, and docs say so.
        world.is_excused = world.is_excused or not is_announced or world.touched != touched
        return
    if value is not None:
        write.value = {"v": value}
    error = None if value is not None else SaysNo()
    kind = type(error) if error else None
    yield from _told(world, removal, lambda: write.__exit__(kind, error, None), commit)


def writer(world: World) -> Actor:
    """May crash; the database then rolls back, or has committed."""
    yield from _locked(world, me := object())
    yield
    assert world.locked_by is me
    is_committed = world.chance.random() < 0.8
    yield from _write(world, world.chance.randrange(3) if is_committed else None, may_crash=True)


def idle_writer(world: World) -> Actor:
    """A write that is rolled back, or changes nothing: no replica lags because of it."""
    yield from _locked(world, object())
    yield
    yield from _write(world, world.value if world.chance.random() < 0.5 else None, may_crash=False)


def replication(world: World) -> Actor:
    """The replica catches up; a hold whose change it has may end from then on."""
    for _ in range(world.chance.randrange(12)):
        yield
    world.replica = world.value
    yield
    held = world.send((b"GET", world.key))[0]
    if world.replica == world.value and held is not None and kind_of(held) is Kind.HOLD:
        world.send((b"DEL", world.key))


def evictor(world: World) -> Actor:
    """Eviction, a purge by anybody, the end of a lease or of a TTL."""
    yield
    world.touched += 1
    world.send((b"DEL", world.key))


def vandal(world: World) -> Actor:
    """Somebody writes what no reader can use."""
    yield
    world.touched += 1
    world.send((b"SET", world.key, GARBAGE + world.chance.randbytes(8), b"PX", 60_000))


def tag_evictor(world: World) -> Actor:
    yield
    world.send((b"DEL", tag_key(world.tags[0])))


def tag_opener(world: World) -> Actor:
    """Another key of the tag is read."""
    yield
    _open_tag(world)


def _open_tag(world: World) -> None:
    world.send((TAG_OPEN, tag_key(world.tags[0]), VERSION, new_version(), b"another", 60_000, 100))


def postman(world: World) -> Actor:
    """What was on its way arrives."""
    for _ in range(12):
        yield
        if world.link.late and world.chance.random() < 0.4:
            world.touched += 1
            world.link.deliver()


def naive_reader(world: World) -> Actor:
    """GET / SETEX, for the proof that this harness finds what it looks for."""
    told = world.told
    found = world.send((b"GET", world.key))[0]
    if found is not None:
        if not found.startswith(GARBAGE):
            world.serve(told, json.loads(found)["v"])
        return
    yield
    value = world.value
    yield
    world.send((b"SETEX", world.key, 60, json.dumps({"v": value})))


def naive_writer(world: World) -> Actor:
    yield from _changed(world)
    commit = len(world.commits) - 1
    world.send((b"DEL", world.key))
    world.tell(commit)


Kinds = list[Callable[[World], Actor]]

PLAIN: Kinds = [reader, reader, refresher, invalidator, flipper, writer, evictor, vandal]
TAGGED: Kinds = [
    reader,
    reader,
    refresher,
    invalidator,
    writer,
    evictor,
    tag_purger,
    tag_purger,
    tag_evictor,
    tag_opener,
    indexer,
]
HELD: Kinds = [
    reader,
    reader,
    reader,
    refresher,
    holder,
    holder,
    dropper,
    brief_holder,
    idle_writer,
    replication,
]
NAIVE: Kinds = [naive_reader, naive_reader, naive_writer]


@dataclass
class Result:
    interleavings: int = 0
    steps: int = 0
    failures: int = 0
    """Round trips that failed."""
    stale: int = 0
    served: int = 0
    """Reads that were given something old."""
    excused: int = 0
    kept: int = 0
    """Interleavings after which a value was there: with none, nothing would be proved."""


def run(
    url: str,
    kinds: Kinds,
    *,
    seed: int,
    seconds: float = 0.0,
    least: int = 0,
    is_old: bool = False,
    until_stale: bool = False,
) -> Result:
    """Interleave until the time is over and there were enough.

    Args:
        url: a server that is this run's own.
        kinds: of actors; three to seven are drawn for each interleaving.
        seed: of all chance.
        seconds: how long.
        least: so many interleavings, however long they take.
        is_old: do without what Redis 7.0 brought to SET.
        until_stale: end with the first that is stale.
    """
    # Patient: this is about the order of steps, on a machine that may be busy.
    link = DirectLink(redis.Redis.from_url(url, protocol=2, socket_timeout=60), 4)
    link._has_nx_get = not is_old
    chance = random.Random(seed)
    result = Result()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or result.interleavings < least:
        if until_stale and result.stale:
            break
        _interleave(link, chance, kinds, result)
    link.close()
    return result


def there_and_back(url: str, *, is_fresh: bool, turns: int, seed: int) -> int:
    """One order of steps that chance rarely finds: during a refresh a value changes, and changes back.

    Args:
        url: a server that is this run's own.
        is_fresh: whether the value that is refreshed was stored just before, so that its successor may expire in the
            same millisecond.
        turns: how often.
        seed: of all chance.

    Returns:
        how often it ended stale.
    """
    link = DirectLink(redis.Redis.from_url(url, protocol=2, socket_timeout=60), 4)
    chance = random.Random(seed)
    stale = 0
    for _ in range(turns):
        world = World(FaultyLink(link, chance, 0.0), chance, b"row", (), lags=False, is_aligned=True)
        link.exchange([(b"FLUSHALL",)])
        _warm(world)
        if not is_fresh:
            world.send((b"PEXPIRE", world.key, 20_000))
        refreshing = refresher(world)
        for _ in range(4):
            next(refreshing, None)
        world.commit(1)
        next(refreshing, None)
        world.commit(0)
        world.send((b"UNLINK", world.key))
        _warm(world)
        for _ in refreshing:
            pass
        stale += _judge(world)[0]
    link.close()
    return stale


def _interleave(link: DirectLink, chance: random.Random, kinds: Kinds, result: Result) -> None:
    faulty = FaultyLink(link, chance, FAULTS if chance.random() < 0.5 else 0.0)
    tags = ("shop",) if tag_purger in kinds else ()
    world = World(faulty, chance, b"row", tags, holder in kinds, chance.random() < 0.5)
    link.exchange([(b"FLUSHALL",)])
    if tags and chance.random() < 0.5:
        # Then the first read knows its version without making it.
        _open_tag(world)
    dice = chance.random()
    if dice < 0.6:
        _warm(world)
    if dice < 0.3:
        # As if it had been there for a while: near its end, so that refreshes are due.
        world.send((b"PEXPIRE", world.key, world.lease_ms()))
    elif 0.6 <= dice < 0.75:
        world.send((b"SET", world.key, GARBAGE + world.chance.randbytes(8), b"PX", 60_000))
    actors = [chance.choice(kinds)(world) for _ in range(chance.randint(3, 7))]
    actors.append(postman(world))
    # Where some are much slower than others, or go on for a while, whole calls fit between two steps of another.
    speeds = {actor: 10 ** chance.uniform(-1.5, 0) for actor in actors}
    goes_on = chance.choice((0.0, 0.5, 0.8))
    actor = actors[0]
    while actors:
        if actor not in actors or chance.random() >= goes_on:
            (actor,) = chance.choices(actors, [speeds[each] for each in actors])
        try:
            next(actor)
            result.steps += 1
        except StopIteration:
            actors.remove(actor)
    while faulty.late:
        faulty.deliver()
    result.interleavings += 1
    result.failures += faulty.failures
    stale, kept = _judge(world)
    if world.is_excused:
        result.excused += 1
        return
    result.stale += stale
    result.served += world.served
    result.kept += kept


def _warm(world: World) -> None:
    steps = protocol.read(world.context(), Asked.NOTHING, 0.0, is_readable)
    try:
        step = next(steps)
        while True:
            if isinstance(step, Send):
                step = steps.send(world.send(*step.commands))
            else:
                step = steps.send(Loaded({"v": world.value}, 0.001, lambda v: json.dumps(v).encode()))
    except StopIteration:
        pass


def _judge(world: World) -> tuple[bool, bool]:
    """Whether a reader would now be given an old value, and whether there is one at all."""
    context = world.context()
    replies = world.send(*context.ask().commands)
    raw = replies[0]
    if raw is None or raw.startswith(GARBAGE) or kind_of(raw) is not None:
        return False, False
    steps = protocol.usable(context, raw, replies[1:])
    try:
        step = next(steps)
        raise AssertionError(f"one look is enough, not {step}")
    except StopIteration as stop:
        payload = stop.value
    if payload is None:
        return False, False
    return json.loads(payload) != {"v": world.value}, True
