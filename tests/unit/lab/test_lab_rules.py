"""The rule that a scenario names is there to be read."""

import re
from pathlib import Path

import pytest

from dashboard.demo.lab import catalogue
from dashboard.demo.lab.types import Scenario


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as its readers' links have them."""
    headings = re.findall(r"^##+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("scenario", catalogue.scenarios(), ids=lambda scenario: scenario.name)
def test_the_rule_is_a_heading_of_a_page(scenario: Scenario, checkout: Path) -> None:
    path, _, place = scenario.rule.partition("#")
    assert place in anchors(checkout / path)


def test_all_scenarios_are_there() -> None:
    assert [scenario.name for scenario in catalogue.scenarios()] == list(catalogue.MODULES)
