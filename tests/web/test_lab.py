"""The lab's pages: cards, one scenario, past runs; run and stopped; for every role, and not offered."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from dashboard.config import Settings
from dashboard.demo.lab.types import LOWER, Check, Number, Result, Side
from dashboard.lab import service, store
from dashboard.lab.types import Run, State
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support import tiny
from tests.support.people import as_cli
from tests.support.reading import shown, words

ROUND = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Live": "true"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"lab": True, "shop_url": "http://127.0.0.1:8799"})


@pytest.fixture(autouse=True)
def catalogue() -> Iterator[None]:
    with tiny.registered("passes", "fails", "waits"):
        yield


def card(page: str, name: str) -> str:
    """The part of a page that is a scenario's card."""
    return page[page.index(f'id="lab-{name}"') :].partition("</section>")[0]


def past(runtime: Runtime, clock: FixedClock, found: Result, ago_s: float = 600) -> int:
    """A run that came to its end; its number."""
    began = clock.now() - timedelta(seconds=ago_s)
    state = State.VOID if found.void else State.PASSED if found.passed else State.FAILED
    run = Run(
        0, found.scenario, state, "ops", began, began, began + timedelta(seconds=34), problem=found.void
    )
    with as_cli(runtime) as work:
        return store.add_past_run(work.session, replace(run, result=None if found.void else found))


def running(runtime: Runtime, name: str, gone_s: int) -> Run:
    """A run that a worker is at, for so long."""
    with as_cli(runtime) as work:
        run = service.start_run(work, name)
        began = work.now - timedelta(seconds=gone_s)
        store.change_run(
            work.session, run.number, state=State.RUNNING, started_at=began, share=0.4, words="The naive way"
        )
    return run


def states(runtime: Runtime) -> list[tuple[str, str]]:
    with as_cli(runtime) as work:
        return [(run.scenario, run.state.value) for run in reversed(service.list_runs(work))]


# --- offered, and to whom ---------------------------------------------------------------------------------------


def test_the_navigation_leads_there(viewer: FlaskClient) -> None:
    page = shown(viewer, "/lab")
    assert "Learn" in page and re.search(r'<a href="/lab" aria-current="page"[^>]*>.*?Scenario lab', page)
    assert 'href="http://127.0.0.1:8799"' in page


def test_viewers_look_and_operators_run(viewer: FlaskClient, operator: FlaskClient, runtime: Runtime) -> None:
    page = shown(viewer, "/lab")
    assert "<form" not in page.partition("<main")[2].partition("</main>")[0]
    assert "Running needs the role Operator" in page
    for path in ("/lab/passes/run", "/lab/run-all", "/lab/stop-all", "/lab/passes/stop/1"):
        assert viewer.post(path).status_code == 403
    page = shown(operator, "/lab")
    assert 'action="/lab/passes/run"' in page and 'action="/lab/run-all"' in page
    assert states(runtime) == []


def test_the_rule_is_one_link_away(viewer: FlaskClient) -> None:
    assert 'href="/lab/passes/rule"' in shown(viewer, "/lab/passes")
    page = shown(viewer, "/lab/passes/rule")
    assert "<h1>How runs work</h1>" in page and "from docs/lab.md" in page
    assert "<li>One run at a time:" in page and "<b>void</b>" in page
    assert viewer.get("/lab/nothing/rule").status_code == 404


# --- cards ------------------------------------------------------------------------------------------------------


def test_before_the_first_run(viewer: FlaskClient) -> None:
    page = card(shown(viewer, "/lab"), "passes")
    assert "One that passes" in page and "What does one that passes look like?" in page
    assert page.count("Never run") == 1 and "<footer" not in page
    assert "Shows what one that passes looks like. Takes about 3 s." in words(page)
    assert "3 without a result" in words(shown(viewer, "/lab"))


