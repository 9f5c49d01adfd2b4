"""Functions whose results are cached."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from dashboard.caching.errors import UsageError
from dashboard.caching.keyform import KeyForm

if TYPE_CHECKING:
    from dashboard.caching.cache import Cache

P = ParamSpec("P")
T = TypeVar("T")


class CachedFunction(Generic[P, T]):
    """A function behind the cache; call it like the function itself.

    Args:
        cache: the cache.
        function: the function, not ``async``.
        form: makes its key.
        tag_forms: make its tags.
    """

    def __init__(
        self, cache: "Cache", function: Callable[P, T], form: KeyForm, tag_forms: tuple[KeyForm, ...]
    ) -> None:
        if inspect.iscoroutinefunction(function):
            raise UsageError(f"{function.__qualname__} is async; this cache waits with threads")
        functools.update_wrapper(self, function)
        self._cache = cache
        self._function = function
        self._form = form
        self._tag_forms = tag_forms

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        tags = tuple(form.key(args, kwargs) for form in self._tag_forms)
        return self._cache.get_or_load(
            self._form.key(args, kwargs), lambda: self._function(*args, **kwargs), tags=tags
        )

    def __get__(self, instance: Any, owner: type | None = None) -> "CachedFunction[..., T]":
        """As a method: bound to the instance, like a function."""
        if instance is None:
            return self
        bound: CachedFunction[..., T] = CachedFunction.__new__(CachedFunction)
        bound.__dict__.update(self.__dict__)
        bound._function = functools.partial(self._function, instance)
        bound._form = self._form.bound(instance)
        bound._tag_forms = tuple(form.bound(instance) for form in self._tag_forms)
        return bound

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of such a call."""
        return self._form.key(args, kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Drop the value of such a call; see ``Cache.invalidate``."""
        self._cache.invalidate(self._form.key(args, kwargs))
