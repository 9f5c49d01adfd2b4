"""Names and layouts that applications and the dashboard agree on."""

import json

from hypothesis import given
from hypothesis import strategies as st

from dashboard.caching.wire import (
    COUNTERS,
    Instance,
    Kind,
    Refusal,
    counter_field,
    kind_of,
    parse_counter_field,
    placeholder,
)


@given(st.sampled_from(COUNTERS), st.none() | st.binary(max_size=30))
def test_counter_fields_are_read_back(name: str, prefix: bytes | None) -> None:
    assert parse_counter_field(counter_field(name, prefix)) == (name, prefix)
    assert parse_counter_field(counter_field(name, prefix).encode()) == (name, prefix)


def test_foreign_counter_fields() -> None:
    for field in (b"", b"hits", b"unknown:product:", b"hits:\\q", b"hits:\xff"):
        assert parse_counter_field(field) is None


def test_instances_are_read_back() -> None:
    instance = Instance(
        "web-1:77:ab", "web-1", 77, "gunicorn", "1.0", 1.5, 2.5, 3, 2.0, Refusal(4, "no", 2.2)
    )
    assert Instance.from_json(instance.to_json()) == instance
    newer = json.loads(instance.to_json()) | {"mood": "good"}
    assert Instance.from_json(json.dumps(newer)) == instance
    for broken in (b"", b"[]", b"{}", b"\xff", json.dumps(newer | {"seen_at": "now"}), b'{"refusal": 3}'):
        assert Instance.from_json(broken) is None


def test_placeholders() -> None:
    assert kind_of(placeholder(Kind.WRITE)) is Kind.WRITE
    assert placeholder(Kind.LOAD) != placeholder(Kind.LOAD)
    assert kind_of(b'{"a":1}') is None and kind_of(b"") is None
    assert kind_of(b"\x00cachewarden:novel:00") is Kind.HOLD
