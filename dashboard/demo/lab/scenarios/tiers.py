"""Tiers: how old what customers see is, against what the database has to load, for a range of TTLs.

Nobody invalidates here: the TTL alone decides. Time is compressed, for each kind of data by as much as makes its
policy's TTL the same few seconds. How often rows change is compressed alike, and loads are told in the shop's time.
"""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import psycopg

from dashboard.caching import Cache, Policy, PolicyDocument, Tier
from dashboard.demo.lab.reading import Crew, counted, ratio
from dashboard.demo.lab.types import LOWER, Bench, Number, Result, Scenario, Side, Void
from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop.catalogue import categories
from dashboard.demo.shop.pages import EDITOR
from dashboard.demo.shop.store import ShopStore

FACTORS: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""TTLs that are tried, as many times the policy's."""
QUICK_FACTORS: Final = (1.0, 2.0)
POLICY_S: Final = 4
QUICK_POLICY_S: Final = 1
"""What the policy's TTL is compressed to."""
MEASURED_S: Final = 45.0
QUICK_MEASURED_S: Final = 3.0
ROWS: Final = 20
PAGES: Final = 8
"""Of categories: a page takes the database long enough that more would keep it busy with nothing else."""
READERS: Final = 2
"""Of each kind: none waits for another kind's loads."""
READS_PER_S: Final = 300.0
"""Wanted of each kind; a busy machine gets fewer."""
UNEVEN: Final = 0.5
"""Rows change at even intervals, give or take so much of one."""
PER_KEYS: Final = 1_000_000
"""Database loads are told for so many keys."""
SERIES: Final = "Old values read"
POINT: Final = "Policy's TTL: old values read"
_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3_600.0, 86_400.0
_TIER: Final = Tier("compressed", "Compressed for the lab", 1, 3_600)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of data.

    Args:
        prefix: of its policy in the shop.
        changes_every_s: each of its rows, on average; in the shop's time.
        rows: how many, numbered from 0.
        load: of a row: what is cached.
        change: writes a version to a row, in the database only.
        version: of a loaded value.
    """

    name: str
    prefix: str
    changes_every_s: float
    rows: int
    load: Callable[[int], Any]
    change: Callable[[int, int], object]
    version: Callable[[Any], int]

    @property
    def policy_s(self) -> float:
        """Its policy's mean TTL."""
        policy = DOCUMENT.find(self.prefix)
        assert policy.base_ttl_s is not None
        return policy.base_ttl_s + policy.jitter_s / 2

    def compression(self, policy_s: int) -> float:
        """Seconds of the shop in one of here.

        Args:
            policy_s: what the policy's TTL is here.
        """
        return self.policy_s / policy_s


@dataclass(slots=True)
class _Found:
    """What one reader found, by (kind, TTL)."""

    reads: Counter[tuple[str, int]] = field(default_factory=Counter)
    old: Counter[tuple[str, int]] = field(default_factory=Counter)
    loads: Counter[tuple[str, int]] = field(default_factory=Counter)


class _World:
    """The rows' versions, as far as they are committed, and when to begin counting."""

    def __init__(self, kinds: Sequence[_Kind]) -> None:
        self.versions: dict[tuple[str, int], int] = {
            (kind.name, row): 0 for kind in kinds for row in range(kind.rows)
        }
        self.counts_from = self.counts_until = float("inf")
        """Monotonic seconds; before the first the longest TTL has not come round."""


def compare(bench: Bench) -> Result:
    """Read every kind of data under a range of TTLs."""
    factors = QUICK_FACTORS if bench.is_quick else FACTORS
    policy_s = QUICK_POLICY_S if bench.is_quick else POLICY_S
    measured_s = QUICK_MEASURED_S if bench.is_quick else MEASURED_S
    ttls = [round(policy_s * factor) for factor in factors]
    store = bench.store(connections=3 * READERS + 2)
    with psycopg.connect(bench.database_url(), autocommit=True) as connection:
        kinds = _kinds(store, connection)
        world = _World(kinds)
        bench.progress(0.02, "Giving every row its first version")
        for kind in kinds:
            for row in range(kind.rows):
                kind.change(row, 0)
        found = _read_all(bench, kinds, world, ttls, policy_s, measured_s)
    sides = tuple(_side(kind, found, ttls, policy_s, measured_s) for kind in kinds)
    shortest, longest = factors[0], factors[-1]
    per_kind = ", ".join(
        f"{side.value(POINT) or 0:.1%} of {kind.name.lower()}"
        for kind, side in zip(kinds, sides, strict=True)
    )
    long = max(side.value("Longest TTL: old values read") or 0.0 for side in sides)
    short = max(_more(side) for side in sides)
    scales = ", ".join(f"{_span(kind.compression(policy_s))} of {kind.name.lower()}" for kind in kinds)
    return Result(
        scenario=SCENARIO.name,
        sides=sides,
        chart=(SERIES, "ratio"),
        checks=(),
        sentence=(
            f"Without any invalidation, under the policies' TTLs {per_kind} that customers read were older than their"
            f" row. {shortest:g} times the TTL costs up to {short:.1f} times the database loads; {longest:g} times"
            f" the TTL shows up to {long:.0%} old values. What changes often needs a short TTL, and what hardly ever"
            " changes would cost loads for nothing with one."
        ),
        notes=(
            "The policy's point of each curve is at 100% of the loads.",
            f"Time is compressed: a second stands for {scales}. Loads are told in the shop's time.",
            "Reads are not compressed: there are fewer of each key per TTL than in a shop, so loads are a little low.",
            "The shop invalidates when it writes; then the TTL is only the last defence.",
        ),
        setup={
            "reads": float(sum(found.reads.values())),
            **{f"{kind.name}: rows": float(kind.rows) for kind in kinds},
        },
        across=("Database loads, of those at the policy's TTL", "ratio"),
    )


