"""What the history costs: 90 days of 20 caches, loaded as time would have laid them down; queries and bytes.

``python -m benchmarks.history [--explain]``
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import event, text
from sqlalchemy.orm import Session

from dashboard.access import Actor, Role
from dashboard.monitoring import rollup, series, service, store
from dashboard.monitoring.readings import reading_to_json
from dashboard.monitoring.types import CommandStat, Reading
from dashboard.work import Runtime, unit_of_work
from tests.support import history as made

CACHES = 20
DAYS = 90
ROUNDS = 30
ACTOR = Actor(None, "bench", Role.ADMIN, "cli")


def fill(runtime: Runtime, *, caches: int = CACHES, days: int = DAYS) -> int:
    """Load ``days`` of history of ``caches`` caches, with today's retention; the id of the first.

    The first cache is made whole; the others are copies. Rows are inserted in order of time, those of all caches
    in turn, so that one cache's rows lie scattered over the pages as they do after months of polling.
    """
    now = runtime.clock.now()
    with runtime.database.transaction() as session:
        session.execute(text("SET LOCAL statement_timeout = 0"))
        ids = [
            made.add_cache(
                session,
                f"shop-{number:02}",
                url=runtime.cipher.encrypt(f"redis://127.0.0.1:{20000 + number}/0"),
                created_at=now - timedelta(days=days),
            )
            for number in range(caches)
        ]
        for cache_id in ids:
            session.execute(
                text("INSERT INTO poll_state (cache_id, poll_interval_s) VALUES (:id, 10)"), {"id": cache_id}
            )
        first = ids[0]
        store.beat(session, "bench", now, is_new=True)
        _minutes_and_hours(session, first, now, days)
        made.ensure_partitions(session, now - timedelta(hours=48), now)
        made.insert_samples(session, first, now - timedelta(hours=48), now)
        made.insert_command_samples(session, first, now - timedelta(hours=48), now)
        for table, column in (
            ("sample", "ts"),
            ("command_sample", "bucket"),
            ("rollup_minute", "bucket"),
            ("rollup_hour", "bucket"),
        ):
            _copy(session, table, column, ids)
        _states(session, ids, now)
    with runtime.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        for table in (*store.PARTITION_DAYS, "poll_state", "cache_event"):
            connection.execute(text(f"VACUUM ANALYZE {table}"))
    return first


def _minutes_and_hours(session: Session, cache_id: int, now: datetime, days: int) -> None:
    start = now - timedelta(days=days)
    made.ensure_partitions(session, start, now)
    made.insert_samples(session, cache_id, start, now, 60)
    rollup.roll_up_minutes(session, [cache_id], start, now)
    rollup.roll_up_hours(session, [cache_id], start, now)
    for table, before in (("sample", now + timedelta(days=9)), ("rollup_minute", now - timedelta(days=31))):
        store.drop_partitions(session, table, before)


def _copy(session: Session, table: str, column: str, ids: list[int]) -> None:
    names = list(
        session.scalars(
            text(
                "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attnum > 0"
                " AND NOT attisdropped AND attname <> 'cache_id' ORDER BY attnum"
            ),
            {"table": table},
        )
    )
    columns = ", ".join(names)
    session.execute(text(f"CREATE TEMP TABLE pattern ON COMMIT DROP AS SELECT {columns} FROM {table}"))
    session.execute(text(f"TRUNCATE {table}"))
    session.execute(
        text(
            f"INSERT INTO {table} (cache_id, {columns}) SELECT id, {columns}"
            f" FROM pattern CROSS JOIN unnest(CAST(:ids AS int[])) AS id ORDER BY {column}"
        ),
        {"ids": ids},
    )
    session.execute(text("DROP TABLE pattern"))


def _states(session: Session, ids: list[int], now: datetime) -> None:
    reading = Reading(
        taken_at=now,
        clock_s=0.0,
        run_id="0" * 40,
        uptime_in_seconds=3_600_000,
        version="8.0.1",
        vendor="redis",
        role="master",
        keyspace_hits=10**9,
        keyspace_misses=10**8,
        used_memory=508 * 2**20,
        maxmemory=512 * 2**20,
        maxmemory_policy="allkeys-lru",
        keys=144_000,
        expires=143_000,
        connected_clients=42,
        blocked_clients=0,
        commands={f"command{number}": CommandStat(10**6, 10**7, 0, 0) for number in range(40)},
    )
    for cache_id in ids:
        before = store.load_state(session, cache_id, now=now, clock_s=0.0)
        before.revision = 1
        session.execute(
            text(
                "UPDATE poll_state SET revision = 1, readings = CAST(:readings AS jsonb), last_success_at = :now,"
                " last_attempt_at = :now, version = '8.0.1', topology = 'Server', used_memory = 532676608,"
                " maxmemory = 536870912 WHERE cache_id = :id"
            ),
            {"readings": _json({"127.0.0.1:6379": reading_to_json(reading)}), "now": now, "id": cache_id},
        )


def _json(value: object) -> str:
    import json

    return json.dumps(value)


def median_ms(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median milliseconds of one call, after three to warm up."""
    for _ in range(3):
        run()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def measure(runtime: Runtime, cache_id: int) -> None:
    """Print the medians of what pages ask."""

    def timed(words: str, ask: Callable[[], object], floor: float) -> None:
        taken = median_ms(ask)
        print(f"{words:<34} {taken:8.2f} ms = {taken / floor:6.1f} SELECT 1")

    with unit_of_work(runtime, ACTOR) as work:
        floor = median_ms(lambda: work.session.execute(text("SELECT 1")).scalar(), 200)
        print(f"{'SELECT 1':<34} {floor:8.2f} ms")
        for name in series.RANGES:
            within = service.span(work, name)
            found = service.overview_series(work, cache_id, within)
            timed(
                f"series {name:>3}: {len(found.times)} points of {found.level}",
                lambda within=within: service.overview_series(work, cache_id, within),
                floor,
            )
        few = ["hit_ratio", "hit_ratio_min", "lookups", "used_memory_bytes", "evicted_per_s"]
        month = service.span(work, "30d")
        timed(
            "series 30d, five columns",
            lambda: service.overview_series(work, cache_id, month, columns=few),
            floor,
        )
        hour = service.span(work, "1h")
        recent = (work.now - timedelta(seconds=20)).timestamp()
        timed(
            "series 1h, live append",
            lambda: service.overview_series(work, cache_id, hour, since=recent),
            floor,
        )
        timed("summary 1h", lambda: service.summary(work, cache_id, hour), floor)
        timed("summary 30d", lambda: service.summary(work, cache_id, month), floor)
        timed("verdicts of one cache", lambda: service.verdicts(work, cache_id), floor)
        timed("cache_states of 20 caches", lambda: service.cache_states(work), floor)
        timed("fleet_status of 20 caches", lambda: service.fleet_status(work), floor)
        timed("commands table, one hour", lambda: service.commands_page(work, cache_id), floor)
        timed("rollup of all caches", lambda: service.roll_up(work), floor)
        sizes = made.total_size(work.session)
        per_cache = {table: size / CACHES / 2**20 for table, size in sizes.items()}
        print("MB per cache: " + ", ".join(f"{table} {size:.2f}" for table, size in per_cache.items()))
        month_mb = (
            per_cache["sample"]
            + per_cache["command_sample"]
            + per_cache["rollup_minute"] * 30 / 31
            + per_cache["rollup_hour"] * 30 / DAYS
        )
        print(f"a month of one cache at 10 s: {month_mb:.1f} MB (ceiling 25)")