def test_what_a_run_found(viewer: FlaskClient, runtime: Runtime, clock: FixedClock) -> None:
    past(runtime, clock, tiny.result("passes", 0.5))
    past(runtime, clock, tiny.result("passes", 0.038))
    past(runtime, clock, tiny.result("fails", 0.5))
    page = shown(viewer, "/lab")
    passed, failed = card(page, "passes"), card(page, "fails")
    assert "Passed" in passed and "Failed check" in failed and "Never run" in card(page, "waits")
    assert "Page p95 840 ms 38 ms Errors 3.1% 0%" in words(passed)
    assert "1 of 1 checks hold" in words(passed) and "Pages are fast" not in passed
    assert "0 of 1 checks hold" in words(failed)
    assert "Does not hold: Pages are fast (500 ms, limit 200 ms)" in words(failed)
    assert "with the cache it was 140." not in passed, "the rest is on its own page"
    own = words(shown(viewer, "/lab/passes"))
    assert "with the cache it was 140." in own and "Holds: Pages are fast (38 ms, limit 200 ms)" in own
    assert "Last run 11:50 by ops, 34 s" in words(passed)
    assert 'href="/lab/passes/rule"' in passed
    assert "Database, queries/s, at most: 1,929/s with Cache off and 140/s with Cachewarden." in passed
    assert passed.count("<path") == 2 and 'class="s1" d="M0.0' in passed and 'class="s2" d="M0.0' in passed
    assert "1 passed 1 failed 1 without a result" in words(page)


