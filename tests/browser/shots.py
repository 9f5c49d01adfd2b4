"""``python -m tests.browser.shots [--url URL --password PASSWORD] [NAME …]``: pictures of every page into shots/.

Both themes, two widths. Of a dashboard started for it, with some minutes of history; or of a running one, whose
charts are longer.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from dashboard.demo.shop.links import Links
from tests.browser.conftest import FLAGS
from tests.support import live, servers, shop
from tests.support.pages import pages, sign_in

WIDTHS = {"laptop": (1440, 900), "phone": (390, 844)}
FOLDER = Path("shots")
HISTORY_S = 120


@contextlib.contextmanager
def own_dashboard() -> Iterator[str]:
    """The address of a dashboard with two minutes of history."""
    with tempfile.TemporaryDirectory(prefix="cachewarden-shots-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's own user must pass
        with live.demonstration(Path(folder)) as running:
            sys.stdout.write(f"Reading traffic for {HISTORY_S} s ...\n")
            time.sleep(HISTORY_S)
            yield running.url


def take(browser: Browser, url: str, password: str, theme: str, width: str, names: list[str]) -> None:
    """The pictures of one theme and width; of the pages whose name holds one of ``names``, or of all."""
    w, h = WIDTHS[width]
    context = browser.new_context(
        base_url=url,
        viewport={"width": w, "height": h},
        color_scheme=theme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = context.new_page()

    def picture(name: str, address: str) -> None:
        if names and not any(part in name for part in names):
            return
        page.goto(address)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(400)
        page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png", full_page=True)

    picture("sign-in", "/sign-in")
    sign_in(page, url, "admin", password)
    page.goto("/")
    cache_id = int(page.url.partition("/caches/")[2].partition("/")[0])
    for name, address in pages(cache_id).items():
        picture(name, address)
    context.close()


def take_shop(browser: Browser, running: shop.Running, theme: str, width: str, names: list[str]) -> None:
    """The same of the demo's shop: a customer with a cart, and a price that was changed behind the cache's back."""
    w, h = WIDTHS[width]
    context = browser.new_context(
        base_url=running.url,
        viewport={"width": w, "height": h},
        color_scheme=theme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto("/sign-in")
    page.get_by_role("button", name="Be ").first.click()
    page.goto("/product/5")
    page.get_by_role("button", name="Add to cart").click()
    row = running.shop.store.row(5)
    assert row is not None
    running.shop.change(5, cents=row["price_cents"] + 1000, by="the price import", tells_cache=False)
    for name, address in shop.story(5).items():
        if names and not any(part in name for part in names):
            continue
        page.goto(address)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png", full_page=True)
    context.close()


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.shots")
    parser.add_argument("names", nargs="*", help="parts of page names; none: all pages")
    parser.add_argument("--url", help="of a running dashboard; unset: one is started")
    parser.add_argument("--password", default=live.PASSWORD, help="of its account admin")
    given = parser.parse_args()
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        sys.exit("Pictures need a Chromium: install your system's package, or set CHROMIUM to its path.")
    FOLDER.mkdir(exist_ok=True)
    with (
        contextlib.nullcontext(given.url) if given.url else own_dashboard() as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        for theme in ("light", "dark"):
            for width in WIDTHS:
                take(browser, url, given.password, theme, width, given.names)
        if not given.names or any("shop" in name for name in given.names):
            with servers.folder() as folder, shop.shop(folder, Links("http://127.0.0.1:1", 1)) as running:
                for theme in ("light", "dark"):
                    for width in WIDTHS:
                        take_shop(browser, running, theme, width, given.names)
        browser.close()
    sys.stdout.write(f"{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER}/\n")


if __name__ == "__main__":
    main()
