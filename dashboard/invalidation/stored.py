"""How what a purge is made of is written to PostgreSQL: JSON for its parts, packed bytes for lists of keys. Pure."""

import base64
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from dashboard.invalidation.types import (
    Action,
    Filters,
    NodeProgress,
    Plan,
    Point,
    Preview,
    Progress,
    SampleKey,
    SelectBy,
    Selection,
    When,
)

CHUNK_KEYS: Final = 5_000
CHUNK_BYTES: Final = 4_000_000
_FAST: Final = 1  # zlib's level: keys of one prefix shrink well at any


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON."""
    selection, filters = plan.selection, plan.selection.filters
    return {
        "selection": {
            "by": selection.by.value,
            "text": _bare(selection.text),
            "templates": [_bare(template) for template in selection.templates],
            "count": selection.count,
            "filters": {name: getattr(filters, name) for name in Filters.__slots__},
        },
        "action": plan.action.value,
        "window_s": plan.window_s,
        "when": plan.when.value,
        "over_s": plan.over_s,
        "at": _time(plan.at),
        "lengthens": plan.lengthens,
        "wants_report": plan.wants_report,
    }


def plan_from_json(stored: Mapping[str, Any]) -> Plan:
    """The plan that ``plan_to_json`` wrote."""
    selection = stored["selection"]
    return Plan(
        selection=Selection(
            by=SelectBy(selection["by"]),
            text=selection["text"],
            templates=tuple(selection["templates"]),
            count=selection["count"],
            filters=Filters(**selection["filters"]),
        ),
        action=Action(stored["action"]),
        window_s=stored["window_s"],
        when=When(stored["when"]),
        over_s=stored["over_s"],
        at=_moment(stored["at"]),
        lengthens=stored["lengthens"],
        wants_report=stored["wants_report"],
    )


def preview_to_json(preview: Preview) -> dict[str, Any]:
    """The preview as JSON."""
    values = {name: getattr(preview, name) for name in Preview.__slots__}
    return values | {
        "counted_at": _time(preview.counted_at),
        "ttl_bounds_s": list(preview.ttl_bounds_s),
        "ttl_counts": list(preview.ttl_counts),
        "sample": [
            [base64.b64encode(key.key).decode(), key.type, key.ttl_s, key.size_bytes, key.policy]
            for key in preview.sample
        ],
        "by_policy": dict(preview.by_policy),
    }


def preview_from_json(stored: Mapping[str, Any]) -> Preview:
    """The preview that ``preview_to_json`` wrote."""
    counted_at = _moment(stored["counted_at"])
    assert counted_at is not None
    return Preview(
        **{
            # Older ones have more in them.
            **{name: value for name, value in stored.items() if name in Preview.__slots__},
            "counted_at": counted_at,
            "ttl_bounds_s": tuple(stored["ttl_bounds_s"]),
            "ttl_counts": tuple(stored["ttl_counts"]),
            "sample": tuple(
                SampleKey(base64.b64decode(key), type_, ttl_s, size_bytes, policy)
                for key, type_, ttl_s, size_bytes, policy in stored["sample"]
            ),
        }
    )


def progress_to_json(progress: Progress) -> dict[str, Any]:
    """The progress as JSON."""
    values = {name: getattr(progress, name) for name in Progress.__slots__}
    return values | {
        "nodes": [[node.node, node.run_id, node.cursor, node.scanned] for node in progress.nodes],
        "trail": [[each.at_s, each.keys_per_s, each.loads_per_s, each.hit_ratio] for each in progress.trail],
        "updated_at": _time(progress.updated_at),
        "touched_on": dict(progress.touched_on),
    }


def progress_from_json(stored: Mapping[str, Any]) -> Progress:
    """The progress that ``progress_to_json`` wrote; an empty object is one that has not begun."""
    return Progress(
        **{
            **stored,
            "nodes": tuple(NodeProgress(*node) for node in stored.get("nodes", ())),
            "trail": tuple(Point(*point) for point in stored.get("trail", ())),
            "updated_at": _moment(stored.get("updated_at")),
        }
    )


def pack(keys: Iterable[bytes]) -> bytes:
    """Keys as one compressed piece; any bytes may be in them."""
    return zlib.compress(b"".join(len(key).to_bytes(4, "big") + key for key in keys), _FAST)


def unpack(packed: bytes) -> list[bytes]:
    """The keys that ``pack`` was given."""
    data, keys, at = zlib.decompress(packed), [], 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "big")
        keys.append(data[start:at])
    return keys


def chunks(keys: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    """The same keys, at most CHUNK_KEYS and about CHUNK_BYTES at a time."""
    chunk: list[bytes] = []
    size = 0
    for key in keys:
        chunk.append(key)
        size += len(key)
        if len(chunk) >= CHUNK_KEYS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _bare(text: str) -> str:
    """PostgreSQL takes neither U+0000 nor half of a surrogate pair; neither can come from a checked form."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
