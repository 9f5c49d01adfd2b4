"""The lock that one process holds."""

import time

import psycopg
import pytest
from sqlalchemy import text

from dashboard.db.lock import AdvisoryLock
from dashboard.db.session import Database
from dashboard.errors import StoreUnavailable
from dashboard.monitoring import store

KEY = 4711


def comes_to(lock: AdvisoryLock) -> None:
    """The server needs a moment to notice that a connection ended."""
    deadline = time.monotonic() + 15
    while not lock.acquire():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def engine(fresh_database_url: str):  # type: ignore[no-untyped-def]
    database = Database(fresh_database_url)
    yield database.engine
    database.dispose()


def test_one_holds_it_and_it_passes_on(engine) -> None:  # type: ignore[no-untyped-def]
    one, two = AdvisoryLock(engine, KEY), AdvisoryLock(engine, KEY)
    try:
        assert one.acquire() and one.is_held
        assert not two.acquire() and not two.is_held
        assert one.acquire() and one.confirm(), "asking again changes nothing"
        one.release()
        assert not one.is_held and not one.confirm()
        comes_to(two)
        assert two.confirm()
    finally:
        one.release()
        two.release()


def test_a_holder_whose_connection_ends_knows_it(engine) -> None:  # type: ignore[no-untyped-def]
    one, two = AdvisoryLock(engine, KEY), AdvisoryLock(engine, KEY)
    try:
        assert one.acquire()
        with psycopg.connect(engine.url.set(drivername="postgresql").render_as_string(False)) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cachewarden lock'"
                " AND datname = current_database()"
            )
        assert not one.confirm() and not one.is_held
        comes_to(two)
        assert not one.acquire()
    finally:
        one.release()
        two.release()


def test_a_silent_holder_stops_before_the_server_gives_the_lock_away(engine) -> None:  # type: ignore[no-untyped-def]
    one, two = AdvisoryLock(engine, KEY, patience_s=1.0), AdvisoryLock(engine, KEY, patience_s=1.0)
    try:
        assert one.acquire()
        while one.is_held:
            # Asked afterwards: it may be given away rightly between the two.
            assert not (two.acquire() and one.is_held), "never two at a time"
            time.sleep(0.02)
        comes_to(two)
        assert not one.confirm(), "the old holder finds out"
        assert not one.acquire()
    finally:
        one.release()
        two.release()


def test_postgresql_away_is_no_error(engine) -> None:  # type: ignore[no-untyped-def]
    nowhere = Database("postgresql://postgres@127.0.0.1:1/nothing")
    lock = AdvisoryLock(nowhere.engine, KEY)
    assert not lock.acquire()
    assert not lock.confirm()
    lock.release()


def test_a_worker_that_is_stopped_in_a_transaction_loses_it(fresh_database_url: str) -> None:
    one, two = Database(fresh_database_url), Database(fresh_database_url)
    row = text(
        "INSERT INTO worker_state VALUES ('poller', 'x', now(), now()) ON CONFLICT (name) DO UPDATE SET beat_at = now()"
    )
    try:
        with pytest.raises(StoreUnavailable), one.transaction() as stopped:
            store.let_go_soon(stopped)
            stopped.execute(row)
            began = time.monotonic()
            with two.transaction() as successor:
                store.let_go_soon(successor)
                successor.execute(row)
            assert time.monotonic() - began < 6
            stopped.execute(row)
    finally:
        one.dispose()
        two.dispose()
