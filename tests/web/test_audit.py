"""The page of the audit log and its export."""

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from dashboard.access import Actor, Role
from dashboard.audit import service
from dashboard.work import Runtime, unit_of_work
from tests.conftest import FixedClock
from tests.support import people

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


def note(
    runtime: Runtime, subject: str, action: str = "caches:cache:update", name: str = "ops", **more: object
) -> None:
    with unit_of_work(runtime, Actor(1, name, Role.OPERATOR, "web", "192.0.2.9", "req-58c1")) as work:
        service.record(work, action, subject, **more)  # type: ignore[arg-type]


def words(page: object) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.get_data(as_text=True)).split())  # type: ignore[attr-defined]


def subjects(browser: FlaskClient, query: str) -> list[str]:
    page = browser.get(f"/audit?{query}")
    assert page.status_code == 200, words(page)
    return re.findall(r'<td class="mono p2 clip" title="([^"]*)"', page.get_data(as_text=True))


def test_everybody_signed_in_may_look(
    client: FlaskClient, viewer: FlaskClient, operator: FlaskClient, admin: FlaskClient
) -> None:
    for path in ("/audit", "/audit.csv"):
        assert client.get(path).headers["Location"].startswith("/sign-in?next=%2Faudit")
        assert [browser.get(path).status_code for browser in (viewer, operator, admin)] == [200, 200, 200]


def test_it_shows_the_newest_first(viewer: FlaskClient, runtime: Runtime) -> None:
    note(
        runtime,
        "shop-prod",
        before={"poll_interval_s": 10},
        after={"poll_interval_s": 30},
        reason="Too chatty",
    )
    text = words(viewer.get("/audit"))
    assert (
        "Today 12:00:00 ops caches: cache: update shop-prod shop-prod"  # once more for narrow screens
        " Poll interval 10 s to 30 s. “Too chatty” Done Done" in text
    )
    assert text.index("shop-prod") < text.index("auth: session: sign-in the-viewer the-viewer Signed in Done")
    assert "Export 3 rows as CSV" in text and "3 match, newest first" in text


def test_as_a_fragment(viewer: FlaskClient, runtime: Runtime) -> None:
    note(runtime, "shop-prod")
    text = viewer.get("/audit", headers=PARTIAL).get_data(as_text=True).strip()
    assert "<html" not in text and "shop-prod" in text
    assert re.search(r'<section class="card" id="audit-entries"', text)


def test_an_open_row_shows_before_and_after(viewer: FlaskClient, runtime: Runtime) -> None:
    note(
        runtime,
        "<b>shop</b>",
        before={"name": "<i>old</i>", "token": "s3cr3t"},
        after={"name": "new", "token": "s"},
    )
    page = viewer.get("/audit")
    target = re.search(r'href="(/audit\?open=\d+)#entry-', page.get_data(as_text=True))
    assert target is not None
    for headers in ({}, PARTIAL):
        opened = viewer.get(target[1], headers=headers).get_data(as_text=True)
        assert '<span class="del">- name: &#34;&lt;i&gt;old&lt;/i&gt;&#34;</span>' in opened
        assert '<span class="ins">+ name: &#34;new&#34;</span>' in opened
        assert "s3cr3t" not in opened and "<b>shop</b>" not in opened
        assert 'aria-expanded="true"' in opened and "192.0.2.9" in opened and "req-58c1" in opened


