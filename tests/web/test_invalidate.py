"""The Invalidate page: the form, the preview and its cost, what is under way, the history; whatever is not there."""

import html
import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.access import Role
from dashboard.errors import CacheUnavailable, Refused
from dashboard.invalidation import screen, service, store
from dashboard.invalidation import selection as selections
from dashboard.invalidation.engine import Segment
from dashboard.invalidation.states import Verb
from dashboard.invalidation.types import Filters, Progress, Purge, SelectBy, State, When
from dashboard.web.addresses import key_to_text
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support import purges
from tests.support.people import as_cli
from tests.support.polled import poll
from tests.support.reading import shown
from tests.support.some_caches import add_cache

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}
ROUND = {**PARTIAL, "HX-Live": "true"}
"""As live.js has a panel ask by itself."""


def base(cache_id: int) -> str:
    return f"/caches/{cache_id}/invalidate"


def made(runtime: Runtime, cache_id: int) -> list[Purge]:
    with as_cli(runtime) as work:
        return service.list_purges(work, cache_id, limit=1000)


def preview(browser: FlaskClient, cache_id: int, data: dict[str, Any]) -> Any:
    return browser.post(f"{base(cache_id)}/preview", data=data, content_type="multipart/form-data")


# --- filled by a link -------------------------------------------------------------------------------------------


