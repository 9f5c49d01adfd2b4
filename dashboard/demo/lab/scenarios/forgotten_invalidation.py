"""Forgotten invalidation: prices change in the database, and nobody tells the cache.

Three times with the same readers of product pages: forgotten until the TTL ends; forgotten, and then purged by row; and
done right, by an editor that writes and then invalidates. A price is old when the page was asked for after the change
was over (for the editor: after its answer) and shows less than that: prices only rise here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from dashboard.caching import Cache, PolicyDocument, Tier
from dashboard.caching.policy import ROW_ID
from dashboard.demo.lab.measuring import at_least, at_most
from dashboard.demo.lab.reading import Crew, ratio, shares, shop, told
from dashboard.demo.lab.types import LOWER, Bench, Number, Result, Scenario, Side, Void
from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop.catalogue import Popularity
from dashboard.demo.shop.pages import EDITOR, Shop, product_key

TTL_S, JITTER_S = 8, 2
QUICK_TTL_S, QUICK_JITTER_S = 2, 0
PRODUCTS: Final = 40
READERS: Final = 5
PAUSE_S: Final = 0.005
"""Mean pause of a reader between two pages."""
WARM_S: Final = 1.5
NOTICED_S: Final = 3.0
"""So long after the import somebody notices, and purges."""
WATCHED_S: Final = 4.0
"""So long after the purge the pages are looked at."""
FEWEST_PAGES: Final = 200
QUICK_PAGES: Final = 20
"""And longer, until there were so many of them: that none was old says nothing where nobody looked."""
EDITED_S: Final = 8.0
EDIT_PAUSE_S: Final = 0.02
FEWEST_EDITS: Final = 100
QUICK_EDITS: Final = 10
RAISE_PERCENT: Final = 10
ROWS: Final = "products.id"
"""The mapping that the purge goes by."""
PREFIX: Final = b"product:"
SLACK_S: Final = 1.0
"""A value can be loaded a moment before the import, and its expiry comes a moment late."""
SERIES: Final = "Pages with an old price"
OLD: Final = "Old prices shown"
AFTER: Final = "Old prices after the cache was told"
SHARE: Final = "Pages with an old price, until the last of them"
LOOKS: Final = "Pages read after the cache was told"
_STEP_S: Final = 0.25


@dataclass(slots=True)
class _Watch:
    """What customers were shown. Readers append; one thread changes prices.

    Args:
        began: of the side, monotonic seconds.
    """

    began: float
    truth: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Of each changed product: the price it has at least, and since when, monotonic."""
    changed: int = 0
    first_at: float = float("inf")
    """When the first price changed; monotonic."""
    told_at: float = float("inf")
    """When the cache had been told of the changes; monotonic."""
    pages: list[tuple[float, bool]] = field(default_factory=list)
    """(when a page was asked for, whether its price was old), seconds since the beginning."""
    lags: list[float] = field(default_factory=list)
    """How long after the change each old price was asked for."""

    @property
    def is_told(self) -> bool:
        """Whether it had been told at all."""
        return self.told_at < float("inf")

    @property
    def since_told(self) -> Sequence[bool]:
        """Of the pages that were asked for since the cache had been told, whether the price was old."""
        told_at = self.told_at - self.began
        return [is_old for at, is_old in list(self.pages) if at >= told_at]

    def change(self, prices: Sequence[tuple[int, int]]) -> None:
        """These prices hold from now on, for whoever asks."""
        now = time.monotonic()
        self.changed += len(prices)
        self.first_at = min(self.first_at, now)
        for number, cents in prices:
            self.truth[number] = cents, now

    def seen(self, number: int, known: tuple[int, float] | None, asked_at: float, cents: int) -> None:
        """A page was shown.

        Args:
            known: of the product in ``truth``, before the page was asked for.
            asked_at: monotonic seconds.
        """
        is_old = known is not None and cents < known[0]
        if known is not None and is_old:
            self.lags.append(asked_at - known[1])
        self.pages.append((asked_at - self.began, is_old))


