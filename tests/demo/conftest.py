"""The shop, small, in a database of each test's own."""

import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard.demo.lab.bench import LabBench
from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop import schema
from dashboard.demo.shop.app import create_shop
from dashboard.demo.shop.catalogue import SMALL
from dashboard.demo.shop.links import Links
from dashboard.demo.shop.modes import Modes
from dashboard.demo.shop.pages import Shop
from dashboard.demo.shop.store import ShopStore
from tests.conftest import SameOriginClient

LINKS = Links("http://127.0.0.1:8765", 3, "demo-store")
_numbers = itertools.count()


@pytest.fixture(scope="session")
def shop_template(postgres_url: str, worker_id: str) -> Iterator[str]:
    """Name of a database with the small shop that nobody is connected to."""
    name = f"shop_template_{worker_id}_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    with psycopg.connect(postgres_url.rpartition("/")[0] + "/" + name, autocommit=True) as connection:
        schema.create(connection, size=SMALL, now=datetime.now(UTC))
    yield name
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def shop_url(postgres_url: str, shop_template: str) -> Iterator[str]:
    """URL of a database with a small shop that is this test's own."""
    name = f"shop_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{shop_template}"')
        yield postgres_url.rpartition("/")[0] + "/" + name
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def store(shop_url: str) -> Iterator[ShopStore]:
    store = ShopStore(shop_url, connections=8)
    yield store
    store.close()


@pytest.fixture
def modes(store: ShopStore, valkey_url: str) -> Iterator[Modes]:
    modes = Modes(store, valkey_url, document=DOCUMENT)
    yield modes
    modes.close()


@pytest.fixture
def shop(store: ShopStore, modes: Modes) -> Shop:
    return Shop(store, modes)


def web_app(shop: Shop, links: Links = LINKS) -> Flask:
    """The shop's pages, asked as a browser would from one of them."""
    app = create_shop(shop, links)
    app.test_client_class = SameOriginClient
    return app


@pytest.fixture
def web(shop: Shop) -> FlaskClient:
    """A browser in front of the shop."""
    return web_app(shop).test_client()


@pytest.fixture(scope="session")
def quick_bench() -> Iterator[LabBench]:
    """A bench that scenarios share: they leave the shop's rows as they come, and start caches of their own."""
    with LabBench(quick=True) as bench:
        yield bench
