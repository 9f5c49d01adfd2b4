"""The export is data for a spreadsheet, never a formula in it."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.audit.csv_text import csv_line, safe_cell


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1", "@SUM(A1)", "|calc", "%x", "\t=1", "\r=1", "\n=1", " =1", "\xa0=1", "＝1", "＋1",
        "－1", "＠x", '=HYPERLINK("https://evil.example","x")', "=cmd|' /C calc'!A0", "\t", "-",
    ],
)  # fmt: skip
def test_a_cell_that_looks_like_a_formula_is_text(text: str) -> None:
    assert safe_cell(text) == "'" + text


@pytest.mark.parametrize(
    "text", ["", " ", "shop-prod", "1,842", "a=b", "redis://h", "'=1", "TTL 2 m to 30 s"]
)
def test_any_other_cell_is_unchanged(text: str) -> None:
    assert safe_cell(text) == text


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",))), min_size=1))
def test_every_line_reads_back_and_no_cell_starts_a_formula(cells: list[str]) -> None:
    line = csv_line(cells)
    assert line.endswith("\r\n")
    (back,) = csv.reader(io.StringIO(line, newline=""))
    assert [cell.removeprefix("'") for cell in back] == [cell.removeprefix("'") for cell in cells]
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t", "\r") for cell in back)
