"""Threads and processes, some of which are killed, against a model: no read is given what is old, and after things
settle nothing old is stored.

Each row is one random interleaving: for a moment all threads of all processes read it, write it, evict it, purge it
and end its leases. Afterwards what is stored must be its version in the database. One case is left out, because
no cache can close it: a writer that was killed after its commit and before it told the cache. It is noted in the
database, and such rows are counted apart.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from tests.soak.adapters import ADAPTERS
from tests.soak.database import Database
from tests.support.servers import flush

PROCESSES = 2
THREADS = 4


@dataclass
class Tally:
    rows: int = 0
    operations: int = 0
    """Of processes that were not killed."""
    kills: int = 0
    stale: int = 0
    served: int = 0
    """Reads that were given a version older than one that the cache had been told of before they began."""
    owed: int = 0
    stored: int = 0
    """Rows that had a value in the end; with none, nothing would be proved."""

    def __iadd__(self, other: "Tally") -> "Tally":
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self


def run(
    adapter: str,
    url: str,
    *,
    seconds: float,
    rate: int = 250,
    kills: bool = True,
    seed: int | None = None,
    through: str | None = None,
) -> Tally:
    """Let the processes loose for about ``seconds``.

    Args:
        adapter: a name in ADAPTERS.
        url: a server that is this run's own; it is emptied first.
        seconds: how long, without starting and judging.
        rate: rows per second that all meet at.
        kills: whether processes are killed (and replaced) meanwhile.
        seed: of the processes' chance.
        through: another way to the same server, which the caches take; it may fail. A process whose Redis is away
            may share older loads, so ``served`` proves nothing then.
    """
    flush(url)
    chance = random.Random(seed)
    rows = max(1, int(seconds * rate))
    tally = Tally(rows=rows)
    with tempfile.TemporaryDirectory(prefix="cachewarden-soak-") as folder, ExitStack() as ends:
        path = Path(folder) / "database"
        database = Database.create(path, rows)
        settings = {
            "adapter": adapter,
            "is_ours": adapter == "cachewarden",
            # Patient: on a machine that is busy nobody's Redis is away.
            "url": through or f"{url}?socket_timeout=30&socket_connect_timeout=30",
            "direct": url,
            "path": str(path),
            "rows": rows,
            "rate": rate,
            "threads": THREADS,
        }
        running = [_start(settings, chance) for _ in range(PROCESSES)]
        ends.callback(_end, running)
        while len(list(Path(folder).glob("*.ready*"))) < PROCESSES:
            assert all(process.poll() is None for process in running), f"a worker of {adapter} does not start"
            time.sleep(0.01)
        start = time.time() + 0.1
        going = path.with_suffix(".going")
        going.write_text(str(start))
        going.rename(path.with_suffix(".go"))
        deadline = start + seconds
        while kills and time.time() < deadline - 2:
            # Long enough for a new process to start and take part.
            time.sleep(chance.uniform(0.25, 1.0) * min(5.0, seconds / 3))
            if time.time() < deadline - 2 and len(running) >= PROCESSES:
                victim = running.pop(chance.randrange(len(running)))
                victim.kill()
                victim.communicate()
                tally.kills += 1
                running.append(_start(settings, chance))
        for process in running:
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0, f"a worker of {adapter} failed"
            counted = json.loads(out)
            tally.operations += counted["operations"]
            tally.served += counted["served"]
        _judge(tally, adapter, url, database, rows)
        database.close()
    return tally


def _end(running: "list[subprocess.Popen[str]]") -> None:
    """Leave no process behind, whatever happened."""
    for process in running:
        process.kill()
        process.wait()


def _start(settings: dict[str, object], chance: random.Random) -> "subprocess.Popen[str]":
    given = json.dumps(settings | {"seed": chance.randrange(2**31)})
    return subprocess.Popen(
        [sys.executable, "-m", "tests.soak.worker", given],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )


def _judge(tally: Tally, name: str, url: str, database: Database, rows: int) -> None:
    adapter = ADAPTERS[name](url)
    for row in range(rows):
        found = adapter.stored(f"row:{row}")
        if found is None:
            continue
        tally.stored += 1
        if found != database.version(row):
            if database.owed(row):
                tally.owed += 1
            else:
                tally.stale += 1
    adapter.close()