def _kinds(store: ShopStore, connection: psycopg.Connection[Any]) -> tuple[_Kind, ...]:
    slugs = [each.slug for each in categories()][-PAGES:]

    def rename(row: int, version: int) -> None:
        connection.execute(
            "UPDATE shop.category SET name = split_part(name, ' #', 1) || ' #' || %s::text WHERE slug = %s",
            (version, slugs[row]),
        )

    return (
        _Kind(
            "Category pages",
            "category:",
            7 * _DAY_S,
            PAGES,
            lambda row: store.category(slugs[row], 1),
            rename,
            lambda value: int(value["name"].rpartition("#")[2]),
        ),
        _Kind(
            "Products",
            "product:",
            12 * _HOUR_S,
            ROWS,
            lambda row: store.product(1 + row),
            lambda row, version: store.set_price(1 + row, 100 + version, EDITOR),
            lambda value: int(value["price_cents"]) - 100,
        ),
        _Kind(
            "Stock",
            "inventory:",
            3 * _MINUTE_S,
            ROWS,
            lambda row: store.stock(1 + row),
            lambda row, version: store.set_stock(1 + row, version),
            lambda value: int(value["pieces"]),
        ),
    )


def _prefix(kind: _Kind, ttl_s: int) -> str:
    return f"{kind.prefix}ttl-{ttl_s}:"


def _document(kinds: Sequence[_Kind], ttls: Sequence[int]) -> PolicyDocument:
    """One prefix for each kind and TTL, so that one run measures all of them."""
    policies = tuple(
        Policy(_prefix(kind, ttl_s).encode(), _TIER.name, ttl_s) for kind in kinds for ttl_s in ttls
    )
    return PolicyDocument(1, (_TIER,), policies, Policy(b"", _TIER.name, ttls[0]))


def _read_all(
    bench: Bench,
    kinds: Sequence[_Kind],
    world: _World,
    ttls: Sequence[int],
    policy_s: int,
    measured_s: float,
) -> _Found:
    valkey = bench.valkey()
    found = [_Found() for _ in range(READERS * len(kinds))]
    with Cache(valkey.url, follow=False, name="lab") as cache:
        cache.use(_document(kinds, ttls))
        with Crew(bench) as crew:
            for number, mine in enumerate(found):
                kind, chance = kinds[number % len(kinds)], Random(bench.seed * 100 + number)
                reader = _Reader(cache, kind, ttls, world, mine, chance)
                crew.begin(lambda reader=reader: reader.run(crew))  # type: ignore[misc]
            crew.begin(lambda: _change(crew, kinds, world, policy_s, Random(bench.seed)))
            crew.wait(max(ttls), 0.05, 0.4, "Waiting until the longest TTL has come round")
            world.counts_until = time.monotonic() + measured_s
            world.counts_from = world.counts_until - measured_s
            crew.wait(measured_s, 0.4, 1.0, "Reading, while rows change")
    failed = counted(valkey.client())["errors"]
    if failed:
        raise Void(f"Valkey did not answer {failed:,} reads in time.")
    whole = _Found()
    for mine in found:
        whole.reads += mine.reads
        whole.old += mine.old
        whole.loads += mine.loads
    return whole


