"""The policy document: what is refused and what is said, and which policy a key gets."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.caching import PolicyError, PolicyTable, Wrong, parse_document, parse_policy, parse_tier
from dashboard.caching.policy import MAX_PROBLEMS, TIERS, parse_mapping, prefix_from_text, prefix_to_text


def document(**changes: Any) -> dict[str, Any]:
    made = {
        "schema": 1,
        "version": 3,
        "tiers": [tier.to_dict() for tier in TIERS],
        "policies": [policy()],
        "default": {"tier": "hot", "base_ttl_s": 60, "jitter_s": 10},
    }
    return made | changes


def policy(**changes: Any) -> dict[str, Any]:
    return {"prefix": "product:", "tier": "frequently-updated", "base_ttl_s": 7200, "jitter_s": 600} | changes


def problems(source: Any) -> dict[str, str]:
    with pytest.raises(PolicyError) as caught:
        parse_document(source)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_what_is_written_is_read_back() -> None:
    full = policy(
        strategy="write-through",
        protection={"lease": False, "early_refresh_beta": 1.5, "grace_s": 60},
        negative_ttl_s=30,
        longest_wait_s=2.5,
        note="Prices change nightly — ask Ada",
        bypass_until=1_900_000_000.0,
    )
    parsed = parse_document(document(policies=[full, policy(prefix="é\\\\\\x00\\xff")]))
    assert parse_document(parsed.to_json()) == parsed
    assert parse_document(parsed.to_dict()) == parsed
    assert parsed.policies[0].to_dict() == full
    assert parsed.policies[1].prefix == "é".encode() + b"\\\x00\xff"


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"base_ttl_s": 60}, "policies[0].base_ttl_s", "3600 to 21600"),
        ({"base_ttl_s": 7200.5}, "policies[0].base_ttl_s", "whole number"),
        ({"base_ttl_s": True}, "policies[0].base_ttl_s", "whole number"),
        ({"base_ttl_s": None}, "policies[0].base_ttl_s", "missing"),
        ({"jitter_s": 14_401}, "policies[0].jitter_s", "0 to 14400"),
        ({"jitter_s": -1}, "policies[0].jitter_s", "0 to"),
        ({"tier": "warm"}, "policies[0].tier", "hot"),
        ({"tier": ["hot"]}, "policies[0].tier", "one of the tiers"),
        ({"tier": "no-cache"}, "policies[0].base_ttl_s", "caches nothing"),
        ({"prefix": ""}, "policies[0].prefix", "1 to 512"),
        ({"prefix": "x" * 513}, "policies[0].prefix", "1 to 512"),
        ({"prefix": "a\\q"}, "policies[0].prefix", "backslash"),
        ({"prefix": "\ud800"}, "policies[0].prefix", "backslash"),
        ({"prefix": 7}, "policies[0].prefix", "Must be text"),
        ({"prefix": "cachewarden:x"}, "policies[0].prefix", "reserved"),
        ({"strategy": "write-behind"}, "policies[0].strategy", "cache-aside, write-through"),
        ({"strategy": []}, "policies[0].strategy", "cache-aside, write-through"),
        ({"protection": []}, "policies[0].protection", "object"),
        ({"protection": {"lease": 1}}, "policies[0].protection.lease", "true or false"),
        ({"protection": {"early_refresh_beta": 0}}, "policies[0].protection.early_refresh_beta", "0.1 to 10"),
        ({"protection": {"grace_s": 72_001}}, "policies[0].protection.grace_s", "1 to 72000"),
        ({"protection": {"lock": True}}, "policies[0].protection.lock", "Unknown field"),
        ({"negative_ttl_s": 7201}, "policies[0].negative_ttl_s", "0 to 7200"),
        ({"longest_wait_s": 61}, "policies[0].longest_wait_s", "0 to 60"),
        ({"longest_wait_s": float("nan")}, "policies[0].longest_wait_s", "0 to 60"),
        ({"note": "x" * 2001}, "policies[0].note", "2000"),
        ({"bypass_until": "soon"}, "policies[0].bypass_until", "number"),
        ({"ttl": 5}, "policies[0].ttl", "Unknown field"),
    ],
)
def test_a_bad_field_is_named_with_what_is_allowed(changes: dict[str, Any], path: str, words: str) -> None:
    found = problems(document(policies=[policy(**changes)]))
    assert words in found[path], found


@pytest.mark.parametrize(
    ("changes", "path", "code", "low", "high"),
    [
        ({"base_ttl_s": 60}, "base_ttl_s", Wrong.RANGE, 3600, 21_600),
        ({"base_ttl_s": "soon"}, "base_ttl_s", Wrong.RANGE, 3600, 21_600),
        ({"base_ttl_s": None}, "base_ttl_s", Wrong.MISSING, 3600, 21_600),
        ({"tier": "no-cache"}, "base_ttl_s", Wrong.UNCACHED, None, None),
        ({"protection": {"grace_s": 72_001}}, "protection.grace_s", Wrong.RANGE, 1, 72_000),
        ({"longest_wait_s": 61}, "longest_wait_s", Wrong.RANGE, 0, 60),
        ({"prefix": ""}, "prefix", Wrong.LENGTH, 1, 512),
        ({"prefix": "a\\q"}, "prefix", Wrong.ESCAPE, None, None),
        ({"tier": "warm"}, "tier", Wrong.CHOICE, None, None),
        ({"note": "\x00"}, "note", Wrong.CHARACTERS, None, None),
        ({"colour": 1}, "colour", Wrong.OTHER, None, None),
    ],
)
def test_a_problem_says_its_kind_and_bounds_apart_from_words(
    changes: dict[str, Any], path: str, code: Wrong, low: float | None, high: float | None
) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(policy(**changes), TIERS)
    found = {problem.path: problem for problem in caught.value.problems}[path]
    assert (found.code, found.low, found.high) == (code, low, high)


def test_everything_wrong_is_said_at_once() -> None:
    found = problems(
        document(policies=[policy(base_ttl_s=1, jitter_s=-1), policy(prefix="b:", tier="?")], extra=1)
    )
    assert set(found) == {
        "extra",
        "policies[0].base_ttl_s",
        "policies[0].jitter_s",
        "policies[1].tier",
    }


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"version": "3"}, "version"),
        ({"version": -1}, "version"),
        ({"tiers": []}, "tiers"),
        ({"tiers": {}}, "tiers"),
        ({"tiers": [{"name": "Hot!", "min_ttl_s": 1, "max_ttl_s": 2}]}, "tiers[0].name"),
        ({"tiers": [{"name": "hot", "min_ttl_s": 9, "max_ttl_s": 2}]}, "tiers[0].max_ttl_s"),
        ({"tiers": [{"name": "hot", "min_ttl_s": None, "max_ttl_s": 2}]}, "tiers[0].min_ttl_s"),
        ({"tiers": [{"name": "hot", "min_ttl_s": 1, "max_ttl_s": 200}] * 2}, "tiers[1].name"),
        ({"policies": [policy(), policy()]}, "policies[1].prefix"),
        ({"policies": [policy(prefix="a"), policy(prefix="\\x61")]}, "policies[1].prefix"),
        ({"policies": ["product:"]}, "policies[0]"),
        ({"default": {"tier": "hot"}}, "default.base_ttl_s"),
        ({"default": policy()}, "default.prefix"),
        ({"default": None}, "default"),
        ({"schema": 0}, "schema"),
    ],
)
def test_the_document_itself(changes: dict[str, Any], path: str) -> None:
    assert path in problems(document(**changes))


def test_a_newer_document_says_only_that() -> None:
    found = problems(document(schema=2, whatever={}, version="x"))
    assert list(found) == ["schema"]
    assert "Update the library" in found["schema"]


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"version": NaN}',
        b'{"version": 1, "version": 2}',
        b"{" + b" " * 10_000_000 + b"}",
        b'{"version": ' + b"1" * 5000 + b"}",
    ],
    ids=range(10),
)
def test_no_document_at_all(source: bytes | str) -> None:
    with pytest.raises(PolicyError):
        parse_document(source)


def test_100_000_prefixes_are_refused_without_reading_them() -> None:
    found = problems(document(policies=[policy(prefix=f"p{number}:") for number in range(100_000)]))
    assert found == {"policies": "Has 100,000 entries; at most 5,000 are allowed."}


def test_problems_are_bounded() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_document(document(policies=[policy(prefix=f"{n}", tier="?") for n in range(5000)]))
    assert len(caught.value.problems) == MAX_PROBLEMS


def test_those_of_a_single_item_as_well() -> None:
    unknown = {f"x{number}": 1 for number in range(2 * MAX_PROBLEMS)}
    for parse in (parse_tier, parse_mapping, parse_document, lambda source: parse_policy(source, TIERS)):
        with pytest.raises(PolicyError) as caught:
            parse(unknown)  # type: ignore[operator]
        assert len(caught.value.problems) == MAX_PROBLEMS


def test_a_single_policy_and_tier_for_forms() -> None:
    parsed = parse_policy(policy(), TIERS)
    assert (parsed.prefix_text, parsed.base_ttl_s) == ("product:", 7200)
    with pytest.raises(PolicyError, match=r"form\.tier: Must be one of"):
        parse_policy(policy(tier=""), TIERS, path="form")
    nothing = parse_policy({"tier": "no-cache"}, TIERS, is_default=True)
    assert not nothing.is_cached and nothing.prefix == b""
    assert parse_tier({"name": "a", "min_ttl_s": 5, "max_ttl_s": 5}).label == "a"
    with pytest.raises(PolicyError, match="max_ttl_s"):
        parse_tier({"name": "a", "min_ttl_s": 5, "max_ttl_s": 4})


@given(st.binary(max_size=40))
def test_any_prefix_can_be_written_as_text(prefix: bytes) -> None:
    text = prefix_to_text(prefix)
    assert prefix_from_text(text) == prefix
    assert text.isprintable()


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)
)
def test_whatever_stands_in_a_field_is_refused_or_read(value: Any) -> None:
    for name in ("prefix", "tier", "base_ttl_s", "jitter_s", "protection", "bypass_until", "longest_wait_s"):
        try:
            parse_document(document(policies=[policy(**{name: value})]))
        except PolicyError as error:
            assert all(problem.path.startswith("policies[0]") for problem in error.problems)


@given(
    st.lists(st.binary(min_size=1, max_size=4), unique=True, max_size=30),
    st.lists(st.binary(max_size=6), max_size=30),
)
def test_the_longest_prefix_wins(prefixes: list[bytes], keys: list[bytes]) -> None:
    table = PolicyTable([(prefix, prefix) for prefix in prefixes], b"")
    for key in [*keys, *prefixes, *(prefix + b"\xff" for prefix in prefixes)]:
        expected = max((p for p in prefixes if key.startswith(p)), key=len, default=b"")
        assert table.find(key) == expected


def test_nested_prefixes_in_any_order() -> None:
    prefixes = [b"a", b"a:", b"a:b", b"a:b:", b"\xff", b"\xff\xff", b"a\xff"]
    random.shuffle(prefixes)
    table = PolicyTable([(prefix, prefix) for prefix in prefixes], b"")
    assert table.find(b"a:b") == b"a:b"
    assert table.find(b"a:c") == b"a:"
    assert table.find(b"ab") == b"a"
    assert table.find(b"a\xff\xff") == b"a\xff"
    assert table.find(b"\xff\xfe") == b"\xff"
    assert table.find(b"b") == table.find(b"") == b""
