"""One line of CSV that a spreadsheet shows and never runs. Pure."""

import csv
import io
import unicodedata
from collections.abc import Sequence

# A cell that begins like this is taken for a formula by Excel, LibreOffice or Google Sheets.
_FORMULA_STARTS = ("=", "+", "-", "@", "|", "%")


def safe_cell(text: str) -> str:
    """The text, with an apostrophe in front where a spreadsheet would read a formula.

    Looks through leading blanks and at the compatible form of the first character, because "＝" (full
    width) counts as "=" in some programs.
    """
    if text[:1] in ("\t", "\r", "\n"):
        return "'" + text
    first = unicodedata.normalize("NFKC", text.lstrip()[:1])
    return "'" + text if first.startswith(_FORMULA_STARTS) else text


def csv_line(cells: Sequence[str]) -> str:
    """The cells, each quoted, ended by CR LF (RFC 4180)."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(
        [safe_cell(cell) for cell in cells]
    )
    return out.getvalue()
