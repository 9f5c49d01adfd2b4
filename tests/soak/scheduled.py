"""Interleavings of the protocol's own steps, one chosen at random after the other, against a real server.

One thread executes: at each turn chance picks an actor and lets it take its next step (one round trip, one look at
the database, one commit). So every order of steps can come up, also those that threads meet once in a million. The
database is one row that flips between few values, because a value that changes back is the hardest to tell apart.
"""

import json
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import redis

from dashboard.caching import protocol
from dashboard.caching.counters import Tally
from dashboard.caching.link import DirectLink
from dashboard.caching.policy import Policy, Protection, Strategy
from dashboard.caching.protocol import Asked, Context, Load, Loaded, Outcome, Pause, Send
from dashboard.caching.tags import VERSION, new_version, tag_key
from dashboard.caching.wire import TAG_PURGE, Kind, kind_of, placeholder

Actor = Generator[None, None, None]

POLICY = Policy(
    prefix=b"",
    tier="hot",
    base_ttl_s=60,
    jitter_s=0,
    strategy=Strategy.WRITE_THROUGH,
    protection=Protection(grace_s=30),
    longest_wait_s=0.001,
)


class SaysNo(Exception):
    """What a loader raises when the database refuses."""


@dataclass
class World:
    """One row, its lock, and its key."""

    link: DirectLink
    chance: random.Random
    key: bytes
    tags: tuple[str, ...]
    value: int = 0
    locked_by: object | None = None
    """The writer that holds the row's lock."""
    is_excused: bool = False
    """A writer died between its commit and the end of its write, and its placeholder was gone before."""

    def context(self) -> Context:
        return Context(self.key, POLICY, Tally(b""), self.tags, time.monotonic, self.chance.random)

    def send(self, *commands: tuple[Any, ...]) -> list[Any]:
        return self.link.exchange(commands)


def drive(world: World, steps: Generator[Any, Any, Outcome]) -> Actor:
    """Take a read's or refresh's steps, one per turn."""
    try:
        step = next(steps)
        while True:
            yield
            if isinstance(step, Send):
                step = steps.send(world.send(*step.commands))
            elif isinstance(step, Pause):
                step = next(steps)
            elif isinstance(step, Load):
                value = world.value
                yield
                if world.chance.random() < 0.1:
                    step = steps.throw(SaysNo())
                else:
                    step = steps.send(Loaded({"v": value}, 0.001, lambda v: json.dumps(v).encode()))
    except (StopIteration, SaysNo):
        return


def reader(world: World) -> Actor:
    context = world.context()
    if world.chance.random() < 0.3:
        yield from drive(world, protocol.read(context, Asked.NOTHING, time.monotonic(), lambda _: True))
        return
    replies = world.send(*context.ask().commands)
    yield
    yield from drive(world, protocol.read(context, replies, time.monotonic(), lambda _: True))


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


def invalidator(world: World) -> Actor:
    me = object()
    yield from _locked(world, me)
    yield
    world.value = world.chance.randrange(3)
    world.locked_by = None
    yield
    command: tuple[Any, ...] = (b"UNLINK", world.key)
    if world.chance.random() < 0.2:
        command = (b"SET", world.key, placeholder(Kind.HOLD), b"PX", 60_000)
    world.send(command)


def tag_purger(world: World) -> Actor:
    me = object()
    yield from _locked(world, me)
    yield
    world.value = world.chance.randrange(3)
    world.locked_by = None
    yield
    world.send((TAG_PURGE, tag_key(world.tags[0]), VERSION, new_version(), 500))


def writer(world: World) -> Actor:
    """Write-through under the row's lock; may crash (the database then rolls back, or has committed)."""
    me = object()
    yield from _locked(world, me)
    yield
    context, token = world.context(), placeholder(Kind.WRITE)
    value = world.chance.randrange(3)
    answers = world.send(*protocol.announce(context, token, 10_000).commands)
    yield
    is_committed = world.chance.random() < 0.8
    if is_committed:
        world.value = value
    world.locked_by = None
    yield
    if world.chance.random() < 0.1:
        # Its placeholder keeps old values out; where that was evicted before, nothing can, and docs say so.
        world.is_excused = world.is_excused or world.send((b"GET", world.key))[0] != token
        return
    payload = json.dumps({"v": value}).encode() if is_committed else None
    versions = protocol.versions_in(context, answers[1:])
    world.send(*protocol.conclude(context, token, payload, False, versions).commands)


def evictor(world: World) -> Actor:
    """Eviction, a purge by anybody, the end of a lease or of a TTL."""
    yield
    world.send((b"DEL", world.key))


def tag_evictor(world: World) -> Actor:
    yield
    world.send((b"DEL", tag_key(world.tags[0])))


def naive_reader(world: World) -> Actor:
    """GET / SETEX, for the proof that this harness finds what it looks for."""
    found = world.send((b"GET", world.key))[0]
    if found is not None:
        return
    yield
    value = world.value
    yield
    world.send((b"SETEX", world.key, 60, json.dumps({"v": value})))


def naive_writer(world: World) -> Actor:
    me = object()
    yield from _locked(world, me)
    yield
    world.value = world.chance.randrange(3)
    world.locked_by = None
    yield
    world.send((b"DEL", world.key))


PLAIN: list[Callable[[World], Actor]] = [reader, reader, refresher, invalidator, writer, evictor]
TAGGED: list[Callable[[World], Actor]] = [*PLAIN, tag_purger, tag_evictor]
NAIVE: list[Callable[[World], Actor]] = [naive_reader, naive_reader, naive_writer]


@dataclass
class Result:
    interleavings: int = 0
    steps: int = 0
    stale: int = 0
    excused: int = 0
    kept: int = 0
    """Interleavings after which a value was there: with none, nothing would be proved."""


def run(url: str, kinds: list[Callable[[World], Actor]], *, seconds: float, seed: int) -> Result:
    """Interleave until the time is over.

    Args:
        url: a server that is this run's own.
        kinds: of actors; three to six are drawn for each interleaving.
        seconds: how long.
        seed: of all chance.
    """
    # Patient: this is about the order of steps, on a machine that may be busy.
    link = DirectLink(redis.Redis.from_url(url, protocol=2, socket_timeout=60), 4)
    chance = random.Random(seed)
    result = Result()
    deadline = time.monotonic() + seconds
    tags = ("shop",) if tag_purger in kinds else ()
    while time.monotonic() < deadline:
        world = World(link, chance, b"row", tags)
        link.exchange([(b"FLUSHALL",)])
        if chance.random() < 0.5:
            _warm(world)
        actors = [chance.choice(kinds)(world) for _ in range(chance.randint(3, 6))]
        while actors:
            actor = chance.choice(actors)
            try:
                next(actor)
                result.steps += 1
            except StopIteration:
                actors.remove(actor)
        result.interleavings += 1
        stale, kept = _judge(world)
        if world.is_excused:
            result.excused += 1
            continue
        result.stale += stale
        result.kept += kept
    link.close()
    return result


def _warm(world: World) -> None:
    for _ in drive(world, protocol.read(world.context(), Asked.NOTHING, 0.0, lambda _: True)):
        pass
    # As if it had been there for a while: near its end, so that refreshes are due.
    world.send((b"PEXPIRE", world.key, 20_000))


def _judge(world: World) -> tuple[bool, bool]:
    """Whether a reader would now be given an old value, and whether there is one at all."""
    context = world.context()
    replies = world.send(*context.ask().commands)
    raw = replies[0]
    if raw is None or kind_of(raw) is not None:
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
