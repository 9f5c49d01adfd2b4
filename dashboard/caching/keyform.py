"""Keys from templates: ``product:{id}`` and the arguments of a call. Two different calls never make one key."""

import copy
import inspect
import re
import string
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from dashboard.caching.errors import UsageError

_SAFE: Final = "-._"
"""What a value keeps unescaped besides letters and digits; ``~`` marks what is not plain text."""
_ONLY_SAFE = re.compile(r"[A-Za-z0-9._~%(),-]*\Z")
_LOOKS_LIKE_ANOTHER = re.compile(r"(-?[0-9].*|True|False|None|-?inf|nan|)\Z")
_FIRST_NAMES: Final = frozenset({"self", "cls"})


def as_text(value: object) -> str:
    """A value as it stands in a key: different for different values, also of different types.

    Text stays readable: letters, digits, ``-``, ``.`` and ``_`` stay, the rest is percent-encoded; text that looks
    like a number is marked with ``~``, for 7 and "7" are two keys.

    Raises:
        UsageError: a type without an obvious text form.
    """
    if isinstance(value, Enum):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return f"~e({quote(kind, safe=_SAFE)},{as_text(value.value)})"
    if isinstance(value, str):
        text = quote(value, safe=_SAFE, errors="surrogatepass").replace("~", "%7E")
        return f"~{text}" if _LOOKS_LIKE_ANOTHER.match(text) else text
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return quote(float.__repr__(value), safe=_SAFE)
    if isinstance(value, bytes):
        return f"~b{value.hex()}"
    if isinstance(value, UUID):
        return f"~u{value.hex}"
    if isinstance(value, Decimal):
        return f"~d{quote(str(value), safe=_SAFE)}"
    if isinstance(value, datetime):
        return f"~t{quote(value.isoformat(), safe=_SAFE)}"
    if isinstance(value, date):
        return f"~y{value.isoformat()}"
    if isinstance(value, tuple | list):
        mark = "l" if isinstance(value, list) else "t"
        return f"~{mark}({','.join(map(as_text, value))})"
    raise UsageError(
        f"no key can be made of {type(value).__name__}: pass text, numbers, dates, UUIDs, enums or tuples of them"
    )


class KeyForm:
    """A key template bound to a function's signature.

    Args:
        template: text with ``{name}`` for each of the function's parameters.
        function: whose arguments fill it.
        ignore: parameters that don't change the result, such as a session.

    Raises:
        UsageError: two different calls could make one key.
    """

    def __init__(self, template: str, function: Callable[..., Any], ignore: Iterable[str] = ()) -> None:
        self.template = template
        self._signature = inspect.signature(function)
        self._before: tuple[object, ...] = ()
        parameters = self._signature.parameters
        ignored = set(ignore)
        for name in ignored - set(parameters):
            raise UsageError(f"{function.__qualname__} has no parameter {name!r} to ignore")
        first = next(iter(parameters), "")
        if first in _FIRST_NAMES:
            ignored.add(first)
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise UsageError(f"the key template {template!r} can't be read: {error}") from None
        self._parts: list[tuple[str, str | None]] = []
        used: set[str] = set()
        for literal, field, spec, conversion in parts:
            self._parts.append((literal, field))
            if field is None:
                continue
            if spec or conversion or field not in parameters:
                raise UsageError(f"{{{field}}} in {template!r} must be just the name of a parameter")
            if used and _ONLY_SAFE.match(literal):
                raise UsageError(f"put a separator such as : between the fields of {template!r}")
            used.add(field)
        if not self._parts or not (self._parts[0][0] or self._parts[0][1]):
            raise UsageError("the key template is empty")
        for name, parameter in parameters.items():
            if name in ignored:
                continue
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise UsageError(f"*{name} can't be part of a key; name the parameters, or ignore it")
            if name not in used:
                raise UsageError(
                    f"{{{name}}} is missing in {template!r}: calls that differ in it would share a key. "
                    f"Add it, or say ignore=({name!r},)"
                )

    @classmethod
    def loose(cls, template: str, function: Callable[..., Any]) -> "KeyForm":
        """A form that need not name every parameter, for tags."""
        named = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
        return cls(template, function, set(inspect.signature(function).parameters) - named)

    def bound(self, instance: object) -> "KeyForm":
        """The form for a method's calls on ``instance``."""
        made = copy.copy(self)
        made._before = (*self._before, instance)
        return made

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """The key of a call.

        Raises:
            TypeError: the arguments don't fit the function.
            UsageError: see ``as_text``.
        """
        bound = self._signature.bind(*self._before, *args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        return "".join(
            literal if name is None else literal + as_text(given[name]) for literal, name in self._parts
        )
