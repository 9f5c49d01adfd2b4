"""Finding keys: by name at once, by SCAN otherwise, a bounded piece of work for each page."""

import base64
import binascii
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from dashboard.access import Role, require
from dashboard.caches import service as caches
from dashboard.caching.policy import prefix_from_text
from dashboard.errors import InvalidInput
from dashboard.fleet import scan
from dashboard.fleet.abilities import server_of
from dashboard.fleet.errors import Cause, FleetError
from dashboard.fleet.globs import MOST_ASTERISKS, glob_escape
from dashboard.fleet.listing import Listed, Lister
from dashboard.fleet.registry import Connection, Node
from dashboard.fleet.values import TYPES
from dashboard.keys.paths import below, named
from dashboard.keys.types import PAGE_KEYS, TTL_FILTERS, KeyPage, KeyRow, Search
from dashboard.keyspace import service as keyspace
from dashboard.monitoring import service as monitoring
from dashboard.work import UnitOfWork

MOST_LOOKED_AT: Final = 20_000
"""Keys that are looked at for one page."""
MOST_S: Final = 0.3
"""Seconds after which a page ends where it stands."""
LONGEST: Final = 4_096
"""Bytes of what is searched for."""
_FEWEST: Final = 100
_MOST: Final = 500
"""Keys that one SCAN looks at: a server does it in less than a millisecond."""
_GLOB: Final = re.compile(r"[*?\[]")
_TYPE: Final = re.compile(r"[\x21-\x7e]{1,64}")


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
    if type and _TYPE.fullmatch(type) is None:
        raise _invalid("type", "Choose a type, such as string or hash.")
    if ttl and ttl not in TTL_FILTERS:
        raise _invalid("ttl", f"Choose one of {', '.join(TTL_FILTERS)}.")
    try:
        literal = prefix_from_text(text)
    except ValueError:
        raise _invalid("q", "Write a backslash as \\\\ and a byte that is no text as \\xHH.") from None
    if len(literal) > LONGEST:
        raise _invalid("q", f"Longer than {LONGEST:,} bytes.")
    path = tuple(under)
    try:
        below(path, "")
    except ValueError:
        raise _invalid("under", "There is no such prefix.") from None
    if is_exact:
        return Search(text, exact=literal, under=path, type=type or None, ttl=ttl)
    if not literal:
        return Search(text, under=path, type=type or None, ttl=ttl)
    if not _GLOB.search(text):
        return Search(text, glob_escape(literal) + b"*", under=path, type=type or None, ttl=ttl)
    pattern = re.sub(rb"(?<!\\)\*+", b"*", literal)
    if pattern.count(b"*") > MOST_ASTERISKS:
        raise _invalid("q", f"More than {MOST_ASTERISKS} asterisks would keep the server busy for long.")
    return Search(text, pattern, under=path, type=type or None, ttl=ttl)


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
        InvalidInput: the cursor is none of ours, or of a node that is gone.
        FleetError: the cache can't be reached or does not let us.
    """
    require(work.actor, Role.VIEWER)
    connection = caches.connect(work, caches.get_cache(work, cache_id))
    delimiters = keyspace.limits(work, cache_id).delimiters if wanted.under else ""
    walk = Walk(connection, wanted, delimiters)
    try:
        return walk.page(cursor, before, found_before)
    finally:
        lookups = walk.lister.lookups
        if lookups.hits or lookups.misses:
            monitoring.record_self_lookups(work, cache_id, lookups.hits, lookups.misses)


class Walk:
    """A search through a cache's nodes, one after the other.

    Args:
        connection: the cache.
        wanted: what is searched for.
        delimiters: that parts of keys are separated by, for ``wanted.under``.
        monotonic: seconds.
    """

    def __init__(
        self,
        connection: Connection,
        wanted: Search,
        delimiters: str = ":",
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lister = Lister(connection)
        self._connection = connection
        self._wanted = wanted
        self._below = below(wanted.under, delimiters)
        self._match = wanted.pattern or _pattern(wanted.under)
        self._monotonic = monotonic
        self._ttl = TTL_FILTERS[wanted.ttl] if wanted.ttl else None

    def page(self, cursor: str, before: int, found_before: int) -> KeyPage:
        """See ``search``."""
        nodes = sorted(self._connection.nodes(), key=lambda node: node.id)
        totals = {node.id: scan.server_state(node).keys for node in nodes}
        keyspace_keys = sum(totals.values())
        if self._wanted.exact is not None:
            rows = self._exact(self._wanted.exact)
            return KeyPage(rows, "", 1, before, found_before, keyspace_keys)
        number, place = _read_cursor(cursor, nodes)
        until = self._monotonic() + MOST_S
        found: dict[bytes, Listed] = {}
        looked_at, count = 0, _FEWEST
        while True:
            node = nodes[number]
            burst, count = self._burst(node, place, count)
            found.update((each.key, each) for each in self._kept(node, burst.keys))
            if self._match is None and self._wanted.type is None:
                looked_at += len(burst.keys)
            else:
                looked_at += scan.looked_at(place, burst.cursor, count, totals[node.id])
            place = burst.cursor
            if place == scan.START:
                number += 1
            is_over = number == len(nodes)
            is_spent = looked_at >= MOST_LOOKED_AT or self._monotonic() >= until
            if is_over or is_spent or len(found) >= PAGE_KEYS:
                break
            # As many as the page still lacks, at the rate so far.
            needed = (PAGE_KEYS - len(found)) * max(looked_at, 1) // max(len(found), 1)
            count = max(_FEWEST, min(_MOST, needed, 2 * count))
        return KeyPage(
            rows=self._rows(list(found.values())),
            cursor="" if is_over else _write_cursor(nodes[number], place),
            looked_at=looked_at,
            before=before,
            found_before=found_before,
            keyspace=keyspace_keys,
            stopped_early=not is_over and len(found) < PAGE_KEYS,
        )

    def _exact(self, key: bytes) -> tuple[KeyRow, ...]:
        found = self.lister.find(key) if self._below(key) else None
        if found is None or not self._fits(found.ttl_ms):
            return ()
        return self._rows([found]) if self._wanted.type in (None, found.type) else ()

    def _burst(self, node: Node, place: int, count: int) -> tuple[scan.Burst, int]:
        """One SCAN; a shorter one where the keys are so long that their names don't fit."""
        is_free = self._wanted.type in TYPES and server_of(node).has_free_types
        type = self._wanted.type if is_free else None
        while True:
            try:
                return scan.scan(node, place, count=count, match=self._match, type=type), count
            except FleetError as error:
                if error.problem.cause is not Cause.TOO_LARGE or count == 1:
                    raise
                count = max(1, count // 10)

    def _kept(self, node: Node, keys: Iterable[bytes]) -> list[Listed]:
        """Those that the filters let through; filters that need nothing of the server go first."""
        named = [key for key in keys if self._below(key)]
        fits = None if self._ttl is None else self._fits
        return self.lister.look(node, named, type=self._wanted.type, fits=fits)

    def _fits(self, ttl_ms: int | None) -> bool:
        return self._ttl is None or self._ttl.holds(None if ttl_ms is None else ttl_ms / 1000)

    def _rows(self, found: Sequence[Listed]) -> tuple[KeyRow, ...]:
        weighed = self.lister.weigh([each.key for each in found])
        return tuple(
            KeyRow(
                key=each.key,
                type=each.type,
                ttl_s=None if each.ttl_ms is None else each.ttl_ms / 1000,
                size_bytes=more.size_bytes,
                idle_s=more.idle_s,
            )
            for each, more in zip(found, weighed, strict=True)
        )


def _pattern(under: Sequence[str]) -> bytes | None:
    path = named(under)
    pattern = keyspace.pattern_of(path, is_leaf=False) if path else None
    return None if pattern is None else prefix_from_text(pattern)


def _write_cursor(node: Node, place: int) -> str:
    return base64.urlsafe_b64encode(f"{place} {node.id}".encode()).rstrip(b"=").decode()


def _read_cursor(cursor: str, nodes: Sequence[Node]) -> tuple[int, int]:
    """The index of the node, and the place in it."""
    if not cursor:
        return 0, scan.START
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        place, _, name = text.partition(" ")
        known = [node.id for node in nodes]
        if not (place.isascii() and place.isdigit() and len(place) <= 20) or int(place) >= scan.WHOLE:
            raise ValueError(place)
        return known.index(name), int(place)
    except (binascii.Error, UnicodeError, ValueError):
        raise InvalidInput(
            "The list can't go on from this address: it is of another cache, or its servers have changed.",
            what_to_do="Begin the list anew.",
        ) from None


def _invalid(field: str, words: str) -> InvalidInput:
    return InvalidInput(words, fields={field: words})
