"""What an entry may keep: no secret, nothing too long, nothing PostgreSQL refuses."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.access import Role
from dashboard.audit.scrub import HIDDEN, MAX_BYTES, clean_text, is_secret_name, scrub

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "name",
    [
        "password", "Password", "new_password", "newPassword", "PASSWORD_HASH", "redis-pwd", "api_key", "apiKey",
        "APIKey", "secretKey", "authToken", "sessionId", "private_key", "cookie", "passphrase", "credentials",
    ],
)  # fmt: skip
def test_fields_named_like_secrets_are_hidden(name: str) -> None:
    assert is_secret_name(name)
    assert scrub({"outer": {name: SECRET}, name: [SECRET]}) == {"outer": {name: HIDDEN}, name: HIDDEN}


@pytest.mark.parametrize(
    "name", ["name", "role", "key_prefix", "author", "session_hours", "url", "hashed_slots"]
)
def test_other_fields_are_kept(name: str) -> None:
    assert not is_secret_name(name)
    assert scrub({name: "value"}) == {name: "value"}


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{SECRET}@host:6379/0",
        f"rediss://:{SECRET}@host",
        f"redis+sentinel://u:{SECRET}/with:slash@and-at@a,b/service",
        f"see unix:///run/redis.sock?password={SECRET}&db=1",
        f"postgresql://u:{SECRET}@[::1]/x",
        f"https://host/?a=b;token={SECRET}",
    ],
)
def test_credentials_within_addresses_are_hidden(url: str) -> None:
    kept = json.dumps(scrub({"url": url, "urls": [url], "deep": {"text": url}}))
    assert SECRET not in kept
    assert "with:slash" not in kept
    assert HIDDEN in kept


def test_an_address_without_credentials_stays() -> None:
    for url in ("redis://cache-01:6379/0", "redis://user@host", "mail to ops@example.org: done"):
        assert clean_text(url) == url


def test_values_become_plain_json() -> None:
    moment = datetime(2026, 3, 4, tzinfo=UTC)
    kept = scrub(
        {"role": Role.ADMIN, "at": moment, "raw": b"abc", "ratio": float("nan"), "set": {2, 1}, "odd": 1 + 2j}
    )
    assert kept == {
        "role": "admin", "at": "2026-03-04T00:00:00+00:00", "raw": "(3 bytes)", "ratio": "nan", "set": [1, 2],
        "odd": "(1+2j)",
    }  # fmt: skip


def test_nothing_stays_nothing() -> None:
    assert scrub(None) is None
    assert scrub({}) == {}
    assert scrub({"password": None}) == {"password": None}


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert clean_text("x" * 2000) == "x" * 499 + "…"
    assert scrub({"list": list(range(100))}) == {"list": [*range(50), "50 more"]}
    many = scrub({str(number): number for number in range(80)})
    assert many is not None and len(many) == 51 and many["…"] == "30 more"
    huge = scrub({str(number): "x" * 499 for number in range(40)})
    assert huge == {str(number): "(too long)" for number in range(40)}


JSON_LIKE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(exclude_categories=())),
        st.binary(),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=40,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=())), JSON_LIKE))
def test_anything_becomes_small_json_that_postgresql_takes(values: dict[str, object]) -> None:
    kept = json.dumps(scrub(values), ensure_ascii=False, allow_nan=False).encode()
    assert len(kept) <= MAX_BYTES
    assert b"\\u0000" not in kept
