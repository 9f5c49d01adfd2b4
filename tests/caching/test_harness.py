"""A short piece of the soak: nothing stale here, and the same harness finds what it looks for elsewhere."""

from collections.abc import Iterator

import pytest

from dashboard.caching import wire
from tests.soak import harness, scheduled
from tests.support.servers import redis_server

SEED = 20


@pytest.fixture(scope="module")
def own_url() -> Iterator[str]:
    """A server of these tests' own: they flush it all the time."""
    with redis_server() as port:
        yield f"redis://127.0.0.1:{port}/0"


@pytest.mark.parametrize("kinds", [scheduled.PLAIN, scheduled.TAGGED], ids=["plain", "tagged"])
def test_no_order_of_steps_leaves_a_stale_value(own_url: str, kinds: list[object]) -> None:
    result = scheduled.run(own_url, kinds, seconds=2.5, seed=SEED)  # type: ignore[arg-type]
    assert result.stale == 0
    assert result.interleavings > 300 and result.kept > 100


def test_the_plain_recipe_does(own_url: str) -> None:
    assert scheduled.run(own_url, scheduled.NAIVE, seconds=1, seed=SEED).stale > 0


@pytest.mark.parametrize(
    ("script", "broken"),
    [
        (wire.FILL, "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1"),
        (wire.COMMIT, "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1"),
    ],
    ids=["fill without compare", "commit without compare"],
)
def test_each_condition_is_needed(
    own_url: str, monkeypatch: pytest.MonkeyPatch, script: wire.Script, broken: str
) -> None:
    """Without it the harness finds stale values: it looks at what the condition is there for."""
    bad = wire.Script("broken", broken)
    monkeypatch.setattr(script, "source", bad.source)
    monkeypatch.setattr(script, "digest", bad.digest)
    stale = 0
    for turn in range(8):
        stale += scheduled.run(own_url, scheduled.PLAIN, seconds=2, seed=SEED + turn).stale
        if stale:
            return
    pytest.fail("nothing was found")


def test_threads_and_killed_processes_leave_nothing_stale(own_url: str) -> None:
    tally = harness.run("cachewarden", own_url, seconds=4, seed=SEED)
    assert tally.stale == 0
    assert tally.kills and tally.stored > 100 and tally.operations > 500


@pytest.mark.parametrize("other", ["plain", "dogpile.cache", "Flask-Caching"])
def test_the_same_finds_stale_values_elsewhere(own_url: str, other: str) -> None:
    tally = harness.run(other, own_url, seconds=2, kills=False, seed=SEED)
    # A machine that is busy otherwise lets few threads meet.
    if not tally.stale:
        tally = harness.run(other, own_url, seconds=8, kills=False, seed=SEED)
    assert tally.stale > 0