def _change(crew: Crew, kinds: Sequence[_Kind], world: _World, policy_s: int, chance: Random) -> None:
    """Rows change, each kind's as often as is realistic, and nobody tells the cache."""
    by_name = {kind.name: kind for kind in kinds}
    every_s = {kind.name: kind.changes_every_s / kind.compression(policy_s) for kind in kinds}
    now = time.monotonic()
    due = [(now + chance.random() * every_s[name], name, row) for name, row in world.versions]
    heapq.heapify(due)
    while True:
        at, name, row = due[0]
        crew.pause(max(0.0, at - time.monotonic()))
        if not crew.is_going:
            return
        version = world.versions[name, row] + 1
        by_name[name].change(row, version)
        # From here on, whoever asks should see it.
        world.versions[name, row] = version
        heapq.heapreplace(due, (at + every_s[name] * chance.uniform(1 - UNEVEN, 1 + UNEVEN), name, row))


class _Reader:
    """Looks at one thing of a kind after the other, each equally often, under all TTLs."""

    def __init__(
        self, cache: Cache, kind: _Kind, ttls: Sequence[int], world: _World, found: _Found, chance: Random
    ) -> None:
        self._cache = cache
        self._kind = kind
        self._ttls = ttls
        self._world = world
        self._found = found
        self._chance = chance

    def run(self, crew: Crew) -> None:
        """Look, until it is enough."""
        due = time.monotonic()
        while crew.is_going:
            self._read(self._chance.choice(self._ttls), self._chance.randrange(self._kind.rows))
            # Who is late catches up with a second at most.
            due = max(due, time.monotonic() - 1.0) + self._chance.expovariate(READS_PER_S / READERS)
            crew.pause(max(0.0, due - time.monotonic()))

    def _read(self, ttl_s: int, row: int) -> None:
        kind, world, found = self._kind, self._world, self._found
        known, asked_at = world.versions[kind.name, row], time.monotonic()
        loads: list[int] = []

        def load() -> Any:
            loads.append(row)
            return kind.load(row)

        value = self._cache.get_or_load(f"{_prefix(kind, ttl_s)}{row}", load)
        if world.counts_from <= asked_at < world.counts_until:
            what = kind.name, ttl_s
            found.reads[what] += 1
            found.old[what] += kind.version(value) < known
            found.loads[what] += len(loads)


def _side(kind: _Kind, found: _Found, ttls: Sequence[int], policy_s: int, measured_s: float) -> Side:
    old: Mapping[int, float | None] = {
        ttl_s: ratio(found.old[kind.name, ttl_s], found.reads[kind.name, ttl_s]) for ttl_s in ttls
    }
    loads = {ttl_s: found.loads[kind.name, ttl_s] for ttl_s in ttls}
    scale = PER_KEYS / kind.rows / measured_s / kind.compression(policy_s)
    points = [
        (loads[ttl_s] / loads[policy_s], share)
        for ttl_s in ttls
        if loads[policy_s] and (share := old[ttl_s]) is not None
    ]
    own = old[policy_s]
    return Side(
        kind.name,
        (
            Number(POINT, own, "ratio", LOWER),
            Number(_loads("Policy's TTL"), loads[policy_s] * scale, "per_s", LOWER),
            Number("Shortest TTL: old values read", old[ttls[0]], "ratio", LOWER),
            Number(_loads("Shortest TTL"), loads[ttls[0]] * scale, "per_s", LOWER),
            Number("Longest TTL: old values read", old[ttls[-1]], "ratio", LOWER),
            Number(_loads("Longest TTL"), loads[ttls[-1]] * scale, "per_s", LOWER),
            Number("Policy's TTL", kind.policy_s, "s"),
            Number("Shortest TTL", kind.policy_s * ttls[0] / policy_s, "s"),
            Number("Longest TTL", kind.policy_s * ttls[-1] / policy_s, "s"),
            Number("A row changes every", kind.changes_every_s, "s"),
        ),
        {SERIES: sorted(points)},
    )


def _loads(ttl: str) -> str:
    return f"{ttl}: loads of a million keys"


def _more(side: Side) -> float:
    """How many times the loads of the policy's TTL the shortest costs."""
    return (side.value(_loads("Shortest TTL")) or 0.0) / (side.value(_loads("Policy's TTL")) or 1.0)


def _span(seconds: float) -> str:
    """A length of time in words, to two digits."""
    for unit_s, word in ((_HOUR_S, "hours"), (_MINUTE_S, "minutes")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.2g} {word}"
    return f"{seconds:.2g} seconds"


SCENARIO: Final = Scenario(
    name="tiers",
    title="Tiers: the TTL that fits",
    question="With a TTL that is too short or too long, how old is what customers see, and what does it cost?",
    rule="docs/policies.md#tiers-and-policies",
    about_s=90,
    is_accepting=False,
    run=compare,
    shows=(
        "Shows old values against database loads for TTLs shorter and longer than the policy's, for each"
        " kind of data."
    ),
)
