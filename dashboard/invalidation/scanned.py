"""What the last scan of the keyspace says of the keys that a purge is for: there before they are counted."""

from dashboard.invalidation import screen
from dashboard.invalidation.types import SelectBy, Selection
from dashboard.keyspace import service as keyspace
from dashboard.keyspace.types import Kind
from dashboard.web.formats import ago, byte_size
from dashboard.work import UnitOfWork


def last_scan(work: UnitOfWork, cache_id: int, selection: Selection) -> str:
    """One sentence; empty where the last scan does not tell these keys apart."""
    if selection.by is not SelectBy.PREFIX or not selection.filters.is_empty:
        return ""
    found = keyspace.known_prefix(work, cache_id, selection.text)
    if found is None:
        return ""
    mark, keys, size = found
    is_sample = mark.kind is Kind.SAMPLE and mark.looked_at < mark.keyspace
    what = "A sample" if is_sample else "A scan"
    memory = "" if size is None else f", {byte_size(size)}"
    counted = f"{'about ' if is_sample else ''}{screen.keys(round(keys))}"
    return f"{what} {ago(mark.ended_at, work.now)} found {counted}{memory} with this prefix."
