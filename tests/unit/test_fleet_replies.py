"""Reading what servers send: bounded, and never trusted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.fleet import replies
from dashboard.fleet.text import decoded, display
from tests.support.shared import shared_data

LINE = (
    b"id=7 addr=10.0.0.1:50000 laddr=10.0.0.2:6379 fd=8 name=web age=12 idle=3 flags=N db=2 sub=0 psub=0 "
    b"multi=-1 qbuf=0 qbuf-free=0 argv-mem=10 obl=0 oll=0 omem=20 tot-mem=1928 events=r cmd=config|get "
    b"user=app redir=-1 resp=2 lib-name=redis-py lib-ver=8.1.0"
)


def test_client() -> None:
    (client,), total = replies.clients(LINE + b"\n")
    assert total == 1
    assert (client.id, client.address, client.name, client.user) == (7, "10.0.0.1:50000", "web", "app")
    assert (client.flags, client.db, client.command) == ("N", 2, "config get")
    assert (client.age_s, client.idle_s, client.memory_bytes, client.output_bytes) == (12, 3, 1928, 20)
    assert client.library == "redis-py 8.1.0"


def test_client_of_an_old_server() -> None:
    (client,), _ = replies.clients(b"addr=[::1]:1 fd=5 age=1 idle=0 flags=N db=0 cmd=client\r\n")
    assert (
        client.address == "[::1]:1"
        and client.id is client.user is client.memory_bytes is client.library is None
    )


def test_ten_thousand_clients_are_counted_but_not_kept() -> None:
    found, total = replies.clients((LINE + b"\n") * 10_000)
    assert (len(found), total) == (replies.MOST_CLIENTS, 10_000)


def test_a_name_can_not_forge_a_field() -> None:
    """The first of two fields of one name counts, and a value that is no number is none."""
    (client,), _ = replies.clients(
        b"id=1 addr=a:1 flags=N flags=O tot-mem=1e9 age=99999999999999999999 db=-1\n"
    )
    assert (client.flags, client.memory_bytes, client.age_s, client.db) == ("N", None, None, -1)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_list_of_clients(data: bytes) -> None:
    found, total = replies.clients(data)
    assert total >= 0
    for client in found:
        assert client.name.isprintable() and client.address.isprintable()


def test_slow_log() -> None:
    entry = [3, 1_700_000_000, 12_345, [b"GET", b"k\xff"], b"10.0.0.1:5", b"web"]
    (found,) = replies.slow_log([entry])
    assert (found.id, found.duration_s, found.command) == (3, 0.012345, "GET k\\xff")
    assert found.at is not None and found.at.year == 2023
    assert (found.client_address, found.client_name) == ("10.0.0.1:5", "web")
    (old,) = replies.slow_log([entry[:4]])
    assert old.client_address is old.client_name is None


def test_slow_log_is_bounded() -> None:
    entry = [1, 1, 1, [b"x" * 10_000] * 500, b"", b""]
    found = replies.slow_log([entry] * 1000)
    assert len(found) == replies.MOST_SLOW_ENTRIES
    assert found[0].command == "? (500 more arguments, 5,000,000 bytes)"
    (entry,) = replies.slow_log([[1, 1, 1, [b"GET", b"k" * 10_000], b"", b""]])
    assert len(entry.command) < 300


@pytest.mark.parametrize(
    "item",
    [
        None,
        b"text",
        [],
        [1, 2, 3],
        [b"1", 2, 3, []],
        [1, 2, 3, b"GET"],
        [1, None, 3, []],
    ],
)
def test_what_is_no_entry_is_left_out(item: object) -> None:
    good = [1, 10**18, 5, [b"GET", 7, None]]
    (found,) = replies.slow_log([item, good])
    assert found.at is None and found.command == "GET"
    assert replies.slow_log(item) == []


def test_info_is_cut_at_the_end_of_a_line() -> None:
    body = b"a:1\r\n" * 400_000
    cut = replies.info_text(body)
    assert len(cut) <= replies.LARGEST_INFO_BYTES and cut.endswith("a:1\r\n")
    assert replies.info_text(b"a:1\r\nb:\xff\x00") == "a:1\r\nb:\\xff\\x00"


def test_info_field() -> None:
    info = b"# Server\r\nrun_id:abc\r\nnot_run_id:x\r\nconfig_file:/a:b\r\n"
    assert replies.info_field(info, b"run_id") == "abc"
    assert replies.info_field(info, b"config_file") == "/a:b"
    assert replies.info_field(info, b"role") is None


def test_pairs() -> None:
    assert replies.pairs([b"a", b"1", b"b", 2, b"odd"]) == {"a": "1", "b": "2"}
    assert replies.pairs(None) == {}


@given(st.binary(max_size=200), st.integers(2, 100))
def test_display_is_printable_and_short(data: bytes, limit: int) -> None:
    shown = display(data, limit)
    assert len(shown) <= limit
    assert not any(character in shown for character in "\0\r\n\x1b\u202e\u2028")


def test_naughty_strings() -> None:
    data = shared_data()
    if data is None:
        pytest.skip("no shared data")
    for text in json.loads((data / "strings" / "blns.json").read_text()):
        shown = display(text.encode("utf-8", "surrogatepass"))
        assert "\0" not in shown and "\u202e" not in shown and "\n" not in shown
        assert "\0" not in decoded(text.encode("utf-8", "surrogatepass"))


def test_display_keeps_what_can_be_seen() -> None:
    assert display("naïve 键 🚀 a\u00a0b".encode()) == "naïve 键 🚀 a\u00a0b"
