"""Runs a scenario in a child process, in a folder of its own, and leaves neither behind. One at a time.

Who else runs one on this machine, from a terminal or a worker, is seen by the folders: whoever made his first goes
first. The child ends when we do, in whatever way: it holds the other end of a pipe. A folder that a machine's sudden
end left is removed by the next run.
"""

import fcntl
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from dashboard.demo.lab import catalogue
from dashboard.demo.lab.types import Cancelled, Result
from dashboard.demo.shop.schema import SEED

BEAT_S: Final = 0.2
STOP_S: Final = 25.0
"""The child ends itself in less; see ``__main__``."""
_PREFIX: Final = "cachewarden-lab-"
_CLEAN_S: Final = 15.0
WAITS: Final = "Waits for another run on this machine"
_UNLOCKED_S: Final = 3600.0


def run(
    name: str,
    *,
    seed: int = SEED,
    quick: bool = False,
    tell: Callable[[float, str], None] = lambda share, words: None,
    beat: Callable[[], None] = lambda: None,
) -> Result:
    """Run a scenario of the catalogue.

    Args:
        tell: told how far it is (0..1), and what it does.
        beat: called some times a second, also while others go first; what it raises ends the run, and comes out here.

    Returns:
        What it found; void where the child came to no end.

    Raises:
        Cancelled: the child was asked to end by somebody else.
        KeyError: there is no such scenario.
    """
    module = catalogue.MODULES[name]
    command = [sys.executable, "-m", "dashboard.demo.lab", name, "--module", module, "--seed", str(seed)]
    with _own_folder() as (folder, lock):
        _wait_for_turn(folder, tell, beat)
        command += ["--folder", str(folder), *(["--quick"] if quick else [])]
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is ours; what it starts can be ended with it.
            start_new_session=True,
            pass_fds=(lock,),
        )
        try:
            last = _follow(child, tell, beat)
        finally:
            _end(child)
    if "result" in last:
        return Result.from_json(last["result"])
    if "cancelled" in last:
        raise Cancelled
    how = f"by signal {-child.returncode}" if child.returncode < 0 else f"with exit code {child.returncode}"
    return Result(name, (), ("", ""), (), "", void=f"Its process ended {how}, without a result.")


def _follow(
    child: subprocess.Popen[bytes], tell: Callable[[float, str], None], beat: Callable[[], None]
) -> dict[str, Any]:
    """What the child said last."""
    assert child.stdout is not None
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(child.stdout, lines), name="lab", daemon=True).start()
    last: dict[str, Any] = {}
    while True:
        beat()
        try:
            line = lines.get(timeout=BEAT_S)
        except queue.Empty:
            continue
        if not line:
            return last
        try:
            last = json.loads(line)
        except ValueError:
            continue  # half of one: it was killed while it wrote
        if "share" in last:
            tell(float(last["share"]), str(last["words"]))


def _read(stream: IO[bytes], lines: "queue.SimpleQueue[bytes]") -> None:
    with suppress(ValueError, OSError):  # it was closed meanwhile
        for line in stream:
            lines.put(line)
    lines.put(b"")


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None and child.stdout is not None
    with suppress(BrokenPipeError):
        child.stdin.close()
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        # Not waited for yet, so the number of its group is still its own.
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    child.stdout.close()


@contextmanager
def _own_folder() -> Iterator[tuple[Path, int]]:
    """A folder for the child's files, and the lock that says that somebody uses it."""
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Not when the file was made: nobody could see then that it is used.
    os.utime(lock, ns=(now_ns := time.time_ns(), now_ns))
    try:
        yield folder, lock
    finally:
        os.close(lock)
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder; servers whose starter was killed may still write for a moment."""
    ends_at = time.monotonic() + _CLEAN_S
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > ends_at:
            return
        if folder.exists():
            time.sleep(BEAT_S)


def _wait_for_turn(mine: Path, tell: Callable[[float, str], None], beat: Callable[[], None]) -> None:
    """Wait until no run is under way that came before this one: what measures needs the machine."""
    came = _came(mine)
    while any(_is_held(each) and _came(each) < came for each in _folders(mine.parent) if each != mine):
        tell(0.0, WAITS)
        beat()
        time.sleep(BEAT_S)


def _came(folder: Path) -> tuple[int, str]:
    """When a folder was taken, to sort by."""
    try:
        return (folder / "lock").stat().st_mtime_ns, folder.name
    except FileNotFoundError:
        return time.time_ns(), folder.name


def _sweep(parent: Path) -> None:
    """Remove what runs left whose starter was killed together with them."""
    for folder in _folders(parent):
        with suppress(OSError):
            if not _is_used(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _folders(parent: Path) -> Iterator[Path]:
    """Of all runs of this user."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.geteuid() and not folder.is_symlink():
                yield folder


def _is_used(folder: Path) -> bool:
    if (folder / "lock").exists():
        return _is_held(folder)
    # Being made at this moment, or made without ``apart``.
    return time.time() - folder.stat().st_mtime < _UNLOCKED_S


def _is_held(folder: Path) -> bool:
    """Whether somebody holds a folder's lock."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
