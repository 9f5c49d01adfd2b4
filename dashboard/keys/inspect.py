"""Opening a key: what it is, and its value in windows."""

from collections.abc import Iterator

from dashboard.keys.types import KeyDetail, View, Window
from dashboard.work import UnitOfWork


def open_key(
    work: UnitOfWork,
    cache_id: int,
    key: bytes,
    *,
    view: View = View.AUTO,
    start: int = 0,
    cursor: str = "",
    may_touch: bool = False,
) -> KeyDetail | None:
    """A key with one window of its value; None: there is no such key (any more).

    Args:
        view: how a string is shown.
        start: of a string: offset in bytes; of lists and sorted sets: index.
        cursor: of the window before, for hashes, sets and streams.
        may_touch: read the value even where the server will take that for a use (before Redis 7.2).

    Raises:
        NotFound: there is no such cache.
        InvalidInput: the cursor is none of ours.
        FleetError: the cache can't be reached or does not let us.
    """
    raise NotImplementedError


def window(
    work: UnitOfWork,
    cache_id: int,
    key: bytes,
    *,
    view: View = View.AUTO,
    start: int = 0,
    cursor: str = "",
    may_touch: bool = False,
) -> Window | None:
    """Another part of a key's value alone; the rest as ``open_key``. Empty with a note where it is withheld."""
    raise NotImplementedError


def open_item(
    work: UnitOfWork,
    cache_id: int,
    key: bytes,
    address: bytes,
    *,
    view: View = View.AUTO,
    may_touch: bool = False,
) -> Window | None:
    """One member of a collection, decoded as a string is, in ``Window.raw`` and ``Window.decoded``.

    Args:
        address: field's name, index in digits, member, or entry id; a list's index may be negative.

    Returns:
        the window, ``items`` holding the one member; None: the key or the member is not there.

    Raises:
        as ``open_key``.
    """
    raise NotImplementedError


def download_size(work: UnitOfWork, cache_id: int, key: bytes) -> int | None:
    """Bytes of a string; None: it is not there, or no string.

    Raises:
        NotFound: there is no such cache.
        FleetError: the cache can't be reached or does not let us.
    """
    raise NotImplementedError


def download_chunks(work: UnitOfWork, cache_id: int, key: bytes) -> Iterator[bytes]:
    """A string's bytes, raw, window by window; nothing is read before the first is asked for.

    Ends early when the value changes meanwhile, so that the parts never come from two values; the reader then has
    fewer bytes than ``download_size`` said. The unit of work is used up to the first part only.

    Raises:
        NotFound: there is no such cache.
        FleetError: the cache can't be reached, does not let us, or the value is no string.
    """
    raise NotImplementedError
