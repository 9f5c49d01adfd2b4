"""Changing one key, with its TTL kept, compared with what was opened, and in the audit log.

What stands there is read first, compared with what the operator saw, and the change is then made by a script that
compares once more: so a conflict can be shown, and nothing that came in between is overwritten.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from dashboard.access import Role, require
from dashboard.audit import service as audit
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.caching import tags
from dashboard.caching.policy import MAX_TTL_S, RESERVED
from dashboard.caching.wire import MAGIC
from dashboard.errors import InvalidInput, Refused
from dashboard.fleet.editing import FAR, KeyEditor, Seen, Word, digest
from dashboard.fleet.errors import Cause, FleetError
from dashboard.fleet.text import display
from dashboard.fleet.values import TYPES, Gone, KeyReader, Member, TypeChanged
from dashboard.keys import library, quoting
from dashboard.keys.types import MOST_EDITED_BYTES, Edit, Editable, EditResult, Opened, Verb
from dashboard.monitoring import service as monitoring
from dashboard.web.formats import duration
from dashboard.work import UnitOfWork

LONGEST_NAME: Final = 4_096
"""Bytes of a new key name."""
MOST_FIELDS: Final = 100
"""Of a new stream entry."""
AUDITED_CHARS: Final = 400
"""Of a value in the audit log."""
LONGEST_TTL_S: Final = 10 * MAX_TTL_S
SLACK_S: Final = 5.0
"""A key may end so much earlier or later than when it was opened and count as the same: reading takes time."""
_LARGEST_MS: Final = 2**53
GONE: Final = EditResult(False, "The key is not there any more.", is_gone=True)

_ADDITIONS: Final = frozenset({Verb.PUSH_FIRST, Verb.PUSH_LAST, Verb.ADD_MEMBER, Verb.ADD_ENTRY})
_COMPARED: Final = frozenset(
    {
        Verb.SET_VALUE,
        Verb.SET_FIELD,
        Verb.REMOVE_FIELD,
        Verb.SET_ELEMENT,
        Verb.REMOVE_ELEMENT,
        Verb.SET_SCORE,
        Verb.REMOVE_SCORED,
    }
)
_UNSURE: Final = frozenset({Cause.TIMEOUT, Cause.CLOSED, Cause.TOO_LARGE})
"""After these nobody knows whether a change was made."""
_TOO_LARGE: Final = "It is too large to be edited here."
_TAGGED: Final = "It is an entry of the caching library: its header with the tags stays as it is."


def from_typed(text: str, *, is_escaped: bool) -> bytes:
    """The bytes of what was typed into a form made from an ``Editable``.

    A form sends line ends as CR LF whatever was typed: they become LF. What holds a CR is shown escaped.

    Raises:
        InvalidInput: field "value": an escape that is none, or too long.
    """
    try:
        value = quoting.from_typed(text, is_escaped=is_escaped)
    except ValueError:
        words = "Write a backslash as \\\\, a line end as \\n, and a byte that is no text as \\xHH."
        raise _invalid("value", words) from None
    return _checked(value)


def editable(work: UnitOfWork, cache_id: int, key: bytes, address: bytes = b"") -> Editable | None:
    """A string's value, or a member's, whole, for a form; None: it is not there.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such cache.
        Refused: the cache is read-only.
        FleetError: the cache can't be reached or does not let us.
    """
    with _Session(work, cache_id, key) as session:
        facts = session.reader.facts()
        if facts is None:
            return None
        try:
            held = session.held(facts.type, address)
        except (Gone, TypeChanged):
            return None
        except ValueError:
            raise _invalid("address", f"A {facts.type} has no such member.") from None
        return None if held is None else _editable(held)


def edit(work: UnitOfWork, cache_id: int, key: bytes, wanted: Edit) -> EditResult:
    """Change a value, if it still is what was opened.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such cache.
        Refused: the cache is read-only, or the key is none that can be edited.
        InvalidInput: fields "value", "address", "score".
        FleetError: the cache can't be reached or does not let us; nothing was changed.
    """
    wanted = _read_edit(wanted)
    type = wanted.verb.key_type
    with _Session(work, cache_id, key) as session:
        held = None
        if wanted.verb not in _ADDITIONS:
            try:
                held = session.held(type, wanted.address)
            except Gone:
                return GONE
            except TypeChanged:
                return _other_type(type)
            except ValueError:
                raise _invalid("address", f"A {type} has no such member.") from None
            if held is not None and held.problem and not (held.is_removable and wanted.verb.is_removal):
                raise Refused(held.problem)
            seen = held.version if held else ""
            if wanted.verb in _COMPARED and seen != wanted.version:
                return _conflict(held, wanted)
        header = held.header if held else b""
        payload = header + wanted.value
        session.begin(_action(wanted, held), *_values(held, wanted))
        word = session.run(lambda editor: _run(editor, wanted, held, payload))
        if word is None:
            return session.unsure()
        if word is Word.CHANGED:
            return session.refused(_conflict(session.again(type, wanted.address), wanted))
        if not word.is_done:
            return session.refused(_not_done(word, type))
        session.end()
        note = "It was the last member: the key is gone with it." if word is Word.LAST else ""
        return EditResult(True, note=note or (_TAGGED if header else ""))


def set_ttl(
    work: UnitOfWork, cache_id: int, key: bytes, ttl_s: float, opened: Opened | None = None
) -> EditResult:
    """Have a key expire in ``ttl_s`` seconds, if it still is what was opened.

    Args:
        opened: None: whatever it is.

    Errors as ``edit``; InvalidInput is for field "ttl".
    """
    if not 0.001 <= ttl_s <= LONGEST_TTL_S:
        raise _invalid("ttl", f"Enter a time between a moment and {LONGEST_TTL_S // 86_400:,} days.")
    return _change_ttl(work, cache_id, key, ttl_s, opened)


def persist(work: UnitOfWork, cache_id: int, key: bytes, opened: Opened | None = None) -> EditResult:
    """Take a key's TTL away; as ``set_ttl``."""
    return _change_ttl(work, cache_id, key, None, opened)


