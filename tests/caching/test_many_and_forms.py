"""Many keys at once, decorated functions, codecs."""

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from dashboard.caching import Cache, JsonCodec, MsgpackCodec, Unserialisable, UsageError, parse_document
from dashboard.caching.cache import BATCH
from dashboard.caching.keyform import KeyForm, as_text
from dashboard.caching.wire import Kind, placeholder
from tests.caching.test_following import document
from tests.caching.test_reading import counted

MakeCache = Callable[..., Cache]


class Shade(Enum):
    RED = "red"


def test_one_look_and_one_load(cache: Cache, raw: redis.Redis) -> None:
    calls: list[list[str]] = []

    def load(keys: list[str]) -> dict[str, int]:
        calls.append(keys)
        return {key: len(key) for key in keys if key != "none"}

    cache.get_or_load("aa", lambda: 2)
    raw.config_resetstat()
    found = cache.get_or_load_many(["b", "aa", "none", "ccc", "b"], load)
    assert found == {"b": 1, "aa": 2, "none": None, "ccc": 3}
    assert list(found) == ["b", "aa", "none", "ccc"]
    assert calls == [["b", "none", "ccc"]]
    assert raw.info("commandstats")["cmdstat_mget"]["calls"] == 1
    assert raw.get("none") == b"null" and raw.get("ccc") == b"3"
    assert cache.get_or_load_many(["b", "none"], load) == {"b": 1, "none": None}
    assert len(calls) == 1
    assert cache.get_or_load_many([], load) == {}


def test_very_many_are_looked_at_piece_by_piece(cache: Cache, raw: redis.Redis) -> None:
    keys = [f"k{number}" for number in range(2 * BATCH + 1)]
    for tags in ((), ("t",)):
        raw.flushall()
        raw.config_resetstat()
        assert cache.get_or_load_many(keys, lambda keys: dict.fromkeys(keys, 1), tags=tags) == dict.fromkeys(
            keys, 1
        )
        assert raw.info("commandstats")["cmdstat_mget"]["calls"] == 3
        assert cache.get_or_load_many(keys, lambda keys: {}, tags=tags) == dict.fromkeys(keys, 1)


def test_many_wait_for_what_others_load(cache: Cache, raw: redis.Redis) -> None:
    raw.set("theirs", placeholder(Kind.LOAD), px=5000)
    raw.set("writing", placeholder(Kind.WRITE), px=5000)
    threading.Timer(0.1, lambda: raw.set("theirs", b"7")).start()
    calls: list[list[str]] = []

    def load(keys: list[str]) -> dict[str, int]:
        calls.append(keys)
        return dict.fromkeys(keys, 1)

    assert cache.get_or_load_many(["theirs", "writing", "mine"], load) == {
        "theirs": 7,
        "writing": 1,
        "mine": 1,
    }
    assert sorted(calls[0]) == ["mine", "writing"] and len(calls) == 1
    assert raw.get("mine") == b"1" and b"write" in (raw.get("writing") or b"")


