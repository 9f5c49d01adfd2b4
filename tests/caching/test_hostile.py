"""What anybody may write into Redis, or hand in, and what must not come of it."""

import json

import pytest
import redis

from dashboard.caching import Cache, PolicyError, UsageError, parse_document
from dashboard.caching.breaker import Breaker
from dashboard.caching.link import Unreachable
from dashboard.caching.policy import DEFAULT_POLICY, TIERS, PolicyDocument
from dashboard.caching.removal import Removal
from dashboard.caching.tags import VERSION, parse_version, tag_key
from dashboard.caching.wire import INSTANCES_KEY, POLICIES_KEY, Instance
from tests.support.servers import flush


def document(**changes: object) -> str:
    made = PolicyDocument(1, TIERS, (), DEFAULT_POLICY).to_dict()
    made["default"].update(changes)
    return json.dumps(made).replace('"HUGE"', "9" * 401)


@pytest.mark.parametrize("field", ["longest_wait_s", "bypass_until", "base_ttl_s"])
def test_numbers_beyond_all_bounds_are_refused(field: str) -> None:
    with pytest.raises(PolicyError):
        parse_document(document(**{field: "HUGE"}))


def test_half_a_character_in_a_name_can_be_shown() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_document('{"version": 1, "\\ud800": 1}')
    for problem in caught.value.problems:
        (problem.path + problem.message).encode()


def test_a_poisoned_document_and_poisoned_instances_stop_no_application(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as raw:
        raw.set(POLICIES_KEY, document(longest_wait_s="HUGE"))
        raw.hset(INSTANCES_KEY, mapping={"a": "[" * 100_000, "b": '{"seen_at": ' + "9" * 401 + "}"})
        with Cache(valkey_url) as cache:
            assert cache.get_or_load("product:1", lambda: 7) == 7
            assert cache.get_or_load("product:1", lambda: 8) == 7
    flush(valkey_url)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 401, "null", "{}", '{"seen_at": 1e400}'])
def test_no_instance_raises(text: str) -> None:
    assert Instance.from_json(text) is None


def test_many_do_not_reach_what_is_ours(valkey_url: str) -> None:
    with Cache(valkey_url, follow=False) as cache:
        with pytest.raises(UsageError):
            cache.get_or_load_many(["cachewarden:policies"], lambda keys: dict.fromkeys(keys, "x"))
        with pytest.raises(UsageError):
            cache.get_or_load_many([""], lambda keys: dict.fromkeys(keys, "x"))


def test_whatever_a_codec_raises_the_value_comes_and_the_key_is_free(valkey_url: str) -> None:
    class Broken:
        name = "broken"

        def encode(self, value: object) -> bytes:
            raise RuntimeError("dictionary changed size during iteration")

        def decode(self, payload: bytes) -> object:
            raise RecursionError

    with Cache(valkey_url, follow=False, codec=Broken()) as cache:  # type: ignore[arg-type]
        for _ in range(2):
            assert cache.get_or_load("codec:1", lambda: 1) == 1
    with redis.Redis.from_url(valkey_url) as raw:
        assert raw.get("codec:1") is None


HEADERS = [
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b'{"\\ud800":5000000000000000}',
    b'{"' + b"x" * 300 + b'":5000000000000000}',
    b"{" + b",".join(b'"%d":5000000000000000' % number for number in range(1000)) + b"}",
    b'{"t":' + b"9" * 5000 + b"}",
    b'{"t":1e400}',
    b"\xff\xfe{",
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[:12].decode("latin-1"))
@pytest.mark.parametrize("tags", [(), ("t",)], ids=["plain", "tagged"])
def test_no_header_of_a_value_raises(valkey_url: str, header: bytes, tags: tuple[str, ...]) -> None:
    value = b"#cachewarden " + header + b"\n1"
    with redis.Redis.from_url(valkey_url) as raw, Cache(valkey_url, follow=False) as cache:
        raw.set("k", value)
        assert cache.get("k", "none") == "none"
        assert cache.get_or_load("k", lambda: 7, tags=tags) == 7
        assert cache.get("k") == 7, "it was replaced"
        raw.set("k", value)
        assert cache.get_or_load_many(["k"], lambda keys: {"k": 8}, tags=tags) == {"k": 8}
        assert cache.get("k") == 8
    flush(valkey_url)


