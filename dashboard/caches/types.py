"""What the other areas and the templates know about a cache."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from dashboard.errors import ConfigError, InvalidInput
from dashboard.fleet.check import CheckReport
from dashboard.fleet.url import CacheUrl, parse_url

SHORTEST_POLL_S = 5
LONGEST_POLL_S = 3600
LONGEST_NAME = 64


class Environment(StrEnum):
    """What a cache is for; a production cache asks more before it changes."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"

    @property
    def label(self) -> str:
        """The word on screen."""
        return self.value.capitalize()


class SealedUrl:
    """A stored URL, decrypted when it is first looked at: most pages need the names only."""

    def __init__(self, token: bytes, decrypt: Callable[[bytes], str]) -> None:
        self._token = token
        self._decrypt = decrypt
        self._opened: tuple[CacheUrl | None] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SealedUrl) and self._token == other._token

    def __hash__(self) -> int:
        return hash(self._token)

    def open(self) -> CacheUrl | None:
        """The URL, or None when it was encrypted with another secret key."""
        if self._opened is None:
            try:
                self._opened = (parse_url(self._decrypt(self._token)),)
            except (ConfigError, InvalidInput):
                # One cache that can't be read must not take the list of all of them away.
                self._opened = (None,)
        return self._opened[0]


@dataclass(frozen=True, slots=True)
class Cache:
    """One connection an operator names.

    Args:
        sealed: its URL, encrypted.
        poll_interval_s: seconds between two polls.
        read_only: nobody may change anything in Redis.
        hit_ratio_target: 0..1.
        revision: rises with each change.
    """

    id: int
    name: str
    sealed: SealedUrl = field(repr=False)
    environment: Environment
    poll_interval_s: int
    read_only: bool
    hit_ratio_target: float
    revision: int
    created_at: datetime
    updated_at: datetime

    @property
    def stored_url(self) -> CacheUrl | None:
        """Where it is; None when it was encrypted with another secret key."""
        return self.sealed.open()

    @property
    def url(self) -> CacheUrl:
        """Where it is.

        Raises:
            ConfigError: it can't be decrypted with the present secret key.
        """
        url = self.stored_url
        if url is None:
            raise ConfigError(
                f"The stored URL of {self.name} can't be decrypted: CACHEWARDEN_SECRET_KEY has changed.",
                what_to_do="Set the earlier key again, or enter the URL anew on the Connections page.",
            )
        return url

    @property
    def address(self) -> str:
        """Short address for a table."""
        url = self.stored_url
        return url.address if url is not None else "address can't be decrypted"

    @property
    def is_production(self) -> bool:
        """Whether it is a production cache."""
        return self.environment is Environment.PRODUCTION


@dataclass(frozen=True, slots=True)
class CacheForm:
    """A form that was read and is valid by itself.

    Args:
        url: with the password, wherever that was typed; without one, the stored one is kept.
        forget_password: connect without a password from now on.
        revision: which state of the cache the form showed; None for a new cache.
    """

    name: str
    url: CacheUrl = field(repr=False)
    environment: Environment
    poll_interval_s: int
    read_only: bool
    hit_ratio_target: float
    forget_password: bool = False
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class TypedCache:
    """What stands in the form's fields: as typed or as stored, never with a password.

    Args:
        hit_ratio_target: in per cent.
        had_password: a password was typed, and must be typed again.
    """

    name: str = ""
    url: str = ""
    environment: str = Environment.PRODUCTION.value
    poll_interval_s: str = ""
    hit_ratio_target: str = ""
    read_only: bool = False
    forget_password: bool = False
    had_password: bool = False


@dataclass(frozen=True, slots=True)
class Drawer:
    """The form to add or edit a cache, and the result of its connection test.

    Args:
        cache_id: None when it adds one.
        title: name of the card.
        typed: what the fields hold.
        errors: message per field; "" is a message on the whole form.
        revision: which state of the cache the form shows.
        has_password: a password is stored and kept unless another is typed.
        changes: what somebody else changed meanwhile, in words.
        report: the connection test's result; None before it ran.
        is_test_refused: the test was asked for and could not start; ``errors`` says why.
    """

    cache_id: int | None
    title: str
    typed: TypedCache
    errors: dict[str, str] = field(default_factory=dict)
    revision: int | None = None
    has_password: bool = False
    changes: tuple[str, ...] = ()
    report: CheckReport | None = None
    is_test_refused: bool = False

    @property
    def action(self) -> str:
        """Where the form goes."""
        return "/caches/new" if self.cache_id is None else f"/caches/{self.cache_id}/edit"


@dataclass(frozen=True, slots=True)
class RemovePage:
    """The question before a cache is removed.

    Args:
        needs_name: its name must be typed.
        error: why the last try was refused.
    """

    cache: Cache
    needs_name: bool
    error: str = ""
