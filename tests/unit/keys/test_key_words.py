"""What is typed, what a path holds, what a key is to the library, and the rows it is made of."""

import pytest

from dashboard.caching import tags, wire
from dashboard.caching.policy import RowMapping
from dashboard.errors import InvalidInput
from dashboard.fleet.abilities import Server, read_server
from dashboard.fleet.globs import MOST_ASTERISKS
from dashboard.keys.library import read_header, role_of
from dashboard.keys.paths import MOST_FOLDS, below
from dashboard.keys.rowkeys import MOST_ROWS, identifier, rows_of
from dashboard.keys.search import read_search
from dashboard.keys.types import TTL_FILTERS

# --- searches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("", None),
        ("product:", b"product:*"),
        ("product:40*", b"product:40*"),
        ("a?c[x]", b"a?c[x]"),
        ("a**b***", b"a*b*"),
        ("\\xff\\\\x", b"\xff\\\\x*"),
        ("\\x2a", b"\\**"),
    ],
)
def test_what_is_typed_becomes_a_pattern(text: str, pattern: bytes | None) -> None:
    found = read_search(text)
    assert found.pattern == pattern and found.exact is None and found.text == text


def test_a_whole_key_is_no_pattern() -> None:
    found = read_search("a*[b]\\x00", is_exact=True)
    assert found.exact == b"a*[b]\x00" and found.pattern is None


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("q", {"text": "\\q"}),
        ("q", {"text": "x" * 4_097}),
        ("q", {"text": "*a" * (MOST_ASTERISKS + 1)}),
        ("type", {"type": "two words"}),
        ("type", {"type": "x" * 65}),
        ("ttl", {"ttl": "soon"}),
        ("under", {"under": ("\\q",)}),
        ("under", {"under": ("{id}" * (MOST_FOLDS + 1),)}),
    ],
)
def test_what_can_not_be_searched_for_is_said_at_its_field(field: str, values: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_search(**values)  # type: ignore[arg-type]
    assert list(caught.value.fields) == [field]


@pytest.mark.parametrize(
    ("name", "held", "not_held"),
    [
        ("none", [None], [0.0, 1e9]),
        ("lt1m", [0.0, 59.9], [60.0, None]),
        ("lt1h", [3599.0], [3600.0, None]),
        ("lt1d", [86_399.0], [86_400.0, None]),
        ("gt1d", [86_400.0, 1e9], [86_399.0, None]),
    ],
)
def test_filters_by_ttl(name: str, held: list[float | None], not_held: list[float | None]) -> None:
    assert all(TTL_FILTERS[name].holds(ttl_s) for ttl_s in held)
    assert not any(TTL_FILTERS[name].holds(ttl_s) for ttl_s in not_held)


@pytest.mark.parametrize(
    ("under", "holds", "holds_not"),
    [
        ((), [b"anything"], []),
        (("product:",), [b"product:1", b"product:list:1", b"product:"], [b"products:1", b"x:product:1"]),
        (("product:", "{id}"), [b"product:1", b"product:a-b"], [b"product:list:1", b"product:"]),
        (("product:", "{id}:"), [b"product:1:reviews"], [b"product:1", b"product::x"]),
        (("a.b:", "x"), [b"a.b:x"], [b"aXb:x", b"a.b:x:y", b"a.b:xy"]),
        (("user-{id}:",), [b"user-7:x"], [b"user-:x", b"other-7:x"]),
        (("\\xff:", "\\x7bid}"), [b"\xff:{id}"], [b"\xff:7"]),
        (("a:", "(other)"), [b"a:1", b"a:b:c"], [b"b:1"]),
        (("(other)",), [b"anything"], []),
        (("line\\x0a:", "{id}"), [b"line\n:a\nb"], [b"line:\n"]),
        (("a{id}b{id}b",), [b"a1b2b", b"abbbb", b"axbxbb"], [b"abb", b"a1b2", b"a1b2b:", b"a1bb"]),
        (("{id}:", "{id}{id}"), [b"a:bc"], [b"a:b", b"a:b:", b":bc"]),
        (
            ("a:", "b:", "c:", "d:", "e:", "f:", "g:", "h:", "{id}-x"),
            [b"a:b:c:d:e:f:g:h:1-x:y"],
            [b"a:b:c:d:e:f:g:h:-x"],
        ),
    ],
)
def test_a_path_of_the_tree_holds_its_keys(
    under: tuple[str, ...], holds: list[bytes], holds_not: list[bytes]
) -> None:
    is_below = below(under, ":")
    assert [is_below(key) for key in holds] == [True] * len(holds)
    assert [is_below(key) for key in holds_not] == [False] * len(holds_not)


def test_many_folds_cost_no_more_than_a_look_at_the_key() -> None:
    # A pattern that tries every way to divide the key among the folds would not come back from this.
    is_below = below(("s:", "{id}" * 40 + "!", "{id}x" * 60), ":")
    assert not is_below(b"s:" + b"x" * 5_000) and is_below(b"s:" + b"y" * 40 + b"!" + b"yx" * 60)


def test_parts_may_have_several_delimiters() -> None:
    is_below = below(("a/", "{id}"), ":/")
    assert is_below(b"a/7") and not is_below(b"a/7:b") and not is_below(b"a/7/b")


# --- the library's values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (wire.Kind.LOAD, "load placeholder"),
        (wire.Kind.WRITE, "write placeholder"),
        (wire.Kind.HOLD, "hold"),
    ],
)
def test_placeholders_are_explained_and_fixed(kind: wire.Kind, name: str) -> None:
    role = role_of(b"product:1", "string", wire.placeholder(kind), is_all=True)
    assert role.name == name and role.note and role.fixed and not role.is_value