def explain(runtime: Runtime, cache_id: int) -> None:
    """Print the plans of the large queries."""
    plans: list[tuple[str, object]] = []

    def keep(
        connection: object, cursor: object, statement: str, parameters: object, context: object, many: bool
    ) -> None:
        if statement.lstrip().startswith("SELECT") and "rollup" in statement:
            plans.append((statement, parameters))

    engine = runtime.database.engine
    event.listen(engine, "before_cursor_execute", keep)
    with unit_of_work(runtime, ACTOR) as work:
        for name in ("24h", "7d", "30d"):
            service.overview_series(work, cache_id, service.span(work, name))
        service.fleet_status(work)
    event.remove(engine, "before_cursor_execute", keep)
    with engine.connect() as connection:
        for statement, parameters in plans:
            print("\n" + statement[:160], "…")
            found = connection.exec_driver_sql(
                "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + statement,
                parameters,  # type: ignore[arg-type]
            )
            for line in found.scalars():
                if "never executed" not in line:
                    print("  ", line[:170])


def main() -> None:
    """Load, then print the figures."""
    from tests.support import live

    with tempfile.TemporaryDirectory(prefix="cachewarden-bench-") as folder:
        Path(folder).chmod(0o755)
        with live.dashboard(Path(folder), with_worker=False) as running:
            began = time.perf_counter()
            cache_id = fill(running.runtime)
            print(f"loaded {DAYS} days of {CACHES} caches in {time.perf_counter() - began:.0f} s")
            measure(running.runtime, cache_id)
            if "--explain" in sys.argv:
                explain(running.runtime, cache_id)


if __name__ == "__main__":
    main()
