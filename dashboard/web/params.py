"""Query parameters, checked: a wrong one is a 422 that names it."""

from collections.abc import Sequence
from typing import Any

from flask import request
from werkzeug.routing import IntegerConverter, Map

from dashboard.errors import InvalidInput

_LONGEST = 1000
_LARGEST_ID = 2**63 - 1


class IdConverter(IntegerConverter):
    """``<int:...>`` in addresses: a number PostgreSQL can't hold is not found, and no error."""

    def __init__(self, map: Map, *args: Any, **kwargs: Any) -> None:
        super().__init__(map, *args, **{"max": _LARGEST_ID, **kwargs})


def text_arg(name: str, default: str = "", *, longest: int = _LONGEST) -> str:
    """The text of ``?name=``, without NUL (PostgreSQL refuses it) and not longer than ``longest``."""
    value = request.args.get(name, default)
    if len(value) > longest:
        raise InvalidInput(f"{name} is longer than {longest} characters.")
    if "\0" in value:
        raise InvalidInput(f"{name} holds a NUL character.")
    return value


def int_arg(name: str, default: int | None = None, *, low: int, high: int) -> int | None:
    """The whole number of ``?name=`` within ``low`` and ``high``, or ``default`` when absent."""
    value = request.args.get(name, "")
    if not value:
        return default
    if not (value.lstrip("-").isascii() and value.lstrip("-").isdigit() and len(value) < 20):
        raise InvalidInput(f"{name} is {value[:40]!r}; it takes a whole number.")
    if not low <= int(value) <= high:
        raise InvalidInput(f"{name} is {value}; it takes {low} to {high}.")
    return int(value)


def float_arg(name: str, default: float | None = None, *, low: float, high: float) -> float | None:
    """The number of ``?name=`` within ``low`` and ``high``, or ``default`` when absent."""
    value = request.args.get(name, "")
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        raise InvalidInput(f"{name} is {value[:40]!r}; it takes a number.") from None
    if not low <= number <= high:  # also refuses nan
        raise InvalidInput(f"{name} is {value[:40]}; it takes {low:g} to {high:g}.")
    return number


def choice_arg(name: str, choices: Sequence[str], default: str) -> str:
    """One of ``choices``, or ``default`` when absent."""
    value = request.args.get(name, "") or default
    if value not in choices and value != default:
        raise InvalidInput(f"{name} is {value[:40]!r}; it takes {', '.join(choices)}.")
    return value
