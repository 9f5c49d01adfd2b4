"""Signing in: who gets in, what is counted, what is kept of it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import event, text

from dashboard.access import Role
from dashboard.audit import store as audit_store
from dashboard.audit.types import Entry, Filter
from dashboard.auth import passwords, service, store, throttle
from dashboard.auth.types import Closed, SignedIn, WrongPassword
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support import people
from tests.support.people import PASSWORD

WRONG = "not the right password"
HERE, THERE = "192.0.2.1", "198.51.100.7"


def try_in(
    runtime: Runtime, name: str, password: str, address: str | None = HERE
) -> SignedIn | WrongPassword | Closed:
    with people.as_nobody(runtime, address) as work:
        return service.sign_in(work, name, password)


def log(runtime: Runtime) -> list[Entry]:
    """Entries of sign-ins, oldest first."""
    with people.as_cli(runtime) as work:
        wanted = Filter(actions=("auth:session:*",))
        return audit_store.list_entries(work.session, wanted, before_id=None, limit=1000)[::-1]


def rows(runtime: Runtime) -> int:
    with people.as_cli(runtime) as work:
        return int(work.session.execute(text("SELECT count(*) FROM sign_in_throttle")).scalar_one())


@pytest.mark.parametrize("typed", ["news-desk", "NEWS-Desk", "  news-desk "])
def test_the_right_password_signs_in(runtime: Runtime, typed: str) -> None:
    user = people.add_user(runtime, "News-desk", Role.OPERATOR)
    outcome = try_in(runtime, typed, PASSWORD)
    assert isinstance(outcome, SignedIn)
    assert outcome.user.id == user.id and outcome.user.role is Role.OPERATOR
    (entry,) = log(runtime)
    assert (entry.actor_id, entry.actor_name, entry.role) == (user.id, "News-desk", "operator")
    assert (entry.subject, entry.result, entry.address) == ("News-desk", "done", HERE)


def test_wrong_name_wrong_password_and_disabled_account_get_the_same_answer(runtime: Runtime) -> None:
    people.add_user(runtime, "known")
    shut_out = people.add_user(runtime, "shut-out")
    with people.as_cli(runtime) as work:
        service.disable_user(work, shut_out.id)
    tries = [
        ("known", WRONG),
        ("unknown", WRONG),
        ("shut-out", PASSWORD),
        ("shut-out", WRONG),
        ("", ""),
        ("'; --", "\0"),
    ]
    answers = [try_in(runtime, *one, address=f"192.0.2.{number}") for number, one in enumerate(tries)]
    assert answers == [WrongPassword(4)] * 6


def test_a_name_is_kept_only_when_there_is_such_an_account(runtime: Runtime) -> None:
    """People type their password as the name by mistake."""
    people.add_user(runtime, "known")
    try_in(runtime, "Tr0ub4dor&3-by-mistake", WRONG)
    try_in(runtime, "known", WRONG)
    assert [(entry.subject, entry.reason, entry.result) for entry in log(runtime)] == [
        ("unknown account", "No such account", "failed"),
        ("known", "Wrong password", "failed"),
    ]
    with people.as_cli(runtime) as work:
        everything = str(work.session.execute(text("SELECT audit_entry::text FROM audit_entry")).all())
        everything += str(
            work.session.execute(text("SELECT sign_in_throttle::text FROM sign_in_throttle")).all()
        )
    assert "Tr0ub4dor" not in everything and HERE.encode().hex() not in everything


def test_every_try_costs_exactly_one_hash_and_the_same_queries(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an attacker with a stop-watch sees: the same work for known, unknown and disabled accounts."""
    people.add_user(runtime, "known")
    with people.as_cli(runtime) as work:
        service.disable_user(work, people.add_user(runtime, "shut-out").id)
    hashes: list[str] = []
    statements: list[str] = []
    verify = passwords.verify

    def watched_verify(password_hash: str, password: str) -> bool:
        hashes.append(password_hash.rpartition("$")[0].rpartition("$")[0])  # algorithm and parameters
        return verify(password_hash, password)

    def watched_statement(connection: object, cursor: object, statement: str, *rest: object) -> None:
        statements.append(statement)

    monkeypatch.setattr(passwords, "verify", watched_verify)
    seen = []
    for name in ("known", "unknown", "shut-out", "x" * 500):
        hashes.clear()
        statements.clear()
        with people.as_nobody(runtime, f"203.0.113.{len(seen)}") as work:
            connection = work.session.connection()
            event.listen(connection, "before_cursor_execute", watched_statement)
            service.sign_in(work, name, WRONG)
            event.remove(connection, "before_cursor_execute", watched_statement)
        seen.append((list(hashes), list(statements)))
    assert all(one == seen[0] for one in seen)
    assert len(seen[0][0]) == 1