def rename(
    work: UnitOfWork, cache_id: int, key: bytes, name: bytes, opened: Opened | None = None
) -> EditResult:
    """Give a key another name, its TTL kept, never over a key that is there; ``opened`` as in ``set_ttl``.

    Errors as ``edit``; InvalidInput is for field "name": it is taken, or lies in another slot of the Cluster.
    """
    if not name or name == key:
        raise _invalid("name", "Enter another name.")
    if len(name) > LONGEST_NAME:
        raise _invalid("name", f"Longer than {LONGEST_NAME:,} bytes.")
    if name.startswith(RESERVED):
        raise _invalid("name", "Names that begin with cachewarden: belong to Cachewarden.")
    with _Session(work, cache_id, key) as session:
        if not session.editor.is_near(name):
            words = (
                "That name lies in another slot of the Cluster, and a key can't be moved to another slot. Names with "
                "the same part in {braces} lie in the same one."
            )
            raise _invalid("name", words)
        before, after = {"name": display(key, AUDITED_CHARS)}, {"name": display(name, AUDITED_CHARS)}
        session.begin("keys:key:rename", before, after)
        word = session.run(lambda editor: editor.rename(name, _seen(work, opened)))
        if word is None:
            return session.unsure()
        if word is Word.THERE:
            words = "There is a key of this name; it is not overwritten."
            session.refused(EditResult(False, words))
            raise _invalid("name", words)
        if not word.is_done:
            return session.refused(_not_done_to_key(word, session.editor, opened, work))
        session.end()
        return EditResult(True)


def delete(work: UnitOfWork, cache_id: int, key: bytes, opened: Opened | None = None) -> EditResult:
    """Remove a key as a purge does: a hold of the library's stays in force. As ``set_ttl``."""
    with _Session(work, cache_id, key) as session:
        facts = session.reader.facts()
        if facts is None:
            return GONE
        before: dict[str, object] = {"type": facts.type, "size_bytes": facts.size_bytes}
        before |= {"ttl_s": None if facts.ttl_ms is None else facts.ttl_ms / 1000}
        if facts.type == "string" and session.reader.hides:
            try:
                text = session.reader.text(0, 4 * AUDITED_CHARS)
                before["value"] = _shown(text.data, text.length)
            except (Gone, TypeChanged):
                pass
        session.begin("keys:key:delete", before, None)
        word = session.run(lambda editor: editor.drop(_seen(work, opened)))
        if word is None:
            return session.unsure()
        if not word.is_done:
            return session.refused(_not_done_to_key(word, session.editor, opened, work))
        if session.editor.was is not None:
            type, ttl_ms = session.editor.was
            if type != facts.type:
                before = {"type": type}
            before |= {"ttl_s": None if ttl_ms is None else ttl_ms / 1000}
        session.end(before)
        note = "A hold of the caching library stays in force until it ends." if word is Word.HELD else ""
        return EditResult(True, note=note)


