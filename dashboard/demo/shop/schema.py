"""The shop's tables, and how they are filled: with COPY, from a seed, in seconds."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from dashboard.demo.shop import catalogue
from dashboard.demo.shop.catalogue import Size

SCHEMA: Final = "shop"
SEED: Final = 42
PIECES: Final = 40
"""In stock of each product, at the beginning, up to."""
START_CENTS: Final = 50_000
"""In each wallet at the beginning."""

_TABLES: Final = """
CREATE TABLE category (id int PRIMARY KEY, slug text UNIQUE NOT NULL, name text NOT NULL,
    parent_id int REFERENCES category, position int NOT NULL);
CREATE TABLE product (id int PRIMARY KEY, sku text UNIQUE NOT NULL, name text NOT NULL,
    category_id int NOT NULL REFERENCES category, text text NOT NULL, drawing text NOT NULL, colour text NOT NULL,
    price_cents int NOT NULL CHECK (price_cents >= 0), specs jsonb NOT NULL, is_sale bool NOT NULL,
    created_at timestamptz NOT NULL, changed_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE price_change (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id int NOT NULL REFERENCES product, old_cents int NOT NULL, new_cents int NOT NULL,
    by text NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE review (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, product_id int NOT NULL,
    customer_id int NOT NULL, stars smallint NOT NULL CHECK (stars BETWEEN 1 AND 5),
    title text NOT NULL, text text NOT NULL,
    helpful int NOT NULL, written_at timestamptz NOT NULL);
CREATE TABLE news (id int PRIMARY KEY, title text NOT NULL, text text NOT NULL, published_at timestamptz NOT NULL);
CREATE TABLE inventory (product_id int PRIMARY KEY REFERENCES product, pieces int NOT NULL CHECK (pieces >= 0),
    changed_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL, email text UNIQUE NOT NULL);
CREATE TABLE wallet (customer_id int PRIMARY KEY REFERENCES customer, balance_cents bigint NOT NULL
    CHECK (balance_cents >= 0), version int NOT NULL DEFAULT 0, changed_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE wallet_entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int NOT NULL REFERENCES wallet, order_key text UNIQUE NOT NULL,
    cents bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE session (token text PRIMARY KEY, customer_id int REFERENCES customer, made_at timestamptz NOT NULL
    DEFAULT now());
CREATE TABLE cart_line (token text NOT NULL REFERENCES session ON DELETE CASCADE, product_id int NOT NULL
    REFERENCES product, pieces int NOT NULL CHECK (pieces BETWEEN 1 AND 99), seen_cents int NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (token, product_id));
CREATE TABLE orders (id bigint PRIMARY KEY, order_key text UNIQUE NOT NULL, customer_id int NOT NULL,
    total_cents bigint NOT NULL, ordered_at timestamptz NOT NULL DEFAULT now());
CREATE SEQUENCE order_number;
CREATE TABLE order_line (order_id bigint NOT NULL, product_id int NOT NULL, pieces int NOT NULL, cents int NOT NULL);
CREATE TABLE config (name text PRIMARY KEY, value jsonb NOT NULL);
"""
_INDEXES: Final = """
CREATE INDEX ON product (category_id);
CREATE INDEX ON review (product_id, helpful DESC);
CREATE INDEX ON order_line (product_id);
CREATE INDEX ON order_line (order_id);
CREATE INDEX ON orders (ordered_at);
CREATE INDEX ON price_change (product_id, at);
"""
_NEWS: Final = (
    ("The new gooseneck kettles are in", "Three sizes, two colours, and a handle that stays cool."),
    ("How to brew with less water", "A short guide for hard tap water and soft wallets."),
    ("Autumn sale begins", "A few hundred things at prices that end on Sunday."),
    ("We roast on Tuesdays now", "What is ordered by Monday evening leaves the roaster on Wednesday."),
    ("Grinders, taken apart", "What the burrs do, and when to change them."),
    ("Open on the holiday", "The shop on the harbour is open until four."),
)


def exists(connection: psycopg.Connection[Any], schema: str = SCHEMA) -> bool:
    """Whether the shop is there, whole."""
    row = connection.execute("SELECT to_regclass(%s)", (f"{schema}.config",)).fetchone()
    if row is None or row[0] is None:
        return False
    done = sql.SQL("SELECT 1 FROM {}.config WHERE name = 'seeded'").format(sql.Identifier(schema))
    return connection.execute(done).fetchone() is not None


def create(
    connection: psycopg.Connection[Any],
    schema: str = SCHEMA,
    *,
    size: Size | None = None,
    seed: int = SEED,
    now: datetime | None = None,
) -> None:
    """Make the schema and fill it; what was there under its name is dropped. One transaction.

    Args:
        schema: its name.
        size: None: ten thousand products and half a million reviews.
        now: the end of the invented past; None: this moment.
    """
    size, now = size or Size(), now or datetime.now(UTC)
    with connection.transaction():
        drop(connection, schema)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
        connection.execute(_TABLES)
        _fill(connection, size, seed, now)
        # Indexes after the rows: each is built once.
        connection.execute(_INDEXES)
        connection.execute("INSERT INTO config VALUES ('mode', '\"cachewarden\"'), ('seeded', 'true')")
        connection.execute(sql.SQL("SELECT setval('order_number', {})").format(size.orders + 1))
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
        connection.execute("ANALYZE product, review, orders, order_line, inventory")


def drop(connection: psycopg.Connection[Any], schema: str = SCHEMA) -> None:
    """Remove the schema and all in it; one that is not there is fine."""
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def _fill(connection: psycopg.Connection[Any], size: Size, seed: int, now: datetime) -> None:
    found = catalogue.categories()
    _copy(
        connection,
        "category (id, slug, name, parent_id, position)",
        ((each.id, each.slug, each.name, each.parent_id, each.id) for each in found),
    )
    _copy(
        connection,
        "product (id, sku, name, category_id, text, drawing, colour, price_cents, specs, is_sale, created_at)",
        ((*row[:8], json.dumps(row[8]), *row[9:]) for row in catalogue.products(size, seed, now)),
    )
    _copy(
        connection,
        "review (product_id, customer_id, stars, title, text, helpful, written_at)",
        catalogue.reviews(size, seed, now),
    )
    _copy(connection, "news (id, title, text, published_at)", _news(now))
    _copy(
        connection,
        "inventory (product_id, pieces)",
        ((number, 3 + number * 7 % PIECES) for number in range(1, size.products + 1)),
    )
    _copy(connection, "customer (id, name, email)", catalogue.customers(size))
    _copy(
        connection,
        "wallet (customer_id, balance_cents)",
        ((number, START_CENTS) for number in range(1, size.customers + 1)),
    )
    lines: list[catalogue.Row] = []

    def orders() -> Iterator[catalogue.Row]:
        for order, its_lines in catalogue.orders(size, seed, now):
            lines.extend(its_lines)
            yield order

    _copy(connection, "orders (id, order_key, customer_id, total_cents, ordered_at)", orders())
    _copy(connection, "order_line (order_id, product_id, pieces, cents)", lines)


def _news(now: datetime) -> Iterator[catalogue.Row]:
    for number, (title, text) in enumerate(_NEWS, start=1):
        yield number, title, text, now.replace(hour=8, minute=0, second=0, microsecond=0)


def _copy(connection: psycopg.Connection[Any], target: str, rows: Iterable[catalogue.Row]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
