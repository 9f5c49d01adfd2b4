"""``python -m tests.browser.shots [NAME …]``: pictures of every page into shots/, both themes, two widths."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.conftest import FLAGS
from tests.browser.helpers import cache_id
from tests.support import live
from tests.support.pages import pages, sign_in

WIDTHS = {"laptop": (1440, 900), "phone": (390, 844)}


def main(wanted: list[str]) -> None:
    """Take the pictures whose page's name holds one of ``wanted``, or all."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        sys.exit("Pictures need a Chromium: install your system's package, or set CHROMIUM to its path.")
    folder = Path("shots")
    folder.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="cachewarden-shots-") as data,
        live.demonstration(Path(data)) as running,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        for theme in ("light", "dark"):
            for width, (w, h) in WIDTHS.items():
                context = browser.new_context(
                    base_url=running.url,
                    viewport={"width": w, "height": h},
                    color_scheme=theme,  # type: ignore[arg-type]
                    reduced_motion="reduce",
                    device_scale_factor=1,
                )
                page = context.new_page()
                page.goto("/sign-in")
                if not wanted or "sign-in" in wanted:
                    page.screenshot(path=folder / f"sign-in-{width}-{theme}.png", full_page=True)
                sign_in(page, running.url, "admin", live.PASSWORD)
                for name, address in pages(cache_id(running)).items():
                    if wanted and not any(part in name for part in wanted):
                        continue
                    page.goto(address)
                    page.wait_for_load_state("networkidle")
                    page.wait_for_timeout(300)
                    page.screenshot(path=folder / f"{name}-{width}-{theme}.png", full_page=True)
                context.close()
        browser.close()
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}/")


if __name__ == "__main__":
    main(sys.argv[1:])