def _change_ttl(
    work: UnitOfWork, cache_id: int, key: bytes, ttl_s: float | None, opened: Opened | None
) -> EditResult:
    action = "keys:ttl:remove" if ttl_s is None else "keys:ttl:set"
    with _Session(work, cache_id, key) as session:
        facts = session.reader.facts()
        if facts is None:
            return GONE
        session.begin(
            action, {"ttl_s": None if facts.ttl_ms is None else facts.ttl_ms / 1000}, {"ttl_s": ttl_s}
        )
        seen = _seen(work, opened)

        def change(editor: KeyEditor) -> Word:
            return editor.persist(seen) if ttl_s is None else editor.expire(math.ceil(ttl_s * 1000), seen)

        word = session.run(change)
        if word is None:
            return session.unsure()
        if word is not Word.THERE and not word.is_done:
            return session.refused(_not_done_to_key(word, session.editor, opened, work))
        was = session.editor.was
        session.end({"ttl_s": None if was is None or was[1] is None else was[1] / 1000})
        return EditResult(True, note="It had no TTL." if word is Word.THERE else "")


def _seen(work: UnitOfWork, opened: Opened | None) -> Seen | None:
    """What was opened, as the scripts compare it."""
    if opened is None:
        return None
    if opened.is_type_only:
        return Seen(opened.type)
    if opened.expires_at is None:
        return Seen(opened.type, (-1, -1), opened.version)
    left = opened.expires_at - work.now.timestamp()
    least, most = (max(0, min(_LARGEST_MS, round((left + by) * 1000))) for by in (-SLACK_S, SLACK_S))
    return Seen(opened.type, (least, most), opened.version)


def _not_done_to_key(word: Word, editor: KeyEditor, opened: Opened | None, work: UnitOfWork) -> EditResult:
    """Why a whole key was left as it is."""
    if word is not Word.CHANGED or opened is None or editor.was is None:
        return _not_done(word, "")
    left = None if opened.expires_at is None else max(0.0, opened.expires_at - work.now.timestamp())
    type, ttl_ms = editor.was
    now = _life(type, None if ttl_ms is None else ttl_ms / 1000)
    if opened.is_type_only:
        words = f"It is {now} and no {opened.type} any more."
    elif (was := _life(opened.type, left)) != now:
        words = f"Somebody changed it since it was opened: it was {was} and is {now}."
    else:
        words = "Somebody changed its value since it was opened."
    return EditResult(
        False, words, "What is there now is shown below; look at it and do it again.", is_other=True
    )


def _life(type: str, ttl_s: float | None) -> str:
    return f"a {type} without a TTL" if ttl_s is None else f"a {type} with {duration(ttl_s)} to live"


@dataclass(frozen=True, slots=True)
class _Held:
    """What stands there.

    Args:
        value: all of it; of a sorted set's member its score as text.
        header: in front of a value of the library's.
        problem: why it can't be edited; is_removable: it can be taken away all the same.
    """

    address: bytes
    value: bytes
    score: str = ""
    header: bytes = b""
    problem: str = ""
    is_removable: bool = False

    @property
    def version(self) -> str:
        return digest(self.value)


