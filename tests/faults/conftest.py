"""Workers that die when they are told to."""

from collections.abc import Iterator

import pytest

from dashboard.work import Runtime
from tests.support.purge_workers import Mother, Workers


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    """What workers are forked from, one for all tests of a file."""
    made = Mother()
    yield made
    made.close()


@pytest.fixture
def crew(mother: Mother, live_runtime: Runtime, fresh_database_url: str) -> Iterator[Workers]:
    """Workers on this test's database; none of them outlives it."""
    made = Workers(mother, live_runtime, fresh_database_url)
    yield made
    made.close()
