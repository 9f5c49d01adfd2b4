"""Words of the shop."""

from dataclasses import dataclass
from typing import Any, Final

MODES: Final = ("off", "naive", "cachewarden")
"""How the shop caches; the last one unless told otherwise."""

PREFIXES: Final = (
    b"category:",
    b"config:",
    b"home:",
    b"inventory:",
    b"news:",
    b"product:",
    b"search:",
    b"session:",
    b"wallet:",
)
"""Of all keys that pages read."""


class ShopError(Exception):
    """The shop can't do that; the message is for the customer."""


class Unknown(ShopError):
    """There is no such thing."""


class PriceChanged(ShopError):
    """It costs something else than the customer saw."""


class OutOfStock(ShopError):
    """There is less than wanted."""


class NotEnough(ShopError):
    """The wallet does not hold that much."""


class DatabaseAway(ShopError):
    """PostgreSQL does not answer."""


@dataclass(frozen=True, slots=True)
class Paid:
    """An order that was paid.

    Args:
        total_cents: delivery included.
        balance_cents, version: of the wallet afterwards.
        products: whose stock changed.
        is_again: it was paid before, and nothing was taken now.
    """

    order: int
    total_cents: int
    balance_cents: int
    version: int
    products: tuple[int, ...]
    is_again: bool


@dataclass(frozen=True, slots=True)
class Touch:
    """One read of the cache on behalf of a page.

    Args:
        key: of the cache; of what never goes there, a name without a colon.
        result: "hit", "loaded", "not cached" or "away".
        cache_ms, load_ms: of the cache's part, and of the loader's; of one of many, its share.
        why: in a sentence, for the strip below the page.
        value: what was read.
        of: how many keys were asked for together.
    """

    key: str
    result: str
    cache_ms: float
    load_ms: float
    why: str = ""
    value: Any = None
    of: int = 1