def test_a_placeholder_of_a_later_library_counts_as_a_hold() -> None:
    assert role_of(b"k", "string", wire.MAGIC + b"new:1", is_all=True).name == "hold"


def test_entries_have_tags_and_a_header_that_is_no_part_of_the_value() -> None:
    value = tags.wrap({"sale-eu": tags.LEAST_VERSION, "a": tags.LEAST_VERSION + 1}, b'{"x":1}')
    role = role_of(b"product:1", "string", value, is_all=True)
    assert role.name == "entry" and set(role.tags) == {"sale-eu", "a"}
    assert value[role.header :] == b'{"x":1}' and not role.fixed and role.is_value


@pytest.mark.parametrize("value", [b"null", b"\xc0"])
def test_that_there_is_none_is_explained(value: bytes) -> None:
    assert role_of(b"k", "string", value, is_all=True).name == "negative entry"
    assert role_of(b"k", "string", tags.wrap({"t": tags.LEAST_VERSION}, value), is_all=True).tags == ("t",)
    assert role_of(b"k", "string", value, is_all=False).name == ""


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (wire.POLICIES_KEY, "policies"),
        (wire.INSTANCES_KEY, "application instances"),
        (wire.COUNTERS_KEY, "counters"),
        (tags.tag_key("sale"), "tag"),
        (wire.GUARD_KEY + b"product:1", "refresh guard"),
        (b"cachewarden:else", "own key"),
    ],
)
def test_our_own_keys_are_named_and_fixed(key: bytes, name: str) -> None:
    role = role_of(key, "hash", b"", is_all=True)
    assert role.name == name and role.fixed and not role.is_value


@pytest.mark.parametrize(
    "start", [b"", b"#cachewarden ", b"#cachewarden {}", b"#cachewarden [1]\nx", b'#cachewarden {"a":"b"}\nx']
)
def test_a_header_that_is_none_is_part_of_the_value(start: bytes) -> None:
    assert read_header(start) == (0, ())
    assert role_of(b"k", "string", start, is_all=True).name == ""


# --- rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "template", "expected"),
    [
        (b"product:7", "product:{id}", "7"),
        (b"product:7:reviews", "product:{id}:reviews", "7"),
        (b"product:7:x", "product:{id}:reviews", None),
        (b"product:", "product:{id}", None),
        (b"p:7:7", "p:{id}:{id}", "7"),
        (b"p:7:8", "p:{id}:{id}", None),
        (b"p:a:b:a:b", "p:{id}:{id}", "a:b"),
        (b"\xff7", "\\xff{id}", "7"),
        (b"k:\xfe", "k:{id}", "\\xfe"),
        (b"aa", "a{id}a", None),
        (b"x", "x", None),
    ],
)
def test_the_identifier_that_makes_a_key(key: bytes, template: str, expected: str | None) -> None:
    assert identifier(key, template) == expected


def test_rows_of_a_key() -> None:
    products = RowMapping("products", "id", ("product:{id}", "product:{id}:reviews"))
    others = RowMapping("shop.users", "uid", ("product:{id}",))
    assert rows_of(b"product:7", [products, others]) == (("products.id", "7"), ("shop.users.uid", "7"))
    assert rows_of(b"else:7", [products, others]) == ()
    assert rows_of(b"product:" + b"7" * 5_000, [products]) == ()
    many = [RowMapping(f"t{number}", "id", ("product:{id}",)) for number in range(100)]
    assert len(rows_of(b"product:7", many)) == MOST_ROWS


# --- servers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "no_touch", "field_ttls", "free_types", "lfu"),
    [
        (b"redis_version:7.0.15\r\nmaxmemory_policy:allkeys-lru\r\n", False, False, False, False),
        (b"redis_version:7.2.4\r\nmaxmemory_policy:allkeys-lfu\r\n", True, False, False, True),
        (b"redis_version:7.4.1\r\n", True, True, False, False),
        (b"redis_version:7.2.4\r\nvalkey_version:7.2.8\r\n", True, False, False, False),
        (b"redis_version:7.2.4\r\nvalkey_version:8.1.0\r\n", True, False, True, False),
        (b"redis_version:7.2.4\r\nvalkey_version:9.0.1\r\n", True, True, True, False),
        (b"redis_version:8.0.0\r\n", True, True, True, False),
        (b"redis_version:strange\r\n", False, False, False, False),
        (b"", False, False, False, False),
    ],
)
def test_what_a_server_can_do(
    info: bytes, no_touch: bool, field_ttls: bool, free_types: bool, lfu: bool
) -> None:
    assert read_server(info) == Server(no_touch, field_ttls, free_types, lfu)
