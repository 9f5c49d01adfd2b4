r"""What the forms of purges hold. Pure.

A form keeps what was typed as it was typed. Keys, prefixes and patterns are written as policies write prefixes; a list
that is too long for a field stays on the server, and the form names the purge that it came with (``list_of``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final

from dashboard.caching.policy import prefix_to_text
from dashboard.errors import InvalidInput
from dashboard.invalidation import selection as selections
from dashboard.invalidation.types import Action, Filters, Limits, Plan, Purge, SelectBy, Selection, When
from dashboard.web.numbers import decimal_of, digits_of

TIME_UNITS: Final[dict[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SIZE_UNITS: Final[dict[str, int]] = {"B": 1, "KB": 1024, "MB": 1024**2}
MOST_SHOWN: Final = 2_000
"""Entries of a list that stand in the field again; a longer one is kept on the server."""
DEFAULT_WINDOW_S: Final = 300
_UNITS: Final = {
    "ttl_min_s": TIME_UNITS,
    "ttl_max_s": TIME_UNITS,
    "idle_min_s": TIME_UNITS,
    "size_min_bytes": SIZE_UNITS,
    "size_max_bytes": SIZE_UNITS,
    "window_s": TIME_UNITS,
}
"""Of each field that has one."""
_TYPES: Final = ("string", "hash", "list", "set", "zset", "stream")
_MOST: Final = 2**53


@dataclass(frozen=True, slots=True)
class TypedPurge:
    """What stands in the fields of the first step.

    Args:
        list_of: number of a purge whose list is taken when none is given anew; empty: none.
        listed: how many entries that list has.
        mapping: name of the mapping for ROWS.
    """

    by: str = SelectBy.PREFIX.value
    keys: str = ""
    template: str = ""
    ids: str = ""
    prefix: str = ""
    pattern: str = ""
    tag: str = ""
    mapping: str = ""
    rows: str = ""
    type: str = ""
    ttl_min_s: str = ""
    ttl_min_unit: str = "s"
    ttl_max_s: str = ""
    ttl_max_unit: str = "s"
    ends_from: str = ""
    ends_until: str = ""
    idle_min_s: str = ""
    idle_min_unit: str = "s"
    size_min_bytes: str = ""
    size_min_unit: str = "B"
    size_max_bytes: str = ""
    size_max_unit: str = "B"
    without_ttl: bool = False
    action: str = Action.DELETE.value
    window_s: str = "5"
    window_unit: str = "m"
    lengthens: bool = False
    wants_report: bool = False
    list_of: str = ""
    listed: int = 0

    @property
    def has_filters(self) -> bool:
        """Whether any filter is set, so that they are unfolded."""
        return self.without_ttl or any(
            (
                self.type,
                self.ttl_min_s,
                self.ttl_max_s,
                self.idle_min_s,
                self.size_min_bytes,
                self.size_max_bytes,
                self.ends_from,
                self.ends_until,
            )
        )


@dataclass(frozen=True, slots=True)
class TypedApproval:
    """What stands in the fields of the last step."""

    when: str = When.OVER.value
    over_s: str = ""
    over_unit: str = "s"
    at: str = ""
    cron: str = ""
    reason: str = ""
    typed: str = ""
    confirm: str = ""


@dataclass(frozen=True, slots=True)
class TypedLimits:
    """What stands in the fields of a cache's limits."""

    database_budget_qps: str = ""
    typed_above: str = ""
    most_keys_per_s: str = ""
    batch: str = ""
    slowest_probe_ms: str = ""
    at_a_time: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A purge as asked for.

    Args:
        items: of an exact selector: keys for KEYS, identifiers for IDS and ROWS; read once.
        list_of: take the list of this purge instead.
    """

    plan: Plan
    items: Iterable[bytes] = ()
    list_of: int | None = None


def typed_purge(form: Mapping[str, str], *, listed: int = 0) -> TypedPurge:
    """The form as it was sent.

    Args:
        listed: entries of the list that ``list_of`` names.
    """
    get, start = form.get, TypedPurge()
    texts: dict[str, Any] = {
        each.name: get(each.name, "")
        for each in fields(TypedPurge)
        if isinstance(getattr(start, each.name), str) and not each.name.endswith("unit")
    }
    return TypedPurge(
        **texts
        | {
            "by": get("by", "") if get("by", "") in list(SelectBy) else start.by,
            "action": get("action", "") if get("action", "") in list(Action) else start.action,
            "without_ttl": "without_ttl" in form,
            "lengthens": "lengthens" in form,
            "wants_report": "wants_report" in form,
            "listed": listed,
        }
        | {_unit_field(name): _unit(form, name, units) for name, units in _UNITS.items()}
    )


def linked_purge(query: Mapping[str, str]) -> TypedPurge | None:
    """The form as a link to it fills it, with the names of its fields; None where the link fills nothing.

    What is not given, or is no choice of the form, stays as in an empty one.
    """
    start = TypedPurge()
    given: dict[str, Any] = {
        each.name: query[each.name]
        for each in fields(TypedPurge)
        if isinstance(getattr(start, each.name), str)
        and each.name in query
        and not each.name.endswith("unit")
    }
    given |= {
        each.name: query[each.name] == "1"
        for each in fields(TypedPurge)
        if isinstance(getattr(start, each.name), bool) and each.name in query
    }
    for name, units in _UNITS.items():
        if f"{name}.unit" in query:
            given[_unit_field(name)] = _unit(query, name, units)
    for name, choices in (("by", list(SelectBy)), ("action", list(Action))):
        if given.get(name) not in choices:
            given.pop(name, None)
    # A list is kept of a purge that was counted; no link may name one.
    given.pop("list_of", None)
    return replace(start, **given) if given else None


def chosen_keys(keys: Iterable[bytes]) -> TypedPurge:
    """The form with keys that were chosen on another page."""
    return TypedPurge(by=SelectBy.KEYS.value, keys="\n".join(map(key_line, keys)))


def shown_purge(purge: Purge, items: Sequence[bytes] = ()) -> TypedPurge:
    """The form of a purge that was counted.

    Args:
        items: its list, if it is short enough for a field.
    """
    plan, chosen = purge.plan, purge.plan.selection
    filters = chosen.filters
    by = chosen.by
    text = chosen.text
    window, window_unit = _split(plan.window_s or DEFAULT_WINDOW_S, TIME_UNITS)
    ttl_min, ttl_min_unit = _split(filters.ttl_min_s, TIME_UNITS)
    ttl_max, ttl_max_unit = _split(filters.ttl_max_s, TIME_UNITS)
    idle, idle_unit = _split(filters.idle_min_s, TIME_UNITS)
    low, low_unit = _split(filters.size_min_bytes, SIZE_UNITS)
    high, high_unit = _split(filters.size_max_bytes, SIZE_UNITS)
    written = "\n".join(map(key_line, items) if by is SelectBy.KEYS else id_lines(items))
    return TypedPurge(
        by=by.value,
        keys=written if by is SelectBy.KEYS else "",
        template=text if by is SelectBy.IDS else "",
        ids=written if by is SelectBy.IDS else "",
        prefix=text if by is SelectBy.PREFIX else "",
        pattern=text if by is SelectBy.PATTERN else "",
        tag=text if by is SelectBy.TAG else "",
        mapping=text if by is SelectBy.ROWS else "",
        rows=written if by is SelectBy.ROWS else "",
        type=filters.type or "",
        ttl_min_s=ttl_min,
        ttl_min_unit=ttl_min_unit,
        ends_from=field_moment(filters.ends_from),
        ends_until=field_moment(filters.ends_until),
        ttl_max_s=ttl_max,
        ttl_max_unit=ttl_max_unit,
        idle_min_s=idle,
        idle_min_unit=idle_unit,
        size_min_bytes=low,
        size_min_unit=low_unit,
        size_max_bytes=high,
        size_max_unit=high_unit,
        without_ttl=filters.without_ttl,
        action=plan.action.value,
        window_s=window,
        window_unit=window_unit,
        lengthens=plan.lengthens,
        wants_report=plan.wants_report,
        list_of=str(purge.number) if by.is_exact and not items else "",
        listed=chosen.count if by.is_exact and not items else 0,
    )


def parse_purge(
    typed: TypedPurge, upload: Iterable[bytes] | None, mappings: Mapping[str, Sequence[str]]
) -> Asked:
    """What the form asks for.

    Args:
        upload: the pieces of an uploaded list; None: there is none.
        mappings: by name, the key templates that a row's identifier goes into.

    Raises:
        InvalidInput: a message per field. Mistakes further down in a list of identifiers are found while it is read.
    """
    errors: dict[str, str] = {}

    def whole(name: str, unit: str, units: Mapping[str, int], *, low: int = 0) -> int | None:
        try:
            return _whole(getattr(typed, name), units[unit], low=low)
        except ValueError as error:
            errors[name] = str(error)
            return None

    def moment(name: str) -> int | None:
        text = getattr(typed, name).strip()
        try:
            return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) if text else None
        except (ValueError, OverflowError):
            errors[name] = (
                f"“{text[:40]}” is not a time. Write it like {datetime.now(UTC):%Y-%m-%dT%H:%M:%S}."
            )
            return None

    filters = Filters(
        type=typed.type.strip() or None,
        ttl_min_s=whole("ttl_min_s", typed.ttl_min_unit, TIME_UNITS),
        ttl_max_s=whole("ttl_max_s", typed.ttl_max_unit, TIME_UNITS),
        idle_min_s=whole("idle_min_s", typed.idle_min_unit, TIME_UNITS),
        size_min_bytes=whole("size_min_bytes", typed.size_min_unit, SIZE_UNITS),
        size_max_bytes=whole("size_max_bytes", typed.size_max_unit, SIZE_UNITS),
        without_ttl=typed.without_ttl,
        ends_from=moment("ends_from"),
        ends_until=moment("ends_until"),
    )
    action, window_s = Action(typed.action), 0
    if action is Action.SPREAD:
        window_s = whole("window_s", typed.window_unit, TIME_UNITS, low=1) or 0
        if not window_s:
            errors.setdefault("window_s", "Enter how long the keys may take to expire.")
    selected = Selection(SelectBy(typed.by), filters=filters)
    items: Iterable[bytes] = ()
    list_of = None
    try:
        selected, items, list_of = _selected(typed, upload, mappings, filters)
        if not errors:
            selections.check(_countable(selected))
    except InvalidInput as error:
        errors |= error.fields
    if errors:
        raise InvalidInput("The form needs a change.", fields=errors)
    plan = Plan(
        selection=selected,
        action=action,
        window_s=window_s,
        # When is chosen after the preview.
        when=When.OVER,
        over_s=0,
        lengthens=typed.lengthens and action is Action.POLICY,
        wants_report=typed.wants_report,
    )
    return Asked(plan, items, list_of)


def typed_approval(form: Mapping[str, str]) -> TypedApproval:
    """The form as it was sent."""
    get = form.get
    return TypedApproval(
        when=get("when", "") if get("when", "") in list(When) else "",
        over_s=get("over_s", ""),
        over_unit=_unit(form, "over_s", TIME_UNITS),
        at=get("at", ""),
        cron=get("cron", ""),
        reason=get("reason", ""),
        typed=get("typed", ""),
        confirm=get("confirm", ""),
    )


def field_moment(epoch: int | None) -> str:
    """A moment as a field of the form takes it, UTC; empty for None."""
    return "" if epoch is None else f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%S}"


def shown_over(over_s: float) -> tuple[str, str]:
    """A length of time as a number and its unit."""
    return _split(max(1, round(over_s)), TIME_UNITS)


def over_s(typed: TypedApproval) -> int | None:
    """The spread that was typed, in seconds.

    Raises:
        InvalidInput: under ``over_s``.
    """
    try:
        return _whole(typed.over_s, TIME_UNITS[typed.over_unit], low=1)
    except ValueError as error:
        raise InvalidInput(str(error), fields={"over_s": str(error)}) from None


def parse_when(typed: TypedApproval, plan: Plan) -> Plan:
    """The plan with the time that was chosen; of a schedule, how long each of its purges takes.

    Raises:
        InvalidInput: a message per field.
    """
    match typed.when:
        case When.NOW:
            return replace(plan, when=When.NOW, over_s=0, at=None)
        case When.OVER | When.CRON:
            # Each purge of a schedule takes so long, too.
            seconds = over_s(typed)
            if seconds is None:
                message = "Enter over how long."
                raise InvalidInput(message, fields={"over_s": message})
            return replace(plan, when=When.OVER, over_s=seconds, at=None)
        case When.AT:
            return replace(plan, when=When.AT, over_s=0, at=_moment(typed.at))
    message = "Choose when."
    raise InvalidInput(message, fields={"when": message})


def confirmed_keys(typed: TypedApproval) -> int | None:
    """The count that was confirmed; None: none was."""
    return digits_of(typed.confirm.strip())


def typed_limits(form: Mapping[str, str]) -> TypedLimits:
    """The form as it was sent."""
    return TypedLimits(**{each.name: form.get(each.name, "") for each in fields(TypedLimits)})


def shown_limits(limits: Limits) -> TypedLimits:
    """The form of limits as they are."""
    return TypedLimits(
        **{
            each.name: "" if (value := getattr(limits, each.name)) is None else f"{value:.15g}"
            for each in fields(TypedLimits)
        }
    )


def parse_limits(typed: TypedLimits, revision: int) -> Limits:
    """What the form asks for; its bounds are the service's.

    Raises:
        InvalidInput: a message per field that holds no number.
    """
    errors: dict[str, str] = {}
    found: dict[str, float | int | None] = {}
    for each in fields(TypedLimits):
        text = getattr(typed, each.name)
        number = decimal_of(text)
        is_whole = each.name not in ("database_budget_qps", "slowest_probe_ms")
        if number is None and each.name == "database_budget_qps" and not text.strip():
            found[each.name] = None
        elif number is None:
            errors[each.name] = "Enter a number."
        elif is_whole and number != number.to_integral_value():
            errors[each.name] = "Enter a whole number."
        else:
            found[each.name] = int(number) if is_whole else float(number)
    if errors:
        raise InvalidInput("The limits were not changed.", fields=errors)
    return Limits(**found, revision=revision)  # type: ignore[arg-type]


def key_line(key: bytes) -> str:
    """A key as one line of the field for keys, so that it is read as the same key again."""
    text = prefix_to_text(key)
    bare = text.strip(" ")
    lead = len(text) - len(text.lstrip(" ")) if bare else len(text)
    text = "\\x20" * lead + bare + "\\x20" * (len(text) - lead - len(bare))
    # A line in quotes would be read as redis-cli prints keys, one with only the first would be refused.
    text = "\\x22" + text[1:] if text.startswith('"') else text
    return text if not text.endswith('"') else text[:-1] + "\\x22"


def id_lines(items: Iterable[bytes]) -> Iterator[str]:
    """Identifiers as lines of the field for identifiers; numbers that follow each other as a range."""
    run: list[bytes] = []
    for item in items:
        if run and _follows(run[-1], item):
            run.append(item)
            continue
        yield from _run(run)
        run = [item]
    yield from _run(run)


def id_line(item: bytes) -> str:
    """An identifier as one line of the field for identifiers."""
    text = item.decode("utf-8", "replace")
    is_plain = all(letter.isalnum() or letter in "_.:/@-" for letter in text)
    # Two numbers with a hyphen or two dots between them would be a range.
    is_range = "-" in text.strip("-") or ".." in text
    return text if is_plain and not is_range else '"' + text.replace('"', '""') + '"'


def types(chosen: str) -> tuple[tuple[str, str], ...]:
    """The choices of the filter by type; a module's type that was typed stays one."""
    named = (("", "Any type"), *((name, name.capitalize()) for name in _TYPES))
    return named if chosen in ("", *_TYPES) else (*named, (chosen, chosen))