def test_five_wrong_passwords_close_the_account_from_that_address_only(
    runtime: Runtime, clock: FixedClock
) -> None:
    people.add_user(runtime, "known")
    left = [try_in(runtime, "known", WRONG) for _ in range(5)]
    assert left == [WrongPassword(4), WrongPassword(3), WrongPassword(2), WrongPassword(1), WrongPassword(0)]
    assert try_in(runtime, "known", PASSWORD) == Closed(900), "the right one must not be looked at either"
    assert try_in(runtime, "KNOWN", PASSWORD) == Closed(900)
    assert isinstance(try_in(runtime, "known", PASSWORD, THERE), SignedIn), (
        "the owner elsewhere is not locked out"
    )
    clock.wall += timedelta(minutes=14)
    assert try_in(runtime, "known", PASSWORD) == Closed(60), "trying on must not prolong it"
    clock.wall += timedelta(minutes=1)
    assert isinstance(try_in(runtime, "known", PASSWORD), SignedIn)


def test_an_unknown_name_closes_just_the_same(runtime: Runtime) -> None:
    answers = [try_in(runtime, "unknown", WRONG) for _ in range(6)]
    assert answers[4:] == [WrongPassword(0), Closed(900)]


def test_the_right_password_forgets_the_wrong_ones(runtime: Runtime) -> None:
    people.add_user(runtime, "known")
    for _ in range(4):
        try_in(runtime, "known", WRONG)
    assert isinstance(try_in(runtime, "known", PASSWORD), SignedIn)
    assert try_in(runtime, "known", WRONG) == WrongPassword(4)


def test_one_address_cannot_try_many_accounts(runtime: Runtime) -> None:
    people.add_user(runtime, "known")
    answers = [try_in(runtime, f"name-{number}", WRONG) for number in range(throttle.ADDRESS_LIMIT)]
    assert answers[-1] == WrongPassword(0)
    assert try_in(runtime, "known", PASSWORD) == Closed(900)
    assert isinstance(try_in(runtime, "known", PASSWORD, THERE), SignedIn)


def test_an_own_account_does_not_wash_an_address_clean(runtime: Runtime) -> None:
    """Signing in between the guesses must not start the address anew."""
    people.add_user(runtime, "insider")
    closed_after = None
    for number in range(40):
        assert not isinstance(try_in(runtime, f"victim-{number}", WRONG), SignedIn)
        if isinstance(try_in(runtime, "insider", PASSWORD), Closed):
            closed_after = number + 1
            break
    assert closed_after == throttle.ADDRESS_LIMIT


def test_pressing_on_against_a_closed_account_does_not_close_the_address(runtime: Runtime) -> None:
    people.add_user(runtime, "colleague")
    for _ in range(60):
        try_in(runtime, "known", WRONG)
    assert isinstance(try_in(runtime, "colleague", PASSWORD), SignedIn)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("192.0.2.1", "192.0.2.2", False),
        (None, "", True),
        ("garbage", None, True),
    ],
)
def test_an_address_is_what_one_client_can_have(
    runtime: Runtime, one: str | None, other: str | None, is_same: bool
) -> None:
    for _ in range(5):
        try_in(runtime, "known", WRONG, one)
    assert isinstance(try_in(runtime, "known", WRONG, other), Closed) == is_same


