"""Finding keys: by name at once, by SCAN otherwise, a bounded piece of work for each page."""

from collections.abc import Sequence

from dashboard.keys.types import KeyPage, Search
from dashboard.work import UnitOfWork


def read_search(
    text: str = "", *, type: str = "", ttl: str = "", under: Sequence[str] = (), is_exact: bool = False
) -> Search:
    """What was typed, as a search.

    Args:
        text: a glob pattern where it has ``*``, ``?`` or ``[``, else what keys begin with; bytes that are no text are
            written as ``\\xHH``, a backslash as two.
        type: as TYPE says; empty: any.
        ttl: one of TTL_FILTERS; empty: any.
        under: a path of the prefix tree.
        is_exact: the text is one whole key, whatever characters it has.

    Raises:
        InvalidInput: fields "q", "type", "ttl".
    """
    raise NotImplementedError


def search(
    work: UnitOfWork,
    cache_id: int,
    wanted: Search,
    *,
    cursor: str = "",
    before: int = 0,
    found_before: int = 0,
) -> KeyPage:
    """One page of keys.

    Args:
        cursor: of the page before; empty: from the beginning.
        before, found_before: keys looked at and rows found by the pages before.

    Raises:
        NotFound: there is no such cache.
        InvalidInput: the cursor is none of ours, or of another shape of the cluster.
        FleetError: the cache can't be reached or does not let us.
    """
    raise NotImplementedError