def test_a_link_fills_the_form_and_counts_nothing(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    link = "?by=prefix&prefix=product%3A&action=policy&lengthens=1&ttl_max_s=5&ttl_max_s.unit=m"
    page = shown(operator, base(cache.id) + link)
    assert re.search(r'value="prefix" checked', page) and re.search(r'value="policy" checked', page)
    assert 'name="prefix" type="text" value="product:"' in page and "<details" in page
    assert re.search(r'name="lengthens" value="1" checked', page) and re.search(r'value="m" selected', page)
    page = shown(operator, base(cache.id) + "?by=nothing&action=flush&window_s.unit=years&list_of=1&listed=9")
    assert re.search(r'value="prefix" checked', page) and re.search(r'value="delete" checked', page)
    assert "list_of" not in page
    assert made(runtime, cache.id) == []


def test_keys_that_were_ticked_elsewhere_fill_the_form(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    keys = [b"cart:1", b" \xff\n", b'"quoted"']
    data = {"key": [key_to_text(key) for key in keys]}
    answer = operator.post(f"{base(cache.id)}/keys", data=data)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200 and re.search(r'value="keys" checked', page)
    field = re.search(r'<textarea[^>]*name="keys"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    assert field is not None
    assert selections.parse_keys(html.unescape(field[1])) == tuple(keys)
    assert made(runtime, cache.id) == []
    assert operator.post(f"{base(cache.id)}/keys", data={"key": "!"}).status_code == 422


# --- looking ----------------------------------------------------------------------------------------------------


def test_an_empty_history_and_no_worker(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    page = shown(operator, base(cache.id))
    assert "Nothing was purged here yet" in page and "No worker runs." in page
    assert 'id="nav-running"></span>' in page and 'data-live="10"' in page
    assert re.search(r'value="prefix" checked', page) and re.search(r'value="delete" checked', page)
    # No purge can be approved that was not counted.
    assert 'name="when"' not in page


def test_a_viewer_sees_all_and_can_do_nothing(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    running = purges.in_state(runtime, cache.id, State.RUNNING)
    page = shown(viewer, base(cache.id))
    assert f"Purge {running.number}" in page and "needs the role Operator" in page
    assert page.count('method="post"') == 1  # the way out
    one = shown(viewer, f"{base(cache.id)}/{running.number}")
    assert one.count('method="post"') == 1
    purges.counted(runtime, cache.id)
    assert 'name="when"' not in shown(viewer, f"{base(cache.id)}?purge={running.number + 1}")


def test_a_read_only_cache_says_so_and_keeps_what_was_typed(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime, read_only=True)
    page = shown(operator, base(cache.id))
    assert "Read-only." in page and "<textarea" not in page
    answer = preview(operator, cache.id, {"by": "prefix", "prefix": "product:"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "is read-only" in page and 'value="product:"' in page
    assert made(runtime, cache.id) == []


def test_a_cache_that_is_away_or_refuses_us(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    error = CacheUnavailable(
        "NOPERM this user has no permissions to run the 'info' command.", what_to_do="Grant it."
    )
    poll(runtime, cache, error)
    page = shown(operator, base(cache.id))
    assert "does not answer as it should" in page and "NOPERM" in page and "Grant it." in page
    # It can be asked for: the worker waits for the cache.
    assert preview(operator, cache.id, {"by": "prefix", "prefix": "p:"}).status_code == 303


@pytest.mark.parametrize("path", ["", "/live", "/1", "/1/report", "/steps?purge=1"])
def test_another_cache_or_number_is_not_found(operator: FlaskClient, runtime: Runtime, path: str) -> None:
    assert operator.get(f"/caches/4711/invalidate{path}").status_code == 404
    mine, other = add_cache(runtime), add_cache(runtime, "other")
    number = purges.counted(runtime, other.id).number
    for wrong in (f"/{number}", f"?purge={number}", f"/{number}/report", f"/steps?purge={number}", "/999999"):
        assert operator.get(base(mine.id) + wrong).status_code == 404, wrong


@pytest.mark.parametrize(
    "query", ["purge=x", "purge=0", "before=-1", "state=nowhere", "q=" + "x" * 300, "purge=%00"]
)
def test_a_wrong_question_is_refused(operator: FlaskClient, runtime: Runtime, query: str) -> None:
    assert operator.get(f"{base(add_cache(runtime).id)}?{query}").status_code in (400, 422)


def test_what_runs_is_said_on_every_page(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    purges.in_state(runtime, cache.id, State.PAUSED)
    assert 'id="nav-running">1\u00a0paused</span>' in shown(viewer, "/audit")
    waiting = purges.in_state(runtime, cache.id, State.WAITING)
    assert 'id="nav-running">1\u00a0waiting, 1\u00a0paused</span>' in shown(viewer, "/audit")
    purges.move(runtime, waiting.number, Verb.CANCEL)
    purges.in_state(runtime, cache.id, State.RUNNING)
    purges.in_state(runtime, cache.id, State.WAITING)
    for path in ("/audit", "/caches", f"/caches/{cache.id}/overview", f"/caches/{cache.id}/policies"):
        assert 'id="nav-running">1\u00a0running, 1\u00a0waiting</span>' in shown(viewer, path)
    # A page that asks by itself brings it anew.
    for path in ("/caches", f"/caches/{cache.id}/overview", f"{base(cache.id)}/live"):
        part = shown(viewer, path, headers=ROUND)
        assert 'id="nav-running" hx-swap-oob="outerMorph">1\u00a0running, 1\u00a0waiting</span>' in part


def test_a_page_where_nothing_happens_hears_of_what_others_begin(
    viewer: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)

    def seen(page: str) -> str:
        (found,) = re.findall(r'hx-get="([^"]*/live\?[^"]*)"', page)
        return html.unescape(found)

    page = shown(viewer, base(cache.id))
    part = shown(viewer, seen(page), headers=ROUND)
    assert 'id="nav-running"' in part and "invalidation-live" not in part  # nothing new, nothing drawn
    running = purges.in_state(runtime, cache.id, State.RUNNING)
    part = shown(viewer, seen(page), headers=ROUND)
    assert f"Purge {running.number}" in part and 'data-live="1"' in part
    # One that was over before anybody asked stands in the history all the same.
    purges.move(runtime, running.number, Verb.FINISH, ended_at=runtime.clock.now())
    part = shown(viewer, seen(page), headers=ROUND)
    assert re.search(r'id="history"[^>]*hx-swap-oob', part) and f'data-live="{screen.IDLE_POLL_S}"' in part


def test_a_running_purge_is_polled_and_one_that_is_over_is_not(
    operator: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    running = purges.in_state(runtime, cache.id, State.RUNNING)
    with as_cli(runtime) as work:
        progress = Progress(
            touched=40, scanned=400_000, expected_scans=1_000_000, keys_per_s=8.0, slowed_by="probe"
        )
        store.change_purge(work.session, running.number, progress=progress)
    page = shown(operator, base(cache.id))
    assert (
        "40 of 100 keys" in page and "other clients would wait too long" in page and 'data-live="1"' in page
    )
    seen = re.search(r'hx-get="[^"]*/live\?seen=([^"&]*)', page)
    assert seen is not None
    part = shown(operator, f"{base(cache.id)}/live?seen={seen[1]}", headers=PARTIAL)
    assert part.lstrip().startswith('<div class="stack jobs" id="invalidation-live"') and "<html" not in part
    assert 'id="history"' not in part
    purges.move(runtime, running.number, Verb.FINISH, ended_at=runtime.clock.now())
    over = shown(operator, f"{base(cache.id)}/live?seen={seen[1]}", headers=PARTIAL)
    assert 'data-live="10"' in over and 'hx-trigger="live' in over  # somebody may begin another
    assert re.search(r'id="history"[^>]*hx-swap-oob', over) and "Done in" in over


def test_a_draft_is_polled_until_it_was_counted(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    draft = purges.draft(runtime, cache.id)
    page = shown(operator, f"{base(cache.id)}?purge={draft.number}")
    assert "Counting." in page and f"/steps?purge={draft.number}" in page and 'name="when"' not in page
    purges.move(runtime, draft.number, Verb.PREVIEW, preview=purges.preview(runtime.clock.now()))
    part = shown(operator, f"{base(cache.id)}/steps?purge={draft.number}", headers=PARTIAL)
    assert (
        part.lstrip().startswith('<div class="later" id="invalidation-steps"')
        and 'hx-trigger="live' not in part
    )
    assert 'name="when"' in part and re.search(r'id="history"[^>]*hx-swap-oob', part)


def test_a_count_that_failed_says_why(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    draft = purges.draft(runtime, cache.id)
    with as_cli(runtime) as work:
        store.change_purge(work.session, draft.number, problem="The user may not SCAN. Grant +scan.")
    page = shown(operator, f"{base(cache.id)}?purge={draft.number}")
    assert "It could not be counted." in page and "Grant +scan." in page and 'data-live="10"' in page
    assert f"{draft.number}/recount" in page


def test_now_is_never_chosen_already(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    for wanted in (purges.AT_ONCE, replace(purges.AT_ONCE, when=When.OVER, over_s=5)):
        number = purges.counted(runtime, cache.id, wanted).number
        page = shown(operator, f"{base(cache.id)}?purge={number}")
        assert re.search(r'value="over" checked', page) and not re.search(r'value="now" checked', page)


def test_the_preview_shows_what_and_what_it_costs(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    found: dict[str, Any] = {"keys": 11_962, "size_bytes": 37_853_594, "used_memory_bytes": 540_000_000}
    number = purges.counted(runtime, cache.id, **found).number
    page = shown(operator, f"{base(cache.id)}?purge={number}")
    assert "11,962" in page and "36.1 MB" in page and "product:\\x00\\xff" in page
    assert "what it costs is not known" in page  # nobody counts, nothing was polled
    assert 'Type <span class="mono">product:</span> to confirm' in page and "Remove 11,962 keys" in page


def test_a_list_is_shown_again_or_kept(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    short = purges.counted(runtime, cache.id, purges.plan("", SelectBy.KEYS), (b"a:\xff", b"b"))
    assert "a:\\xff\nb</textarea>" in shown(operator, f"{base(cache.id)}?purge={short.number}")
    ids = tuple(b"%d" % (3 * number) for number in range(2500))
    long = purges.counted(runtime, cache.id, purges.plan("p:{id}", SelectBy.IDS), ids)
    page = shown(operator, f"{base(cache.id)}?purge={long.number}")
    assert f'name="list_of" value="{long.number}"' in page and "The 2,500 of the last count are kept." in page


# --- history ----------------------------------------------------------------------------------------------------


def test_history_in_pages_and_filtered(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    for number in range(25):
        purges.draft(runtime, cache.id, purges.plan(f"page{number}:"))
    # What was only looked at is there for who asks; so is what was thrown away without an approval.
    thrown = purges.in_state(runtime, cache.id, State.CANCELLED)
    assert "page7:*" not in shown(viewer, base(cache.id))
    assert f'/{thrown.number}">' not in shown(viewer, base(cache.id))
    page = shown(viewer, f"{base(cache.id)}?state=all")
    numbers = [int(each) for each in re.findall(rf'class="k" href="{base(cache.id)}/(\d+)"', page)]
    assert len(numbers) == 20 and numbers == sorted(numbers, reverse=True)
    more = re.search(r'href="([^"]*)" rel="next"', page)
    assert more is not None
    rest = shown(viewer, more[1].replace("&amp;", "&").partition("#")[0])
    assert len(re.findall(rf'class="k" href="{base(cache.id)}/(\d+)"', rest)) == 6 and "Newest" in rest
    found = shown(viewer, f"{base(cache.id)}?q=page7&state=open")
    assert "page7:*" in found and "page8:*" not in found and 'value="page7"' in found
    none = shown(viewer, f"{base(cache.id)}?state=done&q=%25_%27%22")
    assert "No purge matches" in none and "&#39;" in none
    part = shown(viewer, f"{base(cache.id)}?q=page7", headers=PARTIAL)
    assert part.lstrip().startswith('<section class="card" id="history"') and "<html" not in part


def test_the_charts_mark_where_a_purge_began(viewer: FlaskClient, runtime: Runtime) -> None:
    cache, other = add_cache(runtime), add_cache(runtime, "other")
    number = purges.in_state(runtime, cache.id, State.DONE).number
    purges.in_state(runtime, cache.id, State.WAITING)
    for each, titles in ((cache.id, [f"Purge {number}"]), (other.id, [])):
        answer = viewer.get(f"/caches/{each}/series?range=15m")
        assert [event["title"] for event in answer.get_json()["e"]] == titles


# --- one purge --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(State))
def test_the_page_of_a_purge_in_every_state(operator: FlaskClient, runtime: Runtime, state: State) -> None:
    cache = add_cache(runtime)
    purge = purges.in_state(runtime, cache.id, state)
    page = shown(operator, f"{base(cache.id)}/{purge.number}")
    assert f"<h1>Purge {purge.number}</h1>" in page and "product:*" in page and "Audit trail" in page
    assert "Purge drafted" in page and "root" in page
    often = {
        State.DRAFT: "1",
        State.WAITING: "1",
        State.RUNNING: "1",
        State.PAUSED: "5",
        State.PREVIEWED: "10",
    }.get(state)
    assert ("live from:document" in page) == (often is not None)
    assert re.findall(r'data-live="(\d+)"', page) == ([often] if often else [])
    part = shown(operator, f"{base(cache.id)}/{purge.number}", headers=PARTIAL)
    assert part.lstrip().startswith('<div class="grid" id="invalidation-purge"') and "<html" not in part


def test_the_report_of_the_keys_touched(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    purge = purges.counted(runtime, cache.id, replace(purges.AT_ONCE, wants_report=True))
    with as_cli(runtime) as work:
        purge = service.approve(work, purge.number, revision=purge.revision, confirmed_keys=100)
        keys = ((b"product:1", b"product:\xff"), (b"product:\n2",), (b"product:not yet",))
        segments = [Segment(number, "list", each) for number, each in enumerate(keys, 1)]
        store.put_segments(work.session, purge.number, segments)
        store.end_segments(work.session, purge.number, [1, 2], keep=True)
    page = shown(viewer, f"{base(cache.id)}/{purge.number}")
    assert f'href="{base(cache.id)}/{purge.number}/report"' in page
    answer = viewer.get(f"{base(cache.id)}/{purge.number}/report")
    assert answer.status_code == 200 and answer.mimetype == "text/plain"
    assert f'filename="purge-{purge.number}-keys.txt"' in answer.headers["Content-Disposition"]
    assert answer.get_data().splitlines() == [b"product:1", b"product:\\xff", b"product:\\x0a2"]
    none = purges.in_state(runtime, cache.id, State.DONE)
    assert viewer.get(f"{base(cache.id)}/{none.number}/report").status_code == 404


# --- choosing ---------------------------------------------------------------------------------------------------


def test_a_preview_makes_a_draft_with_an_audit_entry(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    data = {"by": "prefix", "prefix": "product:", "action": "soft", "type": "string", "wants_report": "1"}
    answer = preview(operator, cache.id, data)
    (draft,) = made(runtime, cache.id)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"{base(cache.id)}?purge={draft.number}#preview"
    assert (draft.state, draft.by, draft.source) == (State.DRAFT, "the-operator", "web")
    assert draft.plan.selection.filters.type == "string" and draft.plan.wants_report
    with as_cli(runtime) as work:
        query = "SELECT actor_name, subject FROM audit_entry WHERE action = 'invalidation:purge:create'"
        assert work.session.execute(text(query)).all() == [("the-operator", f"purge {draft.number}")]


def test_a_file_of_identifiers_is_taken(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    body = b"\n".join(b"%d" % number for number in range(20_001))
    data = {"by": "ids", "template": "product:{id}", "file": (io.BytesIO(body), "ids.csv")}
    assert preview(operator, cache.id, data).status_code == 303
    (draft,) = made(runtime, cache.id)
    assert draft.plan.selection.count == 20_001
    # A second preview without a file takes the same list.
    again = {"by": "ids", "template": "item:{id}", "list_of": str(draft.number)}
    assert preview(operator, cache.id, again).status_code == 303
    newest = made(runtime, cache.id)[0]
    assert (newest.plan.selection.count, newest.plan.selection.text) == (20_001, "item:{id}")
    other = add_cache(runtime, "other")
    assert preview(operator, other.id, again).status_code == 422  # that list is another cache's


def test_kept_keys_are_no_identifiers_nor_the_other_way_round(
    operator: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    keys = tuple(b"product:%d" % (3 * number) for number in range(2500))
    listed = purges.counted(runtime, cache.id, purges.plan("", SelectBy.KEYS), keys)
    ids = purges.counted(runtime, cache.id, purges.plan("p:{id}", SelectBy.IDS), keys)
    for data in (
        {"by": "ids", "template": "user:{id}", "list_of": str(listed.number)},
        {"by": "keys", "list_of": str(ids.number)},
    ):
        assert preview(operator, cache.id, data).status_code == 422
    assert len(made(runtime, cache.id)) == 2
    assert preview(operator, cache.id, {"by": "keys", "list_of": str(listed.number)}).status_code == 303


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"id;name\n1;Lamp\n2;Desk\n", "The file has 2 columns."),
        (b'1,Lamp\n2,"Desk, large"\n3,Chair', "The file has 2 columns."),
        (b"product_id\n1\n2\n3\n", "The first line, product_id, looks like a heading."),
    ],
)
def test_a_table_is_no_list_of_identifiers(
    operator: FlaskClient, runtime: Runtime, body: bytes, words: str
) -> None:
    """All its words would be taken for identifiers. The form says, too, that the file has to be chosen anew."""
    cache = add_cache(runtime)
    data = {"by": "ids", "template": "product:{id}", "file": (io.BytesIO(body), "of <them>.csv")}
    answer = preview(operator, cache.id, data)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and words in page
    assert "Choose the file again: of &lt;them&gt;.csv was not kept." in page
    assert made(runtime, cache.id) == []


@pytest.mark.parametrize(
    ("data", "field", "kept"),
    [
        ({"by": "prefix", "prefix": "cachewarden:x"}, "prefix", 'value="cachewarden:x"'),
        ({"by": "pattern", "pattern": "a\\*"}, "pattern", 'value="a\\*"'),
        ({"by": "keys", "keys": "a\\q"}, "keys", "a\\q</textarea>"),
        ({"by": "ids", "template": "<p>", "ids": "1"}, "template", 'value="&lt;p&gt;"'),
        ({"by": "ids", "template": "p:{id}", "ids": '"x'}, "ids", "&#34;x</textarea>"),
        ({"by": "tag", "tag": "x" * 5000}, "tag", "x" * 5000),
        ({"by": "prefix", "prefix": "p:", "ttl_min_s": "soon"}, "ttl_min_s", 'value="soon"'),
        ({"by": "prefix", "prefix": "p:", "action": "spread", "window_s": "0"}, "window_s", 'value="0"'),
    ],
)
def test_what_is_refused_is_kept_as_typed(
    operator: FlaskClient, runtime: Runtime, data: dict[str, str], field: str, kept: str
) -> None:
    cache = add_cache(runtime)
    answer = preview(operator, cache.id, data)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and f'id="{field}-e"' in page and 'role="alert"' in page
    assert kept in page and re.search(rf'value="{data["by"]}" checked', page)
    assert made(runtime, cache.id) == []


def test_needs_sign_in_and_the_role(
    client: FlaskClient, as_role: Callable[[Role], FlaskClient], runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    data = {"by": "prefix", "prefix": "p:"}
    assert preview(client, cache.id, data).status_code == 401
    assert preview(as_role(Role.VIEWER), cache.id, data).status_code == 403
    assert preview(as_role(Role.OPERATOR), 4711, data).status_code == 404
    assert made(runtime, cache.id) == []


def test_a_preview_that_is_old_asks_to_be_counted_again(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    purge = purges.counted(runtime, cache.id)
    cast(FixedClock, runtime.clock).wall += timedelta(minutes=11)
    page = shown(operator, f"{base(cache.id)}?purge={purge.number}")
    assert "counted more than 10 minutes ago" in page


def test_a_long_count_says_how_far_it_is(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    purge = purges.draft(runtime, cache.id)
    path = f"/caches/{cache.id}/invalidate?purge={purge.number}"
    for values, said in (
        ({"counted": 12_000, "to_count": 300_000}, "12,000 of about 300,000 keys looked at so far."),
        ({"counted": 12_000, "to_count": 0}, "12,000 keys looked at so far."),
    ):
        with as_cli(runtime) as work:
            store.change_purge(work.session, purge.number, **values)
        assert said in operator.get(path).get_data(as_text=True)


def test_filters_are_seen_wherever_a_purge_is(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    chosen = replace(purges.AT_ONCE.selection, filters=Filters(type="hash", ttl_max_s=300))
    purge = purges.counted(runtime, cache.id, replace(purges.AT_ONCE, selection=chosen))
    with as_cli(runtime) as work:
        service.approve(work, purge.number, revision=purge.revision, confirmed_keys=100)
    page = shown(operator, base(cache.id))
    assert page.count("nly type hash, TTL at most 5 m") == 2  # under way, and in the history
    with as_cli(runtime) as work:
        query = "SELECT count(*) FROM audit_entry WHERE after->>'only' = 'type hash, TTL at most 300 s'"
        assert work.session.scalar(text(query)) == 2


def test_one_that_waits_for_its_turn_says_for_what(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    running = purges.in_state(runtime, cache.id, State.RUNNING)
    waiting = purges.in_state(runtime, cache.id, State.WAITING)
    said = f"Waits for purge {running.number} to end: this cache allows 1 at a time."
    for path in (base(cache.id), f"{base(cache.id)}/{waiting.number}"):
        assert said in shown(operator, path)
    assert "<progress" not in shown(operator, f"{base(cache.id)}/{waiting.number}")


def test_one_that_began_and_is_counted_again_stays_in_sight(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    running = purges.in_state(runtime, cache.id, State.RUNNING)
    paused = purges.move(runtime, running.number, Verb.PAUSE, needs_count=True, problem="Too many.")
    assert "Cancel keeps what is left." in shown(operator, base(cache.id))
    with as_cli(runtime) as work:
        service.recount(work, paused.number, revision=paused.revision)
    purges.move(runtime, paused.number, Verb.PREVIEW, preview=purges.preview(runtime.clock.now()))
    page = shown(operator, base(cache.id))
    assert f'href="{base(cache.id)}?purge={paused.number}#preview">Go on with this purge' in page
    assert f'<a class="k" href="{base(cache.id)}/{paused.number}">' in page  # in the history of approved ones


def test_an_empty_selection_leaves_nothing_to_approve(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    empty = purges.counted(runtime, cache.id, keys=0)
    page = shown(operator, f"{base(cache.id)}?purge={empty.number}")
    assert "there is nothing to do" in page and 'id="approve-form"' not in page
    with as_cli(runtime) as work, pytest.raises(Refused, match="nothing to do"):
        service.approve(work, empty.number, revision=empty.revision, confirmed_keys=0)
    # A tag makes values count as missing that its index does not name.
    tag = purges.counted(runtime, cache.id, purges.plan("sale", SelectBy.TAG), keys=0, named=0)
    assert 'id="approve-form"' in shown(operator, f"{base(cache.id)}?purge={tag.number}")
    with as_cli(runtime) as work:
        service.approve(work, tag.number, revision=tag.revision, confirmed_keys=0)
