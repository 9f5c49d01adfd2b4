"""What the pages of purges say, for every state and for numbers that are not known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard.invalidation import screen
from dashboard.invalidation.forms import TypedApproval
from dashboard.invalidation.impact import Load, Stream, impact
from dashboard.invalidation.types import (
    Action,
    Filters,
    Limits,
    Point,
    Preview,
    Progress,
    Purge,
    SampleKey,
    SelectBy,
    Selection,
    State,
    When,
)
from tests.support.purges import plan, preview
from tests.unit.invalidation.test_purge_forms import purge

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
NOW_CHOSEN = TypedApproval(when="now")
ROWS = Selection(SelectBy.ROWS, "products.id", ("product:{id}", "product:{id}:reviews"))
FRAME = screen.Frame(1, "shop", "/caches/1/invalidate", NOW, False, False, True, False, 0.8)


def running(**progress: Any) -> Purge:
    made = Progress(
        **{"touched": 5160, "scanned": 6300, "expected_scans": 10_000, "keys_per_s": 68.0, **progress}
    )
    return purge(
        plan("session:legacy:"),
        state=State.RUNNING,
        preview=preview(NOW, keys=8190),
        progress=made,
        started_at=NOW - timedelta(seconds=75),
        approved_at=NOW - timedelta(seconds=80),
    )


def view(made: Purge, frame: screen.Frame = FRAME) -> screen.JobView:
    return screen.job_view(made, Limits(), frame)


def test_a_running_purge() -> None:
    shown = view(running(loads_per_s=349.0, hit_ratio=0.912))
    assert shown.share == pytest.approx(0.63, abs=1e-3)
    assert (shown.done_text, shown.left_text) == ("5,160 of 8,190 keys removed", "45 s left")
    assert (shown.rate_text, shown.loads_text, shown.ratio_text) == ("68 keys/s", "349 reads/s", "91.2%")
    assert [verb.name for verb in shown.verbs] == ["pause", "cancel"]
    assert shown.keeps_text == "Cancel keeps the 3,030 keys left." and "50 per cent" in shown.said


def test_it_is_read_out_at_each_quarter_only() -> None:
    said = {view(running(scanned=scanned, touched=0)).said for scanned in range(0, 10_000, 7)}
    assert len(said) == 4


def test_the_share_is_of_the_keys_looked_at() -> None:
    """Those to remove may lie anywhere: it is none of them."""
    made = running(touched=3042, scanned=2700)
    shown = view(replace(made, preview=preview(NOW, keys=22_523, keys_error=90)))
    assert (shown.share, shown.done_text) == (0.27, "3,042 of about 22,523 keys removed")
    assert shown.said == "Purge 12: 25 per cent of the keys looked at."


def test_one_that_waits_for_its_turn_says_for_what() -> None:
    queued = replace(running(touched=0, scanned=0, expected_scans=0), state=State.WAITING, number=12)
    others = (replace(running(), number=11), queued)
    shown = screen.job_view(queued, Limits(), FRAME, others)
    assert shown.notes == ("Waits for purge 11 to end: this cache allows 1 at a time.",)
    assert shown.share is None and shown.done_text == "8,190 keys to remove"
    assert screen.job_view(queued, Limits(at_a_time=2), FRAME, others).notes == ()
    assert screen.job_view(queued, Limits(), FRAME, (queued,)).notes == ()


def test_filters_are_said_wherever_it_stands() -> None:
    chosen = replace(
        plan("p:"), selection=replace(plan("p:").selection, filters=Filters(type="hash", ttl_max_s=300))
    )
    made = replace(running(), plan=chosen)
    assert view(made).only == screen.history_row(made).only == "type hash, TTL at most 5 m"


def test_one_that_would_go_beyond_does_not_say_how_much_is_left() -> None:
    made = replace(running(touched=0), state=State.PAUSED, needs_count=True, problem="Too many.")
    assert view(made).keeps_text == "Cancel keeps what is left."
    assert view(replace(made, needs_count=False)).keeps_text == "Cancel keeps the 8,190 keys left."


def test_a_spread_is_over_when_its_time_is() -> None:
    made = replace(running(), plan=plan("p:", when=When.OVER, over_s=200))
    assert view(made).left_text == "1 m 14 s left"
    # It was slowed down: at its rate it takes longer than planned.
    assert view(replace(made, progress=replace(made.progress, keys_per_s=10.0))).left_text == "5 m 3 s left"


def test_what_does_not_move_has_no_time_left() -> None:
    for still in ({"keys_per_s": 0.0}, {"waits_for": "cache-01:6379 is loading."}):
        for made in (
            running(**still),
            replace(running(**still), plan=plan("p:", when=When.OVER, over_s=200)),
        ):
            assert view(made).left_text == "" and view(made).rate_text == "0 keys/s"


def test_the_time_left_follows_the_last_half_minute() -> None:
    trail = tuple(Point(float(at), 1000.0 if at < 60 else 100.0, None, None) for at in range(90))
    # 3,030 keys are left. One slow second changes little of it.
    assert view(running(trail=trail, keys_per_s=100.0)).left_text == "30 s left"
    assert view(running(trail=trail, keys_per_s=10.0)).left_text == "31 s left"


def test_a_slow_spread_rests_between_its_bursts() -> None:
    trail = tuple(Point(float(at), 8.0 if at % 16 == 0 else 0.0, None, None) for at in range(63))
    made = running(touched=1000, scanned=1200, trail=trail, keys_per_s=0.0, slowed_by="spread")
    shown = view(replace(made, plan=plan("p:", when=When.OVER, over_s=10_000)))
    assert (shown.rate_text, shown.left_text) == ("0.3 keys/s", "2 h 26 m left")


def test_a_purge_that_stands_still_has_no_rate_and_one_that_is_over_its_mean() -> None:
    shown = view(replace(running(), state=State.PAUSED))
    assert (shown.rate_label, shown.rate_text) == ("Rate", "0 keys/s")
    shown = view(replace(running(spent_s=50.0), state=State.CANCELLED))
    assert (shown.rate_label, shown.rate_text) == ("Mean rate", "103 keys/s")


def test_a_pause_stays_a_gap_in_the_chart() -> None:
    trail = tuple(Point(float(at), 5.0, 1.0, 0.9) for at in (0, 1, 2, 62, 63))
    points = view(running(trail=trail)).points
    assert [(each.at_s, each.keys_per_s) for each in points] == [
        (0, 5.0),
        (1, 5.0),
        (2, 5.0),
        (32, None),
        (62, 5.0),
        (63, 5.0),
    ]
    thinned = tuple(Point(float(at), 5.0, None, None) for at in range(0, 7200, 64))
    assert len(view(running(trail=thinned)).points) == len(thinned)


def test_unknown_numbers_are_not_made_up() -> None:
    shown = view(replace(running(expected_scans=0, touched=0, scanned=0, keys_per_s=0), preview=None))
    assert shown.share is None and shown.left_text == "" and shown.done_text == "0 keys removed"
    assert (shown.loads_text, shown.ratio_text) == ("n/a", "n/a")


@pytest.mark.parametrize(
    ("values", "verbs"),
    [
        ({"state": State.DRAFT}, ["cancel"]),
        ({"state": State.DRAFT, "problem": "Denied."}, ["recount", "cancel"]),
        ({"state": State.PREVIEWED}, ["cancel"]),
        ({"state": State.WAITING}, ["pause", "cancel"]),
        ({"state": State.RUNNING}, ["pause", "cancel"]),
        ({"state": State.RUNNING, "wish": "pause"}, ["cancel"]),
        ({"state": State.RUNNING, "wish": "cancel"}, []),
        ({"state": State.PAUSED}, ["resume", "cancel"]),
        ({"state": State.PAUSED, "needs_count": True, "problem": "Too many."}, ["recount", "cancel"]),
        ({"state": State.DONE}, []),
        ({"state": State.CANCELLED}, []),
        ({"state": State.FAILED, "problem": "Denied."}, []),
    ],
)
def test_what_can_be_done_from_where_it_stands(values: dict[str, Any], verbs: list[str]) -> None:
    made = replace(running(), **values)
    assert [verb.name for verb in view(made).verbs] == verbs
    assert view(made, replace(FRAME, may_purge=False)).verbs == ()
    row = screen.history_row(made)
    assert row.result and row.keys_text


def test_what_holds_it_up_comes_first() -> None:
    away = view(running(waits_for="cache-01:6379 is loading.", slowed_by="probe"))
    assert away.notes == ("cache-01:6379 is loading.",)
    assert view(running(slowed_by="probe")).notes == ("Slowed down: other clients would wait too long.",)
    assert view(running(slowed_by="spread")).notes == ()


def test_the_history_says_what_came_of_it() -> None:
    begun, ended = NOW - timedelta(seconds=30), NOW
    done = replace(running(), state=State.DONE, started_at=begun, ended_at=ended)
    assert (screen.history_row(done).result, screen.history_row(done).keys_text) == ("Done in 30 s", "5,160")
    cancelled = replace(done, state=State.CANCELLED)
    assert screen.history_row(cancelled).result == "Cancelled at 5,160"
    assert screen.history_row(cancelled).keys_text == "5,160 of 8,190"
    assert screen.history_row(replace(done, source="schedule")).how == "Delete, at once, scheduled"
    soft = replace(plan("p:", when=When.OVER, over_s=90), action=Action.SOFT)
    assert screen.history_row(replace(done, plan=soft)).how == "Expire softly, over 1 m 30 s"
    assert screen.history_row(purge(plan())).how == "Delete"
    estimated = replace(cancelled, preview=preview(NOW, keys=8190, keys_error=70))
    assert screen.history_row(estimated).keys_text == "5,160 of about 8,190"


def shown(found: Preview, action: Action = Action.DELETE, over: float = 120) -> screen.PreviewView:
    made = impact(
        [Stream(found.keys, 0.004)], Load(338, 3000, 0.914), budget_per_s=500, keys_per_s=1e5, over_s=over
    )
    return screen.preview_view(
        purge(plan("p:", action=action), preview=found), FRAME, screen.cost_view(made, "Assumed."), "", 0.0031
    )


def test_a_preview_in_four_facts() -> None:
    found = shown(
        preview(NOW, keys=11_962, named=12_480, size_bytes=36_100_000, used_memory_bytes=516_000_000)
    )
    texts = [(fact.label, fact.value, fact.note) for fact in found.facts]
    assert texts == [
        ("Keys to remove", "11,962", "518 of the named keys are not cached"),
        ("Memory freed", "34.4 MB", "7% of memory used"),
        ("Hit ratio, lowest", "90.1%", "91.4% now, target 80%"),
        ("Extra database reads", "up to 11,962", "at most 38 per second, 3.1 ms each"),
    ]
    assert found.cost is not None and "peak 386. Over 2 m: peak 376; budget 500." in found.cost.sentence


def test_named_keys_are_counted_over_all_templates() -> None:
    rows = replace(plan("products.id", SelectBy.ROWS), selection=ROWS)
    found = screen.preview_view(
        purge(rows, preview=preview(NOW, keys=12, named=14)), FRAME, None, "", None
    ).facts[0]
    assert found.note == "2 of the named keys are not cached"
    one = screen.preview_view(
        purge(rows, preview=preview(NOW, keys=13, named=14)), FRAME, None, "", None
    ).facts[0]
    assert one.note == "1 of the named keys is not cached"


def test_what_is_not_as_it_should_be_is_marked() -> None:
    low = shown(preview(NOW, keys=2_000_000)).facts[2]
    assert low.label == "Hit ratio, lowest" and low.kind == "warn"
    assert shown(preview(NOW, keys=11_962)).facts[2].kind == ""


def test_a_tag_that_nobody_knows() -> None:
    found = shown(preview(NOW, keys=0, named=0))
    assert found.facts[0].note == "none is named"
    made = purge(plan("sale", SelectBy.TAG), preview=preview(NOW, keys=0, named=0))
    view = screen.preview_view(made, FRAME, None, "", None)
    assert view.facts[0].note == "none is known with this tag"


def test_a_sample_shows_spaces_as_they_are_typed() -> None:
    found = preview(NOW, sample=(SampleKey(b"sp ", "string", None, None, ""),))
    assert shown(found).sample[0].key == "sp\\x20"


def test_an_estimate_says_its_error() -> None:
    found = shown(preview(NOW, keys=1_234_567, keys_error=34_567, scanned=2_000_000, keyspace=90_000_000))
    assert found.keys_text == "about 1,230,000 ± 30,000" and "95 % interval" in found.remarks[0]
    assert screen.button(found.purge, NOW_CHOSEN) == "Remove about 1,234,567 keys now"


def test_a_preview_of_nothing_and_of_what_has_no_grace() -> None:
    assert "nothing to do" in shown(preview(NOW, keys=0)).remarks[0]
    soft = shown(preview(NOW, keys=10, without_grace=0.25), Action.SOFT)
    assert (
        soft.remarks[0].startswith("25% of these keys")
        and screen.button(soft.purge, NOW_CHOSEN) == "Mark stale or remove up to 10 keys now"
    )
    assert screen.warning(soft.purge)[0] == "warn" and "25%" in screen.warning(soft.purge)[1]
    none = shown(preview(NOW, keys=10, without_grace=1.0), Action.SOFT)
    assert screen.button(none.purge, NOW_CHOSEN) == "Remove 10 keys now"
    assert "all of them are removed" in none.remarks[0] and screen.warning(none.purge)[0] == "warn"
    all_stale = shown(preview(NOW, keys=10), Action.SOFT)
    assert screen.button(all_stale.purge, NOW_CHOSEN) == "Mark up to 10 keys stale now"
    assert screen.warning(all_stale.purge)[0] == "" and not all_stale.remarks
    assert screen.button(shown(preview(NOW, keys=1)).purge, NOW_CHOSEN) == "Remove 1 key now"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (TypedApproval("now", "2", "h"), "Remove 100 keys now"),
        (TypedApproval("over", "40", "m"), "Remove 100 keys over 40 m"),
        (TypedApproval("over", "soon", "m"), "Remove 100 keys"),
        (TypedApproval("at", at="2026-03-05T04:00"), "Remove 100 keys at its time"),
        (TypedApproval("cron", "90", "s", cron="0 4 * * *"), "Remove 100 keys on a schedule, over 1 m 30 s"),
        (TypedApproval(""), "Remove 100 keys"),
    ],
)
def test_the_last_button_says_when(typed: TypedApproval, words: str) -> None:
    assert screen.button(shown(preview(NOW)).purge, typed) == words
    made = purge(plan("p:", action=Action.SPREAD, window_s=60), preview=preview(NOW))
    assert screen.button(made, NOW_CHOSEN) == "Let up to 100 keys expire within 1 m, now"
    spread = screen.button(made, TypedApproval("over", "40", "m"))
    assert spread == "Let up to 100 keys expire within 1 m, set over 40 m"
    nightly = screen.button(made, TypedApproval("cron", "90", "s", cron="0 4 * * *"))
    assert nightly == "Let up to 100 keys expire within 1 m, on a schedule, set over 1 m 30 s"


def test_what_may_be_less_says_so() -> None:
    for action in (Action.SPREAD, Action.SOFT, Action.POLICY):
        facts = shown(preview(NOW), action).facts
        assert (facts[0].label, facts[0].value) == ("Keys to touch", "up to 100")
    assert facts[3].label == "Reads that come sooner"
    unread = impact([Stream(100, 0.0)], Load(338, 3000, 0.9), budget_per_s=500, keys_per_s=1e5, over_s=9)
    made = purge(plan("p:"), preview=preview(NOW))
    fact = screen.preview_view(made, FRAME, screen.cost_view(unread, ""), "", None).facts[3]
    assert (fact.value, fact.note) == ("up to 100", "if they are read; lately none was")
    seldom = impact([Stream(100, 1e-5)], Load(338, 3000, 0.9), budget_per_s=500, keys_per_s=1e5, over_s=9)
    fact = screen.preview_view(made, FRAME, screen.cost_view(seldom, ""), "", None).facts[3]
    assert fact.note == "at most 0.1 per second"


@pytest.mark.parametrize(
    ("text", "by", "is_said"),
    [
        ("cachewarden", SelectBy.PREFIX, True),
        ("c", SelectBy.PREFIX, True),
        ("cart:", SelectBy.PREFIX, False),
        ("cache*", SelectBy.PATTERN, True),
        ("*", SelectBy.PATTERN, True),
        ("*:cart", SelectBy.PATTERN, False),
        ("cart*", SelectBy.PATTERN, False),
        ("cachewarden", SelectBy.TAG, False),
    ],
)
def test_keys_of_ours_are_said_to_be_protected(text: str, by: SelectBy, is_said: bool) -> None:
    made = purge(plan(text, by), preview=preview(NOW))
    remarks = screen.preview_view(made, FRAME, None, "", None).remarks
    assert any("are protected" in remark for remark in remarks) == is_said


def test_a_tag_that_nothing_has() -> None:
    def remark(action: Action) -> str:
        made = purge(plan("sale", SelectBy.TAG, action=action), preview=preview(NOW, keys=0))
        return screen.preview_view(made, FRAME, None, "", None).remarks[0]

    assert "there is nothing to do" in remark(Action.SOFT)
    # Its version goes, and with it values of keys that the index does not name.
    assert "counts as missing all the same" in remark(Action.DELETE)


def test_ttls_of_the_sample_are_labelled() -> None:
    found = shown(preview(NOW, ttl_bounds_s=(60, 3600), ttl_counts=(5, 0, 3, 2)))
    assert found.ttl == (("up to 1 m", 0.5), ("over 1 h", 0.3), ("no TTL", 0.2))
    assert shown(preview(NOW, ttl_bounds_s=(60,), ttl_counts=(0, 0, 0))).ttl == ()


def test_an_old_preview_is_known_as_one() -> None:
    assert shown(preview(NOW - timedelta(minutes=11))).is_stale and not shown(preview(NOW)).is_stale


def test_a_full_index_of_a_tag_is_said_where_keys_are_missed() -> None:
    def remarks(named: int, action: Action, **filters: Any) -> tuple[str, ...]:
        tag = plan("sale", SelectBy.TAG, action=action)
        tag = replace(tag, selection=replace(tag.selection, filters=Filters(**filters)))
        made = purge(tag, preview=preview(NOW, keys=10, named=named))
        return screen.preview_view(made, FRAME, None, "", None).remarks

    assert "index is full" in remarks(100_000, Action.SPREAD)[0]
    assert "index is full" in remarks(100_001, Action.DELETE, type="string")[0]
    # Every value of the tag counts as missing then, whether it is in the index or not: there may be many more.
    assert "loaded again, too" in remarks(100_000, Action.DELETE)[0]
    assert remarks(99_999, Action.DELETE) == remarks(99_999, Action.SOFT) == ()


def test_bytes_that_are_no_text_are_shown_as_they_are_typed() -> None:
    assert shown(preview(NOW)).sample[0].key == "product:\\x00\\xff"


@pytest.mark.parametrize("by", list(SelectBy))
def test_every_way_and_action_has_words(by: SelectBy) -> None:
    assert screen.chosen_by(plan("x", by))
    for action in Action:
        assert screen.action(plan("x", by, action=action, window_s=60))
        assert screen.warning(purge(plan("x", by, action=action)))[1].startswith("No undo.")
