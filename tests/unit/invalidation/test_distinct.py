"""What was in a list before is left out, however far away."""

from hypothesis import given
from hypothesis import strategies as st

from dashboard.invalidation.distinct import distinct


@given(st.lists(st.binary(max_size=2)))
def test_each_once_in_the_same_order(keys: list[bytes]) -> None:
    assert list(distinct(keys)) == list(dict.fromkeys(keys))


def test_far_apart() -> None:
    keys = [b"%d" % number for number in range(60_000)]
    assert list(distinct(keys + keys[::-1] + [b"", b""])) == [*keys, b""]


def test_no_more_is_read_than_is_asked_for() -> None:
    endless = distinct(iter(lambda: b"again", None))
    assert next(endless) == b"again"
