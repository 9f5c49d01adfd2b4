"""Commands as they go to a server."""

import redis
from hypothesis import given
from hypothesis import strategies as st

from dashboard.fleet.packing import pack

NAMES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1)
WORDS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), st.binary())
COMMANDS = st.lists(st.tuples(NAMES, st.lists(WORDS)).map(lambda parts: (parts[0], *parts[1])))


@given(COMMANDS)
def test_commands_are_written_as_redis_py_writes_them(commands: list[tuple[str | int | bytes, ...]]) -> None:
    assert pack(commands) == b"".join(redis.Connection().pack_commands(commands))  # type: ignore[no-untyped-call]


def test_a_word_with_a_space_is_one_argument() -> None:
    assert pack([("GET", "a b")]) == b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n"
