"""Glob patterns as Redis takes them. Pure."""

import re
from typing import Final

MOST_ASTERISKS: Final = 8
"""In one pattern: before Redis 7.2.6 the time to match is the key's length to the power of their number."""
_SPECIAL: Final = re.compile(rb"[*?\[\\]")


def glob_escape(literal: bytes) -> bytes:
    """The pattern that matches just these bytes."""
    return _SPECIAL.sub(rb"\\\g<0>", literal)
