"""What is made of keys: sums are exact whatever they are called and however little is remembered; what is shown is
held against a plain count of the same keys."""

import json
import random
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.caching.policy import Policy, PolicyTable
from dashboard.fleet.probing import Facts
from dashboard.keyspace import stored
from dashboard.keyspace.collector import Collector
from dashboard.keyspace.names import OTHER
from dashboard.keyspace.tallies import Objects
from dashboard.keyspace.tree import Bounds
from dashboard.keyspace.types import (
    EXPIRY_FAR_S,
    EXPIRY_FINE_S,
    TTL_BOUNDS_S,
    Batch,
    TreeNode,
)
from tests.support.collected import (
    DEFAULT,
    NOW,
    TABLE,
    Row,
    add,
    collected,
    counts,
    facts,
    find,
    plain,
    shot,
    walk,
)
from tests.support.glob import matches
from tests.support.shared import shared_data

PARTS = (
    st.sampled_from(
        [b"product", b"list", b"session", b"a", b"", b"40118", b"{id}", b"(other)", b"cachewarden"]
    )
    | st.binary(max_size=4)
    | st.integers(0, 99).map(lambda number: b"%d" % number)
    | st.from_regex(rb"[a-z]{3}", fullmatch=True)
)
KEYS = (
    st.lists(PARTS, min_size=1, max_size=4).map(b":".join)
    | PARTS.map(lambda part: b":".join([part] * 12))
    | st.builds(
        lambda number, last: b"tenant:%d:%b" % (number, last),
        st.integers(6, 8),
        st.sampled_from([b"settings", b"7", b"list:1", b"list:a", b"cart"]),
    )
)
TTLS = st.just(-1) | st.integers(0, 40 * 86_400_000) | st.integers(0, 200_000)
ROWS = st.lists(
    st.tuples(
        KEYS,
        st.sampled_from([b"string", b"hash", b"stream"]),
        TTLS,
        st.integers(0, 10**9),
        st.integers(-1, 10**6),
    ),
    max_size=40,
)
BOUNDS = st.builds(
    Bounds,
    names=st.integers(2, 10),
    leaves=st.integers(2, 10),
    places=st.integers(10, 200),
    stems=st.integers(4, 20),
)
POLICY_PREFIXES = [
    b"tenant:",
    b"tenant:7:",
    b"tenant:7:l",
    b"tenant:7:list:",
    b"tenant:8",
    b"a",
    b"a:a:",
    b"product:list:",
]
TABLES = st.just(TABLE) | st.sets(st.sampled_from(POLICY_PREFIXES)).map(
    lambda prefixes: PolicyTable(
        [(prefix, Policy(prefix, "t", 60 * len(prefix), 0)) for prefix in sorted(prefixes)], DEFAULT
    )
)
DELIMITERS = st.sampled_from([":", "", ":/", "a", "é:", "list"])


@given(ROWS, BOUNDS | st.none(), DELIMITERS, st.integers(1, 60))
def test_sums_are_exact(rows: list[Row], bounds: Bounds | None, delimiters: str, step: int) -> None:
    snapshot = shot(collected(rows, bounds=bounds, delimiters=delimiters, step=step))
    root = snapshot.root
    assert root.keys.value == snapshot.looked_at == len(rows)
    assert root.without_ttl.value == sum(row[2] == -1 for row in rows)
    assert (root.size.value if root.size else 0) == sum(row[3] for row in rows)
    assert root.types == Counter(row[1].decode() for row in rows)
    assert [big.size_bytes for big in root.biggest[:1]] == ([max(row[3] for row in rows)] if rows else [])
    asked = [found for row in rows if (found := facts(row[4])) is not None]
    assert root.idle_s == max((found.idle_s for found in asked), default=None)
    encodings = Counter(found.encoding.decode() for found in asked if found.encoding)
    total = encodings.total()
    assert root.encodings == {name: round(number / total, 4) for name, number in encodings.items()}
    counters = [found.frequency for found in asked if found.frequency >= 0]
    assert root.frequency == (round(sum(counters) / len(counters), 2) if counters else None)
    bounds_ms = [1000 * bound for bound in TTL_BOUNDS_S]
    expected = [0] * (len(bounds_ms) + 2)
    for row in rows:
        bucket = -1 if row[2] < 0 else sum(bound < row[2] for bound in bounds_ms)
        expected[bucket] += 1
    assert list(root.ttl_counts) == expected
    for node in walk(root):
        assert node.keys.error == 0
        if node.children:
            assert sum(child.keys.value for child in node.children) == node.keys.value
            assert sum(child.without_ttl.value for child in node.children) == node.without_ttl.value
            assert tuple(map(sum, zip(*(child.ttl_counts for child in node.children), strict=True))) == (
                node.ttl_counts
            )
    paths = [node.path for node in walk(root)]
    assert len(set(paths)) == len(paths)


