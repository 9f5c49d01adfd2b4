"""Readings and INFO texts for tests, made from as little as possible."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dashboard.monitoring.info import parse_info, read
from dashboard.monitoring.types import Reading

START = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)
RUN_A = "a" * 40
RUN_B = "b" * 40


def info_text(newline: str = "\r\n", commands: dict[str, str] | None = None, **fields: object) -> str:
    """An INFO reply with ``fields``, command statistics by name and one database."""
    lines = ["# Server", *(f"{name}:{value}" for name, value in fields.items() if name != "db0")]
    lines += ["", "# Commandstats", *(f"cmdstat_{name}:{stat}" for name, stat in (commands or {}).items())]
    lines += ["", "# Errorstats", "", "# Keyspace"]
    if "db0" in fields:
        lines.append(f"db0:{fields['db0']}")
    return newline.join(lines) + newline


def reading(
    at_s: float, *, clock_s: float | None = None, taken_s: float | None = None, **fields: object
) -> Reading:
    """A reading ``at_s`` seconds after START whose server and poller agree about time, unless told otherwise."""
    commands: Any = fields.pop("commands", None)
    fields.setdefault("redis_version", "7.4.1")
    fields.setdefault("run_id", RUN_A)
    fields.setdefault("role", "master")
    fields.setdefault("server_time_usec", int((START.timestamp() + at_s) * 1_000_000))
    fields = {name: value for name, value in fields.items() if value is not None}
    return read(
        parse_info(info_text(commands=commands, **fields)),
        START + timedelta(seconds=at_s if taken_s is None else taken_s),
        1000.0 + (at_s if clock_s is None else clock_s),
    )
