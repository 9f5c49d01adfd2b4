"""What is stored of a snapshot comes back as it was, whatever keys are called and however deep they are nested."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dashboard.keyspace import stored, summary
from dashboard.keyspace.types import BigKey, Conformance, Estimate, Expiries, Kind, Snapshot, TreeNode
from tests.support.snapshots import node, snapshot

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AT = datetime(2026, 11, 23, 4, 0, 0, 250_000, UTC)
NUMBERS = st.floats(0, 1e15)
ESTIMATES = st.builds(Estimate, NUMBERS, NUMBERS)
NODES = st.recursive(
    st.builds(
        TreeNode,
        path=st.lists(st.text(max_size=5), max_size=3).map(tuple),
        name=st.text(max_size=5),
        pattern=st.none() | st.text(max_size=5),
        keys=ESTIMATES,
        size=st.none() | ESTIMATES,
        without_ttl=ESTIMATES,
        ttl_counts=st.lists(NUMBERS, max_size=3).map(tuple),
        types=st.dictionaries(st.text(max_size=5), NUMBERS, max_size=2),
        biggest=st.lists(
            st.builds(
                BigKey, st.binary(max_size=9), st.text(max_size=5), st.integers(0), st.none() | NUMBERS
            ),
            max_size=2,
        ).map(tuple),
        idle_s=st.none() | st.integers(0),
        frequency=st.none() | NUMBERS,
        encodings=st.dictionaries(st.text(max_size=5), NUMBERS, max_size=2),
        hidden=st.integers(0),
        is_folded=st.booleans(),
        is_leaf=st.booleans(),
        may_miss=st.integers(0),
    ),
    lambda inner: st.builds(
        lambda parent, children: replace(parent, children=children),
        st.builds(node, st.text(max_size=3), NUMBERS, NUMBERS),
        st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=12,
)
BUCKETS = st.dictionaries(st.integers(0, 2**40), NUMBERS, max_size=3)
SNAPSHOTS = st.builds(
    Snapshot,
    cache_id=st.just(0),
    kind=st.sampled_from(Kind),
    began_at=st.just(AT),
    ended_at=st.integers(0, 4 * 10**15).map(lambda us: EPOCH + timedelta(microseconds=us)),
    looked_at=st.integers(0),
    keyspace=st.integers(0),
    factor=NUMBERS,
    size_every=st.integers(0, 1000),
    root=NODES,
    policies=st.lists(
        st.builds(
            Conformance,
            st.text(max_size=5),
            ESTIMATES,
            st.none() | ESTIMATES,
            ESTIMATES,
            ESTIMATES,
            st.lists(st.tuples(st.binary(max_size=9), st.none() | NUMBERS), max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    expiries=st.lists(
        st.builds(
            Expiries, st.text(max_size=5), st.text(max_size=5), NUMBERS, BUCKETS, BUCKETS, NUMBERS, NUMBERS
        ),
        max_size=2,
    ).map(tuple),
    policy_version=st.integers(0),
    delimiters=st.text(max_size=3),
    notes=st.lists(st.text(max_size=9), max_size=2).map(tuple),
)


@given(SNAPSHOTS)
def test_what_is_packed_comes_back(found: Snapshot) -> None:
    assert stored.unpack(stored.pack(found)) == found


def test_a_tree_is_as_deep_as_names_are() -> None:
    deepest = node("x", 1, 1)
    for _ in range(5_000):
        deepest = node("x", 1, 1, deepest)
    back = stored.unpack(stored.pack(snapshot(1, AT, deepest)))
    depth = 0
    below = back.root
    while below.children:
        (below,) = below.children
        depth += 1
    assert depth == 5_001


def test_a_summary_knows_keys_and_memory_of_each_prefix() -> None:
    inner = node("list:", 40, None, path=("product:", "list:"))
    folded = node("product:", 100, 1_000, inner)
    found = summary.unpack(summary.pack(snapshot(1, AT, folded, node("a\x00", 7, 70, pattern="a*"))))
    assert found.look(()) == (107, 1_070)
    assert found.look(("product:",)) == (100, 1_000)
    assert found.look(("product:", "list:")) == (40, None)
    assert found.look(("a\x00",)) == (7, 70)
    # A prefix that is not there had no keys.
    assert found.look(("new:",)) == (0.0, 0.0)


def test_what_was_counted_with_others_is_not_known() -> None:
    other = node("(other)", 900, 9_000, pattern=None, path=("product:", "(other)"))
    grown = node("product:", 1_000, 10_000, node("list:", 100, 1_000, path=("product:", "list:")), other)
    found = summary.unpack(summary.pack(snapshot(1, AT, grown)))
    assert found.look(("product:", "list:")) == (100, 1_000)
    assert found.look(("product:", "rare:")) is None
    assert found.look(("product:", "rare:", "x")) is None
    assert found.look(("other:",)) == (0.0, 0.0)


def test_a_summary_keeps_the_prefixes_with_most_keys_and_says_that_others_are_missing() -> None:
    many = [node(f"p{number}:", number, number) for number in range(summary.MOST_PREFIXES + 5)]
    found = summary.unpack(summary.pack(snapshot(1, AT, *many)))
    assert len(found.sizes) == summary.MOST_PREFIXES and found.is_cut
    assert found.look(()) is not None and found.look(("p2004:",)) == (2_004, 2_004)
    assert found.look(("p1:",)) is None and found.look(("never:",)) is None