def forget(bench: Bench, *, editor_tells: bool = True) -> Result:
    """Forget it, purge it, do it right.

    Args:
        editor_tells: whether the editor that does it right invalidates.
    """
    ttl_s, jitter_s = (QUICK_TTL_S, QUICK_JITTER_S) if bench.is_quick else (TTL_S, JITTER_S)
    made = _Bench(bench, _shortened(ttl_s, jitter_s), ttl_s + jitter_s)
    forgotten = made.side("Forgotten", 0.05, made.forgotten)
    purged = made.side("Purged by row", 0.45, made.purged)
    right = made.side("Write, then invalidate", 0.7, lambda *given: made.edited(*given, tells=editor_tells))
    before, longest = forgotten.value(OLD), forgotten.value("Longest after the change")
    after_purge, after_edit, edits = purged.value(AFTER), right.value(AFTER), right.value("Prices changed")
    assert before is not None and longest is not None and after_purge is not None
    assert after_edit is not None and edits is not None
    limit_s = ttl_s + jitter_s + SLACK_S
    return Result(
        scenario=SCENARIO.name,
        sides=(forgotten, purged, right),
        chart=(SERIES, "ratio"),
        checks=(
            at_least("A forgotten invalidation shows old prices", before, 1, "count"),
            at_most("Old prices end with the TTL at the latest", longest, limit_s, "s"),
            at_most("No old price after the purge by row", after_purge, 0, "count"),
            at_most(
                f"No old price after {edits:,.0f} edits that write and then invalidate",
                after_edit,
                0,
                "count",
            ),
        ),
        sentence=(
            f"Prices changed in the database alone: customers were shown {before:,.0f} old ones"
            f" ({forgotten.value(SHARE) or 0:.0%} of the pages until then), until the TTL ended {longest:.1f} s later."
            f" A purge by row of {ROWS} ended it at once: {after_purge:,.0f} old prices after it. An editor that writes"
            f" and then invalidates showed {after_edit:,.0f} after {edits:,.0f} changes."
        ),
        notes=_notes(ttl_s, jitter_s),
        setup={"products": float(PRODUCTS), "readers": float(READERS), "ttl_s": float(ttl_s)},
    )


class _Bench:
    """The three sides.

    Args:
        document: with the TTL that is used here.
        longest_s: that a value lives.
    """

    def __init__(self, bench: Bench, document: PolicyDocument, longest_s: float) -> None:
        self._bench = bench
        self._store = bench.store(connections=READERS + 3)
        self._document = document
        self._longest_s = longest_s
        self._chance = Random(bench.seed)

    def side(self, title: str, share: float, act: Callable[[Shop, Crew, _Watch, str, float], None]) -> Side:
        """One way to do it; ``act`` changes prices, and waits until there was enough to be seen."""
        self._bench.progress(share, f"{title}: customers look at products")
        valkey = self._bench.valkey()
        watch = _Watch(time.monotonic())
        with (
            shop(self._store, valkey.url, "cachewarden", self._document) as used,
            Crew(self._bench) as crew,
        ):
            for number in range(READERS):
                chance = Random(self._bench.seed * 100 + number)
                crew.begin(lambda chance=chance: _read(used, crew, watch, chance))  # type: ignore[misc]
            crew.wait(min(WARM_S, self._longest_s / 4), share, share, f"{title}: customers look at products")
            act(used, crew, watch, valkey.url, share)
        told(valkey.client())
        return _found(title, watch)

    def forgotten(self, used: Shop, crew: Crew, watch: _Watch, url: str, share: float) -> None:
        """An import of prices that tells nobody, watched until every value has expired."""
        self._import(used, watch)
        crew.wait(self._longest_s + SLACK_S, share, share + 0.35, "Forgotten: waiting for the TTL to end")

    def purged(self, used: Shop, crew: Crew, watch: _Watch, url: str, share: float) -> None:
        """The same import, noticed after a while, and purged by row."""
        changed = self._import(used, watch)
        noticed_s = min(NOTICED_S, self._longest_s / 4)
        crew.wait(noticed_s, share, share + 0.1, "Purged by row: nobody has noticed yet")
        with Cache(url, follow=False, name="purge") as client:
            client.invalidate(*_keys_of_rows(changed))
        watch.told_at = time.monotonic()
        words = "Purged by row: looking again"
        crew.wait(min(WATCHED_S, self._longest_s), share + 0.1, share + 0.2, words)
        self._watch_more(crew, watch, share + 0.2, words)

    def edited(
        self, used: Shop, crew: Crew, watch: _Watch, url: str, share: float, *, tells: bool = True
    ) -> None:
        """Many changes, each written and then invalidated."""
        rows = self._store.rows(range(1, PRODUCTS + 1))
        prices = {number: int(row["price_cents"]) for number, row in rows.items()}
        fewest = QUICK_EDITS if self._bench.is_quick else FEWEST_EDITS
        began = time.monotonic()
        while (spent_s := time.monotonic() - began) < min(
            EDITED_S, self._longest_s
        ) or watch.changed < fewest:
            number = self._chance.randint(1, PRODUCTS)
            prices[number] += 10
            used.change(number, cents=prices[number], by=EDITOR, tells_cache=tells)
            watch.change([(number, prices[number])])
            watch.told_at = min(watch.told_at, time.monotonic())
            done = share + 0.2 * min(1.0, spent_s / EDITED_S)
            crew.wait(EDIT_PAUSE_S, done, done, "Write, then invalidate: the editor changes prices")
        words = "Write, then invalidate: looking again"
        crew.wait(SLACK_S, share + 0.2, share + 0.29, words)
        self._watch_more(crew, watch, share + 0.29, words)

    def _watch_more(self, crew: Crew, watch: _Watch, share: float, words: str) -> None:
        """Wait until enough pages were looked at since the cache was told."""
        fewest = QUICK_PAGES if self._bench.is_quick else FEWEST_PAGES
        while len(watch.since_told) < fewest:
            crew.wait(_STEP_S, share, share, words)

    def _import(self, used: Shop, watch: _Watch) -> Sequence[int]:
        changed = used.raise_prices(range(1, PRODUCTS + 1), RAISE_PERCENT, tells_cache=False)
        rows = self._store.rows(changed)
        watch.change([(number, int(row["price_cents"])) for number, row in rows.items()])
        return changed


