"""History made in bulk by PostgreSQL itself, for tests and benchmarks."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from dashboard.monitoring import store

NOW = datetime(2025, 6, 15, 12, 0, 0, tzinfo=UTC)


def add_cache(
    session: Session,
    name: str = "shop",
    *,
    url: bytes = b"",
    poll_interval_s: int = 10,
    created_at: datetime = NOW - timedelta(days=365),
) -> int:
    """A cache with its poll state, without an address that works unless ``url`` (encrypted) is given."""
    cache_id = session.execute(
        text(
            "INSERT INTO cache (name, url, environment, poll_interval_s, read_only, hit_ratio_target, created_at,"
            " updated_at) VALUES (:name, :url, 'development', :interval, false, 0.8, :at, :at) RETURNING id"
        ),
        {"name": name, "url": url, "interval": poll_interval_s, "at": created_at},
    ).scalar_one()
    if not url:
        session.execute(
            text("INSERT INTO poll_state (cache_id, poll_interval_s) VALUES (:id, :interval)"),
            {"id": cache_id, "interval": poll_interval_s},
        )
    return int(cache_id)


def ensure_partitions(session: Session, start: datetime, end: datetime) -> None:
    """All partitions from ``start`` to ``end``."""
    at = start
    while at < end + timedelta(days=1):
        store.ensure_partitions(session, at, ahead=1)
        at += timedelta(days=2)


_RATES: dict[str, float] = {
    "keyspace_hits": 3500,
    "keyspace_misses": 340,
    "total_commands_processed": 4300,
    "total_connections_received": 2,
    "total_net_input_bytes": 300_000,
    "total_net_output_bytes": 2_400_000,
    "expired_keys": 150,
    "evicted_keys": 40,
    "rejected_connections": 0,
    "total_error_replies": 0.4,
    "errors_oom": 0,
    "keys_calls": 0,
    "used_cpu_usec": 90_000,
}
"""Per second, of a middling shop."""


def insert_samples(
    session: Session, cache_id: int, start: datetime, end: datetime, interval_s: int = 10
) -> None:
    """One sample per interval with every column filled, made by one statement."""
    columns: dict[str, str] = {
        "ts": "at + make_interval(secs => random() * 0.2)",
        "cache_id": str(cache_id),
        "node_run_id": "1",
        "uptime_in_seconds": f"3600 + n * {interval_s}",
        "connected_clients": "40 + (random() * 20)::int",
        "blocked_clients": "0",
        "self_hits": "0",
        "self_misses": "0",
        "dt_s": f"{interval_s} + (random() - 0.5) * 0.02",
        "round_trip_s": "0.0005 + random() * 0.001",
        "mem_fragmentation_ratio": "1.06 + random() * 0.02",
        "flags": "0",
        "nodes_expected": "1",
        "used_memory": "500000000 + (random() * 12000000)::bigint",
        "used_memory_rss": "540000000 + (random() * 12000000)::bigint",
        "maxmemory": "536870912",
        "keys": "140000 + (random() * 4000)::bigint",
        "expires": "139000 + (random() * 4000)::bigint",
    }
    for counter, rate in _RATES.items():
        if counter in store.STORED_COUNTERS:
            columns[counter] = f"(n * {rate * interval_s})::bigint"
        columns[f"d_{counter}"] = f"({rate * interval_s} * (0.8 + 0.4 * random()))::bigint"
    session.execute(
        text(
            f"INSERT INTO sample ({', '.join(columns)}) SELECT {', '.join(columns.values())}"
            " FROM generate_series(CAST(:start AS timestamptz), CAST(:last AS timestamptz),"
            " make_interval(secs => :step)) WITH ORDINALITY AS made (at, n)"
        ),
        {"start": start, "last": end - timedelta(seconds=interval_s), "step": interval_s},
    )


def insert_command_samples(session: Session, cache_id: int, start: datetime, end: datetime) -> None:
    """Command statistics every ten minutes, of fifteen commands."""
    session.execute(
        text(
            "INSERT INTO command_sample (cache_id, bucket, commands) SELECT :cache_id, at, jsonb_build_object("
            "'dt_s', 600.0, 'stats', (SELECT jsonb_object_agg('command' || n,"
            " jsonb_build_array((random() * 1e6)::int, (random() * 1e7)::int, 0, 0)) FROM generate_series(1, 15) AS n))"
            " FROM generate_series(CAST(:start AS timestamptz), CAST(:last AS timestamptz), interval '10 minutes')"
            " AS at"
        ),
        {"cache_id": cache_id, "start": start, "last": end - timedelta(minutes=10)},
    )


def total_size(session: Session) -> dict[str, int]:
    """Bytes of each partitioned table with its indexes and TOAST, all partitions."""
    return {
        table: int(
            session.execute(
                text(
                    "SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0) FROM pg_inherits"
                    " WHERE inhparent = CAST(:table AS regclass)"
                ),
                {"table": table},
            ).scalar_one()
        )
        for table in store.PARTITION_DAYS
    }


def one(session: Session, sql: str, **parameters: Any) -> Any:
    """The single value of ``sql``."""
    return session.execute(text(sql), parameters).scalar_one()
