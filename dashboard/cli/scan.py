"""``cachewarden scan``: which prefixes a cache has, from a terminal or a script.

Exit codes: 0 there are numbers; 1 the scan was cancelled or failed, 2 an error.
"""

import json
import sys
import time
from typing import Any, Final

import click

from dashboard.cli.acting import find_cache, opened_runtime, system_actor, unit
from dashboard.keyspace import service
from dashboard.keyspace.types import Scan, Snapshot, State
from dashboard.web.formats import byte_size, number
from dashboard.work import Runtime

NO_NUMBERS: Final = 1
_LOOK_EVERY_S: Final = 0.5
_LINES: Final = 20


@click.command()
@click.option(
    "--cache", "cache_name", metavar="NAME", help="The cache's name; needed where there are several."
)
@click.option(
    "--sample", "is_sample", is_flag=True, help="Look at some 20,000 keys at once, without a worker."
)
@click.option("--json", "as_json", is_flag=True, help="Print the prefixes of the first level as JSON.")
def scan(cache_name: str | None, is_sample: bool, as_json: bool) -> None:
    """Look at the keys of a cache and print its largest prefixes. A worker does it; Ctrl-C leaves it at work."""
    with opened_runtime() as runtime:
        found = _sample(runtime, cache_name) if is_sample else _scan(runtime, cache_name)
    click.echo(json.dumps(_as_json(found), ensure_ascii=False) if as_json else "\n".join(_lines(found)))


def _sample(runtime: Runtime, name: str | None) -> Snapshot:
    with unit(runtime) as work:
        cache = find_cache(work, name)
    return service.take_sample(runtime, system_actor(), cache.id)


def _scan(runtime: Runtime, name: str | None) -> Snapshot:
    with unit(runtime) as work:
        cache = find_cache(work, name)
        asked = service.start_scan(work, cache.id)
    click.echo(f"Scan {asked.number} of {cache.name}.", err=True)
    said = ""
    while not asked.state.is_over:
        time.sleep(_LOOK_EVERY_S)
        with unit(runtime) as work:
            asked = service.get_scan(work, cache.id, asked.number)
        words = _done(asked)
        if words != said and not asked.state.is_over:
            click.echo(words, err=True)
            said = words
    if asked.state is not State.DONE or asked.snapshot_id is None:
        click.echo(_why(asked), err=True)
        sys.exit(NO_NUMBERS)
    with unit(runtime) as work:
        return service.get_snapshot(work, cache.id, asked.snapshot_id)


def _done(asked: Scan) -> str:
    progress = asked.progress
    if asked.state is State.WAITING:
        return "It waits for a worker."
    return f"{progress.looked_at:,} of about {progress.expected:,} keys"


def _why(asked: Scan) -> str:
    return (
        f"Scan {asked.number} {'failed' if asked.state is State.FAILED else 'was cancelled'}. {asked.problem}"
    )


def _lines(found: Snapshot) -> list[str]:
    """A table: keys, memory, prefix; what the names hold can't steer the terminal, they are escaped."""
    rows = [("keys", "memory", "prefix")]
    for node in (found.root, *found.root.children[:_LINES]):
        size = "n/a" if node.size is None else byte_size(node.size.value)
        rows.append((number(round(node.keys.value)), size, node.name or "(all)"))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{keys:>{widths[0]}}  {size:>{widths[1]}}  {name}" for keys, size, name in rows]
    if len(found.root.children) > _LINES:
        lines.append(f"and {len(found.root.children) - _LINES:,} more prefixes")
    return [*lines, *found.notes]


def _as_json(found: Snapshot) -> dict[str, Any]:
    return {
        "kind": found.kind.value,
        "taken_at": found.ended_at.isoformat(),
        "looked_at": found.looked_at,
        "keyspace": found.keyspace,
        "notes": list(found.notes),
        "prefixes": [
            {
                "prefix": node.name,
                "keys": node.keys.value,
                "keys_error": node.keys.error,
                "bytes": None if node.size is None else node.size.value,
                "bytes_error": None if node.size is None else node.size.error,
                "without_ttl": node.without_ttl.value,
            }
            for node in found.root.children
        ],
    }