def test_a_run_under_way_and_one_that_waits(
    viewer: FlaskClient, operator: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    past(runtime, clock, tiny.result("waits", 0.038))
    run = running(runtime, "waits", 1)
    with as_cli(runtime) as work:
        service.start_run(work, "passes")
    page = shown(operator, "/lab")
    waits = card(page, "waits")
    assert "Running 1 of 3 s" in waits and "The naive way" in waits and "2 s left" in waits
    assert 'value="400"' in waits and f'action="/lab/waits/stop/{run.number}"' in waits
    assert "Page p95 840 ms 38 ms" in words(waits), "what the last one found stays"
    assert "Waits for a worker" in card(page, "passes")
    assert "1 running 1 waiting 1 without a result" in words(page)
    assert 'data-live="1"' in page and 'action="/lab/stop-all"' in page
    assert "action" not in card(shown(viewer, "/lab"), "waits")


def test_one_that_takes_longer_and_one_that_ends(
    operator: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    run = running(runtime, "waits", 70)
    waits = card(shown(operator, "/lab"), "waits")
    assert "Running 70 s" in waits and "longer than usual" in waits
    with as_cli(runtime) as work:
        store.change_run(work.session, run.number, wish="cancel")
    waits = card(shown(operator, "/lab"), "waits")
    assert "Ends, with its servers" in waits and "/stop/" not in waits


def test_a_void_run_says_why_and_leaves_the_last_numbers(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    past(runtime, clock, tiny.result("passes", 0.038))
    past(runtime, clock, Result("passes", (), ("", ""), (), "", void="PostgreSQL ended."), ago_s=60)
    page = words(card(shown(viewer, "/lab"), "passes"))
    assert "Void" in page and "The last run says nothing: PostgreSQL ended." in page
    assert "38 ms" in page and "These numbers are of 11:50 by ops" in page


def test_many_ways_are_all_on_the_scenarios_own_page(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    sides = tuple(
        Side(
            name,
            (Number("Loads", float(place), "count", LOWER),),
            {"Loads": [(0.0, 1.0), (5.0, float(place))]},
        )
        for place, name in enumerate(("Naive", "Lease", "Early refresh", "Stale"))
    )
    past(runtime, clock, Result("passes", sides, ("Loads", "count"), (), "Loads went down."))
    page = card(shown(viewer, "/lab"), "passes")
    assert (
        "Naive" in page
        and "Stale" in page
        and "Lease" not in page
        and "2 more ways beside these" in words(page)
    )
    page = shown(viewer, "/lab/passes")
    assert "Measure Naive Lease Early refresh Stale Loads 0 1 2 3" in words(page)
    assert page.count('<path class="s') == 4


def test_what_could_not_be_measured_and_odd_numbers(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    side = Side(
        "Only",
        (
            Number("Old price", 1249.0, "cents"),
            Number("Peak", 6480.0, "per_s"),
            Number("Lost", None, "count"),
        ),
        {"Policy": [(5.0, 0.25)], "Memory": [(0.0, 0.0)]},
    )
    result = Result(
        "passes",
        (side,),
        ("Policy", "ratio"),
        (Check("It is", False, None, 1.0),),
        "So.",
        across=("TTL", "s"),
    )
    past(runtime, clock, result)
    page = shown(viewer, "/lab/passes")
    assert "€12.49" in page and "6,480/s" in page and "could not be measured" in page
    assert page.count('class="s1 dot"') == 2 and "along: TTL" in page and "Policy, %" in page


def test_names_are_shown_as_text(viewer: FlaskClient, runtime: Runtime, clock: FixedClock) -> None:
    result = replace(tiny.result("passes", 0.1), sentence="<script>alert(1)</script>")
    past(runtime, clock, result)
    assert "<script>alert" not in shown(viewer, "/lab") and "<script>alert" not in shown(
        viewer, "/lab/passes"
    )


# --- rounds -----------------------------------------------------------------------------------------------------


def seen(page: str) -> str:
    found = re.search(r'hx-get="(/lab/live\?seen=[^"]*)"', page)
    assert found is not None
    return found[1]


def test_a_round_brings_only_what_is_new(viewer: FlaskClient, runtime: Runtime, clock: FixedClock) -> None:
    past(runtime, clock, tiny.result("passes", 0.038))
    page = shown(viewer, "/lab")
    assert 'data-live="10"' in page
    quiet = viewer.get(seen(page), headers=ROUND).get_data(as_text=True)
    assert "nav-running" in quiet and "lab-passes" not in quiet and "lab-intro" not in quiet
    run = running(runtime, "waits", 1)
    busy = viewer.get(seen(page), headers=ROUND).get_data(as_text=True)
    assert 'id="lab-waits"' in busy and 'hx-swap-oob="outerMorph"' in card(busy, "waits")
    assert 'id="lab-passes"' not in busy and "1 running" in words(busy) and 'data-live="1"' in busy
    assert 'id="lab-waits"' in viewer.get(seen(busy), headers=ROUND).get_data(as_text=True), "it moves"
    with as_cli(runtime) as work:
        found = store.find_run(work.session, run.number, lock=True)
        assert found is not None
        service.end(work, found, State.PASSED, result=tiny.result("waits", 0.038))
    over = viewer.get(seen(busy), headers=ROUND).get_data(as_text=True)
    assert "Passed" in card(over, "waits") and 'data-live="10"' in over
    assert "lab-waits" not in viewer.get(seen(over), headers=ROUND).get_data(as_text=True)


def test_a_scenarios_own_page_asks_while_it_runs(viewer: FlaskClient, runtime: Runtime) -> None:
    assert "hx-get" not in shown(viewer, "/lab/waits").partition("<main")[2]
    running(runtime, "waits", 1)
    page = shown(viewer, "/lab/waits")
    assert 'hx-get="/lab/waits"' in page and 'data-live="1"' in page and "The naive way" in page
    part = viewer.get("/lab/waits", headers=ROUND).get_data(as_text=True)
    assert "<html" not in part and "Running 1 of 3 s" in part and 'id="lab-beat"' in part


# --- acting -----------------------------------------------------------------------------------------------------


def test_run_and_stop(operator: FlaskClient, runtime: Runtime) -> None:
    answer = operator.post("/lab/passes/run")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/lab#lab-passes")
    assert states(runtime) == [("passes", "waiting")]
    again = operator.post("/lab/passes/run", data={"back": "scenario"})
    assert again.status_code == 409 and "waits or runs already" in again.get_data(as_text=True)
    with as_cli(runtime) as work:
        number = service.list_runs(work)[0].number
    answer = operator.post(f"/lab/passes/stop/{number}", data={"back": "scenario"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/lab/passes#what")
    assert states(runtime) == [("passes", "cancelled")]
    late = operator.post(f"/lab/passes/stop/{number}")
    assert late.status_code == 409 and f"Run {number} is over already." in late.get_data(as_text=True)
    assert "Stopped" in card(shown(operator, "/lab"), "passes")


def test_run_all_and_stop_all(admin: FlaskClient, runtime: Runtime) -> None:
    admin.post("/lab/waits/run")
    assert admin.post("/lab/run-all").headers["Location"] == "/lab"
    assert "2 scenarios wait for a worker" in shown(admin, "/lab")
    assert states(runtime) == [(name, "waiting") for name in ("waits", "passes", "fails")]
    assert 'action="/lab/run-all"' not in shown(admin, "/lab")
    admin.post("/lab/run-all")
    assert "All of them wait or run already." in shown(admin, "/lab")
    admin.post("/lab/stop-all")
    assert "3 runs stopped." in shown(admin, "/lab")
    assert {state for _, state in states(runtime)} == {"cancelled"}


def test_what_is_not_there(operator: FlaskClient, runtime: Runtime, clock: FixedClock) -> None:
    number = past(runtime, clock, tiny.result("fails", 0.5))
    void = past(runtime, clock, Result("passes", (), ("", ""), (), "", void="Broke."))
    for path in (
        "/lab/nothing",
        f"/lab/passes?run={number}",
        f"/lab/passes?run={void}",
        "/lab/passes?run=4711",
    ):
        assert operator.get(path).status_code == 404, path
    assert operator.post("/lab/nothing/run").status_code == 404
    assert operator.post("/lab/passes/stop/4711").status_code == 404
    assert operator.get("/lab/passes?run=x").status_code == 422


# --- past runs --------------------------------------------------------------------------------------------------


def test_two_runs_beside_each_other(viewer: FlaskClient, runtime: Runtime, clock: FixedClock) -> None:
    first = past(runtime, clock, tiny.result("passes", 0.050), ago_s=3_600)
    second = past(runtime, clock, tiny.result("passes", 0.025))
    page = shown(viewer, "/lab/passes")
    assert f"Run {second}" in page and f'<option value="{first}"' in page and "Choose a run." in page
    page = words(shown(viewer, f"/lab/passes?run={second}&with={first}"))
    assert "Cachewarden Page p95 50 ms 25 ms -50%, better" in page
    assert "Cache off Page p95 840 ms 840 ms same" in page
    page = words(shown(viewer, f"/lab/passes?run={first}&with={second}"))
    assert "Cachewarden Page p95 25 ms 50 ms +100%, worse" in page


def test_all_past_runs(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No run yet" in shown(viewer, "/lab/runs")
    monkeypatch.setattr(service, "LISTED", 2)
    numbers = [
        past(runtime, clock, tiny.result(name, 0.038)) for name in ("passes", "fails", "passes", "gone")
    ]
    page = shown(viewer, "/lab/runs")
    assert f"Run {numbers[3]} gone Passed" in words(page) and f"Run {numbers[2]} One that passes" in words(
        page
    )
    assert f"before={numbers[2]}" in page
    page = shown(viewer, f"/lab/runs?before={numbers[2]}")
    assert f"Run {numbers[1]}" in page and f"Run {numbers[2]}" not in page
    page = words(shown(viewer, "/lab/runs?scenario=fails"))
    assert f"Run {numbers[1]}" in page and f"Run {numbers[0]}" not in page
    assert "Why void" not in page, "none is"


def test_why_runs_were_void(viewer: FlaskClient, runtime: Runtime, clock: FixedClock) -> None:
    past(runtime, clock, tiny.result("passes", 0.038))
    past(runtime, clock, Result("passes", (), ("", ""), (), "", void="PostgreSQL ended."))
    for path in ("/lab/runs", "/lab/passes"):
        page = shown(viewer, path)
        assert "Why void" in page and "PostgreSQL ended." in page
        assert not re.search(r"<td[^>]*></td>", page), path


def test_what_a_run_was_made_with_is_in_words(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    setup: dict[str, str | float] = {
        "seed": 20_241_111,
        "ttl s": 8.0,
        "latency_s": 0.04,
        "reads per s": 400.0,
        "rounds": 2000.0,
        "maxmemory": "8 MB",
    }
    past(runtime, clock, replace(tiny.result("passes", 0.038), setup=setup))
    page = words(shown(viewer, "/lab/passes"))
    for fact in (
        "Seed: 20241111",
        "TTL: 8 s",
        "Latency of a statement: 40 ms",
        "Reads: 400/s",
        "Rounds: 2,000",
        "Maxmemory: 8 MB",
    ):
        assert fact in page


@pytest.mark.parametrize(
    ("unit", "top", "levels"),
    [("ratio", 0.97, ["0", "50", "100"]), ("count", 2_000.0, ["0", "1,000", "2,000"])],
)
def test_scales_end_at_what_can_be(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock, unit: str, top: float, levels: list[str]
) -> None:
    sides = tuple(Side(name, (), {"Old": [(0.0, 0.0), (9.0, top)]}) for name in ("Before", "After"))
    past(runtime, clock, Result("passes", sides, ("Old", unit), (), "Old."))
    plot = shown(viewer, "/lab/passes").partition('class="lines ways')[2]
    assert re.findall(r'text-anchor="end">([\d,]+)</text>', plot.partition("<path")[0]) == levels


class TestWhereItIsNotOffered:
    """The setting is off, as it is by default."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"lab": False, "shop_url": None})

    def test_there_is_no_lab(self, admin: FlaskClient, runtime: Runtime) -> None:
        for path in ("/lab", "/lab/runs", "/lab/live", "/lab/passes"):
            assert admin.get(path).status_code == 404, path
        for path in ("/lab/passes/run", "/lab/run-all", "/lab/stop-all", "/lab/passes/stop/1"):
            assert admin.post(path).status_code == 404, path
        assert states(runtime) == []
        page = shown(admin, "/caches")
        assert "Learn" not in page and "Scenario lab" not in page and "Demo store" not in page
