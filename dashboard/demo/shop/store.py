"""The shop's queries. What they return is made of JSON's types, for it is what gets cached.

Nothing here knows of a cache. Money is in cents.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from dashboard.demo.shop.schema import SCHEMA
from dashboard.demo.shop.types import (
    MODES,
    DatabaseAway,
    NotEnough,
    OutOfStock,
    Paid,
    PriceChanged,
    Unknown,
)

PER_PAGE: Final = 24
BESTSELLERS: Final = 8
RELATED: Final = 4
SHOWN_REVIEWS: Final = 5
BESTSELLER_DAYS: Final = 14
MOST_PIECES: Final = 99
DELIVERY_CENTS: Final = 390
SHOWN_ENTRIES: Final = 10
DEAREST_CENTS: Final = 10_000_00
CONNECT_TIMEOUT_S: Final = 5

Json = dict[str, Any]
spent: ContextVar[list[float] | None] = ContextVar("spent", default=None)
"""Milliseconds of each query, while somebody listens."""

_CARD: Final = """
    p.id,
    (SELECT round(avg(r.stars), 1)::float8 FROM review r WHERE r.product_id = p.id) AS stars,
    (SELECT count(*) FROM review r WHERE r.product_id = p.id) AS reviews
"""


class ShopStore:
    """The shop's database.

    Args:
        url: of PostgreSQL.
        schema: where the tables are.
        latency_s: what each statement takes longer, to imitate a database that is far away.
        connections: at most so many at once.

    Every method raises ``DatabaseAway`` when PostgreSQL can't be reached.
    """

    def __init__(
        self, url: str, schema: str = SCHEMA, *, latency_s: float = 0.0, connections: int = 16
    ) -> None:
        self._engine: Engine = create_engine(
            url.replace("postgresql://", "postgresql+psycopg://", 1),
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            pool_timeout=30,
            connect_args={
                "options": f"-c search_path={schema}",
                "application_name": "demo-store",
                "connect_timeout": CONNECT_TIMEOUT_S,
            },
        )
        self.latency_s = latency_s

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # --- looking ------------------------------------------------------------------------------------------------

    def site(self) -> Json:
        """What every page shows: the categories, the delivery."""
        rows = self._all("SELECT id, slug, name, parent_id FROM category ORDER BY position")
        count = self._one("SELECT count(*) AS products FROM product")
        return {"categories": rows, "products": count["products"], "delivery_cents": DELIVERY_CENTS}

    def front(self) -> Json:
        """The home page: what sold most lately, and what is on sale."""
        bestsellers = self._all(
            f"""WITH sold AS (
                SELECT l.product_id, sum(l.pieces) AS pieces FROM orders o JOIN order_line l ON l.order_id = o.id
                WHERE o.ordered_at > now() - make_interval(days => :days)
                GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT :most)
            SELECT {_CARD} FROM sold JOIN product p ON p.id = sold.product_id ORDER BY sold.pieces DESC, p.id""",
            days=BESTSELLER_DAYS,
            most=BESTSELLERS,
        )
        sale = self._all(
            f"SELECT {_CARD} FROM product p WHERE p.is_sale ORDER BY p.id LIMIT :most", most=BESTSELLERS
        )
        return {"bestsellers": bestsellers, "sale": sale}

    def news(self) -> Sequence[Json]:
        """The latest news."""
        return self._all(
            "SELECT id, title, text, published_at::date::text AS day FROM news ORDER BY published_at DESC, id LIMIT 3"
        )

    def category(self, slug: str, page: int) -> Json | None:
        """One page of a category and what is below it; None: there is no such category."""
        found = self._all("SELECT id, slug, name, parent_id FROM category WHERE slug = :slug", slug=slug)
        if not found:
            return None
        where = (
            "p.is_sale"
            if slug == "sale"
            else "p.category_id IN (SELECT c.id FROM category c WHERE c.id = :id OR c.parent_id = :id)"
        )
        # What a card shows of price and name is the product's own to know.
        products = self._all(
            f"SELECT {_CARD} FROM product p WHERE {where} ORDER BY p.id LIMIT :most OFFSET :skipped",
            id=found[0]["id"],
            most=PER_PAGE,
            skipped=(page - 1) * PER_PAGE,
        )
        total = self._one(f"SELECT count(*) AS total FROM product p WHERE {where}", id=found[0]["id"])
        return {**found[0], "products": products, "total": total["total"], "page": page}

    def product(self, number: int) -> Json | None:
        """What its page says of a product, its price too; None: there is none."""
        return self.products([number]).get(number)

    def products(self, numbers: Sequence[int]) -> Mapping[int, Json]:
        """The same of several, by their numbers; those that there are."""
        rows = self._all(
            """SELECT p.id, p.sku, p.name, p.text, p.drawing, p.colour, p.price_cents, p.specs, p.is_sale,
                c.slug AS category_slug, c.name AS category, parent.name AS parent, parent.slug AS parent_slug,
                extract(epoch FROM p.changed_at)::float8 AS changed_at,
                extract(epoch FROM clock_timestamp())::float8 AS read_at
            FROM product p JOIN category c ON c.id = p.category_id JOIN category parent ON parent.id = c.parent_id
            WHERE p.id = ANY(:ids)""",
            ids=list(numbers),
        )
        return {row["id"]: row for row in rows}

    def reviews(self, number: int) -> Json:
        """Stars and the most helpful reviews of a product."""
        stars = self._all(
            "SELECT stars, count(*) AS count FROM review WHERE product_id = :id GROUP BY 1 ORDER BY 1 DESC",
            id=number,
        )
        shown = self._all(
            """SELECT r.stars, r.title, r.text, r.written_at::date::text AS day, c.name AS by FROM review r
            JOIN customer c ON c.id = r.customer_id WHERE r.product_id = :id
            ORDER BY r.helpful DESC, r.written_at DESC LIMIT :most""",
            id=number,
            most=SHOWN_REVIEWS,
        )
        counts = {row["stars"]: row["count"] for row in stars}
        total = sum(counts.values())
        mean = sum(star * count for star, count in counts.items()) / total if total else None
        return {
            "count": total,
            "mean": None if mean is None else round(mean, 1),
            "by_stars": [[star, counts.get(star, 0)] for star in (5, 4, 3, 2, 1)],
            "shown": shown,
        }

    def related(self, number: int) -> Sequence[Json]:
        """What was bought together with a product most often."""
        return self._all(
            f"""WITH together AS (
                SELECT other.product_id, count(*) AS times FROM order_line mine
                JOIN order_line other USING (order_id)
                WHERE mine.product_id = :id AND other.product_id <> :id
                GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT :most)
            SELECT {_CARD} FROM together JOIN product p ON p.id = together.product_id
            ORDER BY together.times DESC, p.id""",
            id=number,
            most=RELATED,
        )

    def stock(self, number: int) -> Json | None:
        """Pieces in stock; None: there is no such product."""
        rows = self._all(
            """SELECT pieces, extract(epoch FROM clock_timestamp())::float8 AS read_at
            FROM inventory WHERE product_id = :id""",
            id=number,
        )
        return rows[0] if rows else None

    def search(self, words: str, page: int) -> Json:
        """Products that have all of the words in their name or text."""
        wanted = [f"%{_literal(word)}%" for word in words.split()[:8]]
        if not wanted:
            return {"products": [], "total": 0, "page": page}
        where = " AND ".join(f"(p.name ILIKE :w{n} OR p.text ILIKE :w{n})" for n in range(len(wanted)))
        values = {f"w{n}": word for n, word in enumerate(wanted)}
        products = self._all(
            f"""SELECT {_CARD} FROM product p WHERE {where}
            ORDER BY (p.name ILIKE :w0) DESC, p.id LIMIT :most OFFSET :skipped""",
            most=PER_PAGE,
            skipped=(page - 1) * PER_PAGE,
            **values,
        )
        total = self._one(f"SELECT count(*) AS total FROM product p WHERE {where}", **values)
        return {"products": products, "total": total["total"], "page": page}

    def wallet(self, customer: int) -> Json | None:
        """A customer's balance; None: there is no such customer."""
        rows = self._all("SELECT balance_cents, version FROM wallet WHERE customer_id = :id", id=customer)
        return rows[0] if rows else None

    def session(self, token: str) -> Json | None:
        """Whose session it is and how much is in its cart; None: there is none."""
        rows = self._all(
            """SELECT s.customer_id, c.name,
                (SELECT coalesce(sum(l.pieces), 0) FROM cart_line l WHERE l.token = s.token)::int AS in_cart
            FROM session s LEFT JOIN customer c ON c.id = s.customer_id WHERE s.token = :token""",
            token=token,
        )
        return rows[0] if rows else None

    def row(self, number: int) -> Json | None:
        """Price and stock of a product as they are now, and who changed the price when."""
        return self.rows([number]).get(number)

    def rows(self, numbers: Sequence[int]) -> Mapping[int, Json]:
        """The same of several, by their numbers; those that there are."""
        found = self._all(
            """SELECT p.id, p.name, p.price_cents, i.pieces, extract(epoch FROM p.changed_at)::float8 AS changed_at,
                extract(epoch FROM i.changed_at)::float8 AS stock_changed_at,
                (SELECT by FROM price_change h WHERE h.product_id = p.id ORDER BY h.at DESC, h.id DESC LIMIT 1) AS by
            FROM product p JOIN inventory i ON i.product_id = p.id WHERE p.id = ANY(:ids)""",
            ids=list(numbers),
        )
        return {row["id"]: row for row in found}

    def cart(self, token: str) -> Sequence[Json]:
        """What is in a cart, with the price the customer saw and the one it has now."""
        return self._all(
            """SELECT l.product_id, l.pieces, l.seen_cents, p.price_cents, i.pieces AS in_stock,
                extract(epoch FROM p.changed_at)::float8 AS changed_at
            FROM cart_line l JOIN product p ON p.id = l.product_id JOIN inventory i ON i.product_id = p.id
            WHERE l.token = :token ORDER BY l.added_at, l.product_id""",
            token=token,
        )

    def customers(self, most: int) -> Sequence[Json]:
        """The first customers and what they have: those that a visitor may choose from."""
        return self._all(
            """SELECT c.id, c.name, w.balance_cents FROM customer c JOIN wallet w ON w.customer_id = c.id
            ORDER BY c.id LIMIT :most""",
            most=most,
        )

    def entries(self, customer: int) -> Sequence[Json]:
        """What was put into a wallet and taken from it last; ``order`` is the number of what was paid with it."""
        return self._all(
            """SELECT e.cents, extract(epoch FROM e.at)::float8 AS at, o.id AS "order"
            FROM wallet_entry e LEFT JOIN orders o ON o.order_key = e.order_key
            WHERE e.customer_id = :id ORDER BY e.id DESC LIMIT :most""",
            id=customer,
            most=SHOWN_ENTRIES,
        )

    def order(self, number: int, customer: int) -> Json | None:
        """A customer's order with its lines; None: he has none of this number."""
        rows = self._all(
            "SELECT id, total_cents FROM orders WHERE id = :id AND customer_id = :customer",
            id=number,
            customer=customer,
        )
        if not rows:
            return None
        lines = self._all(
            "SELECT product_id, pieces, cents FROM order_line WHERE order_id = :id ORDER BY product_id",
            id=number,
        )
        return {**rows[0], "lines": lines}

    # --- changing -----------------------------------------------------------------------------------------------

    def open_session(self, token: str, customer: int | None = None) -> None:
        """Begin a session, or sign a customer in to one.

        Raises:
            Unknown: there is no such customer.
        """
        try:
            self._do(
                """INSERT INTO session (token, customer_id) VALUES (:token, :customer)
                ON CONFLICT (token) DO UPDATE SET customer_id = excluded.customer_id""",
                token=token,
                customer=customer,
            )
        except IntegrityError:
            raise Unknown("There is no such customer.") from None

    def close_session(self, token: str) -> None:
        """End a session; its cart goes with it."""
        self._do("DELETE FROM session WHERE token = :token", token=token)

    def put_in_cart(self, token: str, product: int, pieces: int, seen_cents: int) -> None:
        """Add pieces of a product to a cart.

        Args:
            seen_cents: what the customer saw as its price.

        Raises:
            Unknown: there is no such session or product.
        """
        try:
            self._do(
                """INSERT INTO cart_line AS l (token, product_id, pieces, seen_cents)
                VALUES (:token, :product, least(:pieces, :most), :seen)
                ON CONFLICT (token, product_id) DO UPDATE
                SET pieces = least(l.pieces + excluded.pieces, :most), seen_cents = excluded.seen_cents""",
                token=token,
                product=product,
                pieces=pieces,
                seen=seen_cents,
                most=MOST_PIECES,
            )
        except IntegrityError:
            raise Unknown("There is no such product.") from None

    def take_out(self, token: str, product: int) -> None:
        """Take a product out of a cart."""
        self._do(
            "DELETE FROM cart_line WHERE token = :token AND product_id = :product",
            token=token,
            product=product,
        )

    def set_pieces(self, token: str, product: int, pieces: int) -> None:
        """Have so many pieces of a product in a cart that has some."""
        self._do(
            """UPDATE cart_line SET pieces = greatest(1, least(:pieces, :most))
            WHERE token = :token AND product_id = :product""",
            token=token,
            product=product,
            pieces=pieces,
            most=MOST_PIECES,
        )

    def accept_price(self, token: str, product: int, cents: int) -> None:
        """The customer has seen that a product in the cart costs this now."""
        self._do(
            "UPDATE cart_line SET seen_cents = :cents WHERE token = :token AND product_id = :product",
            token=token,
            product=product,
            cents=cents,
        )

    def pay(
        self,
        token: str,
        customer: int,
        order_key: str,
        *,
        expected_cents: int | None = None,
        then: Callable[[Json], None] = lambda wallet: None,
    ) -> Paid:
        """Order what is in the cart and take it from the wallet: once, however often it is asked for.

        Args:
            order_key: the same for the same press of the button.
            expected_cents: what the button said; None: whatever it is.
            then: as of ``book``; not called when it was paid before.

        Raises:
            Unknown: the cart is empty, there is no such customer, or the key was used for something else.
            PriceChanged: something costs other than the customer saw, or the cart is another.
            OutOfStock: there is less of something than wanted.
            NotEnough: the wallet does not hold that much.
        """
        with _bookings(), self._timed(), self._engine.begin() as connection:
            # Who presses twice waits here for the first press to be over.
            wallet = _first(
                connection,
                "SELECT balance_cents, version FROM wallet WHERE customer_id = :id FOR UPDATE",
                id=customer,
            )
            if wallet is None:
                raise Unknown("There is no such customer.")
            paid = _first(
                connection,
                "SELECT id, total_cents FROM orders WHERE order_key = :key AND customer_id = :id",
                key=order_key,
                id=customer,
            )
            if paid is not None:
                return Paid(
                    paid["id"], paid["total_cents"], wallet["balance_cents"], wallet["version"], (), True
                )
            lines = _rows(
                connection,
                """SELECT l.product_id, l.pieces, l.seen_cents, p.price_cents, i.pieces AS in_stock, p.name
                FROM cart_line l JOIN product p ON p.id = l.product_id JOIN inventory i ON i.product_id = p.id
                WHERE l.token = :token ORDER BY l.product_id FOR UPDATE OF i""",
                token=token,
            )
            if not lines:
                raise Unknown("The cart is empty.")
            if any(line["seen_cents"] != line["price_cents"] for line in lines):
                raise PriceChanged("The price changed while you were shopping.")
            short = next((line for line in lines if line["in_stock"] < line["pieces"]), None)
            if short is not None:
                raise OutOfStock(f"Only {short['in_stock']} of {short['name']} left.")
            total = DELIVERY_CENTS + sum(line["pieces"] * line["price_cents"] for line in lines)
            if expected_cents is not None and total != expected_cents:
                raise PriceChanged("The cart changed since this page was made.")
            if wallet["balance_cents"] < total:
                raise NotEnough("The wallet does not hold that much.")
            order = _first(
                connection,
                """INSERT INTO orders (id, order_key, customer_id, total_cents)
                VALUES (nextval('order_number'), :key, :id, :total) RETURNING id""",
                key=order_key,
                id=customer,
                total=total,
            )
            assert order is not None
            connection.execute(
                text("INSERT INTO order_line VALUES (:order, :product_id, :pieces, :cents)"),
                [
                    {
                        "order": order["id"],
                        "product_id": line["product_id"],
                        "pieces": line["pieces"],
                        "cents": line["price_cents"],
                    }
                    for line in lines
                ],
            )
            connection.execute(
                text(
                    "UPDATE inventory SET pieces = pieces - :pieces, changed_at = now() WHERE product_id = :product_id"
                ),
                [{"pieces": line["pieces"], "product_id": line["product_id"]} for line in lines],
            )
            left = _move(connection, customer, -total, order_key)
            connection.execute(text("DELETE FROM cart_line WHERE token = :token"), {"token": token})
            then(left)
        return Paid(
            order["id"],
            total,
            left["balance_cents"],
            left["version"],
            tuple(line["product_id"] for line in lines),
            False,
        )

    def book(
        self, customer: int, cents: int, key: str, *, then: Callable[[Json], None] = lambda wallet: None
    ) -> Json:
        """Put into a wallet, or take from it: once per key.

        Args:
            cents: below 0 to take.
            then: told of the new balance before the commit; what it raises undoes everything.

        Returns:
            The wallet as ``wallet`` has it.

        Raises:
            Unknown: there is no such customer, or the key was used.
            NotEnough: the wallet does not hold that much.
        """
        with _bookings(), self._timed(), self._engine.begin() as connection:
            moved = _move(connection, customer, cents, key)
            then(moved)
        return moved

    def set_price(self, product: int, cents: int, by: str) -> Json:
        """Change a price, in the database only.

        Returns:
            ``row`` as it is now.

        Raises:
            Unknown: there is no such product.
        """
        with self._timed(), self._engine.begin() as connection:
            old = _first(connection, "SELECT price_cents FROM product WHERE id = :id FOR UPDATE", id=product)
            if old is None:
                raise Unknown("There is no such product.")
            connection.execute(
                text("UPDATE product SET price_cents = :cents, changed_at = now() WHERE id = :id"),
                {"cents": cents, "id": product},
            )
            connection.execute(
                text(
                    "INSERT INTO price_change (product_id, old_cents, new_cents, by) VALUES (:id, :old, :new, :by)"
                ),
                {"id": product, "old": old["price_cents"], "new": cents, "by": by},
            )
        found = self.row(product)
        assert found is not None
        return found

    def raise_prices(self, products: Sequence[int], percent: int, by: str) -> Sequence[int]:
        """Change several prices at once, in steps of ten cents, in the database only.

        Args:
            percent: below 0 to lower them.

        Returns:
            The products whose price is another now.
        """
        rows = self._changed(
            """WITH old AS (
                SELECT id, price_cents AS cents,
                    least(:dearest, greatest(10, 10 * round(price_cents * (100 + :percent) / 1000.0)))::int AS wanted
                FROM product WHERE id = ANY(:ids) ORDER BY id FOR UPDATE),
            new AS (
                UPDATE product p SET price_cents = old.wanted, changed_at = now() FROM old
                WHERE p.id = old.id AND old.wanted <> old.cents RETURNING p.id, old.cents, p.price_cents)
            INSERT INTO price_change (product_id, old_cents, new_cents, by)
            SELECT id, cents, price_cents, :by FROM new RETURNING product_id""",
            ids=list(products),
            percent=percent,
            dearest=DEAREST_CENTS,
            by=by,
        )
        return sorted(row["product_id"] for row in rows)

    def set_stock(self, product: int, pieces: int) -> Json:
        """Change what is in stock, in the database only; see ``set_price``."""
        with self._timed(), self._engine.begin() as connection:
            changed = connection.execute(
                text("UPDATE inventory SET pieces = :pieces, changed_at = now() WHERE product_id = :id"),
                {"pieces": pieces, "id": product},
            )
            if not changed.rowcount:
                raise Unknown("There is no such product.")
        found = self.row(product)
        assert found is not None
        return found

    def mode(self) -> str:
        """How the shop caches at present: one of MODES."""
        rows = self._all("SELECT value #>> '{}' AS mode FROM config WHERE name = 'mode'")
        found = str(rows[0]["mode"]) if rows else ""
        return found if found in MODES else MODES[-1]

    def set_mode(self, mode: str) -> None:
        """Let all processes of the shop cache so from now on."""
        self._do(
            """INSERT INTO config VALUES ('mode', to_jsonb(CAST(:mode AS text)))
            ON CONFLICT (name) DO UPDATE SET value = excluded.value""",
            mode=mode,
        )

    # --- helpers ------------------------------------------------------------------------------------------------

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        if self.latency_s:
            time.sleep(self.latency_s)
        try:
            yield
        except (OperationalError, InterfaceError, NoConnection) as error:
            raise DatabaseAway("The store's database does not answer.") from error
        finally:
            heard = spent.get()
            if heard is not None:
                heard.append((time.perf_counter() - began) * 1000)

    def _all(self, statement: str, **values: Any) -> list[Json]:
        with self._timed(), self._engine.connect() as connection:
            return _rows(connection, statement, **values)

    def _one(self, statement: str, **values: Any) -> Json:
        return self._all(statement, **values)[0]

    def _changed(self, statement: str, **values: Any) -> list[Json]:
        with self._timed(), self._engine.begin() as connection:
            return _rows(connection, statement, **values)

    def _do(self, statement: str, **values: Any) -> None:
        with self._timed(), self._engine.begin() as connection:
            connection.execute(text(statement), values)