@given(ROWS, BOUNDS | st.none())
def test_every_key_ends_is_counted_once_in_its_bucket(rows: list[Row], bounds: Bounds | None) -> None:
    snapshot = shot(collected(rows, bounds=bounds))
    fine: Counter[int] = Counter()
    hours: Counter[int] = Counter()
    never = later = 0
    at_ms = int(NOW * 1000)
    for _, _, ttl_ms, _, _ in rows:
        if ttl_ms < 0:
            never += 1
        elif ttl_ms <= EXPIRY_FINE_S * 1000:
            fine[(at_ms + ttl_ms) // 10_000] += 1
        elif ttl_ms <= EXPIRY_FAR_S * 1000:
            hours[(at_ms + ttl_ms) // 3_600_000] += 1
        else:
            later += 1
    found_fine: Counter[int] = Counter()
    found_hours: Counter[int] = Counter()
    for each in snapshot.expiries:
        found_fine.update({bucket: int(count) for bucket, count in each.fine.items()})
        found_hours.update({hour: int(count) for hour, count in each.hours.items()})
    assert found_fine == fine
    assert found_hours == hours
    assert sum(each.never for each in snapshot.expiries) == never
    assert sum(each.later for each in snapshot.expiries) == later
    assert sum(each.keys for each in snapshot.expiries) == len(rows)
    assert len({each.stem for each in snapshot.expiries}) == len(snapshot.expiries)


@settings(max_examples=200)
@given(ROWS, BOUNDS | st.none(), DELIMITERS, TABLES, st.integers(1, 60), st.booleans())
def test_conformance_is_that_of_each_keys_own_policy(
    rows: list[Row],
    bounds: Bounds | None,
    delimiters: str,
    table: PolicyTable[Policy],
    step: int,
    is_handed_on: bool,
) -> None:
    keys: Counter[str] = Counter()
    never: Counter[str] = Counter()
    too_long: Counter[str] = Counter()
    breaking: dict[str, set[bytes]] = defaultdict(set)
    for key, _, ttl_ms, _, _ in rows:
        if key.startswith(b"cachewarden:"):
            continue
        policy = table.find(key)
        prefix = policy.prefix_text
        keys[prefix] += 1
        if ttl_ms < 0:
            never[prefix] += 1
            breaking[prefix].add(key)
        elif policy.base_ttl_s is not None:
            most_s = policy.base_ttl_s + policy.jitter_s + (policy.protection.grace_s or 0) + 1
            if ttl_ms > most_s * 1000:
                too_long[prefix] += 1
                breaking[prefix].add(key)
    collector = collected(rows[::2], bounds=bounds, delimiters=delimiters, table=table, step=step)
    if is_handed_on:
        collector = Collector.restore(collector.state())
    add(collector, rows[1::2], node="m" if step % 2 else "n", step=step)
    found = shot(collector).policies
    assert {each.prefix: each.keys.value for each in found} == keys
    assert {each.prefix: each.without_ttl.value for each in found if each.without_ttl.value} == never
    assert {each.prefix: each.too_long.value for each in found if each.too_long.value} == too_long
    for each in found:
        examples = {key for key, _ in each.examples}
        assert examples <= breaking[each.prefix]
        assert len(each.examples) <= 5
        assert bool(examples) == bool(breaking[each.prefix])


@given(ROWS, ROWS, BOUNDS | st.none(), DELIMITERS)
def test_going_on_elsewhere_changes_nothing(
    before: list[Row], after: list[Row], bounds: Bounds | None, delimiters: str
) -> None:
    stayed = collected(before, bounds=bounds, delimiters=delimiters)
    moved = Collector.restore(stayed.state())
    for collector in (stayed, moved):
        add(collector, after, node="n")
        add(collector, after[:20], node="m")
    assert shot(moved) == shot(stayed)
    assert Collector.restore(moved.state()).state() == moved.state()


@given(ROWS, ROWS)
def test_a_node_that_is_forgotten_leaves_nothing_behind(kept: list[Row], dropped: list[Row]) -> None:
    collector = collected(kept)
    add(collector, dropped, node="other")
    collector.forget("other")
    collector.forget("unknown")
    assert shot(collector) == shot(collected(kept))


@given(ROWS, st.integers(1, 5))
def test_nodes_are_counted_together(rows: list[Row], nodes: int) -> None:
    apart = Collector(TABLE)
    for number in range(nodes):
        add(apart, rows[number::nodes], node=str(number))
    together, found = shot(collected(rows)), shot(apart)
    assert counts(found) == counts(together)
    assert [replace(each, examples=()) for each in found.policies] == [
        replace(each, examples=()) for each in together.policies
    ]
    assert {each.stem: each.fine for each in found.expiries} == {
        each.stem: each.fine for each in together.expiries
    }


@given(ROWS, BOUNDS | st.none())
def test_the_pattern_of_a_node_holds_its_keys(rows: list[Row], bounds: Bounds | None) -> None:
    root = shot(collected(rows, bounds=bounds)).root
    for node in walk(root):
        if node.pattern is not None:
            assert sum(matches(node.pattern, row[0]) for row in rows) >= node.keys.value


@given(ROWS, BOUNDS)
def test_what_a_literal_prefix_may_miss_is_known(rows: list[Row], bounds: Bounds) -> None:
    def check(node: TreeNode, missed: int) -> None:
        missed += node.may_miss
        if not node.is_leaf and node.pattern is not None and not node.is_folded:
            true = sum(matches(node.pattern, row[0]) for row in rows)
            assert node.keys.value <= true <= node.keys.value + missed
            for child in node.children:
                check(child, missed)

    check(shot(collected(rows, bounds=bounds, step=7)).root, 0)


@settings(max_examples=20)
@given(st.integers(0), st.integers(8, 200))
def test_heavy_prefixes_are_found_among_any_number_of_others(seed: int, names: int) -> None:
    chance = random.Random(seed)
    heavy = [b"kind-a:", b"kind-b:"]
    keys = [b"%s:%d" % (bytes(chance.choices(b"abcdefgh", k=6)), n) for n in range(3_000)]
    # They begin late, when all places are taken.
    keys += [chance.choice([*heavy, keys[n]]) + b"%d" % n for n in range(1_500)]
    snapshot = shot(collected(plain(keys), bounds=Bounds(names=names, places=1_000), step=100))
    for prefix in heavy:
        node = find(snapshot, prefix.decode())
        true = sum(key.startswith(prefix) for key in keys)
        assert node.keys.value <= true <= node.keys.value + node.may_miss
        assert node.keys.value > true / 2


def test_a_tree_as_people_know_their_keys() -> None:
    keys = [b"product:%d" % n for n in range(70)] + [b"product:list:%d" % n for n in range(20)]
    keys += [b"session:user:%d:cart" % n for n in range(9)] + [b"config", b"news:today", b"news:2024-01-31"]
    snapshot = shot(collected(plain(keys)))
    assert counts(snapshot) == {
        "": 102,
        "product:": 90,
        "product:{id}": 70,
        "product:list:": 20,
        "product:list:{id}": 20,
        "session:": 9,
        "session:user:": 9,
        "session:user:{id}:": 9,
        "session:user:{id}:cart": 9,
        "config": 1,
        "news:": 2,
        "news:today": 1,
        "news:{id}": 1,
    }
    assert [child.name for child in snapshot.root.children] == ["product:", "session:", "news:", "config"]
    assert find(snapshot, "product:", "{id}").is_leaf
    assert find(snapshot, "product:", "{id}").is_folded
    assert not find(snapshot, "product:").is_folded
    assert find(snapshot, "session:", "user:", "{id}:").pattern == "session:user:*:*"
    assert [(each.stem, each.policy, each.keys) for each in snapshot.expiries] == [
        ("product:", "product:", 70),
        ("product:list:", "product:list:", 20),
        ("session:user:{id}:", "session:", 9),
        ("news:", "", 2),
        ("", "", 1),
    ]


def test_names_that_no_rule_knows_fold_because_they_are_many() -> None:
    chance = random.Random(1)
    users = [bytes(chance.choices(b"abcdefghij", k=8)) for _ in range(5_000)]
    snapshot = shot(collected(plain([b"user:" + user for user in users]), step=500))
    assert counts(snapshot) == {"": 5_000, "user:": 5_000, "user:{id}": 5_000}
    snapshot = shot(collected(plain([b"user:" + user + b":cart" for user in users]), step=500))
    assert counts(snapshot) == {
        "": 5_000,
        "user:": 5_000,
        "user:{id}:": 5_000,
        "user:{id}:cart": 5_000,
    }
    stems = {each.stem: each.keys for each in snapshot.expiries}
    # Some came before it was clear that there are too many: those are counted with the prefix above.
    assert set(stems) <= {"user:{id}:", "user:"}
    assert stems["user:{id}:"] > 4_000


def test_shapes_of_names_with_hardly_a_key_each_are_one() -> None:
    rng = random.Random(11)
    odd = [b"odd%dx%d" % (rng.randrange(10**5), rng.randrange(100)) for _ in range(2_000)]
    mixed = [b"img%dx%d" % (rng.randrange(10, 10**5), rng.randrange(100, 10**4)) for _ in range(500)]
    found = shot(collected(plain([*{*odd, *mixed}, *(b"id%d" % number for number in range(1000, 3000))])))
    names = {node.name: node.keys.value for node in found.root.children}
    assert sum(names.values()) == len({*odd, *mixed}) + 2_000
    assert names["img{id}"] == len(set(mixed)) and names["id{id}"] == 2_000 and len(names) < 12


def test_keys_that_are_no_text_are_one_when_they_are_some() -> None:
    binary = [b"bin:\x00\xff" + bytes([number]) for number in range(128, 158)]
    few = [b"flag:\xff%c" % number for number in range(3)]
    found = shot(collected(plain([*binary, *few])))
    (below,) = find(found, "bin:").children
    assert below.name.endswith("{id}") and below.keys.value == 30
    assert len(find(found, "flag:").children) == 3


def test_a_few_names_are_kept_as_they_are() -> None:
    keys = [b"user:%s" % name for name in (b"jane", b"joe", b"jim")]
    assert set(counts(shot(collected(plain(keys))))) == {"", "user:", "user:jane", "user:joe", "user:jim"}


def test_kinds_that_are_too_many_are_others() -> None:
    chance = random.Random(2)
    kinds = [bytes(chance.choices(b"abcdefghij", k=8)) + b":" for _ in range(8_000)]
    keys = [kind + b"%d" % n for kind in kinds for n in range(15)]
    keys += [b"large:%d" % n for n in range(20_000)]
    chance.shuffle(keys)
    snapshot = shot(collected(plain(keys), step=2_000))
    other = find(snapshot, OTHER)
    assert snapshot.root.children[-1] is other
    assert other.pattern is None
    assert other.children == ()
    assert 6_000 < other.hidden < 10_000
    assert find(snapshot, "large:").keys.value == 20_000
    assert find(snapshot, "large:").may_miss == 0
    assert snapshot.root.keys.value == len(keys)


def test_keys_that_end_alike_have_each_its_own_policy() -> None:
    def policies(keys: list[bytes], prefix: bytes) -> dict[str, tuple[float, float]]:
        table = PolicyTable([(prefix, Policy(prefix, "t", 60, 0))], Policy(b"", "t", 86_400, 0))
        found = shot(collected(plain(keys, ttl_ms=3_600_000), table=table)).policies
        return {each.prefix: (each.keys.value, each.too_long.value) for each in found}

    keys = [b"tenant:%d:settings" % n for n in (1, 2, 3, 7, 4, 5)]
    for order in (keys, keys[::-1]):
        assert policies(order, b"tenant:7:") == {"": (5, 0), "tenant:7:": (1, 1)}
    # Names that are crowded out, and one among them with a policy of its own.
    names = [b"".join(letters) for letters in product((b"a", b"b", b"c", b"d"), repeat=6)]
    keys = [b"user:%b:cart" % name for name in names]
    assert policies([*keys, b"user:zed:cart"], b"user:zed:") == {"": (4_096, 0), "user:zed:": (1, 1)}


def test_a_prefix_that_takes_in_all_below_it_keeps_their_policies_apart() -> None:
    prefixes = (b"a:", b"a:x:")
    table = PolicyTable([(prefix, Policy(prefix, "t", 60, 0)) for prefix in prefixes], DEFAULT)
    state = json.loads(collected(plain([b"z:1"]), table=table).state())
    # As when there is room for the first level alone.
    state["trees"]["n"]["limits"] = [2, 2, 1]
    collector = Collector.restore(json.dumps(state).encode())
    for head, number in ((b"a:", 5), (b"a:x:", 7)):
        add(collector, plain([head + b"%d" % n for n in range(number)]), step=1)
    assert find(shot(collector), "a:", "{id}").keys.value == 12
    assert {each.prefix: each.keys.value for each in shot(collector).policies} == {"": 1, "a:": 5, "a:x:": 7}


def test_many_policies_below_one_folded_part_are_bounded() -> None:
    tenants = range(1_000)
    rules = [(b"tenant:%d:" % n, Policy(b"tenant:%d:" % n, "t", 60, 0)) for n in tenants]
    table = PolicyTable(sorted(rules), DEFAULT)
    for kinds, shown in ((1, 1), (2, 2), (40, 1)):
        keys = [b"tenant:%d:kind-%c" % (n, 65 + kind) for n in tenants for kind in range(kinds)]
        collector = collected(plain(keys), table=table, step=500)
        assert len(find(shot(collector), "tenant:", "{id}:").children) == shown
        assert [each.keys.value for each in shot(collector).policies] == [kinds] * 1_000
        assert len(collector.state()) < 1_000_000


def test_names_in_front_of_numbers_tell_keys_without_delimiters_apart() -> None:
    keys = [b"user_%d" % n for n in range(50)] + [b"page_%d" % n for n in range(30)]
    snapshot = shot(collected(plain(keys, ttl_ms=60_000)))
    assert counts(snapshot) == {"": 80, "user_{id}": 50, "page_{id}": 30}
    assert [(each.stem, each.keys) for each in snapshot.expiries] == [("user_{id}", 50), ("page_{id}", 30)]


def test_several_delimiters() -> None:
    keys = (
        [b"a:b/%d" % n for n in range(5)]
        + [b"a/b:%d" % n for n in range(3)]
        + [b"a:%d/x" % n for n in range(2)]
    )
    assert counts(shot(collected(plain(keys), delimiters=":/"))) == {
        "": 10,
        "a:": 7,
        "a:b/": 5,
        "a:b/{id}": 5,
        "a:{id}/": 2,
        "a:{id}/x": 2,
        "a/": 3,
        "a/b:": 3,
        "a/b:{id}": 3,
    }


def test_our_own_words_in_keys_are_not_taken_for_ours() -> None:
    keys = [b"x:{id}", b"x:(other)", b"x:*", b"x:7", rb"x:\x7bid}"]
    snapshot = shot(collected(plain(keys)))
    assert counts(snapshot) == {
        "": 5,
        "x:": 5,
        r"x:\x7bid}": 1,
        r"x:\x28other)": 1,
        "x:*": 1,
        "x:{id}": 1,
        r"x:\\x7bid}": 1,
    }
    assert [node.is_folded for node in walk(snapshot.root) if node.path == ("x:", "{id}")] == [True]


def test_keys_of_any_shape() -> None:
    keys = [b"", b":", b"::::", b":" * 5_000, b"x" * 1_000_000, b"a:" + b"x" * 1_000_000, b"a:" * 100_000]
    keys += [bytes([byte]) * 3 for byte in range(256)]
    snapshot = shot(collected(plain(keys)))
    assert snapshot.root.keys.value == len(keys)
    assert len(stored.pack(snapshot)) < 100_000
    assert len(collected(plain(keys)).state()) < 400_000


def test_what_is_kept_by_name_is_short() -> None:
    rows = [(b"k:" + b"x" * size, b"string", -1, size, -1) for size in (10, 1_000, 100_000)]
    snapshot = shot(collected(rows))
    assert [big.size_bytes for big in snapshot.root.biggest] == [1_000, 10]
    assert [len(key) for key, _ in snapshot.policies[0].examples] == [12, 1_002]


def test_the_biggest_and_the_longest_unused() -> None:
    rows = [(b"p:%d" % n, b"hash", n * 1000 or -1, n * n, n) for n in range(500)]
    random.Random(3).shuffle(rows)
    node = find(shot(collected(rows)), "p:", "{id}")
    assert [(big.key, big.size_bytes, big.type, big.ttl_s) for big in node.biggest] == [
        (b"p:%d" % n, n * n, "hash", n) for n in range(499, 489, -1)
    ]
    assert node.idle_s == 499


def test_a_key_that_comes_twice_is_named_once() -> None:
    rows = plain([b"p:%d" % (n // 2) for n in range(8)])
    assert len(shot(collected(rows)).root.biggest) == 4


def test_what_is_gone_is_left_out() -> None:
    collector = Collector(TABLE)
    collector.add(
        Batch(
            "n",
            NOW,
            [b"a", b"b", b"c"],
            [b"none", b"string", b"string"],
            [-2, -1, -2],
            [-1, 50, -1],
            [facts(0), None, facts(1)],
        )
    )
    collector.add(Batch("n", NOW, [b"d"], [b"none"], [-2], [-1], [None]))
    collector.add(Batch("n", NOW, [], [], [], [], []))
    snapshot = shot(collector)
    assert snapshot.looked_at == snapshot.root.keys.value == 1
    assert snapshot.root.size is not None
    assert snapshot.root.size.value == 50
    assert snapshot.root.idle_s is None and not snapshot.root.encodings


def test_nothing_at_all() -> None:
    snapshot = shot(Collector(TABLE))
    assert snapshot.root.keys.value == 0
    assert snapshot.root.size is None
    assert snapshot.root.children == snapshot.policies == snapshot.expiries == ()
    assert stored.unpack(stored.pack(snapshot)).root == snapshot.root


def test_sizes_that_were_not_measured() -> None:
    snapshot = shot(collected(plain([b"a:1", b"b:1"], size=-1)))
    assert snapshot.root.size is None
    assert snapshot.root.biggest == ()


def test_policies_stay_those_of_the_beginning() -> None:
    rows = plain([b"product:1"], ttl_ms=4_000_000)
    moved = Collector.restore(collected(rows).state())
    add(moved, rows)
    assert [(each.prefix, each.too_long.value) for each in shot(moved).policies] == [("product:", 0)]
    rows = plain([b"product:1"], ttl_ms=4_300_000)
    add(moved, rows)
    assert [(each.prefix, each.too_long.value) for each in shot(moved).policies] == [("product:", 1)]


def test_a_scan_of_many_days_counts_all_ends() -> None:
    collector = Collector(TABLE)
    for day in range(30):
        add(collector, plain([b"a:%d" % n for n in range(700)], ttl_ms=1), at=NOW + day * 86_400)
        rows = [(b"a:%d" % n, b"string", n * 100_000, 1, -1) for n in range(900)]
        add(collector, rows, at=NOW + day * 86_400 - 5_000)
    (found,) = shot(collector).expiries
    assert sum(found.fine.values()) + sum(found.hours.values()) == 30 * 1_600
    assert len(collector.state()) < 300_000


@pytest.mark.parametrize("state", [b"", b"[]", b"{}", b'{"layout": 0}', b'{"layout": 1}', b"\xff"])
def test_a_state_that_is_none(state: bytes) -> None:
    with pytest.raises(ValueError):
        Collector.restore(state)


@settings(max_examples=10)
@given(st.integers(0), st.sampled_from([b"abc:", b"ab::", bytes(range(256))]))
def test_memory_is_bounded(seed: int, alphabet: bytes) -> None:
    chance = random.Random(seed)
    bounds = Bounds(names=50, leaves=20, places=500, stems=16)
    collector = Collector(TABLE, bounds=bounds)
    sizes = []
    for _ in range(8):
        keys = [bytes(chance.choices(alphabet, k=chance.randrange(1, 30))) for _ in range(1_000)]
        add(collector, plain(keys, ttl_ms=chance.randrange(10**8)), step=250)
        sizes.append(len(collector.state()))
    assert max(sizes) < 400_000
    snapshot = shot(collector)
    assert snapshot.root.keys.value == 8_000
    assert sum(1 for _ in walk(snapshot.root)) <= 500


@pytest.mark.skipif(shared_data() is None, reason="no shared data beside the checkout")
def test_naughty_names() -> None:
    folder = shared_data()
    assert folder is not None
    strings = json.loads((folder / "strings" / "blns.json").read_text())
    keys = [text.encode("utf-8", "surrogatepass") for text in strings]
    keys += [b"x:" + key for key in keys] + [key + b":x" for key in keys]
    snapshot = shot(collected(plain(keys)))
    assert snapshot.root.keys.value == len(keys)
    assert all(node.name.isprintable() for node in walk(snapshot.root))
    assert stored.unpack(stored.pack(snapshot)).root == snapshot.root


def test_a_server_that_makes_encodings_up_fills_no_memory() -> None:
    found = Objects()
    found.add(Facts(b"made-up-%d" % number, 1, -1) for number in range(1_000))
    again = Objects()
    again.add([Facts(b"raw", 1, -1)])
    again.absorb(found)
    for each in (found, again):
        assert len(each.encodings) <= 25 and sum(each.encodings.values()) >= 1_000
    assert again.encodings[b"raw"] == 1
