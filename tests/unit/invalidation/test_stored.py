"""What is written to PostgreSQL comes back as it was."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dashboard.invalidation import stored
from dashboard.invalidation.types import (
    Action,
    Filters,
    NodeProgress,
    Plan,
    Point,
    Preview,
    Progress,
    SampleKey,
    SelectBy,
    Selection,
    When,
)

# PostgreSQL's text takes no U+0000, and UTF-8 no half of a surrogate pair; forms refuse both.
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
COUNT = st.integers(0, 2**53)
SECONDS = st.floats(0, 1e9, allow_nan=False)
TIME = st.integers(0, 4 * 10**15).map(
    lambda us: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)

FILTERS = st.builds(
    Filters,
    type=st.none() | TEXT,
    ttl_min_s=st.none() | COUNT,
    ttl_max_s=st.none() | COUNT,
    idle_min_s=st.none() | COUNT,
    size_min_bytes=st.none() | COUNT,
    size_max_bytes=st.none() | COUNT,
    without_ttl=st.booleans(),
)
PLANS = st.builds(
    Plan,
    selection=st.builds(
        Selection,
        by=st.sampled_from(SelectBy),
        text=TEXT,
        templates=st.lists(TEXT, max_size=3).map(tuple),
        count=COUNT,
        filters=FILTERS,
    ),
    action=st.sampled_from(Action),
    window_s=COUNT,
    when=st.sampled_from(When),
    over_s=COUNT,
    at=st.none() | TIME,
    lengthens=st.booleans(),
    wants_report=st.booleans(),
)
PREVIEWS = st.builds(
    Preview,
    counted_at=TIME,
    keys=COUNT,
    keys_error=COUNT,
    scanned=COUNT,
    named=st.none() | COUNT,
    keyspace=COUNT,
    size_bytes=st.none() | COUNT,
    ttl_bounds_s=st.lists(COUNT, max_size=4).map(tuple),
    ttl_counts=st.lists(COUNT, max_size=4).map(tuple),
    sample=st.lists(
        st.builds(
            SampleKey,
            key=st.binary(max_size=40),
            type=TEXT,
            ttl_s=st.none() | SECONDS,
            size_bytes=st.none() | COUNT,
            policy=TEXT,
        ),
        max_size=4,
    ).map(tuple),
    by_policy=st.dictionaries(TEXT, st.floats(0, 1)),
    without_grace=st.floats(0, 1),
)
PROGRESS = st.builds(
    Progress,
    touched=COUNT,
    skipped=COUNT,
    scanned=COUNT,
    passes=COUNT,
    nodes=st.lists(
        st.builds(
            NodeProgress, node=TEXT, run_id=TEXT, cursor=st.none() | st.integers(0, 2**64 - 1), scanned=COUNT
        ),
        max_size=4,
    ).map(tuple),
    keys_per_s=SECONDS,
    probe_p99_ms=st.none() | SECONDS,
    trail=st.lists(
        st.builds(
            Point,
            at_s=SECONDS,
            keys_per_s=SECONDS,
            loads_per_s=st.none() | SECONDS,
            hit_ratio=st.none() | st.floats(0, 1),
        ),
        max_size=4,
    ).map(tuple),
    updated_at=st.none() | TIME,
    touched_on=st.dictionaries(TEXT, COUNT),
    came_back=COUNT,
)


def through_json(value: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(json.dumps(value, allow_nan=False))
    return found


@given(PLANS)
def test_plans(plan: Plan) -> None:
    assert stored.plan_from_json(through_json(stored.plan_to_json(plan))) == plan


@given(PREVIEWS)
def test_previews(preview: Preview) -> None:
    written = through_json(stored.preview_to_json(preview))
    assert stored.preview_from_json(written) == preview
    assert stored.preview_from_json({**written, "nodes": {"a:1": "b"}}) == preview


@given(PROGRESS)
def test_progress(progress: Progress) -> None:
    assert stored.progress_from_json(through_json(stored.progress_to_json(progress))) == progress
    assert stored.progress_from_json({}) == Progress()


@given(st.lists(st.binary(max_size=300), max_size=40))
def test_keys_of_any_bytes(keys: list[bytes]) -> None:
    assert stored.unpack(stored.pack(keys)) == keys


def test_chunks_are_bounded_in_number_and_in_bytes() -> None:
    assert list(stored.chunks([])) == []
    many = [b"%d" % number for number in range(stored.CHUNK_KEYS * 2 + 1)]
    parts = list(stored.chunks(iter(many)))
    assert [len(part) for part in parts] == [stored.CHUNK_KEYS, stored.CHUNK_KEYS, 1]
    assert [key for part in parts for key in part] == many
    large = [b"x" * 1_500_000] * 5
    assert [len(part) for part in stored.chunks(large)] == [3, 2]