class _Session:
    """One operator's change of one key: who may, what is there, what is told afterwards."""

    def __init__(self, work: UnitOfWork, cache_id: int, key: bytes) -> None:
        require(work.actor, Role.OPERATOR)
        self.work = work
        self.key = key
        self.cache: Cache = caches.get_cache(work, cache_id)
        caches.require_writable(self.cache)
        if key.startswith(RESERVED):
            raise Refused(library.OWN_IS_FIXED)
        connection = caches.connect(work, self.cache)
        self.reader = KeyReader(connection, key)
        self.editor = KeyEditor(connection, key, self.reader.lookups)

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, (InvalidInput, Refused, FleetError)):
            return
        lookups = self.reader.lookups
        if lookups.hits or lookups.misses:
            monitoring.record_self_lookups(self.work, self.cache.id, lookups.hits, lookups.misses)
        if error is not None:
            # The request fails, and what it has told stays true.
            self.work.keep()

    def held(self, type: str, address: bytes) -> _Held | None:
        """A string's value, or a member's; None: there is no such member.

        Raises:
            Gone, TypeChanged: the key is another.
            ValueError: the address can be none.
        """
        if type not in TYPES:
            return _Held(address, b"", problem="Values of modules can't be edited here.")
        if type == "string":
            return self._string()
        try:
            member = self.reader.member(type, address)
        except FleetError as error:
            if error.problem.cause is not Cause.TOO_LARGE:
                raise
            return _Held(address, b"", problem=_TOO_LARGE)
        return None if member is None else _member(member)

    def again(self, type: str, address: bytes) -> _Held | None:
        """The same after somebody was faster; None also where the key is gone."""
        try:
            return self.held(type, address)
        except (Gone, TypeChanged):
            return None

    def begin(
        self, action: str, before: Mapping[str, object] | None, after: Mapping[str, object] | None
    ) -> None:
        """Write down what is about to be changed, and commit that: no change is without an entry.

        Raises:
            StoreUnavailable: it can't be written down; then nothing may be changed.
        """
        self._action, self._before, self._after = action, before, after
        self._record("keys:change:begin", "done", f"{action}: what came of it is in an entry of its own.")
        self.work.keep()

    def run(self, change: Callable[[KeyEditor], Word]) -> Word | None:
        """Make the change that was begun; None: it is not known whether it was made.

        Raises:
            FleetError: it was not.
        """
        try:
            return change(self.editor)
        except FleetError as error:
            if error.problem.cause not in _UNSURE:
                self._record(self._action, "failed", error.message)
                raise
            self._failure = error
            return None

    def end(self, before: Mapping[str, object] | None = None) -> None:
        """Record that it was made; ``before``: as the change itself found it."""
        self._before = self._before if before is None else before
        self._record(self._action, "done")

    def refused(self, result: EditResult) -> EditResult:
        """Record that it was not made."""
        self._record(self._action, "refused", result.problem)
        return result

    def unsure(self) -> EditResult:
        """Record that nobody knows whether it was made."""
        words = f"{self._failure.message} Whether the change was made is not known."
        self._record(self._action, "failed", words)
        return EditResult(False, words, "Open the key again and look.")

    def _record(self, action: str, result: str, reason: str = "") -> None:
        audit.record(
            self.work,
            action,
            display(self.key, 200),
            before=self._before,
            after=self._after,
            result=result,
            reason=reason,
            cache_name=self.cache.name,
        )

    def _string(self) -> _Held:
        text = self.reader.text(0, MOST_EDITED_BYTES + 1)
        if text.length > MOST_EDITED_BYTES:
            problem = f"Values of more than {MOST_EDITED_BYTES // 1024:,} KB can't be edited here."
            return _Held(b"", b"", problem=problem)
        if text.data.startswith(MAGIC):
            return _Held(b"", b"", problem=library.PLACEHOLDER_IS_FIXED)
        length, _ = library.read_header(text.data)
        return _Held(b"", text.data, header=text.data[:length])


def _member(member: Member) -> _Held:
    if member.score:
        return _Held(member.address, member.score.encode(), score=member.score)
    if member.fields:
        # An entry is never changed, only added and taken away.
        text = " ".join(f"{display(name)}={display(value)}" for name, value in member.fields[:MOST_FIELDS])
        return _Held(member.address, text.encode())
    if len(member.value) > MOST_EDITED_BYTES:
        return _Held(member.address, member.value, problem=_TOO_LARGE, is_removable=True)
    return _Held(member.address, member.value)


def _editable(held: _Held) -> Editable:
    if held.problem:
        return Editable(held.address, version=held.version if held.is_removable else "", problem=held.problem)
    value = b"" if held.score else held.value[len(held.header) :]
    typed, is_escaped = quoting.to_typed(value)
    return Editable(held.address, value, typed, is_escaped, held.score, held.version)


def _read_edit(wanted: Edit) -> Edit:
    """The edit, checked as far as that needs no server.

    Raises:
        InvalidInput: fields "value", "address", "score".
    """
    _checked(wanted.value)
    _checked(wanted.address, "address")
    if wanted.verb.key_type == "list" and wanted.verb not in _ADDITIONS and not wanted.address.isdigit():
        raise _invalid("address", "Elements of a list are named by their index, from 0 on.")
    if wanted.verb is Verb.SET_VALUE and wanted.value.startswith((MAGIC, tags.HEADER)):
        raise _invalid(
            "value", "The caching library would take a value that begins so for one of its own marks."
        )
    if wanted.verb is Verb.SET_SCORE:
        return replace(wanted, score=_score(wanted.score))
    if wanted.verb is Verb.ADD_ENTRY:
        if not 1 <= len(wanted.fields) <= MOST_FIELDS:
            raise _invalid("value", f"An entry has 1 to {MOST_FIELDS} fields.")
        _checked(b"".join(name + value for name, value in wanted.fields))
    return wanted


