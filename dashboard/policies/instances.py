"""Application instances: from untrusted bytes to who runs which version. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dashboard.caching.wire import Instance
from dashboard.fleet.text import display
from dashboard.policies import words
from dashboard.policies.types import AWAY_AFTER_S, LAGGING_AFTER_S, InstanceCounts, InstanceRow, InstanceState

_LONGEST: Final = {"id": 200, "host": 100, "program": 60, "library": 30, "refusal": 500}
_MOST_BYTES: Final = 16_384
_LARGEST: Final = 2**53

_KINDS: Final = {
    InstanceState.REFUSED: "crit",
    InstanceState.LAGGING: "warn",
    InstanceState.AWAY: "unknown",
    InstanceState.UPDATING: "info",
    InstanceState.APPLIED: "ok",
}


@dataclass(frozen=True, slots=True)
class Heard:
    """One application instance as it is stored; see ``PolicyInstanceRow``."""

    id: str
    host: str
    program: str
    library: str
    pid: int
    policy_version: int | None
    applied_at: datetime | None
    refused_version: int | None
    refusal: str
    first_heard_at: datetime
    heard_at: datetime


def parse(fields: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
    """The instances of the hash as columns; what can't be read is left out."""
    found: dict[str, dict[str, Any]] = {}
    for field, text in fields.items():
        instance = None if len(text) > _MOST_BYTES else Instance.from_json(text)
        if instance is None or not math.isfinite(instance.seen_at):
            continue
        refusal = instance.refusal
        values: dict[str, Any] = {
            "id": _text(field, "id"),
            "host": _text(instance.host, "host"),
            "program": _text(instance.program, "program"),
            "library": _text(instance.library, "library"),
            "pid": instance.pid if 0 <= instance.pid < _LARGEST else 0,
            "policy_version": _version(instance.policy_version),
            "applied_at": _moment(instance.applied_at),
            "refused_version": None if refusal is None else _version(refusal.version),
            "refusal": "" if refusal is None else _text(refusal.reason, "refusal") or "no reason given",
            "seen_at": float(instance.seen_at),
        }
        found[str(values["id"])] = values
    return list(found.values())


def judge(
    heard: Iterable[Heard], version: int, published_at: datetime | None, now: datetime
) -> tuple[InstanceRow, ...]:
    """How each instance stands to the published version, worst first.

    Args:
        version: the published one; 0: none.
        published_at: when that was.
    """
    order = list(InstanceState)
    rows = [_row(each, version, published_at, now) for each in heard]
    return tuple(sorted(rows, key=lambda row: (order.index(row.state), row.title, row.id)))


def count(rows: Sequence[InstanceRow]) -> InstanceCounts:
    """How many are in which state."""
    found = {state: sum(row.state is state for row in rows) for state in InstanceState}
    return InstanceCounts(
        total=len(rows),
        applied=found[InstanceState.APPLIED],
        updating=found[InstanceState.UPDATING],
        lagging=found[InstanceState.LAGGING],
        refused=found[InstanceState.REFUSED],
        away=found[InstanceState.AWAY],
    )


def _row(heard: Heard, version: int, published_at: datetime | None, now: datetime) -> InstanceRow:
    last_seen_s = max(0.0, (now - heard.heard_at).total_seconds())
    behind_s = 0.0 if published_at is None else max(0.0, (now - published_at).total_seconds())
    runs = "the defaults in its code" if heard.policy_version is None else f"v{heard.policy_version}"
    state, word, why = InstanceState.APPLIED, "Applied", ""
    if heard.refusal:
        what = f"v{heard.refused_version}" if heard.refused_version is not None else "the document"
        state, word = InstanceState.REFUSED, f"Refused {what}"
        why = f"{heard.refusal} It keeps {runs}."
        if last_seen_s > AWAY_AFTER_S:
            why += f" No heartbeat for {words.rounded(last_seen_s)}."
    elif last_seen_s > AWAY_AFTER_S:
        state, word = InstanceState.AWAY, "Away"
        why = f"No heartbeat for {words.rounded(last_seen_s)}: it has ended, is cut off, or Redis refuses writes."
        if version > 0:
            why += f" It asks for v{version} when it is back."
    elif heard.policy_version != version and version > 0:
        if behind_s >= LAGGING_AFTER_S:
            state, word = InstanceState.LAGGING, f"Lagging {words.rounded(behind_s)}"
            why = f"It runs {runs}. Look at its connection to Redis, or restart it."
        else:
            state, word = InstanceState.UPDATING, "Updating"
    elif version == 0:
        why = f"It runs {runs}: nothing is published yet."
    return InstanceRow(
        id=heard.id,
        title=f"{heard.program}@{heard.host}:{heard.pid}",
        program=heard.program,
        host=heard.host,
        pid=heard.pid,
        library=heard.library,
        state=state,
        kind=_KINDS[state],
        word=word,
        version=heard.policy_version,
        applied_at=heard.applied_at,
        last_seen_at=heard.heard_at,
        last_seen_s=last_seen_s,
        why=why,
    )


def _text(value: object, name: str) -> str:
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    return display(raw, _LONGEST[name])


def _version(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST else None


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e11:
        return None
    return datetime.fromtimestamp(value, UTC)
