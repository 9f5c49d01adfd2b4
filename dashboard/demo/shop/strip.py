"""The strip below each page: what it read, from where, how long that took, and what of it was old."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from dashboard.caching.policy import TIERS, Policy
from dashboard.demo.shop.links import Links
from dashboard.demo.shop.modes import NAIVE_TTL_S, Modes
from dashboard.demo.shop.pages import EDITOR, Shop, product_key, stock_key
from dashboard.demo.shop.types import DatabaseAway, Touch
from dashboard.demo.shop.words import euros, pieces
from dashboard.web.formats import duration

MANY: Final = 3
"""Keys of one look that get a row each; those of a larger one share rows."""
MOST_EXPLAINED: Final = 2
SLACK_S: Final = 2.0
"""So much two clocks may differ."""
MODES_SHOWN: Final = (
    ("off", "Off", "Every read goes to the database"),
    ("naive", "Naive", "One TTL for all, no lock, no jitter"),
    ("cachewarden", "Cachewarden", "Policies decide, one load per key"),
)
_TIER_ICONS: Final = {
    "low-volatility": "hourglass",
    "frequently-updated": "clock",
    "hot": "zap",
    "no-cache": "ban",
}

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Read:
    """One row.

    Args:
        result: "hit", "loaded", "old", "not cached" or "away".
        tier, tier_icon: of the key's policy.
        ttl_s: left; None: nothing is there.
        took_s: of cache and database together.
        href: the key in the dashboard; empty: there is nothing to see.
        more: how many keys this row stands for besides the first.
    """

    key: str
    result: str
    tier: str
    tier_icon: str
    ttl_s: float | None
    took_s: float
    why: str
    href: str
    more: int = 0


@dataclass(frozen=True, slots=True)
class Old:
    """A hit that is older than its row.

    Args:
        loaded_at, changed_at: None: not known.
        by: who changed the row.
        ttl_s: how long it can mislead yet; None: not known.
        purge_href: where the dashboard removes it; empty: there is no dashboard.
    """

    key: str
    loaded_at: datetime | None
    changed_at: datetime | None
    by: str
    ttl_s: float | None
    says: str
    row_says: str
    purge_href: str


@dataclass(frozen=True, slots=True)
class Strip:
    """All of it.

    Args:
        mode: how the shop caches.
        reads: hits, what is old and loads together.
        loads: what came from the database, whatever the reason.
        cache_s, database_s: spent on this page.
        is_away: the cache does not answer.
        is_unchecked: PostgreSQL does not, so nobody knows what is old.
    """

    mode: str
    reads: int
    hits: int
    loads: int
    cache_s: float
    database_s: float
    rows: Sequence[Read]
    olds: Sequence[Old]
    is_away: bool
    is_unchecked: bool
    now: datetime
    links: Links
    modes: Sequence[tuple[str, str, str]] = MODES_SHOWN

    @property
    def explained(self) -> Sequence[Old]:
        """What is old, one by one; nothing when that is much."""
        return self.olds if len(self.olds) <= MOST_EXPLAINED else ()

    @property
    def longest_s(self) -> float | None:
        """How long what is old can mislead yet; None: not known."""
        return max((old.ttl_s for old in self.olds if old.ttl_s is not None), default=None)

    @property
    def latest_by(self) -> str:
        """Who changed a row last."""
        start = datetime.min.replace(tzinfo=UTC)
        return max(self.olds, key=lambda old: old.changed_at or start).by

    @property
    def purge_all_href(self) -> str:
        """Where the dashboard removes all that is old."""
        return self.links.purge(*(old.key for old in self.olds))


def examine(shop: Shop, links: Links, touches: Sequence[Touch], database_ms: Sequence[float]) -> Strip:
    """Look at what a page has read; once more at the cache, and at the rows behind its hits.

    Args:
        touches: of this page so far.
        database_ms: of each of its queries so far.
    """
    mode = shop.modes.current
    cached = [touch for touch in touches if ":" in touch.key]
    # What is left in the cache from before it was switched off is nobody's business.
    lives = shop.modes.lives([touch.key for touch in cached]) if mode != "off" else ()
    ttls = dict(zip((touch.key for touch in cached), lives or (), strict=False))
    olds, is_unchecked = _olds(shop, links, [touch for touch in cached if touch.result == "hit"], ttls)
    by_key = {old.key: old for old in olds}
    is_away = lives is None or _is_refused(shop.modes, touches, ttls)
    rows: dict[tuple[object, ...], Read] = {}
    for number, touch in enumerate(touches):
        row = _row(shop.modes, mode, links, touch, ttls.get(touch.key), by_key.get(touch.key), is_away)
        # What was asked for together and went alike shares a row; what is old has one of its own.
        together = touch.of > MANY and row.result != "old"
        name = (touch.of, row.key.partition(":")[0], row.result) if together else (number,)
        rows[name] = _merged(rows[name], row) if name in rows else row
    hits = sum(touch.result == "hit" for touch in touches)
    return Strip(
        mode=mode,
        reads=len(touches),
        hits=hits - len(by_key),
        loads=len(touches) - hits,
        cache_s=sum(touch.cache_ms for touch in touches) / 1000,
        database_s=sum(database_ms) / 1000,
        rows=tuple(rows.values()),
        olds=olds,
        is_away=is_away,
        is_unchecked=is_unchecked,
        now=datetime.now(UTC),
        links=links,
    )


def _merged(last: Read, row: Read) -> Read:
    ttls = [ttl for ttl in (last.ttl_s, row.ttl_s) if ttl is not None]
    return replace(
        last,
        ttl_s=min(ttls, default=None),
        took_s=last.took_s + row.took_s,
        why="Asked for together, in one look." if last.result in ("hit", "loaded") else last.why,
        more=last.more + 1,
    )


def _row(
    modes: Modes, mode: str, links: Links, touch: Touch, ttl_s: float | None, old: Old | None, is_away: bool
) -> Read:
    is_key = ":" in touch.key
    result, why = touch.result, touch.why
    if is_away and result == "loaded":
        result, why = "away", "The cache does not answer."
    if old is not None:
        result, why = "old", f"Says {old.says}, row says {old.row_says}."
    tier, icon, lives = "No cache", "ban", ""
    if is_key and mode == "naive":
        tier, icon = "One for all", "timer"
        lives = _lives(f"{duration(NAIVE_TTL_S)}, like everything here.", (ttl_s or 0) > NAIVE_TTL_S)
    elif is_key and mode == "cachewarden":
        policy = modes.kept.cache.policy_for(touch.key)
        tier, icon = _tier(modes, policy), _TIER_ICONS.get(policy.tier, "timer")
        lives = f"{_by_policy(policy, touch, ttl_s)} {policy.note}".strip()
    # A session's key is what signs its customer in: a page does not hold it, whatever else it says.
    is_secret = touch.key.startswith("session:")
    return Read(
        f"{touch.key[:14]}…" if is_secret else touch.key,
        result,
        tier,
        icon,
        ttl_s,
        (touch.cache_ms + touch.load_ms) / 1000,
        why or lives,
        links.key(touch.key) if is_key and mode != "off" and not is_secret else "",
    )


def _tier(modes: Modes, policy: Policy) -> str:
    document = modes.kept.cache.document
    tiers = document.tiers if document is not None else TIERS
    return next((tier.label for tier in tiers if tier.name == policy.tier), policy.tier)


def _by_policy(policy: Policy, touch: Touch, ttl_s: float | None) -> str:
    longest_s = policy.longest_ttl_s
    if policy.base_ttl_s is None or longest_s is None:
        return "Is not cached."
    jitter = f" + up to {duration(policy.jitter_s)}" if policy.jitter_s else ""
    is_other = False
    if ttl_s is not None:
        read_at = touch.value.get("read_at") if isinstance(touch.value, Mapping) else None
        # Where it is known when it was loaded, so is how long it was given.
        is_less = (
            isinstance(read_at, float | int) and time.time() - read_at + ttl_s < policy.base_ttl_s - SLACK_S
        )
        is_other = is_less or ttl_s > longest_s
    return _lives(f"{duration(policy.base_ttl_s)}{jitter}.", is_other)


def _lives(given: str, is_other: bool) -> str:
    """How long keys like this one live; ``is_other``: this one was given another time, by other rules or a purge."""
    if is_other:
        return f"Was given another time before; the next load gives it {given}"
    return f"Lives {given}"


def _is_refused(modes: Modes, touches: Sequence[Touch], ttls: Mapping[str, float | None]) -> bool:
    """Whether the cache lets nobody in, other than over connections from before."""
    if any(touch.result == "away" for touch in touches):
        return True
    loaded = [touch.key for touch in touches if touch.result == "loaded" and touch.value is not None]
    has_hits = any(touch.result == "hit" for touch in touches)
    # A page that had nothing from the cache, or whose loads are not there: there are other reasons, so it is asked.
    is_odd = bool(loaded) and (not has_hits or any(ttls.get(key) is None for key in loaded))
    return is_odd and modes.lives(loaded[:1], anew=True) is None


def _olds(
    shop: Shop, links: Links, hits: Sequence[Touch], ttls: Mapping[str, float | None]
) -> tuple[list[Old], bool]:
    """(what is older than its row, whether nobody can know)."""
    try:
        suspects = _suspects(shop, hits)
    except DatabaseAway:
        return [], True
    # What was removed just now has been told; only what is still there misleads.
    still = shop.modes.peek([touch.key for touch, _ in suspects]) if suspects else []
    olds = []
    for (touch, row), value in zip(suspects, still, strict=True):
        said = _says(touch.key, value, row) if isinstance(value, Mapping) else None
        if said is None or said[0] == said[1]:
            continue
        kind = touch.key.partition(":")[0]
        olds.append(
            Old(
                touch.key,
                _moment(value.get("read_at")),
                _moment(row.get("changed_at" if kind == "product" else "stock_changed_at")),
                {"product": row.get("by") or EDITOR, "wallet": "a booking"}.get(
                    kind, "an order or the editor"
                ),
                ttls.get(touch.key),
                said[0],
                said[1],
                links.purge(touch.key),
            )
        )
    return olds, False


def _suspects(shop: Shop, hits: Sequence[Touch]) -> list[tuple[Touch, Json]]:
    """Hits that say something else than their rows, with the rows."""
    numbers = {number for touch in hits if (number := _number(touch.key)) is not None}
    rows = shop.store.rows(sorted(numbers)) if numbers else {}
    found: list[tuple[Touch, Json]] = []
    for touch in hits:
        row: Json | None = rows.get(_number(touch.key) or 0)
        if touch.key.startswith("wallet:"):
            row = shop.store.wallet(int(touch.key.partition(":")[2]))
        if row is None or not isinstance(touch.value, Mapping):
            continue
        said = _says(touch.key, touch.value, row)
        if said is not None and said[0] != said[1]:
            found.append((touch, row))
    return found


def _says(key: str, value: Json, row: Json) -> tuple[str, str] | None:
    """(what the value says, what the row says); None: this key shows no row."""
    number = row.get("id")
    if number is not None and key == product_key(number):
        return euros(value["price_cents"]), euros(row["price_cents"])
    if number is not None and key == stock_key(number):
        return pieces(value["pieces"]), pieces(row["pieces"])
    if key.startswith("wallet:"):
        return euros(value["balance_cents"]), euros(row["balance_cents"])
    return None


def _number(key: str) -> int | None:
    """Of the product that a key shows the row of."""
    kind, _, rest = key.partition(":")
    return int(rest) if kind in ("product", "inventory") and rest.isdigit() else None


def _moment(epoch: object) -> datetime | None:
    return datetime.fromtimestamp(epoch, UTC) if isinstance(epoch, float | int) else None
