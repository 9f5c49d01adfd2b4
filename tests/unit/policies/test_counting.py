"""From the applications' counters to growth."""

from dashboard.caching.wire import OTHER
from dashboard.policies.counting import MOST_PREFIXES, abandoned, growth, parse


def hits(*prefixes: str, number: int = 100) -> dict[str, int]:
    return {f"hits:{prefix}": number for prefix in prefixes}


def test_a_prefix_that_comes_makes_no_growth_of_others() -> None:
    """With one more the last one has no row of its own any more; what it counted before is not news."""
    many = [f"p{number:05}:" for number in range(MOST_PREFIXES)]
    before = hits(*many, OTHER)
    now = before | hits("a:", number=1) | hits(many[-1], number=103)
    assert growth(before, now) == {"a:": {"hits": 1}, OTHER: {"hits": 3}}


def test_a_prefix_that_goes_makes_no_growth_of_others() -> None:
    many = [f"p{number:05}:" for number in range(MOST_PREFIXES + 1)]
    before = hits(*many)
    now = {key: count for key, count in before.items() if key != f"hits:{many[0]}"}
    assert growth(before, now) == {}
    now[f"hits:{many[-1]}"] += 2
    assert growth(before, now) == {many[-1]: {"hits": 2}}


def test_what_is_beyond_grows_together_with_the_rest() -> None:
    many = [f"p{number:05}:" for number in range(MOST_PREFIXES + 2)]
    before = hits(*many, OTHER)
    now = {key: count + 1 for key, count in before.items()}
    grown = growth(before, now)
    assert len(grown) == MOST_PREFIXES + 1 and grown[OTHER] == {"hits": 3}


def test_one_prefix_in_two_spellings_is_one() -> None:
    assert parse({b"hits:a:": b"1", rb"hits:\x61:": b"2"}) == {"hits:a:": 3}


def test_abandoned_are_only_those_of_prefixes_that_can_be_read_and_have_no_policy() -> None:
    fields = [b"hits:old:", b"loads:old:", b"hits:new:", b"hits:", rb"hits:\other", b"later:old:", b"\xff"]
    assert abandoned(fields, {b"new:"}) == [b"hits:old:", b"loads:old:"]
