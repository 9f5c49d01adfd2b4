"""Password rules, and what a hash can be trusted with."""

import unicodedata

import pytest
from argon2 import PasswordHasher

from dashboard.auth import passwords

GOOD = "correct horse battery staple"


@pytest.mark.parametrize(
    "password",
    [
        GOOD,
        "äöüß€ ελληνικά",
        "twelve chars",
        "x1!" * 4 + "yz",
        "密码密码密码很长很长不是吗",
        "a b c d e f\x00g",
    ],
)
def test_a_long_password_may_be_used(password: str) -> None:
    assert passwords.problem(password, "news-desk") == ""


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("", "12 or more"),
        ("elevenchars", "Has 11 characters"),
        ("aaaaaaaaaaaaaaaa", "different characters"),
        ("Warehouse-Team", "name of the account"),
        ("ab cd ef " * 200, "1024 bytes"),
        ("é" * 5 + "abcdefg" + "ü" * 510, "1024 bytes"),
        ("lone surrogate \ud800", "no text"),
    ],
)
def test_a_weak_or_broken_password_is_refused_with_the_reason(password: str, says: str) -> None:
    assert says in passwords.problem(password, "warehouse-team")


def test_letters_count_once_whether_composed_or_not() -> None:
    decomposed = unicodedata.normalize("NFD", "ééééééüüabc")
    assert len(decomposed) > passwords.SHORTEST
    assert "Has 11 characters" in passwords.problem(decomposed, "name")


def test_only_the_password_itself_fits_its_hash() -> None:
    hashed = passwords.hash_password(GOOD)
    assert passwords.verify(hashed, GOOD)
    assert not passwords.verify(hashed, GOOD + " ")
    assert not passwords.verify(hashed, GOOD.upper())
    assert not passwords.verify(hashed, "")


def test_the_same_letters_fit_whether_composed_or_not() -> None:
    hashed = passwords.hash_password(unicodedata.normalize("NFC", "übermäßig höflich"))
    assert passwords.verify(hashed, unicodedata.normalize("NFD", "übermäßig höflich"))


def test_two_hashes_of_one_password_differ() -> None:
    assert passwords.hash_password(GOOD) != passwords.hash_password(GOOD)


@pytest.mark.parametrize("password", ["x" * 1025, "\ud800" * 12, "x" * 1_000_000])
def test_an_impossible_password_is_wrong_and_not_an_error(password: str) -> None:
    assert not passwords.verify(passwords.unknown_account_hash(), password)


@pytest.mark.parametrize(
    "broken", ["", "plain", "$argon2id$v=19$m=65536,t=3,p=4$short", "$2b$12$abcdefghijklmnopqrstuv"]
)
def test_a_broken_hash_fits_nothing(broken: str) -> None:
    assert not passwords.verify(broken, GOOD)


def test_unknown_accounts_cost_what_known_ones_cost() -> None:
    """The hash for names without an account has the parameters of every new hash, and no password."""
    known, unknown = passwords.hash_password(GOOD), passwords.unknown_account_hash()
    assert known.split("$")[:4] == unknown.split("$")[:4]
    assert not passwords.needs_rehash(unknown)
    assert passwords.unknown_account_hash() is unknown


def test_a_hash_with_older_parameters_is_noticed() -> None:
    old = PasswordHasher(time_cost=1, memory_cost=32, parallelism=1).hash(GOOD)
    assert passwords.verify(old, GOOD)
    assert passwords.needs_rehash(old)
    assert not passwords.needs_rehash(passwords.hash_password(GOOD))


def test_what_is_shipped_is_slow_to_guess(shipped_hasher: PasswordHasher) -> None:
    """The tests hash cheaply; the product must not."""
    assert shipped_hasher.memory_cost >= 64 * 1024 and shipped_hasher.time_cost >= 3
    assert shipped_hasher.hash(GOOD).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
