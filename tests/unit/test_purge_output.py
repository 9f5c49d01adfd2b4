"""What the command line says of purges."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner

from dashboard.cli import main
from dashboard.cli import purge_output as output
from dashboard.cli.purging import Lines, Teller
from dashboard.errors import NotFound
from dashboard.invalidation.types import (
    Action,
    Filters,
    Plan,
    Preview,
    Progress,
    Purge,
    SelectBy,
    Selection,
    State,
    When,
)

AT = datetime(2026, 3, 4, 12, tzinfo=UTC)
PREVIEW = Preview(AT, 200_000, keyspace=400_000, size_bytes=12 << 20, used_memory_bytes=48 << 20)
PURGE = Purge(
    number=7,
    cache_id=1,
    state=State.RUNNING,
    plan=Plan(Selection(SelectBy.PREFIX, "product:"), when=When.NOW),
    preview=PREVIEW,
    progress=Progress(touched=50_000, scanned=100_000, expected_scans=400_000, keys_per_s=9_876.0),
    cap=240_010,
    reason="Prices",
    problem="",
    by="ada",
    source="cli",
    schedule_id=None,
    wish="",
    created_at=AT,
    approved_at=AT,
    started_at=AT,
    ended_at=None,
    revision=3,
)


@pytest.mark.parametrize(
    ("preview", "lines"),
    [
        (PREVIEW, ["200,000 keys of 400,000 in the cache.", "About 12 MB, 25% of its memory."]),
        (Preview(AT, 1), ["1 key."]),
        (Preview(AT, 9_000_000, 45_000), ["About 9,000,000 keys, give or take 45,000."]),
        (Preview(AT, 2, named=5), ["2 keys.", "5 are named; the others are not there."]),
        (
            Preview(AT, 3, by_policy={"product:": 2 / 3, "": 1 / 3}),
            ["3 keys.", "By policy: product: 66.7%, other keys 33.3%."],
        ),
    ],
)
def test_a_preview(preview: Preview, lines: list[str]) -> None:
    assert list(output.preview_lines(preview)) == lines


def test_what_a_soft_purge_removes_and_which_keys_a_filter_leaves() -> None:
    (_, line) = output.preview_lines(Preview(AT, 3, without_grace=1.0), Action.SOFT)
    assert line.startswith("100% of them") and "are removed" in line
    assert list(output.preview_lines(Preview(AT, 3, without_grace=1.0), Action.DELETE)) == ["3 keys."]
    chosen = replace(PURGE.plan.selection, filters=Filters(type="hash", ttl_max_s=300))
    made = replace(PURGE, plan=replace(PURGE.plan, selection=chosen))
    assert "Only:      type hash, TTL at most 5 m" in output.shown_lines(made, "shop")


@pytest.mark.parametrize(
    ("purge", "line"),
    [
        (PURGE, "50,000 of 200,000 keys, 25% of the keys looked at, 9,876 keys/s"),
        (
            replace(PURGE, progress=replace(PURGE.progress, slowed_by="probe")),
            "50,000 of 200,000 keys, 25% of the keys looked at, 9,876 keys/s, slowed down for other clients",
        ),
        (
            replace(PURGE, progress=Progress(touched=5, waits_for="127.0.0.1:1 is away.", slowed_by="probe")),
            "5 of 200,000 keys, 0% of the keys looked at, 127.0.0.1:1 is away.",
        ),
        (
            replace(PURGE, progress=replace(PURGE.progress, keys_per_s=0.0, slowed_by="spread")),
            "50,000 of 200,000 keys, 25% of the keys looked at",
        ),
        (replace(PURGE, state=State.PAUSED), "paused at 50,000 keys"),
        (replace(PURGE, state=State.WAITING), "is about to begin"),
        (
            replace(
                PURGE,
                state=State.WAITING,
                progress=Progress(),
                plan=replace(PURGE.plan, when=When.AT, at=AT + timedelta(days=1)),
            ),
            "waits for 2026-03-05 12:00 UTC",
        ),
    ],
)
def test_how_far_it_is(purge: Purge, line: str) -> None:
    assert output.progress_line(purge) == line


def test_what_it_waits_for() -> None:
    waiting = replace(PURGE, state=State.WAITING)
    assert output.progress_line(waiting, [5, 6]) == "waits for purge 5, 6 to end"


@pytest.mark.parametrize(
    ("purge", "line"),
    [
        (replace(PURGE, state=State.DRAFT), ""),
        (replace(PURGE, state=State.DRAFT, counted=120_000), "120,000 keys looked at"),
        (
            replace(PURGE, state=State.DRAFT, counted=120_000, to_count=400_000),
            "120,000 of about 400,000 keys looked at",
        ),
        (replace(PURGE, state=State.DRAFT, counted=120_000, problem="The cache is away."), ""),
        (replace(PURGE, state=State.PREVIEWED, counted=120_000, to_count=400_000), ""),
    ],
)
def test_how_far_a_count_is(purge: Purge, line: str) -> None:
    assert output.counting_line(purge) == line
    said = [each for each in output.shown_lines(purge, "shop") if each.startswith("Counting:")]
    assert said == ([f"Counting:  {line}"] if line else [])


def test_lines_of_progress_become_fewer() -> None:
    lines = Lines()
    assert not lines.is_due(output.BEGINS, 100.0)
    said = [at for at in range(100, 500) if lines.is_due(f"line {at}", at)]
    assert said == [100, 110, 125, 148, 182, 233, 293, 353, 413, 473]
    assert not lines.is_due("line 473", 1000)


def test_how_it_ended() -> None:
    progress = Progress(touched=199_990, skipped=10)
    over = replace(PURGE, state=State.DONE, progress=progress, ended_at=AT + timedelta(seconds=42))
    assert output.result_line(over) == "Purge 7 is done: 199,990 keys touched, 10 needed no change in 42 s."


def test_columns_stand_below_each_other() -> None:
    made = list(output.columns(("A", "LONG", "LAST"), [("1", "x", "a very long one"), ("22", "", "")]))
    assert made == ["A   LONG  LAST", "1   x     a very long one", "22"]


def test_json_has_base_units() -> None:
    made = output.purge_json(PURGE, "shop")
    assert (made["share"], made["cap"], made["preview"]["size_bytes"]) == (0.25, 240_010, 12 << 20)
    assert made["started_at"] == "2026-03-04T12:00:00+00:00" and made["ended_at"] is None


HOSTILE = "\x1b[2J\x07\x9b31m\r\u202etxt\u2028\u2066\x7f\nend"
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_that_others_wrote_steers_the_terminal(as_json: bool) -> None:
    purge = replace(
        PURGE,
        reason=HOSTILE,
        problem=HOSTILE,
        by=HOSTILE,
        plan=Plan(Selection(SelectBy.TAG, HOSTILE)),
        preview=replace(PREVIEW, by_policy={HOSTILE: 1.0}),
        progress=replace(PURGE.progress, waits_for=HOSTILE),
    )

    @click.command()
    def say() -> None:
        teller = Teller(as_json)
        for line in (
            *output.shown_lines(purge, HOSTILE),
            *output.table([purge]),
            output.progress_line(purge),
        ):
            teller.result(line)
            teller.note(line)
        teller.problem(HOSTILE, HOSTILE)
        teller.json(output.purge_json(purge, HOSTILE))

    said = CliRunner().invoke(say)
    assert said.exit_code == 0 and not STEERING.search(said.output)
    if as_json:
        assert json.loads(said.stdout)["reason"] == HOSTILE
    else:
        assert "\\x1b[2J" in said.stdout
        # A line is one line, whatever is in it.
        assert len(said.stdout.splitlines()) == len([*output.shown_lines(purge, ""), 1, 2, 3])


def test_nor_does_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def fails() -> None:
        raise NotFound(HOSTILE, what_to_do=HOSTILE)

    monkeypatch.setattr(main, "get_command", lambda ctx, name: fails)
    said = CliRunner().invoke(main, ["purge"])
    assert said.exit_code == 2 and not STEERING.search(said.output)


def test_other_languages_are_left_as_they_are() -> None:
    for text in ("Größe 商品 👩\u200d", "emoji"):
        assert json.loads(output.json_text([text])) == [text]
    assert output.safe("Größe 商品") == "Größe 商品"