def _read(used: Shop, crew: Crew, watch: _Watch, chance: Random) -> None:
    """A customer who looks at one product after the other."""
    popular = Popularity(PRODUCTS)
    while crew.is_going:
        number = popular.pick(chance.random())
        known, asked_at = watch.truth.get(number), time.monotonic()
        page = used.product(number)
        watch.seen(number, known, asked_at, int(page.product["price_cents"]))
        crew.pause(chance.expovariate(1 / PAUSE_S))


def _found(title: str, watch: _Watch) -> Side:
    if not watch.truth:
        raise Void("No price was changed.")
    after = [(at, is_old) for at, is_old in watch.pages if at >= watch.first_at - watch.began]
    if not after:
        raise Void("No page was looked at after the change.")
    old = sum(is_old for _, is_old in after)
    last_at = max((at for at, is_old in after if is_old), default=0.0)
    return Side(
        title,
        (
            Number(OLD, old, "count", LOWER),
            Number(SHARE, ratio(old, sum(at <= last_at for at, _ in after)) or 0.0, "ratio", LOWER),
            Number("Longest after the change", max(watch.lags, default=0.0), "s", LOWER),
            Number(AFTER, sum(watch.since_told) if watch.is_told else None, "count", LOWER),
            Number("Prices changed", watch.changed, "count"),
            Number("Pages read after the first change", len(after), "count"),
            Number(LOOKS, len(watch.since_told) if watch.is_told else None, "count"),
        ),
        {SERIES: shares(watch.pages, _STEP_S)},
    )


def _notes(ttl_s: int, jitter_s: int) -> tuple[str, ...]:
    own = next(each for each in DOCUMENT.policies if each.prefix == PREFIX)
    assert own.base_ttl_s is not None
    times = round((2 * own.base_ttl_s + own.jitter_s) / (2 * ttl_s + jitter_s), -1)
    shortened = (
        f"The TTL is {ttl_s} to {ttl_s + jitter_s} s here, so that the run is short. The shop's own policy, of"
        f" {own.base_ttl_s // 60} to {(own.base_ttl_s + own.jitter_s) // 60} minutes, would have shown old prices"
        f" some {times:,.0f} times as long."
    )
    purge = (
        "The purge is the library's invalidate, from another client, for the keys that the mapping names: the same"
        " script on the same keys as the dashboard's purge by row."
    )
    return (
        shortened,
        purge,
        "Until the editor has its answer, a round trip after its commit, pages may differ.",
    )


def _shortened(ttl_s: int, jitter_s: int) -> PolicyDocument:
    """The shop's policies, with another TTL for products, in a tier that allows it."""
    tier = Tier("shortened", "Shortened for the lab", 1, 60)
    policies = tuple(
        replace(policy, tier=tier.name, base_ttl_s=ttl_s, jitter_s=jitter_s)
        if policy.prefix == PREFIX
        else policy
        for policy in DOCUMENT.policies
    )
    return replace(DOCUMENT, tiers=(*DOCUMENT.tiers, tier), policies=policies)


def _keys_of_rows(numbers: Sequence[int]) -> list[str]:
    """The keys that the mapping names for these rows."""
    mapping = next(each for each in DOCUMENT.mappings if each.name == ROWS)
    keys = [template.replace(ROW_ID, str(number)) for template in mapping.templates for number in numbers]
    assert product_key(numbers[0]) in keys
    return keys


SCENARIO: Final = Scenario(
    name="forgotten-invalidation",
    title="Forgotten invalidation",
    question="A price changes in the database and nobody purges. How long do customers see the old one?",
    rule="docs/policies.md#rows-and-their-keys",
    about_s=45,
    is_accepting=True,
    run=forget,
    shows=(
        "Shows how many old prices are seen until the TTL ends, until a purge by row, and with an editor"
        " that invalidates."
    ),
)
