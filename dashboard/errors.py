"""The taxonomy of errors: raised below, rendered in one place.

Third-party exceptions become one of these at the two doors (``fleet.errors`` and ``db.session``), so
that every layer above speaks one language. ``str(error)`` is safe to show: it never holds a secret.
"""

from collections.abc import Mapping


class DashboardError(Exception):
    """What went wrong, in words an operator can act on.

    Args:
        message: one sentence that says what is wrong.
        what_to_do: one sentence with the way out; empty when the message already says it.
    """

    code = "error"
    status = 500
    title = "Something went wrong"

    def __init__(self, message: str, *, what_to_do: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.what_to_do = what_to_do

    @property
    def in_full(self) -> str:
        """What is wrong, and the way out where it is said apart."""
        return f"{self.message} {self.what_to_do}".strip()


class InvalidInput(DashboardError):
    """The request can't be taken as it is.

    Args:
        fields: message per form field, so that the form can show each at its place.
    """

    code = "invalid_input"
    status = 422
    title = "That can't be taken"

    def __init__(
        self, message: str, *, what_to_do: str = "", fields: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, what_to_do=what_to_do)
        self.fields = dict(fields or {})


class NotFound(DashboardError):
    """There is no such thing (any more)."""

    code = "not_found"
    status = 404
    title = "Not found"


class Unauthenticated(DashboardError):
    """Nobody is signed in."""

    code = "unauthenticated"
    status = 401
    title = "Signed out"


class Forbidden(DashboardError):
    """The actor's role does not reach this far."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class TooManyRequests(DashboardError):
    """Asked too often; trying again later helps.

    Args:
        retry_after_s: seconds until another try makes sense.
    """

    code = "too_many_requests"
    status = 429
    title = "Too many tries"

    def __init__(self, message: str, *, what_to_do: str = "", retry_after_s: int = 60) -> None:
        super().__init__(message, what_to_do=what_to_do)
        self.retry_after_s = retry_after_s


class Conflict(DashboardError):
    """Somebody else changed it meanwhile, or the name is taken."""

    code = "conflict"
    status = 409
    title = "Changed meanwhile"


class Refused(DashboardError):
    """One of our own safety rules says no."""

    code = "refused"
    status = 409
    title = "Refused"


class CacheUnavailable(DashboardError):
    """A cache can't be reached or does not answer as a Redis would."""

    code = "cache_unavailable"
    status = 503
    title = "The cache does not answer"


class CacheTimeout(CacheUnavailable):
    """A cache was reached but did not answer in time."""

    code = "cache_timeout"


class CacheDenied(CacheUnavailable):
    """A cache refuses the sign-in or a command."""

    code = "cache_denied"
    title = "The cache refuses"


class StoreUnavailable(DashboardError):
    """Cachewarden's own PostgreSQL can't be used right now."""

    code = "store_unavailable"
    status = 503
    title = "The database does not answer"


class ConfigError(DashboardError):
    """The settings are wrong; nothing starts until they are right."""

    code = "config"
    title = "The settings are wrong"
