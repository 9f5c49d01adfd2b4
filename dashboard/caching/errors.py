"""What the library raises. Misuse raises; a cache that is ill does not: it is counted and the loader runs."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class CachingError(Exception):
    """Base of everything this library raises itself."""


class UsageError(CachingError, ValueError):
    """The library was called in a way that can't be right, whatever the state of the cache."""


class Wrong(StrEnum):
    """What kind of thing is wrong, for those that say it in words of their own."""

    OTHER = "other"
    MISSING = "missing"
    RANGE = "range"
    """No number, or one outside ``low`` to ``high``."""
    LENGTH = "length"
    """Text that is shorter than ``low`` or longer than ``high``."""
    CHOICE = "choice"
    """None of the words that may stand there."""
    CHARACTERS = "characters"
    """Text with something in it that may not be there."""
    ESCAPE = "escape"
    RESERVED = "reserved"
    UNCACHED = "uncached"
    """A length of time where nothing is cached."""


class Problem(NamedTuple):
    """One thing that is wrong in a policy document."""

    path: str
    """Where, e.g. ``policies[3].base_ttl_s``; empty for the document itself."""
    message: str
    """What is wrong, with the allowed range in the document's own units."""
    code: Wrong = Wrong.OTHER
    low: float | None = None
    """The allowed range of RANGE and LENGTH, both ends included; seconds where the field holds seconds."""
    high: float | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class PolicyError(CachingError, ValueError):
    """A policy document, or a part of one, is refused.

    Args:
        problems: everything that is wrong with it, in the order of the document.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        shown = "; ".join(map(str, self.problems[:5]))
        more = len(self.problems) - 5
        super().__init__(f"{shown}; and {more} more" if more > 0 else shown)


class Unserialisable(CachingError, TypeError):
    """A value that the codec can't store so that the same value comes back.

    ``get_or_load`` never raises it: the value is returned, nothing is cached, and that is counted.
    """


class InvalidationError(CachingError):
    """Keys may still hold values from before a write, because Redis could not be told.

    Args:
        keys: those keys.
        cause: the last error.
    """

    def __init__(self, keys: Iterable[bytes], cause: Exception | None) -> None:
        self.keys = tuple(keys)
        names = ", ".join(key.decode("utf-8", "backslashreplace") for key in self.keys[:3])
        more = f" and {len(self.keys) - 3} more" if len(self.keys) > 3 else ""
        super().__init__(f"Redis could not be told to drop {names}{more}: {cause}")


class CacheSettingsWarning(UserWarning):
    """A client was handed over whose time-outs or retries can hold up the application when Redis is ill."""
