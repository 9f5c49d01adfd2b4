"""Every example of docs/library.md runs."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

Section = Callable[[str], dict[str, Any]]


@pytest.fixture
def section(checkout: Path, valkey_url: str, tmp_path: Path) -> Iterator[Section]:
    """``section("With Flask")``: runs its examples and returns what they defined."""
    text = (checkout / "docs" / "library.md").read_text()
    made: list[dict[str, Any]] = []

    def run(title: str) -> dict[str, Any]:
        (body,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
        blocks = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
        assert blocks, f"{title} has no example"
        names: dict[str, Any] = {
            "__name__": "example",
            "PRODUCTS": {7: {"id": 7, "price": 4}, 8: {"id": 8, "price": 1}},
            "DATABASE_URL": f"sqlite:///{tmp_path}/shop.db",
        } | (made[-1] if made else {})
        made.append(names)
        for block in blocks:
            exec(compile(block.replace("redis://localhost:6379/0", valkey_url), title, "exec"), names)
        return names

    yield run
    for names in made:
        for name in ("cache", "behind_sentinel"):
            if name in names:
                names[name].close()


def test_plain_python(section: Section, raw: redis.Redis) -> None:
    names = section("In plain Python")
    assert names["product"](7) == {"id": 7, "price": 5}
    assert raw.get("product:7") == b'{"id":7,"price":5}'
    assert names["product"](99) is None
    assert raw.exists("product:8")


def test_flask(section: Section, raw: redis.Redis) -> None:
    browser = section("With Flask")["app"].test_client()
    assert browser.get("/products/7").get_json() == {"id": 7, "price": 4}
    assert raw.get("product:7") == b'{"id":7,"price":4}'
    assert browser.post("/products/7/price/9").status_code == 204
    assert browser.get("/products/7").get_json()["price"] == 9
    assert browser.get("/products/1").status_code == 404


def test_write_through_and_tags(section: Section, raw: redis.Redis) -> None:
    names = section("Write-through with a database")
    with names["engine"].begin() as connection:
        connection.execute(names["text"]("CREATE TABLE product (id INTEGER, price INTEGER)"))
        connection.execute(names["text"]("INSERT INTO product VALUES (7, 1)"))
    names["set_price"](7, 5)
    assert raw.get("product:7") == b'{"id":7,"price":5}'
    with names["engine"].connect() as connection:
        assert connection.execute(names["text"]("SELECT price FROM product")).scalar() == 5
    names["engine"].dispose()
    section("Tags")
    assert not raw.exists("product:7", "page:home")


def test_away_and_policies(section: Section, raw: redis.Redis) -> None:
    section("Policies")
    names = section("When Redis is away")
    assert names["behind_sentinel"].get_or_load("k", lambda: 1) == 1, "there is no Sentinel: the loader runs"
