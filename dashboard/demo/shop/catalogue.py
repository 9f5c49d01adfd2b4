"""What the shop sells and who buys it: made up from a seed, the same each time. Pure."""

import itertools
import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything.

    Args:
        order_days: orders lie so many days back at most.
    """

    products: int = 10_000
    reviews: int = 500_000
    customers: int = 2_000
    orders: int = 40_000
    order_days: int = 60


SMALL: Final = Size(products=300, reviews=6_000, customers=60, orders=900)
"""For tests."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A subcategory: what its products are called, drawn as and cost.

    Args:
        drawing: which of the shop's drawings shows it.
        cheapest, dearest: cents.
        specs: name and possible values.
    """

    name: str
    nouns: tuple[str, ...]
    drawing: str
    cheapest: int
    dearest: int
    specs: tuple[tuple[str, tuple[str, ...]], ...]


_LITRES = ("0.6 l", "0.8 l", "0.9 l", "1.0 l", "1.2 l", "1.7 l")
_GRAMS = ("250 g", "500 g", "1 kg")
_MATERIALS = ("steel", "copper", "enamel", "glass", "oak", "walnut", "stoneware", "porcelain")
TREE: Final[dict[str, tuple[Kind, ...]]] = {
    "Coffee": (
        Kind(
            "Espresso",
            ("Espresso blend", "Espresso roast"),
            "bag",
            790,
            2490,
            (("Weight", _GRAMS), ("Roast", ("medium", "dark"))),
        ),
        Kind(
            "Filter coffee",
            ("Filter roast", "Single origin"),
            "bag",
            890,
            2890,
            (("Weight", _GRAMS), ("Roast", ("light", "medium"))),
        ),
        Kind(
            "Paper filters",
            ("Paper filters, 100 pieces", "Paper filters, 40 pieces"),
            "dripper",
            290,
            950,
            (("Size", ("1", "2", "4")),),
        ),
        Kind(
            "Drippers",
            ("Dripper", "Pour-over cone"),
            "dripper",
            990,
            4900,
            (("Size", ("1", "2", "3")), ("Material", _MATERIALS)),
        ),
    ),
    "Tea": (
        Kind(
            "Green tea",
            ("Sencha", "Gunpowder", "Jasmine green"),
            "tin",
            590,
            3900,
            (("Weight", ("50 g", "100 g", "250 g")),),
        ),
        Kind(
            "Black tea",
            ("Assam", "Darjeeling", "Breakfast tea"),
            "tin",
            490,
            3400,
            (("Weight", ("50 g", "100 g", "250 g")),),
        ),
        Kind(
            "Teapots",
            ("Teapot", "Side-handle teapot"),
            "kettle",
            2400,
            14900,
            (("Holds", _LITRES), ("Material", _MATERIALS)),
        ),
    ),
    "Kettles": (
        Kind(
            "Gooseneck",
            ("Gooseneck kettle",),
            "kettle",
            3900,
            17900,
            (
                ("Holds", _LITRES),
                ("Power", ("900 W", "1,200 W")),
                ("Keeps", ("40 to 100 °C, to 1 °C", "60 to 100 °C")),
            ),
        ),
        Kind(
            "Electric",
            ("Electric kettle", "Quick kettle"),
            "kettle",
            2400,
            9900,
            (("Holds", _LITRES), ("Power", ("1,800 W", "2,200 W", "3,000 W"))),
        ),
        Kind(
            "Stovetop",
            ("Stovetop kettle", "Whistling kettle"),
            "kettle",
            1900,
            8900,
            (("Holds", _LITRES), ("Material", _MATERIALS)),
        ),
    ),
    "Grinders": (
        Kind(
            "Hand grinders",
            ("Hand grinder", "Travel grinder"),
            "grinder",
            2900,
            24900,
            (("Burrs", ("ceramic", "steel")), ("Holds", ("20 g", "30 g"))),
        ),
        Kind(
            "Electric grinders",
            ("Burr grinder", "Single-dose grinder"),
            "grinder",
            8900,
            59900,
            (("Burrs", ("48 mm", "54 mm", "64 mm")), ("Power", ("150 W", "250 W"))),
        ),
    ),
    "Cups": (
        Kind(
            "Coffee cups",
            ("Cup", "Espresso cup", "Cappuccino cup"),
            "cup",
            690,
            3400,
            (("Holds", ("80 ml", "180 ml", "300 ml")), ("Material", _MATERIALS)),
        ),
        Kind(
            "Mugs",
            ("Mug", "Travel mug"),
            "cup",
            890,
            4200,
            (("Holds", ("300 ml", "400 ml")), ("Material", _MATERIALS)),
        ),
    ),
    "Storage": (
        Kind(
            "Tins",
            ("Tea tin", "Coffee canister"),
            "tin",
            990,
            4900,
            (("Holds", _GRAMS), ("Material", _MATERIALS)),
        ),
        Kind(
            "Scales",
            ("Scale with timer", "Pocket scale"),
            "scale",
            1990,
            17900,
            (("To", ("0.1 g", "1 g")), ("Up to", ("2 kg", "3 kg", "5 kg"))),
        ),
    ),
}
_WORDS = (
    "Harbour",
    "Amber",
    "Quiet",
    "River",
    "North",
    "Slow",
    "Morning",
    "Linden",
    "Harvest",
    "Field",
    "Garden",
    "Ember",
)
_COLOURS = ("black", "steel", "copper", "sand", "white", "moss", "slate", "brick")
_OF_ANY: Final = (
    "Made by people who have done nothing else for thirty years.",
    "Comes in a box of recycled card without any plastic inside.",
    "A leaflet explains the first steps; there are not many.",
    "It was on our own table for a year before we sold it.",
    "It costs what it has to and not more.",
    "One of the first things this shop had.",
)
_BEANS: Final = (
    "Roasted in small drums, slowly, and packed the same day.",
    "It tastes of nuts and dark chocolate, with little acid.",
    "Whole beans: grind them right before they are used.",
    "The bag has a valve and closes again.",
    "It takes milk well and is good without.",
    "The farm is named on the back, and what it was paid.",
)
_LEAVES: Final = (
    "Picked in spring, and dried the way it has always been.",
    "Whole leaves, which can be brewed a second time.",
    "Two minutes are enough; after four it is strong.",
    "It smells of hay and a little of honey.",
    "The garden is named on the label, and the year.",
    "Good in the morning, and still light in the evening.",
)
_FILTERS: Final = (
    "The paper is strong and does not tear when it is wet.",
    "It adds no taste, even when it is not rinsed first.",
    "It fits the standard sizes of drippers.",
    "Not bleached; it can go on the compost.",
    "The seam is pressed without any glue.",
    "The pack opens at the top, so that one comes out at a time.",
)
_DRIPPERS: Final = (
    "The ribs let the air out, so the water runs evenly.",
    "It stands on any cup and on most cans.",
    "Paper filters of the standard sizes fit into it.",
    "It is warm after one rinse and stays so.",
    "The edge is thick and does not chip.",
    "It needs no more care than a cup.",
)
_POTS: Final = (
    "The spout is thin and steady, so the water goes where it is aimed.",
    "The handle stays cool, even when the water has boiled for a while.",
    "The lid closes with a soft click and does not fall out.",
    "It holds its heat well and is easy to clean.",
    "The surface is plain and takes no fingerprints.",
    "The opening is wide enough for a hand with a sponge.",
)
_GRINDERS: Final = (
    "The steps are fine enough for espresso and go up to a French press.",
    "It is quiet enough for an early morning in a flat with thin walls.",
    "The burrs come out without tools and can be brushed clean.",
    "Every part can be ordered separately.",
    "Hardly any coffee stays inside.",
    "It stands still while it works.",
)
_CUPS: Final = (
    "The wall is thick, so that what is in it stays warm.",
    "The rim is thin and pleasant to drink from.",
    "The handle has room for two fingers.",
    "It can be stacked, and goes into the dishwasher.",
    "No two of them are quite alike.",
    "It feels heavier than it looks.",
)
_TINS: Final = (
    "The second lid keeps the air out.",
    "What is in it smells as fresh after a month.",
    "It is wide enough for a spoon.",
    "Several of them stand on top of each other.",
    "A label for its content is in the box.",
    "It lets no light in.",
)
_SCALES: Final = (
    "It shows the weight at once, without running after it.",
    "The timer starts with the first drop.",
    "A splash of water does nothing to it.",
    "It is charged by a cable, for about a month.",
    "The digits can be read from across the kitchen.",
    "It switches itself off, but not while you brew.",
)
_ABOUT: Final = {
    "Espresso": _BEANS,
    "Filter coffee": _BEANS,
    "Paper filters": _FILTERS,
    "Drippers": _DRIPPERS,
    "Green tea": _LEAVES,
    "Black tea": _LEAVES,
    "Teapots": _POTS,
    "Gooseneck": _POTS,
    "Electric": _POTS,
    "Stovetop": _POTS,
    "Hand grinders": _GRINDERS,
    "Electric grinders": _GRINDERS,
    "Coffee cups": _CUPS,
    "Mugs": _CUPS,
    "Tins": _TINS,
    "Scales": _SCALES,
}
"""What can be said of the goods of a subcategory."""
_LIKED: Final = (
    (
        "Would buy again",
        "Exactly right",
        "Second one in this house",
        "A fine present",
        "Better than the old one",
    ),
    (
        "I use it every day and would not want to be without it.",
        "My sister asked where it is from and has one now.",
        "It was there after two days and well packed.",
        "Better than what I had before, and that was not bad.",
        "I had doubts because of the price; I have none now.",
        "It looks as good as on the drawing.",
    ),
)
_FAIR: Final = (
    (
        "Good, but not great",
        "Does what it says",
        "All right for the price",
        "It will do",
        "Neither good nor bad",
    ),
    (
        "It does what it should, no more.",
        "I had expected a little more for this price.",
        "The parcel took a week, for which the thing itself can do nothing.",
        "It takes some time to get used to it.",
        "The colour is darker than I thought.",
        "I may buy another one next time.",
    ),
)
_DISLIKED: Final = (
    ("Not for me", "Sent it back", "Expected more", "Disappointed", "Would not buy again"),
    (
        "It is on its way back to the shop.",
        "I had hoped for something else.",
        "The box was open when it came.",
        "For this price it should be better made.",
        "After a week I am back to the old one.",
        "Two letters to the shop, and the second was answered.",
    ),
)
_SAID: Final = (_DISLIKED, _DISLIKED, _FAIR, _LIKED, _LIKED)
"""Titles and sentences of reviews, by their stars from 1."""
_TEXTS: Final = 200
"""Different texts of reviews for each number of stars."""
_NAMES = (
    "Ada",
    "Ben",
    "Cleo",
    "Dara",
    "Emil",
    "Fay",
    "Gus",
    "Hana",
    "Ivo",
    "June",
    "Kaya",
    "Leo",
    "Mina",
    "Noa",
    "Otto",
    "Pia",
)
_STARS = (0.03, 0.07, 0.16, 0.42, 1.0)
_POPULARITY: Final = 1.02
"""Exponent of Zipf's law over the products: number 1 is the most popular."""
_REVIEWED: Final = 0.8
"""The same for reviews: not everybody who buys writes."""


