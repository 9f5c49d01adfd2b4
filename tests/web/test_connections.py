"""The table of caches."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from dashboard.access import Role
from dashboard.caches.types import Environment
from dashboard.errors import CacheUnavailable
from dashboard.monitoring import rollup
from dashboard.monitoring.types import CacheStatus
from dashboard.overview.connections import Row, lede
from dashboard.work import Runtime
from tests.support.polled import pass_time, poll, polled_cache
from tests.support.some_caches import SECRET, URL, add_cache

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}


def test_shows_every_cache_without_its_password(viewer: FlaskClient, runtime: Runtime) -> None:
    add_cache(runtime, "shop-prod", environment=Environment.PRODUCTION, read_only=True)
    add_cache(runtime, "<b>staging</b>", "redis+cluster://a-1:7000,a-2:7000")
    answer = viewer.get("/caches")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "shop-prod" in page and "127.0.0.1:1" in page and "a-[1-2]:7000" in page
    assert "Production" in page and "Read-only" in page and "Cluster" in page
    assert "&lt;b&gt;staging&lt;/b&gt;" in page and "<b>staging</b>" not in page
    assert SECRET not in page
    assert "style=" not in page


def test_as_fragment(viewer: FlaskClient, runtime: Runtime) -> None:
    add_cache(runtime)
    page = viewer.get("/caches", headers=FRAGMENT).get_data(as_text=True).strip()
    assert page.startswith('<div class="stack" id="caches-table"') and page.endswith("</div>")
    assert "<html" not in page


def test_only_administrators_see_the_way_to_change(
    viewer: FlaskClient, admin: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    assert "/caches/new" not in viewer.get("/caches").get_data(as_text=True)
    page = admin.get("/caches").get_data(as_text=True)
    assert "/caches/new" in page and f"/caches/{cache.id}/edit" in page


def test_needs_sign_in(client: FlaskClient) -> None:
    answer = client.get("/caches")
    assert answer.status_code == 303 and "/sign-in" in answer.headers["Location"]
    assert client.get("/caches", headers=FRAGMENT).status_code == 401


def test_empty(viewer: FlaskClient, admin: FlaskClient) -> None:
    page = viewer.get("/caches").get_data(as_text=True)
    assert "No cache connected yet" in page and "An administrator can connect one" in page
    form = admin.get("/caches").get_data(as_text=True)
    assert "No cache connected yet" in form and 'action="/caches/new"' in form
    assert 'action="/caches/new"' not in page


def test_filter_is_in_the_url(viewer: FlaskClient, runtime: Runtime) -> None:
    add_cache(runtime, "one", environment=Environment.PRODUCTION)
    add_cache(runtime, "two")
    body = viewer.get("/caches?environment=production", headers=FRAGMENT).get_data(as_text=True)
    assert ">one<" in body and ">two<" not in body
    assert re.search(r'aria-current="true"[^>]*>Production 1<', body)
    assert 'hx-get="/caches?environment=production"' in body
    assert viewer.get("/caches?environment=banana").status_code == 422


def test_a_cache_that_can_not_be_decrypted_takes_no_page_away(viewer: FlaskClient, runtime: Runtime) -> None:
    from sqlalchemy import text

    cache = add_cache(runtime)
    add_cache(runtime, "other")
    with runtime.database.transaction() as session:
        session.execute(text("UPDATE cache SET url = 'x' WHERE id = :id"), {"id": cache.id})
    page = viewer.get("/caches").get_data(as_text=True)
    assert "address can&#39;t be decrypted" in page and "other" in page


def words(page: str) -> str:
    """The text of a page, on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_what_monitoring_knows(viewer: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    cache = polled_cache(runtime, valkey_url, polls=13)
    with runtime.database.transaction() as session:
        now = runtime.clock.now()
        rollup.roll_up_minutes(session, [cache.id], now - timedelta(minutes=5), now)
    page = viewer.get("/caches", headers=FRAGMENT).get_data(as_text=True)
    text = words(page)
    assert "1 connected, 1 answers" in text and "polled 1 s ago" in text
    assert "Server Valkey 9." in text and "90.0%" in text and "of 64 MB" in text
    assert 'class="spark inl"' in page


def test_redis_away_keeps_the_row_and_says_since_when(
    viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url)
    add_cache(runtime, "other")
    for _ in range(3):
        pass_time(runtime, 60)
        poll(runtime, cache, CacheUnavailable("It refused the connection."))
    text = words(viewer.get("/caches", headers=FRAGMENT).get_data(as_text=True))
    assert text.startswith("One cache is away. shop-prod stopped answering at 12:00;")
    assert "2 connected, 0 answer" in text and "polled 3 m ago" in text
    assert text.index("127.0.0.1:1 ") > text.index("No answer since 12:00")


NOW = datetime(2026, 3, 4, 14, 26, tzinfo=UTC)


def row(runtime: Runtime, name: str, kind: str, *, up: bool | None = True, word: str = "Word") -> Row:
    cache = add_cache(runtime, name, URL)
    last = NOW - timedelta(minutes=17) if up is not None else None
    status = CacheStatus(cache.id, kind, word, last_poll_at=last, is_up=up)  # type: ignore[arg-type]
    return Row(cache, status, "Server", "", (), None, False)


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (["ok"], "The cache is healthy."),
        (["ok", "ok"], "All caches are healthy."),
        (["away"], "One cache is away. a stopped answering at 14:09."),
        (
            ["away", "away", "ok"],
            "Two caches are away. a stopped answering at 14:09, and b is away too; one is healthy.",
        ),
        (
            ["away", "warn", "warn", "ok", "ok", "ok"],
            "One cache is away. a stopped answering at 14:09; two more need a look, three are healthy.",
        ),
        (["warn", "ok"], "One cache needs a look. a: memory full; one is healthy."),
        (["away"] * 3, "Three caches are away. a stopped answering at 14:09, and b and c are away too."),
        (
            ["away"] * 4,
            "Four caches are away. a stopped answering at 14:09, and b and two more are away too.",
        ),
        (["measuring", "ok"], "Measuring. One is healthy, one is being measured."),
        (["crit", "warn"], "Two caches need a look. a: memory full."),
        (["unknown"], "Waiting for the first reading. One waits for the first numbers."),
        (
            ["unknown", "ok"],
            "Waiting for the first reading. One is healthy, one waits for the first numbers.",
        ),
    ],
)
def test_the_sentence_on_top(runtime: Runtime, kinds: list[str], words: str) -> None:
    rows = [
        row(
            runtime,
            "abcdef"[number],
            {"away": "crit", "measuring": "unknown"}.get(kind, kind),
            up={"away": False, "unknown": None}.get(kind, True),
            word="Memory full",
        )
        for number, kind in enumerate(kinds)
    ]
    found = lede(rows, NOW)
    assert found is not None
    tail = found.sentence if found.name or not found.sentence else f" {found.sentence}"
    name = f" {found.name}" if found.name else ""
    assert f"{found.bold}{name}{tail}" == words


def test_no_sentence_without_caches() -> None:
    assert lede([], NOW) is None


def test_worst_first(viewer: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboard.overview.connections import _badness

    rows = [
        row(runtime, "d-ok", "ok"),
        row(runtime, "c-unknown", "unknown", up=None),
        row(runtime, "b-warn", "warn"),
        row(runtime, "a-crit", "crit"),
        row(runtime, "z-away", "crit", up=False),
    ]
    assert [each.cache.name for each in sorted(rows, key=_badness)] == [
        "z-away",
        "a-crit",
        "b-warn",
        "c-unknown",
        "d-ok",
    ]


@pytest.mark.parametrize("role", list(Role))
def test_every_role_may_look(as_role: Callable[[Role], FlaskClient], role: Role) -> None:
    assert as_role(role).get("/caches").status_code == 200
