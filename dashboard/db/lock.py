"""A lock that exactly one process holds: a PostgreSQL advisory lock on a connection of its own.

The server frees the lock when the connection ends, so nothing needs cleaning up after a holder that was killed.
Two more ways to die are covered by settings of that one session: a holder whose machine is gone is noticed by
TCP keepalives, and one that hangs by ``idle_session_timeout``, because it owes the server a sign of life.
The session must be a real one: a pooler in transaction mode in between breaks every advisory lock.
"""

import logging
import time

import psycopg
from sqlalchemy import Engine

log = logging.getLogger(__name__)


class AdvisoryLock:
    """One lock, used by one thread; ``is_held`` may be read from any thread.

    Args:
        engine: says where PostgreSQL is; none of its pooled connections is used.
        key: the lock's number, the same in all processes.
        patience_s: how long a silent holder keeps the lock, seconds.
    """

    def __init__(self, engine: Engine, key: int, *, patience_s: float = 9.0) -> None:
        _, self._parameters = engine.dialect.create_connect_args(engine.url)
        self._key = key
        self._patience_s = patience_s
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._confirmed_at: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether the lock is ours for sure: confirmed by the server within the patience.

        A holder that was stopped, or can't reach PostgreSQL, sees False at once and before the server
        gives the lock away, because the confirmation is dated when it was asked for.
        """
        confirmed_at = self._confirmed_at
        return confirmed_at is not None and time.monotonic() - confirmed_at < self._patience_s

    def acquire(self) -> bool:
        """Take the lock if it is free; True when it is ours now. PostgreSQL being away is False, not an error."""
        asked_at = time.monotonic()
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()
        except psycopg.Error as error:
            log.debug("can't ask for the lock: %s", error)
            self.release()
            return False
        if row is None or row[0] is not True:
            return False
        self._confirmed_at = asked_at
        return True

    def confirm(self) -> bool:
        """Give a sign of life; False when the lock is lost, for good until it is acquired again."""
        asked_at = time.monotonic()
        try:
            if self._connection is None or not self.is_held:
                raise psycopg.OperationalError("no sign of life was given in time")
            self._connection.execute("SELECT 1")
        except psycopg.Error as error:
            log.debug("the lock is lost: %s", error)
            self.release()
            return False
        self._confirmed_at = asked_at
        return True

    def release(self) -> None:
        """Let go by closing the connection; harmless when nothing is held."""
        self._confirmed_at = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        patience_ms = round(self._patience_s * 1000)
        parameters = {
            **self._parameters,
            "connect_timeout": 3,
            "application_name": "cachewarden lock",
            "keepalives_idle": 2,
            "keepalives_interval": 2,
            "keepalives_count": 2,
            "tcp_user_timeout": 6000,
            # The server's side of the same: without it a vanished machine would hold the lock for hours.
            "options": f"-c idle_session_timeout={patience_ms} -c statement_timeout=3000"
            " -c tcp_keepalives_idle=2 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=2"
            " -c tcp_user_timeout=6000",
        }
        return psycopg.connect(**parameters, autocommit=True)
