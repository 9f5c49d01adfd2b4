"""One run of a scenario, from its servers to its result."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from dashboard.demo.lab import bench, machine
from dashboard.demo.lab.series import clipped
from dashboard.demo.lab.types import Cancelled, Result, Scenario, Void
from dashboard.demo.shop.schema import SEED
from dashboard.embedded.process import EmbeddedError

log = logging.getLogger(__name__)

ENDING_S: Final = 5.0
"""A server that crashes takes so long to end: whoever asked it something hears of it first."""


def run(
    scenario: Scenario,
    *,
    seed: int = SEED,
    quick: bool = False,
    say: Callable[[float, str], None] = lambda share, words: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Result:
    """Run a scenario. Whatever happens, its servers and files are gone afterwards.

    Args:
        say: told how far it is (0..1), and what it does.
        is_cancelled: asked often; True ends the run.

    Raises:
        Cancelled: it was asked to end.
    """
    began = time.monotonic()
    try:
        with bench.LabBench(seed=seed, quick=quick, say=say, is_cancelled=is_cancelled) as made:
            try:
                others = machine.others()
                result = scenario.run(made)
                made.verify()
                result = machine.judged(scenario, result, others(), quick=quick)
            except (Cancelled, Void):
                raise
            except Exception as error:
                # A server that went away shows itself in many ways; that it did is what is to be said.
                made.verify(within_s=ENDING_S)
                log.exception("the scenario %s failed", scenario.name)
                raise Void(f"It failed: {type(error).__name__}: {error}") from error
    except (Void, EmbeddedError) as error:
        result = Result(scenario.name, (), ("", ""), (), "", void=str(error))
    setup: dict[str, str | float] = {"seed": seed, "processors": os.cpu_count() or 0}
    if quick:
        setup["quick"] = "yes"
    return replace(clipped(result), took_s=time.monotonic() - began, setup={**setup, **result.setup})
