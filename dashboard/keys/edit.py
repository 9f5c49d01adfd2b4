"""Changing one key, with its TTL kept, compared with what was opened, and in the audit log."""

from dashboard.keys.types import Edit, Editable, EditResult
from dashboard.work import UnitOfWork


def from_typed(text: str, *, is_escaped: bool) -> bytes:
    """The bytes of what was typed into a form made from an ``Editable``.

    A form sends line ends as CR LF whatever was typed: they become LF. What holds a CR is shown escaped.

    Raises:
        InvalidInput: field "value": an escape that is none, or too long.
    """
    raise NotImplementedError


def editable(work: UnitOfWork, cache_id: int, key: bytes, address: bytes = b"") -> Editable | None:
    """A string's value, or a member's, whole, for a form; None: it is not there.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such cache.
        Refused: the cache is read-only.
        FleetError: the cache can't be reached or does not let us.
    """
    raise NotImplementedError


def edit(work: UnitOfWork, cache_id: int, key: bytes, wanted: Edit) -> EditResult:
    """Change a value, if it still is what was opened.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such cache.
        Refused: the cache is read-only, or the key is none that can be edited.
        InvalidInput: fields "value", "address", "score".
        FleetError: the cache can't be reached or does not let us; nothing was changed.
    """
    raise NotImplementedError


def set_ttl(work: UnitOfWork, cache_id: int, key: bytes, ttl_s: float) -> EditResult:
    """Have a key expire in ``ttl_s`` seconds; errors as ``edit``; InvalidInput is for field "ttl"."""
    raise NotImplementedError


def persist(work: UnitOfWork, cache_id: int, key: bytes) -> EditResult:
    """Take a key's TTL away; errors as ``edit``."""
    raise NotImplementedError


def rename(work: UnitOfWork, cache_id: int, key: bytes, name: bytes) -> EditResult:
    """Give a key another name, its TTL kept, never over a key that is there.

    Errors as ``edit``; InvalidInput is for field "name": it is taken, or lies in another slot of the Cluster.
    """
    raise NotImplementedError


def delete(work: UnitOfWork, cache_id: int, key: bytes) -> EditResult:
    """Remove a key as a purge does: a hold of the library's stays in force. Errors as ``edit``."""
    raise NotImplementedError