def _follows(one: bytes, other: bytes) -> bool:
    # Zeros in front would need a range of their width.
    if not (one.isdigit() and other.isdigit() and len(other) < 18 and one[:1] != b"0" != other[:1]):
        return False
    return int(other) == int(one) + 1


def _run(run: Sequence[bytes]) -> Iterator[str]:
    if len(run) > 2:
        yield f"{run[0].decode()}-{run[-1].decode()}"
    else:
        yield from map(id_line, run)


def _selected(
    typed: TypedPurge,
    upload: Iterable[bytes] | None,
    mappings: Mapping[str, Sequence[str]],
    filters: Filters,
) -> tuple[Selection, Iterable[bytes], int | None]:
    by = SelectBy(typed.by)
    match by:
        case SelectBy.PREFIX:
            return Selection(by, selections.parse_prefix(typed.prefix), filters=filters), (), None
        case SelectBy.PATTERN:
            return Selection(by, selections.parse_pattern(typed.pattern), filters=filters), (), None
        case SelectBy.TAG:
            return Selection(by, selections.parse_tag(typed.tag), filters=filters), (), None
        case SelectBy.KEYS:
            if (kept := _kept(typed, typed.keys, upload)) is not None:
                return Selection(by, count=typed.listed, filters=filters), (), kept
            keys = selections.parse_keys(typed.keys)
            return Selection(by, count=len(keys), filters=filters), keys, None
        case SelectBy.IDS:
            template = selections.parse_template(typed.template)
            chosen = Selection(by, template, (template,), filters=filters)
            written, field = typed.ids, "ids"
        case SelectBy.ROWS:
            if typed.mapping not in mappings:
                message = "Choose which rows."
                raise InvalidInput(message, fields={"mapping": message})
            templates = tuple(map(selections.parse_template, mappings[typed.mapping]))
            chosen = Selection(by, typed.mapping, templates, filters=filters)
            written, field = typed.rows, "rows"
    if (kept := _kept(typed, written, upload)) is not None:
        return replace(chosen, count=typed.listed), (), kept
    if upload is not None and written.strip():
        message = "Give either a list or a file; both are given."
        raise InvalidInput(message, fields={field: message})
    if upload is None and not written.strip():
        message = "Enter at least one identifier, or choose a file."
        raise InvalidInput(message, fields={field: message})
    parts = (written,) if upload is None else selections.decode_upload(upload)
    return chosen, _flat(parts, field), None


