"""A process of the harness: several threads that read and write the rows of a window that moves on with time.

``python -m tests.soak.worker`` with its settings as JSON; it may be killed at any moment.
"""

import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import redis

from tests.soak.adapters import ADAPTERS, GRACE_LEFT_MS, TAG_KEY, Adapter, is_placeholder
from tests.soak.database import Database

SLOW_S = 0.003


def main(settings: dict[str, Any]) -> None:
    database = Database(Path(settings["path"]), settings["rows"])
    adapter = ADAPTERS[settings["adapter"]](settings["url"])
    settings["start"] = when(Path(settings["path"]))
    with redis.Redis.from_url(settings["direct"]) as raw, ThreadPoolExecutor(settings["threads"]) as pool:
        done = [
            pool.submit(work, settings, database, adapter, raw, index) for index in range(settings["threads"])
        ]
        counts = [each.result() for each in done]
    adapter.close()
    operations, served = (sum(column) for column in zip(*counts, strict=True))
    sys.stdout.write(json.dumps({"operations": operations, "served": served}))


def when(path: Path) -> float:
    """Say that this process is ready, and wait to be told when all begin."""
    path.with_suffix(f".ready{os.getpid()}").touch()
    go = path.with_suffix(".go")
    while not go.exists():
        time.sleep(0.01)
    return float(go.read_text())


def work(
    settings: dict[str, Any],
    database: Database,
    adapter: Adapter,
    raw: redis.Redis,
    index: int,
) -> tuple[int, int]:
    """Everybody meets at the same few rows: row ``n`` is everybody's turn at second ``n / rate``.

    Returns:
        operations, and how many reads were given something old.
    """
    operations = served = 0
    chance = random.Random(settings["seed"] * 1000 + index)
    rows, rate, start = settings["rows"], settings["rate"], settings["start"]
    while True:
        row = int((time.time() - start) * rate) + chance.randint(0, 1)
        if row < 0:
            time.sleep(0.001)
            continue
        if row >= rows:
            return operations, served
        served += act(database, adapter, raw, row, chance, settings["is_ours"])
        operations += 1


def act(
    database: Database, adapter: Adapter, raw: redis.Redis, row: int, chance: random.Random, is_ours: bool
) -> bool:
    """One reader, writer, or evil; whether a reader was given something old."""
    key = f"row:{row}"

    def load() -> int:
        version = database.version(row)
        if chance.random() < 0.7:
            time.sleep(chance.random() * SLOW_S)
        return version

    dice = chance.random()
    if dice < 0.55:
        told = database.told(row)
        return adapter.read(key, load) < told
    if dice < 0.8:
        write(database, adapter, row, key, chance, is_through=dice < 0.68)
    elif dice < 0.92:
        raw.unlink(key)
    elif is_ours and dice < 0.96:
        # The end of a lease, or of a write's, as if seconds had passed.
        if is_placeholder(raw.get(key)):  # type: ignore[arg-type]
            raw.pexpire(key, 1)
    elif is_ours and dice < 0.97:
        raw.delete(TAG_KEY)
    elif is_ours and dice < 0.985:
        # As if its TTL were over and only the grace time were left: the next reader has it refreshed.
        if not is_placeholder(raw.get(key)):  # type: ignore[arg-type]
            raw.pexpire(key, GRACE_LEFT_MS)
    else:
        for found in raw.scan_iter(f"{key}*", count=1000):
            raw.unlink(found)
    return False


def write(
    database: Database, adapter: Adapter, row: int, key: str, chance: random.Random, *, is_through: bool
) -> None:
    """Commit a new version and tell the cache; what is owed meanwhile is noted, for a kill may come in between."""
    with database.locked(row):
        version = database.version(row) + 1
        if is_through:

            def commit() -> None:
                if chance.random() < 0.5:
                    time.sleep(chance.random() * SLOW_S)
                database.owe(row, 1)
                database.commit(row, version)

            if adapter.write(key, version, commit):
                database.tell(row, version)
                database.owe(row, -1)
                return
        database.owe(row, 1)
        database.commit(row, version)
    if chance.random() < 0.5:
        time.sleep(chance.random() * SLOW_S / 3)
    adapter.invalidate(key)
    with database.locked(row):
        database.tell(row, version)
        database.owe(row, -1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