@pytest.mark.parametrize("score", ["+inf", "-inf", "5", "4503599627370497.5e2", "1e300", "0.5", "-1"])
def test_a_version_that_is_none_is_replaced(valkey_url: str, score: str) -> None:
    with redis.Redis.from_url(valkey_url) as raw, Cache(valkey_url, follow=False) as cache:
        for name in ("k", "many"):
            raw.zadd(tag_key(name), {VERSION: score})  # type: ignore[dict-item]
        assert [cache.get_or_load("k", lambda: 7, tags=["k"]) for _ in range(2)] == [7, 7]
        assert cache.get_or_load_many(["many"], lambda keys: {"many": 8}, tags=["many"]) == {"many": 8}
        assert cache.get("k") == 7 and cache.get("many") == 8
        assert parse_version(raw.zscore(tag_key("k"), VERSION)) is not None
        # Also when it is written while a value of the tag is there.
        raw.zadd(tag_key("k"), {VERSION: score})  # type: ignore[dict-item]
        assert cache.get("k", "none") == "none"
        assert cache.get_or_load("k", lambda: 10, tags=["k"]) == 10
        assert cache.get("k") == 10
    flush(valkey_url)


class HalfAway:
    """A way to Redis that loses what it is told to lose; for the order of events only."""

    def __init__(self) -> None:
        self.refused: set[bytes] = set()
        self.is_away = False
        self.on_exchange = lambda: None
        self.sent: list[bytes] = []
        self.only_breaker = Breaker()

    def breaker(self, key: bytes) -> Breaker:
        return self.only_breaker

    def exchange_each(self, commands):  # type: ignore[no-untyped-def]
        return self.exchange(commands)

    def exchange(self, commands):  # type: ignore[no-untyped-def]
        if self.is_away:
            raise Unreachable("away")
        self.sent += [command[1] for command in commands]
        self.on_exchange()
        return [redis.ResponseError("OOM") if command[1] in self.refused else 1 for command in commands]


def test_an_invalidation_kept_while_an_earlier_one_is_repeated_is_not_forgotten() -> None:
    link = HalfAway()
    removal = Removal(link, "retry")  # type: ignore[arg-type]
    link.is_away = True
    removal.remove([b"k"], None, None, lambda key: None)
    link.is_away = False

    def again() -> None:
        link.on_exchange = lambda: None
        link.is_away = True
        removal.remove([b"k"], None, None, lambda key: None)
        link.is_away = False

    link.on_exchange = again
    removal.repeat()
    assert b"k" in removal.pending
    removal.repeat()
    assert not removal.pending


def test_a_refused_one_holds_up_nothing_behind_it() -> None:
    link = HalfAway()
    removal = Removal(link, "retry")  # type: ignore[arg-type]
    link.is_away = True
    removal.remove([b"held"], 5000, None, lambda key: None)
    removal.remove([b"plain"], None, None, lambda key: None)
    link.is_away, link.refused = False, {b"held"}
    removal.repeat()
    assert list(removal.pending) == [b"held"]


def test_a_plain_removal_does_not_drop_a_hold_that_waits() -> None:
    link = HalfAway()
    removal = Removal(link, "retry")  # type: ignore[arg-type]
    link.is_away = True
    removal.remove([b"k"], 5000, None, lambda key: None)
    link.is_away = False
    removal.remove([b"k"], None, None, lambda key: None)
    assert removal.pending[b"k"].hold_ms == 5000
