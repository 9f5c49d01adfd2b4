"""Opening a page in the browser of whoever sits at the terminal, where somebody does."""

import os
import sys
import webbrowser
from collections.abc import Mapping
from typing import TextIO


def is_somebody_there(output: TextIO, environment: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a browser would be seen: a terminal and a screen, and no build server.

    Args:
        output: where the command prints.
    """
    if environment.get("CI") or not output.isatty():
        return False
    return platform == "darwin" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def open_page(url: str) -> bool:
    """Open an address in the user's browser if there is one with windows. Returns whether one was asked to."""
    if not is_somebody_there(sys.stdout, os.environ):
        return False
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return False
    if type(found) is webbrowser.GenericBrowser:
        return False  # one for terminals, such as lynx: it would take ours
    try:
        return found.open(url)
    except OSError:
        return False
