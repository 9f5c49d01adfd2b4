"""The library's chance is its own: nobody's seeded sequence moves, and children of a fork draw apart."""

import multiprocessing
import random

import pytest

from dashboard.caching import Cache
from dashboard.caching.chance import CHANCE


def _draw(pipe) -> None:  # type: ignore[no-untyped-def]
    pipe.send(CHANCE.random())


def test_a_seeded_sequence_of_the_application_stays_as_it_is(valkey_url: str) -> None:
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    drawn = []
    with Cache(valkey_url, follow=False) as cache:
        for number in range(3):
            cache.get_or_load(f"chance:{number}", lambda: 1)
            drawn.append(random.random())
    assert drawn == expected


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_children_of_a_fork_draw_apart() -> None:
    context = multiprocessing.get_context("fork")
    drawn = set()
    for _ in range(4):
        here, there = context.Pipe()
        child = context.Process(target=_draw, args=(there,))
        child.start()
        drawn.add(here.recv())
        child.join()
    assert len(drawn) == 4