def test_the_filter_stands_in_the_address(viewer: FlaskClient, runtime: Runtime, clock: FixedClock) -> None:
    clock.wall -= timedelta(days=5)
    note(runtime, "old")
    clock.wall += timedelta(days=5)
    note(runtime, "by-desk", name="desk")
    note(runtime, "made", action="caches:cache:create", reason="New shop")
    assert subjects(viewer, "who=desk") == ["by-desk"]
    assert subjects(viewer, "action=caches:cache:*") == ["made", "by-desk", "old"]
    assert subjects(viewer, "action=caches:cache:create, x:*") == ["made"]
    assert subjects(viewer, "span=2d&action=caches:*") == ["made", "by-desk"]
    assert subjects(viewer, "to=2026-03-01") == ["old"]
    assert subjects(viewer, "from=2026-03-04 12:00&action=caches:*") == ["made", "by-desk"]
    assert subjects(viewer, "contains=NEW shop") == ["made"]
    text = viewer.get("/audit?who=desk&action=caches:*&contains=x&from=2026-03-01&to=2026-03-05").get_data(
        as_text=True
    )
    assert '<option value="desk" selected>' in text
    for typed in ("caches:*", "x", "2026-03-01", "2026-03-05"):
        assert f'value="{typed}"' in text
    assert "No entry matches" in text
    assert "none match" in text and "Export" not in text
    text = viewer.get("/audit?who=desk&action=caches:*&contains=DESK&to=2026-03-05").get_data(as_text=True)
    assert 'href="/audit.csv?who=desk&amp;action=caches%3A%2A&amp;to=2026-03-05&amp;contains=DESK"' in text


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "to=2026-99-01",
        "action=%25%25",
        "from=2026-03-02&to=2026-03-01",
        f"contains={'x' * 300}",
    ],
)
def test_a_wrong_filter_is_said_at_its_field_and_kept(viewer: FlaskClient, query: str) -> None:
    page = viewer.get(f"/audit?{query}")
    assert page.status_code == 422
    assert 'aria-invalid="true"' in page.get_data(as_text=True)
    assert viewer.get(f"/audit.csv?{query}").status_code == 422


@pytest.mark.parametrize("query", ["before=x", "before=-1", "open=0", f"open={'9' * 30}", "open=1.5"])
def test_a_wrong_number_is_refused(viewer: FlaskClient, query: str) -> None:
    assert viewer.get(f"/audit?{query}").status_code == 422


def test_an_unknown_entry_is_not_found(viewer: FlaskClient) -> None:
    assert viewer.get("/audit?open=999999999").status_code == 404


def test_pages_of_fifty(viewer: FlaskClient, runtime: Runtime) -> None:
    for number in range(60):
        note(runtime, f"cache-{number:02}")
    text = viewer.get("/audit?who=ops").get_data(as_text=True)
    following = re.search(r'href="(/audit\?who=ops&amp;before=\d+)" rel="next">Next 50', text)
    assert following is not None
    rest = viewer.get(following[1].replace("&amp;", "&")).get_data(as_text=True)
    assert rest.count('<tr id="entry-') == 10 and "Next 50" not in rest
    assert 'href="/audit?who=ops">' in rest and "Newest" in rest


def rows(answer: object) -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.get_data(as_text=True), newline="")))  # type: ignore[attr-defined]


def test_the_export_is_the_filter_and_no_formula(viewer: FlaskClient, runtime: Runtime) -> None:
    note(runtime, '=HYPERLINK("https://evil.example")', reason="+1+1", after={"name": 'x,"y"\nz'})
    note(runtime, "other", name="desk")
    answer = viewer.get("/audit.csv?who=ops")
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="cachewarden-audit-2026-03-04.csv"'
    head, row = rows(answer)
    entry = dict(zip(head, row, strict=True))
    assert entry["on"] == '\'=HYPERLINK("https://evil.example")' and entry["reason"] == "'+1+1"
    assert (
        entry["who"] == "ops" and entry["at"] == "2026-03-04T12:00:00.000+00:00" and entry["result"] == "done"
    )
    assert '"name": "x,\\"y\\"\\nz"' in entry["after"]


def test_the_export_is_streamed_in_parts(
    viewer: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "EXPORT_BATCH", 10)
    for number in range(25):
        note(runtime, f"cache-{number}")
    answer = viewer.get("/audit.csv?who=ops", buffered=False)
    parts = list(answer.response)
    assert len([part for part in parts if part]) == 3
    text = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts).decode()
    assert len(text.splitlines()) == 26


def test_a_huge_log_says_more_than(
    viewer: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "COUNT_LIMIT", 5)
    for number in range(8):
        note(runtime, f"cache-{number}")
    assert "Export more than 5 rows as CSV" in words(viewer.get("/audit"))


def test_nobody_is_named_as_such(viewer: FlaskClient, runtime: Runtime) -> None:
    with people.as_nobody(runtime) as work:
        service.record(replace(work), "auth:session:sign-in", "unknown account", result="failed")
    page = viewer.get("/audit?who=anonymous")
    target = re.search(r'hx-get="(/audit\?[^"#]*)', page.get_data(as_text=True))
    assert target is not None
    text = words(viewer.get(target[1].replace("&amp;", "&")))
    assert "anonymous, Signed out" in text and "Failed" in text
