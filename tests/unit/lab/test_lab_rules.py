"""The rule that a scenario names: it is in the docs, and is read whole."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.demo.lab import catalogue
from dashboard.demo.lab.types import Scenario
from dashboard.lab import rules
from dashboard.lab.rules import Piece, Rule, Span, Words

TEXT = """# A page

Before.

## Keys, and *what* not

It is **bold**, `a * b`, *so*,
and [a link](other.md#there) with `code`.

**Its `drop` too.**

```sh
# No heading: code.

done
```

- One,
  and more
- `Two`

### Steps

1. First
2. Then

| Name | What |
|---|---|
| `a` | one, or none |

## After
"""


def words(spans: Words) -> str:
    return "".join(span.text for span in spans)


def all_words(rule: Rule) -> Iterator[str]:
    for piece in rule.pieces:
        yield from (words(piece.words), piece.code)
        yield from (words(cell) for row in piece.rows for cell in row)


def test_a_section_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(TEXT)
    found = rules.find("docs/page.md#keys-and-what-not", tmp_path)
    assert found is not None and (found.path, found.title) == ("docs/page.md", "Keys, and *what* not")
    text, bold, code, items, heading, steps, table = found.pieces
    assert text.words == (
        Span("It is "),
        Span("bold", "b"),
        Span(", "),
        Span("a * b", "code"),
        Span(", "),
        Span("so", "em"),
        Span(", and "),
        Span("a link"),
        Span(" with "),
        Span("code", "code"),
        Span("."),
    )
    assert bold.words == (Span("Its ", "b"), Span("drop", "code"), Span(" too.", "b"))
    assert code == Piece("code", code="# No heading: code.\n\ndone")
    assert items == Piece("list", rows=(((Span("One, and more"),),), ((Span("Two", "code"),),)))
    assert heading == Piece("heading", (Span("Steps"),))
    assert steps.kind == "steps" and [words(row[0]) for row in steps.rows] == ["First", "Then"]
    assert [[words(cell) for cell in row] for row in table.rows] == [["Name", "What"], ["a", "one, or none"]]
    assert rules.find("docs/page.md#nothing", tmp_path) is None
    assert rules.find("docs/none.md#a-page", tmp_path) is None


@pytest.mark.parametrize("scenario", catalogue.scenarios(), ids=lambda scenario: scenario.name)
def test_the_rule_of_each_scenario_is_there_and_read_whole(scenario: Scenario, checkout: Path) -> None:
    rule = rules.find(scenario.rule, checkout / "docs")
    assert rule is not None and rule.pieces
    path, _, anchor = scenario.rule.partition("#")
    found = rules.section((checkout / path).read_text(encoding="utf-8"), anchor)
    assert found is not None
    # All letters of it come out, in their order; of links and marks only what is between them.
    source = re.sub(r"\]\([^)]*\)|^```\w*$", "", "\n".join(found[1]), flags=re.MULTILINE)
    letters = re.compile(r"[^\W_]+")
    assert letters.findall(" ".join(all_words(rule))) == letters.findall(re.sub(r"^\d+\. ", "", source))
    said = (words(spans) for piece in rule.pieces for spans in (piece.words, *sum(piece.rows, ())))
    assert not any("**" in text or "](" in text for text in said)


def test_all_scenarios_are_there() -> None:
    assert [scenario.name for scenario in catalogue.scenarios()] == list(catalogue.MODULES)
