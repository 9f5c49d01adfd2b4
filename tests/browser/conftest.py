"""A real Chromium in front of a whole running dashboard."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support import live, servers
from tests.support.pages import Watched, sign_in

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    """What is expected of a page is waited for, and the machine may be busy."""
    expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The Chromium of the system's package; Playwright's own download is not needed."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        servers.skip_or_fail("CACHEWARDEN_REQUIRE_BROWSER", "no Chromium: browser tests are left out")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def dashboard(chromium: Browser) -> Iterator[live.Live]:
    """A dashboard with a worker and a cache under traffic."""
    with servers.folder() as folder, live.demonstration(folder) as running:
        yield running


@pytest.fixture(scope="session")
def signed_in(chromium: Browser, dashboard: live.Live) -> dict[str, object]:
    """The cookies of the administrator's sign-in."""
    context = chromium.new_context()
    sign_in(context.new_page(), dashboard.url, "admin", live.PASSWORD)
    state = context.storage_state()
    context.close()
    return dict(state)


@pytest.fixture
def context(
    chromium: Browser, dashboard: live.Live, signed_in: dict[str, object]
) -> Iterator[BrowserContext]:
    context = chromium.new_context(
        base_url=dashboard.url,
        storage_state=signed_in,  # type: ignore[arg-type]
        viewport={"width": 1440, "height": 900},
        reduced_motion="reduce",
    )
    yield context
    context.close()


@pytest.fixture
def watched(context: BrowserContext, dashboard: live.Live) -> Iterator[Watched]:
    """A page and what it must not do; the test fails when it logs an error, breaks the policy or asks another host."""
    watched = Watched(context.new_page(), dashboard.url)
    yield watched
    assert watched.complaints == []


@pytest.fixture
def page(watched: Watched) -> Page:
    """A watched page, signed in."""
    return watched.page


@pytest.fixture(scope="session")
def axe(checkout: Path) -> str:
    """The source of axe-core, from the development packages of npm."""
    path = checkout / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        servers.skip_or_fail("CACHEWARDEN_REQUIRE_BROWSER", "axe-core is not installed (npm ci)")
    return path.read_text(encoding="utf-8")
