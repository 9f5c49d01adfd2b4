"""One run of a scenario in a process of its own: ``python -m dashboard.demo.lab campaign``.

On standard output are lines of JSON: ``{"share": 0.4, "words": "…"}`` while it runs, and at the end
``{"result": {…}}`` or ``{"cancelled": true}``. It ends, and cleans up, at SIGTERM and when its standard input ends:
whoever started it is gone.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from types import FrameType
from typing import Any, Final, TextIO

from dashboard.demo.lab import catalogue
from dashboard.demo.lab.types import Cancelled, Result, Scenario
from dashboard.demo.shop.schema import SEED

HARD_END_S: Final = 15.0
"""Whoever does not end in so long is ended."""
USAGE: Final = 3


class _Mouth:
    """Says lines of JSON, from any thread."""

    def __init__(self, stream: TextIO, stopping: threading.Event) -> None:
        self._stream = stream
        self._stopping = stopping
        self._lock = threading.Lock()

    def say(self, **message: Any) -> None:
        try:
            with self._lock:
                self._stream.write(json.dumps(message) + "\n")
                self._stream.flush()
        except OSError:
            self._stopping.set()  # nobody listens any more


def main(given: Sequence[str] | None = None) -> int:
    """Run one scenario.

    Returns:
        The exit code: 0 there is a result, 130 it was cancelled, 3 there is no such scenario.
    """
    parser = argparse.ArgumentParser(prog="python -m dashboard.demo.lab", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--module", help="where the scenario is, if it is none of ours")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help="a short run, whose numbers mean nothing")
    parser.add_argument(
        "--folder", type=Path, help="for its files; what is in it goes when it is ended by force"
    )
    args = parser.parse_args(given)
    if args.folder:
        os.environ["TMPDIR"] = str(args.folder)
    scenario = catalogue.load(args.module) if args.module else catalogue.find(args.name)
    if scenario is None:
        parser.print_usage(sys.stderr)
        sys.stderr.write(f"There is no scenario {args.name}.\n")
        return USAGE
    stopping, is_done = threading.Event(), threading.Event()
    # Whatever prints, prints elsewhere: these lines are for a program.
    mouth = _Mouth(os.fdopen(os.dup(1), "w"), stopping)
    os.dup2(2, 1)

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask_to_stop)
    threading.Thread(target=_listen, args=(stopping,), daemon=True).start()
    threading.Thread(target=_end_hard, args=(stopping, is_done, args.folder), daemon=True).start()
    try:
        mouth.say(result=_run(scenario, args, mouth, stopping).to_json())
        return 0
    except Cancelled:
        mouth.say(cancelled=True)
        return 130
    finally:
        is_done.set()
        _end_children()


def _run(scenario: Scenario, args: argparse.Namespace, mouth: _Mouth, stopping: threading.Event) -> Result:
    try:
        from dashboard.demo.lab import running
    except ModuleNotFoundError as error:
        what = f"The lab is not installed here (no module {error.name})."
        what += " Run: pip install 'cachewarden[dashboard,embedded]'"
        return Result(scenario.name, (), ("", ""), (), "", void=what)
    return running.run(
        scenario,
        seed=args.seed,
        quick=args.quick,
        say=lambda share, words: mouth.say(share=share, words=words),
        is_cancelled=stopping.is_set,
    )


def _listen(stopping: threading.Event) -> None:
    """Wait for the end of our standard input."""
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    stopping.set()


def _end_hard(stopping: threading.Event, is_done: threading.Event, folder: Path | None) -> None:
    """A scenario that does not look whether it is to end is ended all the same, with all that it started."""
    stopping.wait()
    if is_done.wait(HARD_END_S):
        return
    _end_children()
    for made in folder.glob("*/") if folder else ():
        rmtree(made, ignore_errors=True)
    os._exit(130)


def _end_children() -> None:
    """Kill what still runs of ours: generators of load, and servers where they could not be ended in order."""
    with suppress(ModuleNotFoundError):
        import psutil

        children = psutil.Process().children(recursive=True)
        for each in children:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(children, timeout=5)


if __name__ == "__main__":
    sys.exit(main())