def test_failed_tries_are_listed_and_the_closing_once(runtime: Runtime) -> None:
    for _ in range(12):
        try_in(runtime, "known", WRONG)
    listed = log(runtime)
    assert [entry.result for entry in listed] == ["failed"] * 5 + ["refused"]
    assert listed[-1].reason == "Too many wrong passwords"


def test_an_attack_from_everywhere_does_not_fill_the_log(
    runtime: Runtime, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "AUDIT_LIMIT", 3)
    for number in range(8):
        try_in(runtime, "known", WRONG, f"192.0.2.{number + 1}")
    listed = log(runtime)
    assert len(listed) == 3
    assert "not listed" in listed[-1].reason and "not listed" not in listed[-2].reason
    clock.wall += timedelta(minutes=15)
    try_in(runtime, "known", WRONG)
    assert len(log(runtime)) == 4


def test_the_throttle_is_cleaned_and_bounded(
    runtime: Runtime, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        try_in(runtime, "known", WRONG, f"192.0.2.{number + 1}")
    assert rows(runtime) == 13  # an address and a pair each, and the log's own
    clock.wall += timedelta(minutes=15)
    try_in(runtime, "known", WRONG)
    assert rows(runtime) == 3
    monkeypatch.setattr(throttle, "MOST_ROWS", 6)
    for number in range(10):
        clock.wall += timedelta(seconds=1)
        try_in(runtime, "known", WRONG, f"198.51.100.{number}")
    assert rows(runtime) <= 6 + 3


def test_a_new_password_opens_the_account_again(runtime: Runtime) -> None:
    user = people.add_user(runtime, "known")
    for _ in range(6):
        try_in(runtime, "known", WRONG)
    with people.as_cli(runtime) as work:
        service.reset_password(work, user.id, "a brand new password")
    assert isinstance(try_in(runtime, "known", "a brand new password"), SignedIn)


def test_a_hash_with_older_parameters_is_renewed(runtime: Runtime) -> None:
    user = people.add_user(runtime, "known")
    old = PasswordHasher(time_cost=1, memory_cost=32, parallelism=1).hash(PASSWORD)
    with people.as_cli(runtime) as work:
        work.session.execute(text("UPDATE user_account SET password_hash = :old"), {"old": old})
    assert isinstance(try_in(runtime, "known", PASSWORD), SignedIn)
    with people.as_cli(runtime) as work:
        renewed = store.password_hash_of(work.session, user.id)
        version = service.get_user(work, user.id).session_version
    assert renewed != old and not passwords.needs_rehash(renewed) and passwords.verify(renewed, PASSWORD)
    assert version == user.session_version, "other sessions go on"


def test_tries_at_the_same_moment_share_one_count(live_runtime: Runtime) -> None:
    """Real connections: of many parallel guesses five are looked at, not one more."""
    people.add_user(live_runtime, "known")
    start = threading.Barrier(8)

    def guess(_: int) -> object:
        start.wait()
        return try_in(live_runtime, "known", WRONG)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(guess, range(8)))
    assert sorted(answer.tries_left for answer in answers if isinstance(answer, WrongPassword)) == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert sum(isinstance(answer, Closed) for answer in answers) == 3


def test_right_and_wrong_tries_at_the_same_moment_do_not_block_each_other(live_runtime: Runtime) -> None:
    for number in range(4):
        people.add_user(live_runtime, f"user-{number}")

    def one(number: int) -> object:
        return try_in(
            live_runtime, f"user-{number % 4}", PASSWORD if number % 2 else WRONG, f"192.0.2.{number % 3}"
        )

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(one, range(24)))
    assert not [answer for answer in answers if isinstance(answer, Closed)]
    assert sum(isinstance(answer, SignedIn) for answer in answers) == 12
