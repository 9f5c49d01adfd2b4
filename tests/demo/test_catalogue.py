"""What the shop is made of: the same each time, and nothing that its pages can't show."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from dashboard.demo.shop import catalogue
from dashboard.demo.shop.catalogue import SMALL, Popularity

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def everything(seed: int) -> list[object]:
    return [
        list(catalogue.products(SMALL, seed, NOW)),
        list(catalogue.reviews(SMALL, seed, NOW)),
        list(catalogue.orders(SMALL, seed, NOW)),
    ]


def test_the_same_seed_makes_the_same_shop_and_another_one_makes_another() -> None:
    assert everything(42) == everything(42)
    for here, there in zip(everything(42), everything(43), strict=True):
        assert here != there


def test_there_is_as_much_of_everything_as_was_asked_for() -> None:
    products, reviews, orders = everything(42)
    assert [len(each) for each in (products, reviews, orders)] == [  # type: ignore[arg-type]
        SMALL.products,
        SMALL.reviews,
        SMALL.orders,
    ]
    assert len(list(catalogue.customers(SMALL))) == SMALL.customers


def test_products_are_called_as_people_call_them_and_cost_what_their_kind_costs() -> None:
    kinds = {each.id: each.kind for each in catalogue.categories() if each.kind is not None}
    skus = set()
    for row in catalogue.products(SMALL, 42, NOW):
        _, sku, name, category, text, drawing, _, cents, specs, _, created_at = row
        kind = kinds[category]
        skus.add(sku)
        assert any(noun[1:] in name for noun in kind.nouns)
        assert drawing == kind.drawing
        assert kind.cheapest <= cents <= kind.dearest
        assert cents % 10 == 0
        assert len(specs) == len(kind.specs)
        assert text.endswith(".")
        assert created_at < NOW
    assert len(skus) == SMALL.products


def test_every_product_can_be_drawn(checkout: Path) -> None:
    drawn = (checkout / "templates" / "shop" / "_drawings.html").read_text()
    coloured = (checkout / "static" / "css" / "shop.css").read_text()
    wide = replace(SMALL, products=2000)
    for row in catalogue.products(wide, 42, NOW):
        drawing, colour = row[5], row[6]
        assert f'"{drawing}":' in drawn
        # Black is the colour of the goods where nothing else is said.
        assert colour == "black" or f".g-{colour} {{" in coloured


def test_popular_products_have_most_of_the_reviews() -> None:
    counts = Counter(row[0] for row in catalogue.reviews(SMALL, 42, NOW))
    first = sum(counts[number] for number in range(1, 31))
    assert first > SMALL.reviews * 0.3
    assert all(1 <= number <= SMALL.products for number in counts)


def test_texts_fit_the_goods_and_the_stars() -> None:
    kinds = {each.id: each.kind.name for each in catalogue.categories() if each.kind is not None}
    says: dict[str, set[str]] = {}
    for row in catalogue.products(SMALL, 42, NOW):
        says.setdefault(kinds[row[3]], set()).update(f"{each.strip('.')}." for each in row[4].split(". "))
    assert says.keys() == set(kinds.values())
    # What some goods have in common is a minority of what is said of them.
    everywhere = set.intersection(*says.values())
    assert all(len(each - everywhere) >= 6 for each in says.values())
    assert not any("spout" in each or "burrs" in each for each in says["Black tea"] | says["Coffee cups"])
    by_stars: dict[int, tuple[set[str], set[str]]] = {stars: (set(), set()) for stars in range(1, 6)}
    for review in catalogue.reviews(SMALL, 42, NOW):
        titles, texts = by_stars[review[2]]
        titles.add(review[3])
        texts.add(review[4])
    for which in (0, 1):
        bad, fair, good = (
            by_stars[1][which] | by_stars[2][which],
            by_stars[3][which],
            by_stars[4][which] | by_stars[5][which],
        )
        assert min(len(bad), len(fair), len(good)) >= 5
        assert not bad & fair and not fair & good and not bad & good


def test_categories_form_a_tree_with_the_sale_at_its_end_and_every_slug_once() -> None:
    found = catalogue.categories()
    ids = {each.id for each in found}
    assert len({each.slug for each in found}) == len(found) == len(ids)
    assert all(each.parent_id is None or each.parent_id in ids for each in found)
    parents = [each for each in found if each.parent_id is None]
    assert parents[-1].slug == "sale"
    assert not any(each.parent_id == parents[-1].id for each in found)


@pytest.mark.parametrize("things", [1, 7, 300])
def test_popularity_picks_what_there_is_and_the_first_most_often(things: int) -> None:
    popular = Popularity(things)
    steps = [each / 1000 for each in range(1000)]
    picked = [popular.pick(chance) for chance in steps]
    assert picked == sorted(picked)
    assert set(picked) <= set(range(1, things + 1))
    assert popular.pick(0.999_999_999) == things
    if things > 1:
        counts = Counter(picked)
        assert counts[1] == max(counts.values())


def test_orders_hold_what_is_bought_together() -> None:
    for order, lines in islice(catalogue.orders(SMALL, 42, NOW), 50):
        assert sum(line[3] for line in lines) == order[3]
        assert {line[0] for line in lines} == {order[0]}
        assert len({line[1] for line in lines}) == len(lines)
