"""The words of the pages on scans. Pure."""

from typing import Final

from dashboard.keyspace.types import Estimate, Kind, Scan, SnapshotMark, State
from dashboard.web.formats import compact, number, percent

WORDS: Final = {
    State.WAITING: "Waiting",
    State.RUNNING: "Running",
    State.DONE: "Done",
    State.CANCELLED: "Cancelled",
    State.FAILED: "Failed",
}
BADGES: Final = {
    State.WAITING: "",
    State.RUNNING: "acc",
    State.DONE: "ok",
    State.CANCELLED: "",
    State.FAILED: "crit",
}
KINDS: Final = {Kind.FULL: "full scans", Kind.SAMPLE: "samples"}
_SLOWED: Final = {
    "probe": "Slowed down: other clients would wait too long.",
    "memory": "Slowed down: the server is short of memory.",
    "replication": "Slowed down: a replica is behind.",
    "limit": "As fast as its limit allows.",
}


def source(mark: SnapshotMark) -> str:
    """What a snapshot is."""
    if mark.kind is Kind.FULL:
        return "Full scan"
    if mark.looked_at >= mark.keyspace:
        return "Quick look at all keys"
    return f"Sample of {number(mark.looked_at)} of {compact(mark.keyspace)} keys"


def error(mark: SnapshotMark) -> str:
    """How far off its sum of memory may be; empty when it is exact, or nothing was measured."""
    return relative(mark.size)


def relative(estimate: Estimate | None) -> str:
    """Half of an interval in per cent of its value; empty when there is none."""
    if estimate is None or not estimate.error or estimate.value <= 0:
        return ""
    return f"\xb1{percent(min(1.0, max(0.001, estimate.error / estimate.value)))}"


def done(scan: Scan) -> str:
    """How far it is."""
    progress = scan.progress
    if scan.state is State.WAITING:
        return "Waits for a worker."
    if scan.state is State.RUNNING and progress.expected:
        return f"{number(progress.looked_at)} of about {compact(progress.expected)} keys"
    if progress.looked_at or scan.state is State.RUNNING:
        return f"{number(progress.looked_at)} keys"
    return ""


def rate(scan: Scan) -> str:
    """How fast it is, and what others wait."""
    progress = scan.progress
    if scan.state is not State.RUNNING or not progress.keys_per_s:
        return ""
    words = f"{compact(progress.keys_per_s)} keys/s"
    if progress.probe_p99_ms is not None:
        words += f", others wait {progress.probe_p99_ms:.1f} ms at p99"
    return words


def notes(scan: Scan) -> tuple[str, ...]:
    """What is to be known of a scan under way, or of one that failed."""
    progress = scan.progress
    if scan.state is State.FAILED:
        return (f"Scan {scan.number} failed. {scan.problem}".strip(),)
    if scan.state is not State.RUNNING:
        return ()
    found = []
    if scan.wish == "cancel":
        found.append("It is asked to end.")
    if progress.waits_for:
        found.append(progress.waits_for)
    elif progress.slowed_by in _SLOWED:
        found.append(_SLOWED[progress.slowed_by])
    if progress.restarts:
        times = "once" if progress.restarts == 1 else f"{progress.restarts} times"
        found.append(f"A server restarted and was begun again, {times}.")
    return tuple(found)


def said(scan: Scan) -> str:
    """What a screen reader is told: it changes at the start, each quarter and the end."""
    if not scan.state.is_over and scan.progress.share >= 0.25:
        return f"Scan {scan.number}: {int(scan.progress.share * 4) * 25}%"
    return f"Scan {scan.number}: {WORDS[scan.state].lower()}"
