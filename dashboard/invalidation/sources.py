"""Where keys come from: a node's scan, a tag's index, a list. Each step is one round trip at most.

A source gives keys and the place behind them. The calls that act on earlier keys go along where that saves a round
trip: with the SCAN of the same node. All others go to the nodes that have the keys.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dashboard.caching import tags
from dashboard.fleet import scan
from dashboard.fleet.purging import Router, finish
from dashboard.fleet.registry import Node
from dashboard.invalidation import selection as selecting
from dashboard.invalidation.action import SCRIPTS, Call
from dashboard.invalidation.signals import Input
from dashboard.invalidation.types import Selection

LIST: Final = "list"
TAG: Final = "tag"


@dataclass(frozen=True, slots=True)
class Step:
    """What one step brought.

    Args:
        keys: those found, and allowed to be touched.
        cursor: the place behind them; None: that was all.
        looked_at: how many keys were looked at, about.
        replies: to the calls that went along.
        took_s: of the round trip; 0.0: there was none.
    """

    keys: list[bytes]
    cursor: int | None
    looked_at: int
    replies: list[Any]
    took_s: float


class Source(Protocol):
    """Gives the keys of one node, tag or list."""

    @property
    def name(self) -> str:
        """As in NodeProgress."""
        ...

    @property
    def node(self) -> Node | None:
        """The node that has all of the keys; None: they may be anywhere."""
        ...

    def step(self, cursor: int, count: int, calls: Sequence[Call]) -> Step:
        """Go on at a place.

        Args:
            cursor: 0 for the beginning.
            count: about so many keys are looked at.
            calls: sent along; only to a source that has a node.

        Raises:
            FleetError: the node can't be used.
        """
        ...


class ScanSource:
    """The keys of one node that match.

    Args:
        total: keys on the node.
    """

    def __init__(self, router: Router, node: Node, selection: Selection, total: int) -> None:
        self.node = node
        self.name = node.id
        self._router = router
        self._total = total
        self._match = selecting.scan_pattern(selection)
        self._allowed = selecting.allowed(selection)

    def step(self, cursor: int, count: int, calls: Sequence[Call]) -> Step:
        """See Source."""
        commands = [call.command for call in calls]
        burst = scan.scan(self.node, cursor, count=count, match=self._match, along=commands)
        replies = burst.replies
        if calls:
            replies = finish(self._router.connection, self.node, commands, replies, SCRIPTS)
        looked = scan.looked_at(cursor, burst.cursor, count, self._total)
        return Step(self._allowed(burst.keys), burst.cursor or None, looked, replies, burst.took_s)


class TagSource:
    """The keys in a tag's index, wherever they are."""

    node = None
    name = TAG

    def __init__(self, router: Router, selection: Selection) -> None:
        self._router = router
        self._key = tags.tag_key(selection.text)
        self._allowed = selecting.allowed(selection)

    def step(self, cursor: int, count: int, calls: Sequence[Call]) -> Step:
        """See Source."""
        ((node, _),) = self._router.split([self._key])
        burst = scan.scan_members(node, self._key, cursor, count=count)
        # The library keeps the tag's version among them: that is no key.
        found = [key for key in burst.keys if key != tags.VERSION]
        return Step(self._allowed(found), burst.cursor or None, len(found), [], burst.took_s)


class ListSource:
    """Keys that are named; nothing is asked of any server."""

    node = None
    name = LIST

    def __init__(self, items: Input, selection: Selection) -> None:
        self._items = items
        self._expand: Callable[[Sequence[bytes]], list[bytes]] = selecting.expander(selection)
        self._allowed = selecting.allowed(selection)
        self._templates = max(1, len(selection.templates))
        self._at = -1
        self._chunks: Iterator[Sequence[bytes]] = iter(())
        self._chunk: Sequence[bytes] = ()

    def step(self, cursor: int, count: int, calls: Sequence[Call]) -> Step:
        """See Source; the place is an index into the list of items."""
        if cursor != self._at:
            self._at, self._chunk = cursor, ()
            self._chunks = self._items.chunks(cursor)
        items = max(1, count // self._templates)
        if not self._chunk:
            self._chunk = next(self._chunks, ())
        taken, self._chunk = self._chunk[:items], self._chunk[items:]
        self._at += len(taken)
        # A duplicate is no second key.
        keys = list(dict.fromkeys(self._allowed(self._expand(taken))))
        is_over = not taken
        return Step(keys, None if is_over else self._at, len(taken) * self._templates, [], 0.0)
