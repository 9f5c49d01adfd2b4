"""What reading policies costs: 1,500 versions of 500 policies that each changes, and 2,000 counted prefixes.

``python -m benchmarks.policies``
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from benchmarks.history import median_ms
from dashboard.access import Actor, Role
from dashboard.caching.policy import DEFAULT_POLICY, TIERS, Policy, PolicyDocument
from dashboard.caching.wire import COUNTERS
from dashboard.policies import service, store
from dashboard.work import Runtime, unit_of_work
from tests.support import history as made
from tests.support import live

VERSIONS = 1_500
POLICIES = 500
PREFIXES = 2_000
ROUNDS = 15
ACTOR = Actor(None, "bench", Role.ADMIN, "cli")


def fill(runtime: Runtime) -> int:
    """Versions of four months, a day of hours and two hours of minutes of counters; the cache's id."""
    now = runtime.clock.now()
    policies = tuple(
        Policy(prefix=f"shop:{number:04}:".encode(), tier="frequently-updated", base_ttl_s=3600, jitter_s=720)
        for number in range(POLICIES)
    )
    changed = [f"policy:{policy.prefix_text}" for policy in policies]
    with runtime.database.transaction() as session:
        session.execute(text("SET LOCAL statement_timeout = 0"))
        cache_id = made.add_cache(
            session,
            "shop",
            url=runtime.cipher.encrypt("redis://127.0.0.1:1/0"),
            created_at=now - timedelta(days=130),
        )
        store.lock_set(session, cache_id)
        for number in range(1, VERSIONS + 1):
            # Every version moves every TTL, as a file that is applied on each merge may.
            document = PolicyDocument(
                number,
                TIERS,
                tuple(replace(policy, base_ttl_s=3600 + number % 2 * 60) for policy in policies),
                DEFAULT_POLICY,
            )
            at = now - timedelta(hours=2 * (VERSIONS - number) + 1)
            version = store.Version(number, at, "bench", "Merge", "apply", None, f"{POLICIES} changed")
            store.insert_version(session, cache_id, version, changed, document.to_dict())
        store.set_numbers(session, cache_id, version=VERSIONS, draft_revision=0)
        names = [f"shop:{number:04}:" for number in range(PREFIXES)]
        for hours in range(26):
            store.ensure_partitions(session, now - timedelta(hours=hours))
        columns = ", ".join(COUNTERS)
        counts = ", ".join("(90 + random() * 20)::bigint" for _ in COUNTERS)
        for table, step, back in ((store.HOUR, "hour", "25 hours"), (store.MINUTE, "minute", "2 hours")):
            session.execute(
                text(
                    f"INSERT INTO {table} (bucket, cache_id, prefix, {columns}) SELECT bucket, :cache_id, prefix,"
                    f" {counts} FROM generate_series(date_trunc('{step}', CAST(:now AS timestamptz)"
                    f" - interval '{back}'), :now, interval '1 {step}') AS bucket,"
                    " unnest(CAST(:names AS text[])) AS prefix"
                ),
                {"cache_id": cache_id, "now": now, "names": names},
            )
        store.put_counts(session, cache_id, {"hits:shop:0000:": 1}, now)
    with runtime.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    return cache_id


def measure(runtime: Runtime, cache_id: int) -> None:
    """Print the medians of what pages and live rounds ask."""
    with unit_of_work(runtime, ACTOR) as work:
        floor = median_ms(lambda: work.session.execute(text("SELECT 1")).scalar(), 200)
        print(f"{'SELECT 1':<34} {floor:8.2f} ms")
        day, hour = timedelta(days=1), timedelta(hours=1)
        names = [f"policy:shop:{number:04}:" for number in range(POLICIES)]
        asked: dict[str, Callable[[], object]] = {
            "Policies page": lambda: service.policies_page(work, cache_id),
            "live round of it": lambda: service.policies_page(work, cache_id, with_use=False),
            "last change of each policy": lambda: store.changes_of(work.session, cache_id, names),
            "form of a policy": lambda: service.editor(work, cache_id, "shop:0007:"),
            "effect of a version": lambda: service.effect(work, cache_id, VERSIONS - 1),
            "history, first page": lambda: service.history_page(work, cache_id),
            "prefix table, 1 h": lambda: service.prefix_table(work, cache_id, work.now - hour, work.now),
            "prefix table, 24 h": lambda: service.prefix_table(work, cache_id, work.now - day, work.now),
            "database reads avoided, 1 h": lambda: service.reads_avoided(
                work, cache_id, work.now - hour, work.now
            ),
        }
        for words, ask in asked.items():
            taken = median_ms(ask, ROUNDS)
            print(f"{words:<34} {taken:8.2f} ms = {taken / floor:6.1f} SELECT 1")


def main() -> None:
    """Load, then print the figures."""
    with tempfile.TemporaryDirectory(prefix="cachewarden-bench-") as folder:
        Path(folder).chmod(0o755)
        with live.dashboard(Path(folder), with_worker=False) as running:
            began = time.perf_counter()
            cache_id = fill(running.runtime)
            print(f"loaded {VERSIONS:,} versions in {time.perf_counter() - began:.0f} s")
            measure(running.runtime, cache_id)


if __name__ == "__main__":
    main()