def test_many_give_up_waiting(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(longest_wait_s=0.1)
    raw.set("theirs", placeholder(Kind.LOAD), px=5000)
    assert cache.get_or_load_many(["theirs"], lambda keys: dict.fromkeys(keys, 2)) == {"theirs": 2}
    seen = counted(cache)
    assert (seen["waits"], seen["wait_timeouts"], seen["loads"]) == (1, 1, 1)


def test_each_key_of_many_counts_for_its_prefix_with_its_share_of_the_time(
    make_cache: MakeCache, raw: redis.Redis
) -> None:
    cache = make_cache(options={"follow": False})
    made = document(prefix="a:").to_dict()
    second = document(prefix="b:").to_dict()["policies"]
    cache.use(parse_document(made | {"policies": [*made["policies"], *second]}))

    def load(keys: list[str]) -> dict[str, int]:
        threading.Event().wait(0.04)
        return dict.fromkeys(keys, 1)

    cache.get_or_load_many(["a:1", "b:1", "a:2", "b:2", "a:3", "other", "a:4", "a:5"], load)
    took_s = cache._rule(b"a:1").tally.mean_load_s
    assert took_s >= 0.04
    assert cache._rule(b"b:1").tally.mean_load_s == took_s, "a lease lasts as long as the call"
    seen = cache._ledger.take()
    assert (seen["loads:a:"], seen["loads:b:"], seen["loads:"]) == (5, 2, 1)
    for prefix, keys in (("a:", 5), ("b:", 2), ("", 1)):
        assert seen[f"load_us:{prefix}"] == pytest.approx(took_s * 1e6 * keys / 8, abs=1)
    assert seen["misses:a:"] == 5

    def fail(keys: list[str]) -> dict[str, int]:
        raise LookupError

    with pytest.raises(LookupError):
        cache.get_or_load_many(["a:6", "a:7", "b:6"], fail)
    seen = cache._ledger.take()
    assert (seen["load_errors:a:"], seen["load_errors:b:"]) == (2, 1)


def test_a_wait_counts_when_it_ends_with_a_value(cache: Cache, raw: redis.Redis) -> None:
    """Whoever loads after all has avoided nothing."""
    for placed in (None, placeholder(Kind.WRITE)):
        for key in ("one", "many"):
            raw.set(key, placeholder(Kind.LOAD), px=5000)

        def end(placed: bytes | None = placed) -> None:
            for key in ("one", "many"):
                raw.unlink(key) if placed is None else raw.set(key, placed, px=5000)

        ending = threading.Timer(0.05, end)
        ending.start()
        assert cache.get_or_load("one", lambda: 1) == 1
        ending.join()
        raw.set("many", placeholder(Kind.LOAD), px=5000)
        ending = threading.Timer(0.05, end)
        ending.start()
        assert cache.get_or_load_many(["many"], lambda keys: {"many": 1}) == {"many": 1}
        ending.join()
    seen = counted(cache)
    assert seen["loads"] == seen["misses"] == 4
    assert "waits" not in seen and "wait_timeouts" not in seen


def test_many_with_a_loader_that_raises(cache: Cache, raw: redis.Redis) -> None:
    def fail(keys: list[str]) -> dict[str, int]:
        raise LookupError("no")

    with pytest.raises(LookupError):
        cache.get_or_load_many(["a", "b"], fail)
    assert not raw.exists("a", "b")
    assert cache.get_or_load_many(["a"], lambda keys: {"a": {1}}) == {"a": {1}}
    assert not raw.exists("a")


def test_many_with_an_invalidation_in_between(cache: Cache, raw: redis.Redis) -> None:
    def load(keys: list[str]) -> dict[str, str]:
        raw.delete("a")
        return dict.fromkeys(keys, "old")

    assert cache.get_or_load_many(["a", "b"], load) == {"a": "old", "b": "old"}
    assert raw.get("a") is None and raw.get("b") == b'"old"'


def test_a_decorated_function(cache: Cache, raw: redis.Redis) -> None:
    calls: list[Any] = []

    @cache.cached("product:{id}:{lang}", ignore=("session",), tags=("product:{id}", "products"))
    def product(id: int, lang: str = "en", session: object = None) -> dict[str, Any]:
        """A product."""
        calls.append((id, lang))
        return {"id": id, "lang": lang}

    assert product(7) == product(id=7, lang="en", session=object()) == {"id": 7, "lang": "en"}
    assert calls == [(7, "en")]
    assert product.key(7) == "product:7:en" and product.__doc__ == "A product."
    assert raw.exists("product:7:en")
    product.invalidate(7)
    assert not raw.exists("product:7:en")
    product(7)
    product(8)
    cache.invalidate_tag("product:7")
    product(7)
    product(8)
    assert calls == [(7, "en"), (7, "en"), (8, "en"), (7, "en")]


def test_a_decorated_method(cache: Cache) -> None:
    class Shop:
        def __init__(self) -> None:
            self.calls = 0

        @cache.cached("shop:{id}")
        def product(self, id: int) -> int:
            self.calls += 1
            return id

    shop = Shop()
    assert [shop.product(3), shop.product(id=3)] == [3, 3]
    assert shop.calls == 1
    assert shop.product.key(3) == "shop:3"
    shop.product.invalidate(3)
    shop.product(3)
    assert shop.calls == 2


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("product", "is missing"),
        ("product:{a}", "is missing"),
        ("{a}{b}", "separator"),
        ("{a}-{b}", "separator"),
        ("{a}~{b}", "separator"),
        ("{a:>5}:{b}", "just the name"),
        ("{a!r}:{b}", "just the name"),
        ("{a.x}:{b}", "just the name"),
        ("{a}:{b}:{c}", "just the name"),
        ("{a}:{b", "can't be read"),
        ("", "empty"),
    ],
)
def test_templates_that_could_mix_up_calls_are_refused(cache: Cache, template: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):

        @cache.cached(template)
        def function(a: int, b: int) -> int:
            return a


def test_what_else_cannot_be_decorated(cache: Cache) -> None:
    with pytest.raises(UsageError, match="async"):

        @cache.cached("a:{x}")
        async def function(x: int) -> int:
            return x

    with pytest.raises(UsageError, match="can't be part of a key"):

        @cache.cached("a")
        def several(*args: int) -> int:
            return 1

    @cache.cached("a:{x}")
    def one(x: object) -> int:
        return 1

    with pytest.raises(UsageError, match="no key can be made of set"):
        one({1})


SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.uuids()
    | st.sampled_from(Shade)
    | st.sampled_from(["7", "-1", "None", "True", "~", "1.5", "", "inf", "~b00", "red"])
)
VALUES = SIMPLE | st.lists(SIMPLE, max_size=3).map(tuple) | st.lists(SIMPLE, max_size=3)


@given(st.tuples(VALUES, VALUES), st.tuples(VALUES, VALUES))
def test_two_different_calls_never_make_one_key(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    form = KeyForm("p:{a}:{b}", lambda a, b: None)

    def exact(values: tuple[Any, Any]) -> str:
        return repr([(type(value), value) for value in values])

    assert (form.key(one, {}) == form.key(other, {})) == (exact(one) == exact(other))


def test_keys_stay_readable() -> None:
    assert as_text("tea-pot_1.0") == "tea-pot_1.0"
    assert as_text(-3) == "-3" and as_text("a:b/ä") == "a%3Ab%2F%C3%A4"
    assert as_text(uuid.UUID(int=1)) == "~u" + "0" * 31 + "1"
    assert as_text(dt.date(2026, 1, 2)) == "~y2026-01-02" and as_text(Decimal("1.50")) == "~d1.50"


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec="utf-8")),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner)
        ),
        max_leaves=20,
    )
)
def test_codecs_give_back_what_they_took(value: Any) -> None:
    slow, fast, packed = JsonCodec(use_orjson=False), JsonCodec(use_orjson=True), MsgpackCodec()
    data = slow.encode(value)
    assert fast.encode(value) == data
    assert repr(slow.decode(data)) == repr(fast.decode(data)) == repr(value)
    assert repr(packed.decode(packed.encode(value))) == repr(value)


def test_what_would_come_back_as_something_else_is_refused() -> None:
    codec = JsonCodec()
    for value in (
        {1: 2},
        [{"a": {None: 1}}],
        float("inf"),
        b"",
        {1},
        dt.date(2026, 1, 1),
        2**64,
        [-(2**63) - 1],
    ):
        with pytest.raises(Unserialisable):
            codec.encode(value)
    assert codec.encode("1" * 30) == b'"' + b"1" * 30 + b'"', "digits in a text are no number"
    with pytest.raises(Unserialisable):
        MsgpackCodec().encode(object())
    with pytest.raises(ValueError, match="MessagePack"):
        MsgpackCodec().decode(b"\xc1")


def test_what_cannot_do_both_is_no_codec() -> None:
    class OneWay:
        def encode(self, value: object) -> bytes:
            return b""

    class OtherWay:
        def decode(self, data: bytes) -> object:
            return data

    for codec in (OneWay(), OtherWay(), JsonCodec, object()):
        with pytest.raises(UsageError, match="encode"):
            Cache("redis://127.0.0.1:1", codec=codec)  # type: ignore[arg-type]


def test_pickle_is_refused_with_the_reason(valkey_url: str) -> None:
    import pickle

    class PickleCodec:
        def encode(self, value: Any) -> bytes:
            return pickle.dumps(value)

        def decode(self, data: bytes) -> Any:
            return None

    for codec in (pickle, PickleCodec()):
        with pytest.raises(UsageError, match="run code"):
            Cache(valkey_url, codec=codec)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="encode"):
        Cache(valkey_url, codec=object())  # type: ignore[arg-type]


def test_msgpack_in_the_cache(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(options={"codec": MsgpackCodec()})
    for value in (0, {"a": b"\x00"}, [None], 35):
        raw.delete("k")
        assert [cache.get_or_load("k", lambda value=value: value) for _ in range(2)] == [value, value]
        assert raw.exists("k")


def test_a_codec_whose_bytes_look_like_our_marks(make_cache: MakeCache, raw: redis.Redis) -> None:
    class Raw:
        def encode(self, value: bytes) -> bytes:
            return value

        def decode(self, data: bytes) -> bytes:
            return data

    cache = make_cache(options={"codec": Raw()})
    for value in (placeholder(Kind.LOAD), b"#cachewarden {}\nx"):
        assert cache.get_or_load("k", lambda value=value: value) == value
        assert not raw.exists("k")
        assert not cache.put("k", value)
        assert not raw.exists("k")
    assert cache.get_or_load("k", lambda: b"\x00fine") == b"\x00fine"
    assert cache.get_or_load("k", lambda: b"") == b"\x00fine"