@dataclass(frozen=True, slots=True)
class Category:
    """One category; a subcategory has a parent."""

    id: int
    slug: str
    name: str
    parent_id: int | None
    kind: Kind | None


def categories() -> list[Category]:
    """All of them, parents first; ``sale`` is last and has no subcategories."""
    found = [
        Category(number, _slug(name), name, None, None)
        for number, name in enumerate([*TREE, "Sale"], start=1)
    ]
    number = len(found)
    for parent, kinds in zip(list(found), TREE.values(), strict=False):
        for kind in kinds:
            number += 1
            found.append(Category(number, _slug(kind.name), kind.name, parent.id, kind))
    return found


def products(size: Size, seed: int, now: datetime) -> Iterator[Row]:
    """id, sku, name, category_id, text, drawing, colour, price_cents, specs (pairs), is_sale, created_at."""
    chance = random.Random(f"products {seed}")
    kinds = [category for category in categories() if category.kind is not None]
    for number in range(1, size.products + 1):
        category = chance.choice(kinds)
        kind = category.kind
        assert kind is not None
        colour = chance.choice(_COLOURS)
        specs = [(name, chance.choice(values)) for name, values in kind.specs]
        noun = chance.choice(kind.nouns)
        # Steps of ten cents, as prices have them.
        price = chance.randrange(kind.cheapest // 10, kind.dearest // 10) * 10
        yield (
            number,
            f"{kind.name[:3].upper()}-{40_000 + number}-{colour[:2].upper()}",
            f"{chance.choice(_WORDS)} {noun[0].lower()}{noun[1:]}, {specs[0][1]}",
            category.id,
            " ".join(chance.sample(_OF_ANY + _ABOUT[kind.name], chance.randint(3, 7))),
            kind.drawing,
            colour,
            price,
            specs,
            chance.random() < 0.06,
            now - timedelta(days=chance.randint(1, 900)),
        )


def reviews(size: Size, seed: int, now: datetime) -> Iterator[Row]:
    """product_id, customer_id, stars, title, text, helpful, written_at: popular products have most."""
    chance = random.Random(f"reviews {seed}")
    popular = Popularity(size.products, _REVIEWED)
    days = [now - timedelta(days=day, minutes=day * 7 % 1_440) for day in range(700)]
    said = [
        (titles, [" ".join(chance.sample(sentences, chance.randint(1, 4))) for _ in range(_TEXTS)])
        for titles, sentences in _SAID
    ]
    # What a shop's quality does to its stars: the same for all reviews of a product.
    for _ in range(size.reviews):
        product = popular.pick(chance.random())
        stars = min(5, 1 + bisect(_STARS, chance.random() * (1.0 - 0.02 * (product % 7))))
        titles, texts = said[stars - 1]
        yield (
            product,
            int(chance.random() * size.customers) + 1,
            stars,
            titles[int(chance.random() * len(titles))],
            texts[int(chance.random() * len(texts))],
            int(30 * chance.random() ** 4),
            days[int(chance.random() * len(days))],
        )


def customers(size: Size) -> Iterator[Row]:
    """id, name, email."""
    for number in range(1, size.customers + 1):
        name = _NAMES[number % len(_NAMES)]
        yield number, f"{name} {chr(65 + number % 26)}.", f"{name.lower()}{number}@example.com"


def orders(size: Size, seed: int, now: datetime) -> Iterator[tuple[Row, list[Row]]]:
    """(id, order_key, customer_id, total_cents, ordered_at), and its lines (order_id, product_id, pieces, cents)."""
    chance = random.Random(f"orders {seed}")
    popular = Popularity(size.products)
    for number in range(1, size.orders + 1):
        first = popular.pick(chance.random())
        # What is bought together: neighbours of the first, whatever they are, so that there is something to find.
        wanted = {
            first,
            *(1 + (first + chance.randint(1, 12) * 7) % size.products for _ in range(chance.randint(0, 3))),
        }
        lines = [(number, product, 1, 500 + product % 90 * 50) for product in sorted(wanted)]
        yield (
            (
                number,
                f"seed-{number}",
                chance.randint(1, size.customers),
                sum(line[3] for line in lines),
                now - timedelta(seconds=chance.randint(60, size.order_days * 86_400)),
            ),
            lines,
        )


class Popularity:
    """Zipf's law over things numbered from 1: the first is asked for most.

    Args:
        things: how many.
        exponent: above 0; higher: fewer get more.
    """

    def __init__(self, things: int, exponent: float = _POPULARITY) -> None:
        weights = itertools.accumulate(1 / rank**exponent for rank in range(1, things + 1))
        self._sums = list(weights)

    def pick(self, chance: float) -> int:
        """The thing at ``chance`` in [0, 1)."""
        return min(len(self._sums), bisect(self._sums, chance * self._sums[-1]) + 1)


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")
