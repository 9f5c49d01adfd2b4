"""Opening a key: what it is, and its value in windows."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from dashboard.access import Role, require
from dashboard.caches import service as caches
from dashboard.caching.policy import Policy, PolicyDocument, prefix_to_text
from dashboard.errors import Conflict, InvalidInput, Refused
from dashboard.fleet import values
from dashboard.fleet.editing import digest
from dashboard.fleet.errors import Cause, FleetError
from dashboard.fleet.values import Facts, Gone, KeyReader, Member, TypeChanged
from dashboard.keys import decode, library, rowkeys
from dashboard.keys.types import (
    MOST_EDITED_BYTES,
    WINDOW_BYTES,
    WINDOW_ITEMS,
    Item,
    KeyDetail,
    View,
    Window,
)
from dashboard.keys.unpacking import is_packed
from dashboard.monitoring import service as monitoring
from dashboard.policies import service as policies
from dashboard.work import UnitOfWork

ITEM_BYTES: Final = 2_048
"""Bytes of each member that a window shows."""
SLACK_S: Final = 1.0
"""A TTL may be that much longer than its policy allows before it is said to break it."""
DOWNLOAD_BYTES: Final = 1_048_576
"""Of one part of a download."""
_LOOKUPS_PER_PART: Final = 3
"""TYPE, STRLEN and GETRANGE."""
_TRIES: Final = 3
"""Times a key is looked at anew that changes its type while it is read."""
_MODULES: Final = {
    "ReJSON-RL": "JSON (module)",
    "TSDB-TYPE": "time series (module)",
    "MBbloom--": "Bloom filter (module)",
    "MBbloomCF": "cuckoo filter (module)",
    "bloomfltr": "Bloom filter (module)",
    "CMSk-TYPE": "count-min sketch (module)",
    "TopK-TYPE": "top-k (module)",
    "TDIS-TYPE": "t-digest (module)",
    "graphdata": "graph (module)",
    "ft_index0": "search index (module)",
    "ft_invidx": "search index (module)",
    "trietype0": "trie (module)",
    "vectorset": "vector set",
    "AI_TENSOR": "tensor (module)",
    "AI__MODEL": "model (module)",
}
_TOUCHES: Final = (
    "This server takes reading the value for a use of the key: before Redis 7.2 there is no way around that. Its idle "
    "time would begin anew."
)
_TOUCHES_DENIED: Final = (
    "This user may not run CLIENT NO-TOUCH, so reading the value would count as a use of the key, and its idle time "
    "would begin anew. Grant it with: {grant}"
)


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
    require(work.actor, Role.VIEWER)
    document = policies.document_in_force(work, cache_id)
    found = _read(work, cache_id, key, view, start, cursor, may_touch)
    if found is None:
        return None
    opened, reader = found
    return _detail(work, opened, document, reader)


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
    require(work.actor, Role.VIEWER)
    found = _read(work, cache_id, key, view, start, cursor, may_touch)
    if found is None:
        return None
    opened, _ = found
    if opened.withheld:
        return replace(opened.window, notes=(opened.withheld,))
    return opened.window


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
    require(work.actor, Role.VIEWER)
    reader = _reader(work, cache_id, key)
    try:
        for _ in range(_TRIES):
            facts = reader.facts()
            if facts is None or facts.type not in values.TYPES or facts.type == "string":
                return None
            if not (may_touch or reader.hides):
                return Window(0, notes=(_touches(reader),))
            try:
                member = reader.member(facts.type, address)
            except TypeChanged:
                continue
            except Gone:
                return None
            except ValueError:
                raise InvalidInput(f"A {facts.type} has no such member.") from None
            except FleetError as error:
                if error.problem.cause is not Cause.TOO_LARGE:
                    raise
                return Window(0, notes=(error.in_full,))
            return None if member is None else _item_window(facts.type, member, view)
        return None
    finally:
        _tell(work, cache_id, reader)


def download(
    work: UnitOfWork, cache_id: int, key: bytes, *, may_touch: bool = False
) -> tuple[int, Iterator[bytes]] | None:
    """A string's bytes, raw: how many, and part by part; each is read when it is asked for.

    A value that is replaced by one of the same length is not noticed. The unit of work may be closed before the parts
    are read.

    Args:
        may_touch: as ``open_key``.

    Returns:
        None: it is not there, or no string. Reading the parts raises Conflict where the value's length changes
        meanwhile, and FleetError.

    Raises:
        NotFound: there is no such cache.
        Refused: reading would be taken for a use, and ``may_touch`` is not said.
        FleetError: the cache can't be reached, or does not let us.
    """
    require(work.actor, Role.VIEWER)
    reader = _reader(work, cache_id, key)
    try:
        if not (may_touch or reader.hides):
            raise Refused(_touches(reader), what_to_do="Open the key, and read it there all the same.")
        length = reader.length("string")
        # Whoever reads them is not in this transaction any more, so the parts' lookups are told ahead.
        reader.lookups.add(_LOOKUPS_PER_PART * -(-length // DOWNLOAD_BYTES), is_there=True)
    except (Gone, TypeChanged):
        return None
    finally:
        _tell(work, cache_id, reader)
    return length, _parts(reader, length)


def _parts(reader: KeyReader, length: int) -> Iterator[bytes]:
    for start in range(0, length, DOWNLOAD_BYTES):
        try:
            text = reader.text(start, DOWNLOAD_BYTES)
        except (Gone, TypeChanged):
            text = None
        if text is None or text.length != length:
            raise Conflict("The value changed while it was downloaded.", what_to_do="Download it anew.")
        yield text.data


class _Opened:
    """What was read of a key.

    Args:
        facts: what the server says.
        window: of the value.
        start: of a string, how it begins.
        withheld: why the value was not read; empty: it was.
    """

    def __init__(
        self, key: bytes, facts: Facts, window: Window, start: bytes = b"", withheld: str = ""
    ) -> None:
        self.key = key
        self.facts = facts
        self.window = window
        self.start = start
        self.withheld = withheld


def _read(
    work: UnitOfWork, cache_id: int, key: bytes, view: View, start: int, cursor: str, may_touch: bool
) -> tuple[_Opened, KeyReader] | None:
    reader = _reader(work, cache_id, key)
    try:
        for turn in range(_TRIES):
            facts = reader.facts()
            if facts is None:
                return None
            if facts.type not in values.TYPES:
                name = _MODULES.get(facts.type, f"of the type {facts.type} (module)")
                note = f"Its value is a {name}, which can't be read here."
                return _Opened(key, facts, Window(0, notes=(note,))), reader
            if not (may_touch or reader.hides):
                return _Opened(key, facts, Window(0), withheld=_touches(reader)), reader
            try:
                if facts.type == "string":
                    return _string(reader, facts, view, start), reader
                # A place of another type means nothing here.
                place = cursor if turn == 0 else ""
                return _collection(reader, facts, place or (str(start) if start else "")), reader
            except TypeChanged:
                continue
            except Gone:
                return None
            except ValueError:
                raise InvalidInput(
                    "This address is of no part of the value.", what_to_do="Open the key from the list."
                ) from None
        assert facts is not None
        note = "It changes its type faster than it can be read."
        return _Opened(key, facts, Window(0, notes=(note,))), reader
    finally:
        _tell(work, cache_id, reader)


def _string(reader: KeyReader, facts: Facts, view: View, start: int) -> _Opened:
    """One window of a string, decoded; what is compressed is read whole, up to what may be edited."""
    if start < 0:
        raise ValueError(start)
    text = reader.text(start, WINDOW_BYTES)
    data = text.data
    header, _ = library.read_header(data) if start == 0 else (0, ())
    is_all = start + len(data) >= text.length
    if start == 0 and not is_all and view in (View.AUTO, View.JSON) and is_packed(data[header:]):
        more = reader.text(len(data), MOST_EDITED_BYTES - len(data))
        if more.length == text.length:
            data += more.data
            is_all = len(data) >= text.length
    body = data if view in (View.TEXT, View.HEX) else data[header:]
    decoded = decode.decode(body, view, is_all=is_all, offset=start)
    shown = decode.HEX_BYTES if decoded.hex and decoded.out_bytes is None else len(data)
    end = start + min(shown, len(data))
    # Behind something compressed there is only more of it.
    is_over = end >= text.length or (decoded.out_bytes is not None and view is not View.HEX)
    window = Window(
        length=text.length,
        start=start,
        cursor="" if is_over else str(end),
        raw=data[: end - start],
        decoded=decoded,
    )
    return _Opened(
        reader.key, facts, window, data if start == 0 else reader.text(0, library.LONGEST_HEADER).data
    )


def _collection(reader: KeyReader, facts: Facts, place: str) -> _Opened:
    part = reader.part(facts, place, WINDOW_ITEMS)
    notes = [part.problem] if part.problem else []
    groups = []
    if facts.type == "stream" and not place:
        found = reader.groups()
        groups = [_group(each) for each in found.groups]
        if found.total is None:
            notes.append("The server does not say which groups read it.")
        elif found.total > len(groups):
            notes.append(f"{found.total:,} groups read it; more than {values.MOST_GROUPS} are not listed.")
    begins = place if facts.type in ("list", "zset") else "0"
    window = Window(
        length=part.length,
        start=int(begins or 0),
        cursor=part.next,
        items=tuple(_item(member) for member in part.members),
        groups=tuple(groups),
        notes=tuple(notes),
    )
    return _Opened(reader.key, facts, window)


def _item(member: Member, most: int = ITEM_BYTES) -> Item:
    fields = tuple((name[:most], value[:most]) for name, value in member.fields)
    size = sum(len(name) + len(value) for name, value in member.fields)
    return Item(
        address=member.address,
        value=member.value[:most],
        full_bytes=size or len(member.value),
        score=member.score,
        fields=fields,
        ttl_s=None if member.ttl_ms is None else member.ttl_ms / 1000,
        version=digest(member.score.encode() or member.value),
    )


def _item_window(type: str, member: Member, view: View) -> Window:
    """A member as a window of its own; in sets the member itself is the value."""
    value = member.address if type in ("set", "zset") else member.value
    is_all = len(value) <= MOST_EDITED_BYTES
    data = value[:MOST_EDITED_BYTES]
    return Window(
        length=len(value),
        raw=data[:WINDOW_BYTES],
        decoded=None if member.fields else decode.decode(data, view, is_all=is_all),
        items=(_item(member, WINDOW_BYTES),),
    )


def _group(found: Mapping[str, str]) -> dict[str, str]:
    names = {
        "name": "name",
        "consumers": "consumers",
        "pending": "pending",
        "last_delivered": "last-delivered-id",
        "lag": "lag",
    }
    return {name: found.get(theirs, "") for name, theirs in names.items()}


def _detail(work: UnitOfWork, opened: _Opened, document: PolicyDocument, reader: KeyReader) -> KeyDetail:
    facts, window = opened.facts, opened.window
    is_all = len(opened.start) >= window.length
    role = library.role_of(opened.key, facts.type, opened.start, is_all=is_all)
    # Before the first version there is only what editing begins with, which nobody has to keep to.
    policy = document.find(opened.key) if role.is_value and document.version else None
    ttl_s = None if facts.ttl_ms is None else facts.ttl_ms / 1000
    is_string = facts.type == "string" and not opened.withheld
    return KeyDetail(
        key=opened.key,
        type=facts.type,
        ttl_s=ttl_s,
        expires_at=None if ttl_s is None else work.now.timestamp() + ttl_s,
        size_bytes=facts.size_bytes,
        encoding=facts.encoding,
        idle_s=facts.idle_s,
        frequency=facts.frequency,
        references=facts.references,
        policy=prefix_to_text(policy.prefix) if policy else "",
        policy_words=policies.ttl_text(policy) if policy else "",
        conforms=_conforms(ttl_s, policy),
        longest_s=policy.longest_ttl_s if policy else None,
        window=window,
        tags=role.tags,
        library=role.name,
        library_note=role.note,
        rows=rowkeys.rows_of(opened.key, document.mappings),
        version=digest(opened.start) if is_string and is_all and window.start == 0 else "",
        hint=decode.hint(opened.start[role.header :], window.length) if is_string else "",
        notes=_notes(reader),
        withheld=opened.withheld,
        fixed=role.fixed or _fixed(facts, window),
    )


def _conforms(ttl_s: float | None, policy: Policy | None) -> bool | None:
    if policy is None:
        return None
    if policy.longest_ttl_s is None:
        # Where nothing is cached any TTL is right; only none at all is not.
        return False if ttl_s is None else None
    return ttl_s is not None and ttl_s <= policy.longest_ttl_s + SLACK_S


def _fixed(facts: Facts, window: Window) -> str:
    if facts.type not in values.TYPES:
        return "Values of modules can't be edited here."
    if facts.type == "string" and window.length > MOST_EDITED_BYTES:
        return f"Values of more than {MOST_EDITED_BYTES // 1024:,} KB can't be edited here."
    return ""


def _touches(reader: KeyReader) -> str:
    if reader.server.has_no_touch:
        return _TOUCHES_DENIED.format(grant=reader.missing.get("CLIENT NO-TOUCH", "ACL SETUSER"))
    return _TOUCHES


def _notes(reader: KeyReader) -> tuple[str, ...]:
    shown = {name: line for name, line in reader.missing.items() if name != "CLIENT NO-TOUCH"}
    return tuple(f"This user may not run {name}. Grant it with: {line}" for name, line in shown.items())


def _reader(work: UnitOfWork, cache_id: int, key: bytes) -> KeyReader:
    cache = caches.get_cache(work, cache_id)
    return KeyReader(caches.connect(work, cache), key)


def _tell(work: UnitOfWork, cache_id: int, reader: KeyReader) -> None:
    """Have our lookups taken off the cache's hit ratio."""
    lookups = reader.lookups
    if lookups.hits or lookups.misses:
        monitoring.record_self_lookups(work, cache_id, lookups.hits, lookups.misses)
