"""When a browser is opened: only where somebody would see it."""

import io
import webbrowser
from collections.abc import Mapping

import pytest

from dashboard.cli import browser


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("output", "environment", "platform", "expected"),
    [
        (Terminal(), {"DISPLAY": ":0"}, "linux", True),
        (Terminal(), {"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        (Terminal(), {}, "darwin", True),
        (Terminal(), {}, "linux", False),
        (Terminal(), {"DISPLAY": ":0", "CI": "true"}, "linux", False),
        (io.StringIO(), {"DISPLAY": ":0"}, "linux", False),
        (io.StringIO(), {}, "darwin", False),
    ],
)
def test_somebody_is_there_with_a_terminal_and_a_screen(
    output: io.StringIO, environment: Mapping[str, str], platform: str, expected: bool
) -> None:
    assert browser.is_somebody_there(output, environment, platform) is expected


def test_nothing_is_opened_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "get", lambda: opened.append("asked"))
    monkeypatch.setenv("CI", "true")
    assert browser.open_page("http://127.0.0.1:1/") is False and opened == []
