"""Before and after, in lines for reading and in words for one row. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

_NOTHING = object()
_SHORT = frozenset({"url", "ttl"})
"""Words that are no words."""


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a unified difference; ``kind`` is "", "del" or "ins"."""

    kind: str
    text: str

    @property
    def sign(self) -> str:
        """The sign in front of the line."""
        return {"del": "-", "ins": "+"}.get(self.kind, " ")


def diff_lines(
    before: Mapping[str, object] | None, after: Mapping[str, object] | None
) -> tuple[DiffLine, ...]:
    """The fields of both sides, one line each, two where they differ."""
    old, new = before or {}, after or {}
    lines: list[DiffLine] = []
    for name in _names(old, new):
        was, now = old.get(name, _NOTHING), new.get(name, _NOTHING)
        if not _differs(was, now):
            lines.append(DiffLine("", f"{name}: {_written(now)}"))
            continue
        if was is not _NOTHING:
            lines.append(DiffLine("del", f"{name}: {_written(was)}"))
        if now is not _NOTHING:
            lines.append(DiffLine("ins", f"{name}: {_written(now)}"))
    return tuple(lines)


def changed_count(before: Mapping[str, object] | None, after: Mapping[str, object] | None) -> int:
    """How many fields differ."""
    old, new = before or {}, after or {}
    return sum(_differs(old.get(name, _NOTHING), new.get(name, _NOTHING)) for name in {*old, *new})


def summary(before: Mapping[str, object] | None, after: Mapping[str, object] | None, reason: str) -> str:
    """One row's "what": the changed fields in words, then the reason in quotation marks."""
    old, new = before or {}, after or {}
    changed = [
        name for name in _names(old, new) if _differs(old.get(name, _NOTHING), new.get(name, _NOTHING))
    ]
    if before and after:
        # What is told beside a change was nothing before: only what it is now says something.
        parts = [
            f"{_label(name)} {_side(old, name)} to {_side(new, name)}"
            if name in old
            else f"{_label(name)} {_side(new, name)}"
            for name in changed
        ]
    elif after:
        parts = [f"{_label(name)} {_side(new, name)}" for name in changed]
    else:
        parts = []  # removed: the subject says what, the open row says the rest
    text = ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")
    text = text[:1].upper() + text[1:]
    quoted = f"“{reason}”" if reason else ""
    return ". ".join(part for part in (text, quoted) if part)


def _differs(was: object, now: object) -> bool:
    # 1 and True are equal in Python, and are not the same answer.
    return type(was) is not type(now) or was != now


def _names(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    # PostgreSQL keeps the fields of a jsonb value in an order of its own; the name belongs on top.
    return sorted({**new, **old}, key=lambda name: name != "name")


def _label(name: str) -> str:
    words = name.removeprefix("is_").removesuffix("_s").replace("_", " ")
    return words.upper() if words in _SHORT else words


def _side(values: Mapping[str, object], name: str) -> str:
    value = values.get(name, _NOTHING)
    if value is _NOTHING:
        return "nothing"
    if name.endswith("_s") and isinstance(value, float):
        value = round(value)  # nobody reads the thousandths of a row; the open one has them
    unit = " s" if name.endswith("_s") and value is not None else ""
    return _written(value, bare=True) + unit


def _written(value: object, *, bare: bool = False) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if bare and isinstance(value, str):
        return value if len(value) <= 60 else value[:59] + "…"
    if bare and isinstance(value, int):
        return f"{value:,}"
    return json.dumps(value, ensure_ascii=False)
