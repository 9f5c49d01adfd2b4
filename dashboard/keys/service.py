"""Use cases of the key browser; see ``search``, ``inspect`` and ``edit`` for each."""

from dashboard.keys.edit import delete, edit, editable, from_typed, persist, rename, set_ttl
from dashboard.keys.inspect import download, open_item, open_key, window
from dashboard.keys.search import read_search, search

__all__ = [
    "delete",
    "download",
    "edit",
    "editable",
    "from_typed",
    "open_item",
    "open_key",
    "persist",
    "read_search",
    "rename",
    "search",
    "set_ttl",
    "window",
]
