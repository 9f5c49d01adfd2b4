"""Numbers as people type them. Pure."""

import re
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
