"""An embedded server that ends by itself is started again, and nothing is left once it is stopped."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from dashboard.embedded import keeping, postgres, process, valkey
from dashboard.embedded.keeping import Kept
from tests.support import servers
from tests.support.polling import wait_until


def ping_valkey(url: str) -> object:
    with redis.Redis.from_url(url) as client:
        return client.ping()


def ping_postgres(url: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone()


@pytest.mark.parametrize(
    ("start", "ping"),
    [
        (lambda folder, port: valkey.start(folder, port=port), ping_valkey),
        (lambda folder, port: postgres.start(folder, port=port, config=servers.FAST_POSTGRES), ping_postgres),
    ],
    ids=["Valkey", "PostgreSQL"],
)
def test_a_server_that_was_killed_comes_back_where_it_was(
    server_folder: Path, start: Callable[[Path, int], process.Server], ping: Callable[[str], object]
) -> None:
    told: list[str] = []
    with Kept(lambda port: start(server_folder / "kept", port), told.append) as kept:
        assert ping(kept.url)
        killed = kept.pid
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: told and told[-1].endswith(" runs again."), "it was started again")
        assert ping(kept.url)
        again = kept.pid
        assert again != killed and "has ended. Starting it again" in told[0]
    with pytest.raises(ProcessLookupError):
        os.kill(again, 0)
    assert told[-1].endswith(" runs again.")  # its end was asked for, and is nobody's news


def test_one_that_cannot_come_back_is_told_once_and_tried_again(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "AGAIN_AFTER_S", 0.1)
    told: list[str] = []
    tries: list[int] = []

    def start(port: int) -> process.Server:
        tries.append(port)
        if 1 < len(tries) < 4:
            raise process.EmbeddedError("Its port is taken.\nThe end of its log:")
        return valkey.start(server_folder / "kept", port=port)

    with Kept(start, told.append) as kept:
        os.kill(kept.pid, signal.SIGKILL)
        wait_until(lambda: told and told[-1] == "Valkey runs again.", "it was started again")
        assert ping_valkey(kept.url)
    assert len(told) == 3 and "Its port is taken. It is tried every" in told[1] and "Ctrl-C" in told[1]
    assert len(tries) == 4 and set(tries[1:]) == {tries[1]} != {0}