def _score(text: str) -> str:
    try:
        score = float(text.strip().replace("_", "x"))
    except ValueError:
        score = math.nan
    if math.isnan(score):
        raise _invalid("score", "Enter a number; inf and -inf are allowed.")
    return repr(score) if math.isfinite(score) else ("inf" if score > 0 else "-inf")


def _run(editor: KeyEditor, wanted: Edit, held: _Held | None, payload: bytes) -> Word:
    """Make the change, if what is there still is ``held``."""
    seen = held.version if held else ""
    match wanted.verb:
        case Verb.SET_VALUE:
            return editor.set(seen, payload)
        case Verb.SET_FIELD:
            return editor.set_field(wanted.address, seen, wanted.value)
        case Verb.REMOVE_FIELD:
            return editor.remove_field(wanted.address, seen)
        case Verb.SET_ELEMENT:
            return editor.set_element(int(wanted.address), seen, wanted.value)
        case Verb.REMOVE_ELEMENT:
            return editor.remove_element(int(wanted.address), seen)
        case Verb.PUSH_FIRST | Verb.PUSH_LAST:
            return editor.push(wanted.value, is_first=wanted.verb is Verb.PUSH_FIRST)
        case Verb.ADD_MEMBER:
            return editor.add_member(wanted.address)
        case Verb.REMOVE_MEMBER:
            return editor.remove_member(wanted.address)
        case Verb.SET_SCORE:
            return editor.set_score(wanted.address, seen, wanted.score)
        case Verb.REMOVE_SCORED:
            return editor.remove_scored(wanted.address, seen)
        case Verb.ADD_ENTRY:
            return editor.add_entry(wanted.fields)
        case Verb.REMOVE_ENTRY:
            return editor.remove_entry(wanted.address)


def _conflict(held: _Held | None, wanted: Edit) -> EditResult:
    if held is None:
        there = Editable(wanted.address, problem="It is not there any more.")
        return EditResult(False, "Somebody removed it since it was opened.", conflict=there)
    if not wanted.version:
        return EditResult(
            False,
            "There is one of this name already.",
            "Saving again replaces it.",
            conflict=_editable(held),
        )
    return EditResult(
        False,
        "Somebody changed it since it was opened.",
        "What is there now is shown below; saving again replaces it.",
        conflict=_editable(held),
    )


def _other_type(type: str) -> EditResult:
    return EditResult(False, f"It is no {type} any more: somebody replaced it.", "Open the key again.")


def _not_done(word: Word, type: str) -> EditResult:
    match word:
        case Word.GONE:
            return GONE
        case Word.TYPE:
            return _other_type(type)
        case Word.THERE:
            return EditResult(False, "It is a member already.")
        case Word.FAR:
            words = (
                f"It lies more than {FAR:,} elements from both ends; removing it would hold the server up."
            )
            return EditResult(False, words)
        case _:
            return EditResult(False, library.PLACEHOLDER_IS_FIXED, "It ends by itself; it can be deleted.")


def _action(wanted: Edit, held: _Held | None) -> str:
    if wanted.verb.is_removal:
        return "keys:value:remove"
    if wanted.verb in _ADDITIONS or held is None:
        return "keys:value:add"
    return "keys:value:change"


def _values(
    held: _Held | None, wanted: Edit
) -> tuple[Mapping[str, object] | None, Mapping[str, object] | None]:
    """What the audit log keeps as before and after: enough to know what it was, not a copy."""
    address = {"member": display(wanted.address, AUDITED_CHARS)} if wanted.address else {}
    before = None if held is None else {**address, **_kept(held.value[len(held.header) :], held.score)}
    if wanted.verb.is_removal:
        return before or address, None
    if wanted.verb is Verb.ADD_ENTRY:
        shown = {display(name, 80): _shown(value) for name, value in wanted.fields}
        return before, {"fields": shown}
    return before, {**address, **_kept(wanted.value, wanted.score)}


def _kept(value: bytes, score: str) -> dict[str, object]:
    return {"score": score} if score else {"value": _shown(value)}


def _shown(value: bytes, length: int | None = None) -> str:
    """A value in the log: how it begins, and how long it is where that is not all."""
    length = len(value) if length is None else length
    text = display(value, AUDITED_CHARS)
    return text if len(value) == length and not text.endswith("…") else f"{text} ({length:,} bytes)"


def _checked(value: bytes, field: str = "value") -> bytes:
    if len(value) > MOST_EDITED_BYTES:
        raise _invalid(field, f"Longer than {MOST_EDITED_BYTES // 1024:,} KB.")
    return value


def _invalid(field: str, words: str) -> InvalidInput:
    return InvalidInput(words, fields={field: words})
