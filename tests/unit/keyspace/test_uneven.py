"""A sample that can't have seen most of the memory is told by what the server uses."""

from datetime import UTC, datetime

import pytest

from dashboard.keyspace import uneven
from dashboard.keyspace.types import Estimate, Kind, SnapshotMark

AT = datetime(2024, 11, 5, 12, tzinfo=UTC)
MB = 1024 * 1024


def mark(kind: Kind = Kind.SAMPLE, size: float = 77 * MB, looked_at: int = 20_000) -> SnapshotMark:
    return SnapshotMark(
        1, 1, kind, AT, AT, looked_at, keyspace=500_000, keys=500_000.0, size=Estimate(size, MB / 2)
    )


@pytest.mark.parametrize(
    ("found", "used", "is_missed"),
    [
        (mark(), 620 * MB, True),
        (mark(), 160 * MB, False),  # with the tables that hold 500,000 keys
        (mark(), None, False),
        (mark(Kind.FULL), 620 * MB, False),
        (mark(looked_at=500_000), 620 * MB, False),
        (mark(size=586 * MB), 660 * MB, False),
    ],
)
def test_memory_that_no_key_of_the_sample_explains(
    found: SnapshotMark, used: int | None, is_missed: bool
) -> None:
    assert uneven.missed(found, used) is is_missed


def test_it_says_how_to_find_out() -> None:
    assert "620" in uneven.note(620 * MB) and "full scan" in uneven.note(620 * MB)