def _rows(connection: Connection, statement: str, **values: Any) -> list[Json]:
    return [dict(row) for row in connection.execute(text(statement), values).mappings()]


def _first(connection: Connection, statement: str, **values: Any) -> Json | None:
    row = connection.execute(text(statement), values).mappings().first()
    return None if row is None else dict(row)


@contextmanager
def _bookings() -> Iterator[None]:
    """Around what moves money: what the tables refuse, in words."""
    try:
        yield
    except IntegrityError as error:
        if "order_key" in str(error.orig):
            raise Unknown("That was booked already.") from None
        if "balance" in str(error.orig):
            raise NotEnough("The wallet does not hold that much.") from None
        raise Unknown("There is no such customer.") from None


def _move(connection: Connection, customer: int, cents: int, key: str) -> Json:
    entry = {"id": customer, "cents": cents, "key": key}
    connection.execute(
        text("INSERT INTO wallet_entry (customer_id, order_key, cents) VALUES (:id, :key, :cents)"), entry
    )
    moved = _first(
        connection,
        """UPDATE wallet SET balance_cents = balance_cents + :cents, version = version + 1, changed_at = now()
        WHERE customer_id = :id RETURNING balance_cents, version""",
        id=customer,
        cents=cents,
    )
    if moved is None:
        raise Unknown("There is no such customer.")
    return moved


def _literal(word: str) -> str:
    """A word within LIKE: as it is."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
