"""What the panes of the Keys page say: names, TTLs, folded JSON, counts, the tree and what a scan knows of a prefix."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.caching.policy import prefix_from_text
from dashboard.keys import screen, tree
from dashboard.keys.forms import Place, read_place
from dashboard.keys.screen import Frame
from dashboard.keys.types import TTL_FILTERS, JsonLine, KeyPage, KeyRow, Window
from dashboard.keyspace.types import (
    BigKey,
    Conformance,
    Estimate,
    Growth,
    GrowthPoint,
    Kind,
    ScanPanel,
    Snapshot,
    TreeNode,
)

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
FRAME = Frame(1, "shop", "/caches/1/keys", NOW, is_read_only=False, is_operator=True)


def row(key: bytes, ttl_s: float | None = 60.0) -> KeyRow:
    return KeyRow(key, "string", ttl_s, 100, 5)


def page(*rows: KeyRow, **more: object) -> KeyPage:
    values = {"cursor": "", "looked_at": 10, "before": 0, "found_before": 0, "keyspace": 1000, **more}
    return KeyPage(rows, **values)  # type: ignore[arg-type]


def place_of(href: str) -> Place:
    return read_place(parse_qs(href.partition("?")[2], keep_blank_values=True))


@given(st.binary(min_size=1, max_size=390))
def test_a_name_is_the_key_again_when_it_is_typed(key: bytes) -> None:
    assert prefix_from_text(screen.key_name(key)) == key


@given(st.binary(max_size=2000))
def test_a_name_is_one_line_and_short(key: bytes) -> None:
    name = screen.key_name(key)
    assert name.isprintable() and len(name) <= 4 * screen.LONGEST_NAME + 1


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.integers(0, 60))
def test_a_character_that_was_cut_in_two_makes_no_text_bytes(text: str, at: int) -> None:
    cut = text.encode()[:at]
    assert text.startswith(screen._whole_characters(cut).decode())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.9, "59 s"), (61, "1 m 01 s"), (11_528, "3 h 12 m 08 s"), (90_061, "1 d 01 h 01 m"), (-3, "0 s")],
)  # fmt: skip
def test_what_is_left_of_a_ttl(seconds: float, words: str) -> None:
    assert screen.left(seconds) == words


def test_a_list_says_how_far_it_looked_and_where_it_goes_on() -> None:
    place = Place(q="p", cursor="c1", before=100, found=20, key=b"a")
    shown = screen.list_view(
        page(row(b"a"), row(b"\xff", None), cursor="c2", before=100, found_before=20), place, FRAME
    )
    assert shown.found == "22 found in 110 of about 1,000 keys" and shown.next_label == "Next keys"
    following = place_of(shown.next_href)
    assert (following.cursor, following.before, following.found) == ("c2", 110, 22)
    assert [each.is_open for each in shown.rows] == [True, False]
    assert place_of(shown.rows[1].href).key == b"\xff" and shown.rows[1].name == "\\xff"
    assert (shown.rows[0].ttl, shown.rows[1].has_ttl) == ("1 m", False)
    assert place_of(shown.first_href).cursor == ""


def test_a_list_that_is_whole_and_the_key_that_is_called_just_so() -> None:
    shown = screen.list_view(page(row(b"ab"), row(b"a")), Place(q="a"), FRAME, extra=(row(b"a"),))
    assert [each.name for each in shown.rows] == ["a", "ab"]
    assert shown.found == "2 found, all keys looked at" and not shown.next_href


def test_every_filter_by_ttl_has_its_words() -> None:
    assert set(screen.TTL_LABELS) == {"", *TTL_FILTERS}


def test_a_key_too_long_for_an_address_is_shown_without_one() -> None:
    shown = screen.list_view(page(row(b"x" * 70_000)), Place(), FRAME)
    assert shown.rows[0].href == "" and shown.rows[0].id == "" and len(shown.rows[0].name) < 1000


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=40))
def test_folds_close_what_they_open(parts: list[tuple[int, int]]) -> None:
    lines = [JsonLine(depth, (("", "x"),), folds) for depth, folds in parts]
    open_now, seen = 0, 0
    for piece in screen.folded(lines):
        open_now += {"open": 1, "close": -1, "line": 0}[piece.kind]
        seen += piece.kind != "close"
        assert 0 <= open_now <= screen.DEEPEST
    assert open_now == 0 and seen == len(lines)


def test_long_parts_of_json_begin_folded() -> None:
    lines = [
        JsonLine(0, (("", "{"),), 60), JsonLine(1, (("key", '"a"'), ("", ": [")), 50),
        *[JsonLine(2, (("number", "1"),))] * 50,
        JsonLine(1, (("", "],"),)), JsonLine(1, (("key", '"b"'), ("", ": {")), 1), JsonLine(2, (("word", "null"),)),
    ]  # fmt: skip
    opened = [piece.is_open for piece in screen.folded(lines) if piece.kind == "open"]
    assert opened == [True, False, True]


@pytest.mark.parametrize(
    ("type", "cursor", "changes"),
    [
        ("string", "65536", {"start": 65536, "part": ""}), ("list", "100", {"start": 100, "part": ""}),
        ("hash", "77", {"start": 0, "part": "77"}), ("stream", "5-1", {"start": 0, "part": "5-1"}), ("set", "", {}),
    ],
)  # fmt: skip
def test_where_a_value_goes_on(type: str, cursor: str, changes: dict[str, object]) -> None:
    assert screen.next_part(type, Window(1000, cursor=cursor)) == changes


# --- the tree ---------------------------------------------------------------------------------------------------


def node(
    *path: str,
    keys: float = 10,
    size: float | None = 100,
    children: tuple[TreeNode, ...] = (),
    **more: object,
) -> TreeNode:
    values: dict[str, object] = {
        "path": path, "name": "".join(path), "pattern": "".join(path) + "*", "keys": Estimate(keys),
        "size": None if size is None else Estimate(size, 1.0), "without_ttl": Estimate(keys / 2),
        "children": children, **more,
    }  # fmt: skip
    return TreeNode(**values)  # type: ignore[arg-type]


def snapshot(root: TreeNode, **more: object) -> Snapshot:
    values = {
        "cache_id": 1, "kind": Kind.SAMPLE, "began_at": NOW, "ended_at": NOW - timedelta(minutes=5), "looked_at": 10,
        "keyspace": 100, "factor": 10.0, "size_every": 1, "root": root, "policies": (), "expiries": (), **more,
    }  # fmt: skip
    return Snapshot(**values)  # type: ignore[arg-type]


PANEL = ScanPanel.__new__(ScanPanel)


def rest() -> TreeNode:
    return node("(other)", pattern=None, hidden=12)


def test_the_way_to_the_chosen_prefix_is_open_and_its_children_are_there() -> None:
    deep = node("a:", "b:", "c:", keys=3, size=30)
    root = node(
        children=(
            node("a:", size=200, children=(node("a:", "b:", size=50, children=(deep,)),)),
            node("z:"),
            rest(),
        ),
        size=300,
    )
    shown = tree.tree_view(snapshot(root), Place(under=("a:", "b:")), FRAME, PANEL)
    first, second, other = shown.rows
    assert first.is_open and not first.is_current and first.share == 1.0
    chosen = first.children[0]
    assert chosen.is_current and chosen.children[0].name == "a:b:c:" and not second.is_open
    assert place_of(chosen.children[0].href).under == ("a:", "b:", "c:")
    assert other.is_rest and not other.href and "12" in other.note


def test_a_tree_of_a_million_siblings_is_bounded() -> None:
    many = tuple(node(f"{number}:") for number in range(100_000))
    wide = node("wide:", children=tuple(node("wide:", f"{number}:") for number in range(10_000)))
    root = node(children=(wide, *many))
    shown = tree.tree_view(snapshot(root), Place(), FRAME, PANEL)

    def count(rows: tuple[screen.TreeRow, ...]) -> int:
        return sum(1 + count(each.children) for each in rows)

    assert count(shown.rows) <= tree.MOST_CHOSEN + tree.MOST_ROWS
    assert shown.rows[-1].name.endswith(" more")


def test_without_memory_the_bars_are_of_keys() -> None:
    root = node(children=(node("a:", keys=10, size=None), node("b:", keys=5, size=None)), size=None)
    assert [each.share for each in tree.tree_view(snapshot(root), Place(), FRAME, PANEL).rows] == [1.0, 0.5]


def test_what_a_scan_knows_of_a_prefix() -> None:
    chosen = node(
        "a:", keys=100, size=5_000, ttl_counts=(0, 0, 60, 0, 20, 0, 0, 0, 0, 0, 0, 20),
        types={"string": 90.0, "hash": 10.0}, biggest=(BigKey(b"a:\xff", "hash", 2048, None),), idle_s=90,
        encodings={"embstr": 0.875, "listpack": 0.125},
    )  # fmt: skip
    whole = snapshot(
        node(children=(chosen,), keys=200, size=9_000),
        policies=(Conformance("a:", Estimate(100), None, Estimate(20), Estimate(5)),),
        policy_version=3,
    )
    growth = Growth(NOW - timedelta(days=7), -30, 1024.0)
    line = tuple(GrowthPoint(NOW - timedelta(days=day), 100.0, 50.0 * day) for day in range(3))
    shown = tree.prefix_view(whole, chosen, Place(under=("a:",)), FRAME, growth=growth, line=line)
    assert dict(shown.facts)["Without TTL"] == "50%" and dict(shown.facts)["Of all keys"] == "50%"
    assert dict(shown.facts)["Oldest idle"] == "1 m 30 s" and "±" in dict(shown.facts)["Memory"]
    assert [(share.label, share.words, share.share) for share in shown.encodings] == [
        ("embstr", "87.5%", 0.875),
        ("listpack", "12.5%", 0.125),
    ]
    assert [share.label for share in shown.ttls] == ["Up to 15 m", "Up to 1 h", "Up to 4 h", "No TTL"]
    assert shown.growth.startswith("−30 keys, +1 KB since ") and len(shown.line) == 3
    assert shown.line_words.endswith(": 100 B (full scans)") and ": 0 B, " in shown.line_words
    assert shown.biggest[0][0] == "a:\\xff" and place_of(shown.biggest[0][2]).key == b"a:\xff"
    assert shown.drift == "25 of 100 keys break their policy" and "action=policy" in shown.apply_href
    assert shown.purge_href == "/caches/1/invalidate?by=prefix&prefix=a%3A"


@pytest.mark.parametrize(
    ("growth", "words"),
    [
        (Growth(NOW, 500, 4096.0, 30.0, 1024.0), "+500 ± 30 keys, +4 KB ± 1 KB since "),
        (Growth(NOW, -20, 2048.0, 30.0, 4096.0), "±30 keys, ±4 KB since "),
    ],
)
def test_growth_between_samples_is_said_with_its_error(growth: Growth, words: str) -> None:
    chosen = node("a:", keys=100, size=5_000)
    shown = tree.prefix_view(snapshot(chosen), chosen, Place(), FRAME, growth=growth, line=())
    assert shown.growth.startswith(words)


def test_large_keys_of_the_last_full_scan_stand_beside_a_sample() -> None:
    small, large = BigKey(b"a:1", "string", 300, None), BigKey(b"a:big", "string", 448 * 1024**2, None)
    chosen = node("a:", keys=100, size=5_000, biggest=(small,))
    whole = snapshot(node(children=(node("a:", biggest=(large, small)),)), policy_version=1)
    sample = snapshot(node(children=(chosen,)), policy_version=1)
    shown = tree.prefix_view(
        sample, chosen, Place(), FRAME, growth=None, line=(), whole=whole, is_uneven=True
    )
    assert [name for name, _, _ in shown.biggest] == ["a:big", "a:1"]
    assert "full scan" in shown.biggest[0][1] and "full scan" not in shown.biggest[1][1]
    assert dict(shown.facts)["Memory"] == "4.9 KB or more" and "±" not in shown.taken


def test_without_a_published_policy_none_is_broken() -> None:
    chosen = node("a:", keys=100)
    whole = snapshot(chosen, policies=(Conformance("", Estimate(100), None, Estimate(90), Estimate(5)),))
    shown = tree.prefix_view(whole, chosen, Place(), FRAME, growth=None, line=())
    assert shown.drift == "" and dict(shown.facts)["Policy"] == "none was published"


def test_what_the_purge_of_a_folded_prefix_takes_along_is_said_before() -> None:
    folded = node("product:", "{id}", pattern="product:*", is_folded=True)
    below = node("product:", "{id}:", "reviews", pattern="product:*:reviews")
    literal = node("product:", children=(folded, below))
    whole = snapshot(node(children=(literal,)))
    for chosen, words in ((folded, "product:*,"), (below, "product:*:reviews,"), (literal, "")):
        shown = tree.prefix_view(whole, chosen, Place(), FRAME, growth=None, line=())
        assert shown.purge_href and words in shown.purge_note and bool(words) == bool(shown.purge_note)
        assert not words or "also those of other prefixes" in shown.purge_note


def test_the_purge_of_a_folded_prefix_is_by_pattern_and_of_the_rest_none() -> None:
    folded = node("a:", "{id}", pattern="a:*", is_folded=True)
    root = node(children=(node("a:", children=(folded,)), rest()))
    whole = snapshot(root)

    def href(chosen: TreeNode) -> str:
        return tree.prefix_view(whole, chosen, Place(), FRAME, growth=None, line=()).purge_href

    assert href(folded) == "/caches/1/invalidate?by=pattern&pattern=a%3A%2A"
    assert href(rest()) == "" and href(root) == ""


def test_how_exactly_it_was_counted() -> None:
    root = node(size=1000)
    assert tree.taken(snapshot(root), FRAME) == "Sampled 11:55, ±0.1%"
    assert tree.taken(snapshot(root, kind=Kind.FULL), FRAME) == "All keys read, 11:55"
    assert tree.find_node(root, ("gone:",)) is None