def _kept(typed: TypedPurge, written: str, upload: Iterable[bytes] | None) -> int | None:
    """The purge whose list is meant, when nothing was given anew."""
    if written.strip() or upload is not None or not typed.listed:
        return None
    return int(typed.list_of)


def _flat(parts: Iterable[str], field: str) -> Iterator[bytes]:
    try:
        for chunk in selections.parse_ids(parts):
            yield from chunk
    except InvalidInput as error:
        raise InvalidInput(error.message, fields={field: error.message}) from None


def _countable(selected: Selection) -> Selection:
    """A list that is still to be read is checked when it is."""
    return replace(selected, count=1) if selected.by.is_exact and not selected.count else selected


def _unit_field(name: str) -> str:
    return name.rpartition("_")[0] + "_unit"


def _unit(form: Mapping[str, str], name: str, units: Mapping[str, int]) -> str:
    unit = form.get(f"{name}.unit", "")
    return unit if unit in units else next(iter(units))


def _whole(text: str, unit: int, *, low: int) -> int | None:
    if not text.strip():
        return None
    number = decimal_of(text)
    value = None if number is None else number * unit
    if value is None or value != value.to_integral_value() or not low <= value <= _MOST:
        raise ValueError(f"Enter a whole number from {low} on.")
    return int(value)


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = "Enter a day and a time, UTC."
        raise InvalidInput(message, fields={"at": message}) from None


def _split(value: int | None, units: dict[str, int]) -> tuple[str, str]:
    """A number and the largest unit that needs no fraction."""
    if not value:
        return "" if value is None else "0", next(iter(units))
    unit = next(unit for unit in reversed(units) if value % units[unit] == 0)
    return str(value // units[unit]), unit
