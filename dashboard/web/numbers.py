"""Numbers as people type them, and as forms carry them. Pure."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

LONGEST: Final = 20
"""Characters of a number; what is longer is none."""
_MOST: Final = 10**18
_PLAIN = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_THOUSANDS = re.compile(r"-?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?")
# With three digits behind the comma it could be either, unless nothing but a 0 stands before it.
_DECIMAL_COMMA = re.compile(r"-?(?:0,[0-9]+|[0-9]+,(?:[0-9]{1,2}|[0-9]{4,}))")


def decimal_of(text: str) -> Decimal | None:
    """A number, or None where the text is none, or could be read in two ways.

    Commas stand between thousands (``1,500``) or before the decimals (``2,5``), never for nothing; exponents,
    underscores and other scripts' digits are not taken.
    """
    text = text.strip()
    if len(text) > LONGEST:
        return None
    if _PLAIN.fullmatch(text):
        value = Decimal(text)
    elif _THOUSANDS.fullmatch(text):
        value = Decimal(text.replace(",", ""))
    elif _DECIMAL_COMMA.fullmatch(text):
        value = Decimal(text.replace(",", "."))
    else:
        return None
    return value if abs(value) < _MOST else None


def digits_of(text: str, most: int = 19) -> int | None:
    """A whole number that a form or an address carries for us; None where it is anything but plain digits.

    Args:
        most: digits it may have; 9 fit PostgreSQL's integer, 18 its bigint.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= most else None


def revision_of(form: Mapping[str, str]) -> int:
    """The revision that a form was made from; -1, which none has, where it carries none."""
    revision = digits_of(form.get("revision", ""))
    return -1 if revision is None else revision
