"""The scenarios, in their order. Each is imported when it is asked for."""

import importlib
import logging
from typing import Final

from dashboard.demo.lab.types import Scenario

log = logging.getLogger(__name__)

_PACKAGE: Final = "dashboard.demo.lab.scenarios"
MODULES: Final[dict[str, str]] = {
    name: f"{_PACKAGE}.{name.replace('-', '_')}"
    for name in (
        "campaign",
        "stampede",
        "avalanche",
        "forgotten-invalidation",
        "lost-race",
        "wallet",
        "tiers",
        "purge",
        "redis-down",
        "memory",
    )
}
"""Name to the module that exports ``SCENARIO``."""


def scenarios() -> list[Scenario]:
    """All that there are."""
    return [found for name in MODULES if (found := find(name)) is not None]


def find(name: str) -> Scenario | None:
    """The scenario of this name; None: there is none."""
    module = MODULES.get(name)
    return None if module is None else load(module)


def load(module: str) -> Scenario | None:
    """The scenario of a module; None: there is no such module."""
    try:
        scenario = importlib.import_module(module).SCENARIO
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None
    assert isinstance(scenario, Scenario), module
    return scenario
