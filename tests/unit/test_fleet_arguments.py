"""The slow log names commands and keys, and never shows what was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.fleet.arguments import without_values

CARD = b"4111-1111-1111-1111"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([b"SET", b"session:4711", b"x" * 37], "SET session:4711 (1 more argument, 37 bytes)"),
        ([b"get", b"a key"], "get a key"),
        ([b"MSET", b"a", CARD, b"b", CARD], "MSET a (3 more arguments, 39 bytes)"),
        ([b"KEYS", b"user:*"], "KEYS user:*"),
        ([b"FLUSHALL"], "FLUSHALL"),
        ([b"SET", b"k", b"x" * 128 + b"... (872 more bytes)"], "SET k (1 more argument, 1,000 bytes)"),
        (
            [b"DEL", b"a", b"b", b"... (968 more arguments)"],
            "DEL a (969 more arguments, over 1 byte)",
        ),
        ([b"AUTH", b"app", CARD], "AUTH (2 more arguments, 22 bytes)"),
        ([b"HELLO", b"3", b"AUTH", b"app", CARD], "HELLO (4 more arguments, 27 bytes)"),
        ([b"ECHO", CARD], "ECHO (1 more argument, 19 bytes)"),
        ([b"CONFIG", b"SET", b"requirepass", CARD], "CONFIG SET (2 more arguments, 30 bytes)"),
        ([b"ACL", b"SETUSER", b"app", b">secret"], "ACL SETUSER (2 more arguments, 10 bytes)"),
        ([b"OBJECT", b"ENCODING", b"k"], "OBJECT ENCODING k"),
        ([b"XGROUP", b"CREATE", b"s", b"g", b"$"], "XGROUP CREATE s (2 more arguments, 2 bytes)"),
        ([b"EVAL", b"return 1", b"1", b"k", CARD], "EVAL k (3 more arguments, 28 bytes)"),
        ([b"EVALSHA", b"f" * 40, b"0", CARD], "EVALSHA (3 more arguments, 60 bytes)"),
        ([b"XREAD", b"COUNT", b"5", b"streams", b"s", b"0"], "XREAD s (4 more arguments, 14 bytes)"),
        ([b"ZUNION", b"2", b"a", b"b"], "ZUNION a (2 more arguments, 2 bytes)"),
        ([CARD, CARD], "? (2 more arguments, 38 bytes)"),
        ([], ""),
    ],
)
def test_commands(arguments: list[bytes], shown: str) -> None:
    assert without_values(arguments) == shown


@given(
    st.sampled_from(
        [b"SET", b"MSET", b"HSET", b"EVAL", b"CONFIG", b"XADD", b"AUTH", b"NOSUCH", b"XREADGROUP"]
    ),
    st.lists(st.binary(max_size=20), max_size=6),
)
def test_no_value_behind_the_key_is_ever_shown(command: bytes, others: list[bytes]) -> None:
    shown = without_values([command, b"key", b"1", b"k2", CARD, *others, CARD])
    assert CARD.decode() not in shown and shown.isprintable()


@given(st.lists(st.binary(max_size=300), max_size=40))
def test_any_bytes_are_one_short_line(arguments: list[bytes]) -> None:
    shown = without_values(arguments)
    assert len(shown) < 450 and shown.isprintable()
