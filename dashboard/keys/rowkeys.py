"""From a key back to the rows of the application's database that it is made of. Pure."""

import re
from collections.abc import Iterable

from dashboard.caching.policy import ROW_ID, RowMapping, prefix_from_text, prefix_to_text

MOST_ROWS = 20
LONGEST_KEY = 4_096
"""Bytes; a longer key was made of no template."""


def rows_of(key: bytes, mappings: Iterable[RowMapping]) -> tuple[tuple[str, str], ...]:
    """(mapping's name, identifier) of each row that a key belongs to, at most MOST_ROWS.

    Args:
        mappings: in force.
    """
    found: list[tuple[str, str]] = []
    if len(key) > LONGEST_KEY:
        return ()
    for mapping in mappings:
        for template in mapping.templates:
            name = identifier(key, template)
            pair = (mapping.name, name or "")
            if name is not None and pair not in found:
                found.append(pair)
                if len(found) == MOST_ROWS:
                    return tuple(found)
    return tuple(found)


def identifier(key: bytes, template: str) -> str | None:
    """The identifier that makes a template this key; None: none does."""
    # Split before unescaping: an identifier's place is written as {id} and in no other way.
    first, *others = (prefix_from_text(part) for part in template.split(ROW_ID))
    if not others or not key.startswith(first) or not key.endswith(others[-1]):
        return None
    if len(others) == 1:
        name = key[len(first) : len(key) - len(others[0])]
        is_made = len(key) > len(first) + len(others[0])
        return prefix_to_text(name) if is_made else None
    pattern = re.escape(first) + b"(?P<id>.+)" + b"(?P=id)".join(map(re.escape, others))
    match = re.fullmatch(pattern, key, re.DOTALL)
    return None if match is None else prefix_to_text(match["id"])
