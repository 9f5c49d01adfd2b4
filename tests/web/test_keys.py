"""The Keys page: what each role sees, every type, names of any bytes, edits and their audit entries, hostile input."""

import html
import re
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from dashboard.access import Role
from dashboard.keys.types import Verb
from dashboard.web.addresses import key_to_text
from dashboard.work import Runtime
from tests.conftest import sign_in
from tests.support import reading
from tests.support.people import as_cli
from tests.support.some_caches import add_cache

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}
DETAIL = PARTIAL | {"HX-Target": "section#keys-detail"}
PANES = PARTIAL | {"HX-Target": "div#keys-panes"}
SCRIPT = "<script>alert(1)</script>"
NAMES = [
    b"",
    b"\x00\xff\xfe",
    b"a b",
    "käse:ключ".encode(),
    SCRIPT.encode(),
    b'"quoted"',
    b"*?[a]\\",
    b"x" * 3000,
    b"\r\n",
]


@pytest.fixture
def server(valkey_url: str) -> redis.Redis:
    return redis.Redis.from_url(valkey_url)


@pytest.fixture
def base(runtime: Runtime, valkey_url: str) -> str:
    return f"/caches/{add_cache(runtime, url=valkey_url).id}/keys"


def shown(browser: FlaskClient, path: str, status: int = 200, **kwargs: Any) -> str:
    page = reading.shown(browser, path, status, **kwargs)
    assert SCRIPT not in page
    return page


def at(base: str, key: bytes, more: str = "") -> str:
    return f"{base}?key={key_to_text(key)}{more}"


def listed(page: str) -> list[str]:
    return re.findall(r'<tr[^>]*data-key="([^"]*)"', page)


def audited(runtime: Runtime, action: str) -> list[Any]:
    with as_cli(runtime) as work:
        query = (
            "SELECT actor_name, subject, before, after FROM audit_entry WHERE action = :action ORDER BY id"
        )
        return list(work.session.execute(text(query), {"action": action}))


def fill(server: redis.Redis) -> None:
    server.set("text", "line 1\n\tline 2", ex=1000)
    server.set("json", '{"a": [1, null, "x"]}')
    server.hset("hash", mapping={"field": "value", b"\xff": b"\x00"})
    server.rpush("list", "first", "second")
    server.sadd("set", "member")
    server.zadd("zset", {"one": 1.5})
    server.xadd("stream", {"order": "1"}, id="5-1")
    server.xgroup_create("stream", "billing", id="0")


# --- looking ----------------------------------------------------------------------------------------------------


def test_an_empty_cache_says_so_and_offers_a_quick_look(
    operator: FlaskClient, base: str, server: redis.Redis
) -> None:
    page = shown(operator, base)
    assert "The cache is empty" in page and "Quick look" in page and "Not scanned yet" in page


def test_a_viewer_sees_all_and_changes_nothing(viewer: FlaskClient, base: str, server: redis.Redis) -> None:
    fill(server)
    page = shown(viewer, at(base, b"text"))
    assert page.count('method="post"') == 1  # the way out
    assert "line 1\n\tline 2" in page and len(listed(page)) == 7 and "/invalidate/keys" not in page
    for edit in ("&edit=value", "&edit=new"):
        assert 'id="edit-form"' not in shown(viewer, at(base, b"text", edit))


def test_a_read_only_cache_has_no_forms(
    operator: FlaskClient, runtime: Runtime, server: redis.Redis, valkey_url: str
) -> None:
    fill(server)
    base = f"/caches/{add_cache(runtime, url=valkey_url, read_only=True).id}/keys"
    page = shown(operator, at(base, b"hash", "&edit=new"))
    assert "Read-only" in page and "/keys/ttl" not in page and 'id="edit-form"' not in page
    answer = operator.post(f"{base}/delete", data={"key": key_to_text(b"hash")})
    assert answer.status_code == 409 and server.exists("hash")


@pytest.mark.parametrize(
    ("key", "seen"),
    [
        (b"text", "line 1\n\tline 2"), (b"json", '<span class="j-key">&#34;a&#34;</span>'), (b"hash", "\\xff"),
        (b"list", "second"), (b"set", "member"), (b"zset", "1.5"), (b"stream", "billing"),
    ],
)  # fmt: skip
def test_every_type_opens(viewer: FlaskClient, base: str, server: redis.Redis, key: bytes, seen: str) -> None:
    fill(server)
    page = shown(viewer, at(base, key))
    detail = page[page.index('id="keys-detail"') :]
    assert seen in detail and f'data-open="{key_to_text(key)}"' in detail
    part = shown(viewer, at(base, key), headers=DETAIL)
    assert part.lstrip().startswith('<section class="card pane p-detail open"') and "<html" not in part
    assert 'id="keys-list"' not in part
    panes = shown(viewer, at(base, key), headers=PANES)
    assert (
        panes.lstrip().startswith('<div class="panes"') and 'id="keys-list"' in panes and "<html" not in panes
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_key_of_any_name_is_listed_and_opened_and_found(
    operator: FlaskClient, base: str, server: redis.Redis, name: bytes
) -> None:
    server.set(name, SCRIPT)
    page = shown(operator, base)
    assert listed(page) == [key_to_text(name)]
    href = re.search(r'<a class="k mono" href="([^"]*)"', page)
    assert href is not None
    detail = shown(operator, html.unescape(href[1]))
    assert "There is no such key" not in detail and html.escape(SCRIPT, quote=False) in html.unescape(
        detail
    ).replace(SCRIPT, html.escape(SCRIPT, quote=False))
    assert operator.get(f"{base}/value?key={key_to_text(name)}").get_data() == SCRIPT.encode()


def test_a_whole_key_comes_first_and_a_quoted_one_alone(
    viewer: FlaskClient, base: str, server: redis.Redis
) -> None:
    server.mset({f"product:{number}": "x" for number in range(300)} | {"a*b": "x", "axb": "x"})
    page = shown(viewer, f"{base}?q=product:29")
    assert listed(page)[0] == key_to_text(b"product:29") and len(listed(page)) == 11
    assert listed(shown(viewer, f"{base}?q=%22a*b%22")) == [key_to_text(b"a*b")]
    assert len(listed(shown(viewer, f"{base}?q=a*b"))) == 2
    assert "No key matches" in shown(viewer, f"{base}?q=%22product:%22")


def test_the_list_goes_on_by_cursor_to_the_end(viewer: FlaskClient, base: str, server: redis.Redis) -> None:
    server.mset({f"k:{number}": "x" for number in range(500)})
    found: set[str] = set()
    path: str | None = base
    while path:
        page = shown(viewer, path)
        found |= set(listed(page))
        following = re.search(r'<a class="btn sm" href="([^"]*)"[^>]*rel="next"', page)
        path = html.unescape(following[1]) if following else None
        assert ("First page" in page) == ("cursor=" in page.split('rel="search"')[0] and "First page" in page)
    assert len(found) == 500 and "all keys looked at" in page


def test_filters_by_type_and_ttl(viewer: FlaskClient, base: str, server: redis.Redis) -> None:
    fill(server)
    assert listed(shown(viewer, f"{base}?type=hash")) == [key_to_text(b"hash")]
    assert listed(shown(viewer, f"{base}?ttl=lt1h")) == [key_to_text(b"text")]
    assert key_to_text(b"text") not in listed(shown(viewer, f"{base}?ttl=none"))
    assert "No key matches" in shown(viewer, f"{base}?type=ReJSON-RL")


def test_members_are_opened_by_address(viewer: FlaskClient, base: str, server: redis.Redis) -> None:
    fill(server)
    for key, item in (
        (b"hash", b"\xff"),
        (b"list", b"1"),
        (b"set", b"member"),
        (b"zset", b"one"),
        (b"stream", b"5-1"),
    ):
        page = shown(viewer, at(base, key, f"&item={key_to_text(item)}"))
        assert "There is no such" not in page, key
    assert "no such field any more" in shown(viewer, at(base, b"hash", f"&item={key_to_text(b'gone')}"))


def test_a_large_value_is_shown_in_parts(viewer: FlaskClient, base: str, server: redis.Redis) -> None:
    server.set("big", b"0123456789abcdef" * 20_000)
    server.hset("many", mapping={f"f{number}": number for number in range(5000)})
    page = shown(viewer, at(base, b"big"))
    assert "Bytes 1 to 65,536 of 320,000" in page and "start=65536" in page
    last = shown(viewer, at(base, b"big", "&start=262144"))
    assert "Bytes 262,145 to 320,000 of 320,000" in last and "Next part" not in last and "Beginning" in last
    part = re.search(r'href="([^"]*part=[^"]*)"[^>]*rel="next"', shown(viewer, at(base, b"many")))
    assert part is not None and "of 5,000 fields" in shown(viewer, html.unescape(part[1]))
    assert (
        int(viewer.get(f"{base}/value?key={key_to_text(b'big')}").headers.get("Content-Length", 320_000))
        == 320_000
    )


def test_a_key_that_is_not_there(viewer: FlaskClient, base: str, server: redis.Redis) -> None:
    assert "There is no such key" in shown(viewer, at(base, b"gone"))
    assert viewer.get(f"{base}/value?key={key_to_text(b'gone')}").status_code == 404
    server.hset("hash", "a", "b")
    assert viewer.get(f"{base}/value?key={key_to_text(b'hash')}").status_code == 404


def test_a_cache_that_is_away_leaves_the_page(operator: FlaskClient, runtime: Runtime) -> None:
    base = f"/caches/{add_cache(runtime).id}/keys"
    page = shown(operator, at(base, b"x"))
    assert page.count('class="banner crit"') == 2 and "Prefixes" in page and "Try again" in page
    answer = operator.post(
        f"{base}/edit", data={"key": "eA", "verb": "set-value", "value": "kept <b>", "version": "v"}
    )
    assert answer.status_code == 503 and SCRIPT not in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("path", "sent", "kept"),
    [
        ("edit", {"verb": "set-value", "value": "kept <b>", "version": "v"}, "kept &lt;b&gt;</textarea>"),
        ("edit", {"verb": "set-field", "name": "a field", "value": "1"}, "a field</textarea>"),
        ("edit", {"verb": "add-entry", "field0": "order", "value0": "4711"}, 'value="4711"'),
        ("ttl", {"ttl": "1234", "ttl.unit": "m"}, 'value="1234"'),
        ("rename", {"name": "another-name"}, 'value="another-name"'),
    ],
)
def test_what_was_typed_is_kept_while_the_cache_is_away(
    operator: FlaskClient, runtime: Runtime, path: str, sent: dict[str, str], kept: str
) -> None:
    base = f"/caches/{add_cache(runtime).id}/keys"
    is_new = sent.get("verb") in ("set-field", "add-entry")
    back = f"key=eA{'&edit=new' if is_new else ''}"
    answer = operator.post(f"{base}/{path}", data={"key": "eA", "back": back, "opened": "string"} | sent)
    page = answer.get_data(as_text=True)
    detail = page[page.index('id="keys-detail"') :]
    assert answer.status_code == 503 and kept in detail
    assert 'name="key" value="eA"' in detail and f'name="back" value="{html.escape(back)}"' in detail


def test_the_value_that_was_typed_is_kept_when_its_key_is_gone(
    operator: FlaskClient, base: str, server: redis.Redis
) -> None:
    server.set("x", "1")
    form = opened(operator, base, b"x")
    server.delete("x")
    answer = sent(operator, base, form, verb="set-value", value="typed for an hour")
    assert answer.status_code == 409 and "typed for an hour</textarea>" in answer.get_data(as_text=True)


def test_the_address_of_a_refused_form_leads_back_to_its_key(
    operator: FlaskClient, base: str, server: redis.Redis
) -> None:
    server.set("x", "1")
    page = shown(operator, at(base, b"x", "&edit=value"))
    actions = [html.unescape(each) for each in re.findall(rf'action="({re.escape(base)}/[^"]*)"', page)]
    assert {each.partition("?")[0].rpartition("/")[2] for each in actions} == {
        "edit", "ttl", "rename", "delete"
    }  # fmt: skip
    for each in actions:
        answer = operator.get(each)
        assert answer.status_code == 303 and answer.headers["Location"].startswith(f"{base}?")
        assert 'data-open="eA"' in shown(operator, answer.headers["Location"])


def test_members_that_are_no_text_are_listed_escaped(
    viewer: FlaskClient, base: str, server: redis.Redis
) -> None:
    server.hset("h", mapping={b"\xff\x00": b"\xfe", b"half": b"ab\xc3"})
    page = shown(viewer, at(base, b"h"))
    assert (
        "\\xff\\x00" in page and '<p class="mono">\\xfe</p>' in page and '<p class="mono">ab\\xc3</p>' in page
    )


def test_another_cache_is_not_found(operator: FlaskClient) -> None:
    assert operator.get("/caches/4711/keys").status_code == 404
    assert operator.get("/caches/4711/keys?key=YQ", headers=DETAIL).status_code == 404
    assert operator.get("/caches/4711/keys/value?key=YQ").status_code == 404
    for form in ("edit", "ttl", "persist", "rename", "delete"):
        data = {"key": "YQ", "verb": "set-value", "ttl": "1", "name": "b"}
        assert operator.post(f"/caches/4711/keys/{form}", data=data).status_code == 404, form


@pytest.mark.parametrize(
    "query",
    [
        "key=!", "key=a", "item=!", "view=xml", "edit=all", "pane=x", "start=-1", "start=1e9", "before=x", "cursor=bad",
        "cursor=AAAA", "ttl=soon", "q=%5Cx", "type=%00", "q=" + "x" * 30_000, "type=a%20b",
    ],
)  # fmt: skip
def test_a_wrong_address_is_refused_in_words(
    viewer: FlaskClient, base: str, server: redis.Redis, query: str
) -> None:
    fill(server)
    for headers in ({}, PANES):
        answer = viewer.get(f"{base}?{query}", headers=headers)
        assert answer.status_code in (400, 422), query
    if query == "cursor=bad":
        assert "Search from the beginning" in viewer.get(f"{base}?{query}").get_data(as_text=True)


# --- changing ---------------------------------------------------------------------------------------------------


def opened(browser: FlaskClient, base: str, key: bytes, more: str = "&edit=value") -> dict[str, str]:
    """The hidden fields of the form that is open."""
    page = shown(browser, at(base, key, more))
    form = page[page.index('id="edit-form"') :]
    fields = dict(
        re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form[: form.index("<h3")])
    )
    if 'name="written" value="escaped" checked' in form:
        fields["written"] = "escaped"
    return {name: html.unescape(value) for name, value in fields.items()}


def sent(browser: FlaskClient, base: str, form: dict[str, str], **fields: str) -> Any:
    return browser.post(f"{base}/edit", data={**form, **fields}, content_type="multipart/form-data")


def test_a_value_is_edited_with_its_ttl_kept_and_an_audit_entry(
    operator: FlaskClient, base: str, server: redis.Redis, runtime: Runtime
) -> None:
    fill(server)
    form = opened(operator, base, b"text", "&edit=value&q=te")
    ends = server.pexpiretime("text")
    answer = sent(operator, base, form, verb="set-value", value="line 1\r\nnew\r\n")
    assert (
        answer.status_code == 303 and answer.headers["Location"] == f"{base}?q=te&key={key_to_text(b'text')}"
    )
    assert server.get("text") == b"line 1\nnew\n" and server.pexpiretime("text") == ends
    (who, _, before, after), = audited(runtime, "keys:value:change")  # fmt: skip
    assert who == "the-operator" and "line 2" in str(before) and "new" in str(after)


def test_a_value_begins_with_an_empty_line_or_holds_bytes(
    operator: FlaskClient, base: str, server: redis.Redis
) -> None:
    for value in (b"\n\nx", b"a\r\nb", b"\x00\xff", b"</textarea>", b"tab\t\xc3\xa4", b"back\\slash"):
        server.set("k", value)
        page = shown(operator, at(base, b"k", "&edit=value"))
        field = re.search(r'<textarea[^>]*id="value"[^>]*>\r?\n(.*?)</textarea>', page, re.DOTALL)
        assert field is not None
        # What a browser sends: every line end as CR LF.
        typed = html.unescape(field[1]).replace("\n", "\r\n")
        answer = sent(operator, base, opened(operator, base, b"k"), verb="set-value", value=typed)
        assert answer.status_code == 303 and server.get("k") == value, value


def test_what_changed_meanwhile_is_shown_beside_what_was_typed(
    operator: FlaskClient, base: str, server: redis.Redis
) -> None:
    fill(server)
    form = opened(operator, base, b"text")
    server.set("text", "theirs <b>", keepttl=True)
    answer = sent(operator, base, form, verb="set-value", value="mine <i>")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "Changed meanwhile" in page
    assert "theirs &lt;b&gt;" in page and "mine &lt;i&gt;" in page and server.get("text") == b"theirs <b>"
    version = re.search(r'name="version" value="([^"]*)"', page[page.index('id="edit-form"') :])
    assert version is not None
    form["version"] = html.unescape(version[1])
    assert sent(operator, base, form, verb="set-value", value="mine <i>").status_code == 303
    assert server.get("text") == b"mine <i>" and 900 < server.ttl("text") <= 1000


def test_members_are_changed_added_and_taken_away(
    operator: FlaskClient, base: str, server: redis.Redis, runtime: Runtime
) -> None:
    fill(server)
    for key in ("hash", "list", "set", "zset", "stream"):
        server.expire(key, 1000)

    def change(key: bytes, item: bytes, **fields: str) -> int:
        form = opened(operator, base, key, f"&edit=value&item={key_to_text(item)}")
        return int(sent(operator, base, form, **fields).status_code)

    def add(key: bytes, **fields: str) -> int:
        return int(sent(operator, base, opened(operator, base, key, "&edit=new"), **fields).status_code)

    assert change(b"hash", b"field", verb="set-field", value="changed") == 303
    assert add(b"hash", verb="set-field", name="new", value="field") == 303
    assert server.hgetall("hash") == {b"field": b"changed", b"\xff": b"\x00", b"new": b"field"}
    assert change(b"hash", b"\xff", verb="remove-field") == 303 and server.hlen("hash") == 2
    assert add(b"hash", verb="set-field", name="new", value="again") != 303, (
        "a field that is there is not replaced"
    )
    assert change(b"list", b"1", verb="set-element", value="2nd") == 303
    assert (
        add(b"list", verb="push-last", value="last") == 303
        and add(b"list", verb="push-first", value="0th") == 303
    )
    assert server.lrange("list", 0, -1) == [b"0th", b"first", b"2nd", b"last"]
    assert change(b"list", b"1", verb="remove-element") == 303 and server.llen("list") == 3
    assert add(b"set", verb="add-member", value="other") == 303
    assert change(b"set", b"member", verb="remove-member") == 303 and server.smembers("set") == {b"other"}
    assert change(b"zset", b"one", verb="set-score", score="2.5") == 303
    assert add(b"zset", verb="set-score", name="two", score="7") == 303
    assert server.zrange("zset", 0, -1, withscores=True) == [(b"one", 2.5), (b"two", 7.0)]
    assert add(b"stream", verb="add-entry", field0="order", value0="2", field3="x", value3="") == 303
    assert change(b"stream", b"5-1", verb="remove-entry") == 303
    assert [entry for _, entry in server.xrange("stream") or ()] == [{b"order": b"2", b"x": b""}]
    for key in ("hash", "list", "set", "zset", "stream"):
        assert 900 < server.ttl(key) <= 1000, key
    assert len(audited(runtime, "keys:value:remove")) == 4 and len(audited(runtime, "keys:value:add")) >= 6


def test_what_is_wrong_in_a_form_is_said_beside_it_and_kept(
    operator: FlaskClient, base: str, server: redis.Redis
) -> None:
    fill(server)
    form = opened(operator, base, b"zset", "&edit=new")
    answer = sent(operator, base, form, verb="set-score", name="member 2", score="much")
    page = answer.get_data(as_text=True)
    assert (
        answer.status_code == 422 and 'id="score-e"' in page and "member 2" in page and 'value="much"' in page
    )
    form = opened(operator, base, b"text")
    answer = sent(operator, base, form, verb="set-value", value="a\\q", written="escaped")
    assert answer.status_code == 422 and 'id="value-e"' in answer.get_data(as_text=True)
    for field, data in (("ttl", {"ttl": "soon", "ttl.unit": "h"}), ("name", {"name": "hash"})):
        path = f"{base}/{'ttl' if field == 'ttl' else 'rename'}"
        answer = operator.post(
            path, data={"key": key_to_text(b"text"), "back": f"key={key_to_text(b'text')}", **data}
        )
        page = answer.get_data(as_text=True)
        assert (
            answer.status_code == 422 and f'id="new-{field}-e"' in page and f'value="{data[field]}"' in page
        )


def test_ttl_name_and_the_key_itself(
    operator: FlaskClient, base: str, server: redis.Redis, runtime: Runtime
) -> None:
    fill(server)
    form = {"key": key_to_text(b"text"), "back": f"q=t&key={key_to_text(b'text')}"}
    answer = operator.post(f"{base}/ttl", data=form | {"ttl": "2", "ttl.unit": "h"})
    assert answer.status_code == 303 and 7000 < server.ttl("text") <= 7200
    assert operator.post(f"{base}/persist", data=form).status_code == 303 and server.ttl("text") == -1
    operator.post(f"{base}/ttl", data=form | {"ttl": "2", "ttl.unit": "h"})
    answer = operator.post(f"{base}/rename", data=form | {"name": "t\\xff"})
    assert answer.headers["Location"] == f"{base}?q=t&key={key_to_text(bytes([116, 255]))}"
    assert server.exists(b"t\xff") and not server.exists("text") and 7000 < server.ttl(b"t\xff") <= 7200
    form["key"] = key_to_text(b"t\xff")
    answer = operator.post(f"{base}/delete", data=form)
    assert answer.headers["Location"] == f"{base}?q=t" and not server.exists(b"t\xff")
    assert operator.post(f"{base}/delete", data=form).status_code == 409
    for action in ("keys:ttl:set", "keys:ttl:remove", "keys:key:rename", "keys:key:delete"):
        assert {who for who, _, _, _ in audited(runtime, action)} == {"the-operator"}, action


def test_a_download_says_how_long_it_is_and_touches_nothing_unasked(
    runtime: Runtime, viewer: FlaskClient, base: str, server: redis.Redis, redis7_url: str
) -> None:
    server.set("k", b"v" * 2_000_000)
    answer = viewer.get(f"{base}/value?key={key_to_text(b'k')}")
    assert answer.headers["Content-Length"] == "2000000" and len(answer.data) == 2_000_000
    old = f"/caches/{add_cache(runtime, 'old', redis7_url).id}/keys"
    with redis.Redis.from_url(redis7_url) as client:
        client.set("k", "v")
    href = f"{old}/value?key={key_to_text(b'k')}"
    assert href not in shown(viewer, at(old, b"k"))
    assert viewer.get(href).status_code == 409
    assert f"{href}&amp;touch=1" in shown(viewer, at(old, b"k", "&touch=1"))
    assert viewer.get(f"{href}&touch=1").data == b"v"


def test_a_member_that_was_taken_away_leads_back_to_the_key(
    operator: FlaskClient, base: str, server: redis.Redis
) -> None:
    server.hset("h", mapping={"a": "1", "b": "2"})
    form = opened(operator, base, b"h", f"&item={key_to_text(b'a')}&edit=value")
    answer = sent(operator, base, form, verb="remove-field")
    assert answer.status_code == 303 and server.hkeys("h") == [b"b"]
    assert answer.headers["Location"] == f"{base}?key={key_to_text(b'h')}"


def hidden(browser: FlaskClient, base: str, key: bytes) -> str:
    """What the page's forms say was opened."""
    found = set(re.findall(r'name="opened" value="([^"]+)"', shown(browser, at(base, key))))
    assert len(found) == 1
    return str(found.pop())


def test_a_key_that_was_replaced_is_shown_before_it_is_changed(
    operator: FlaskClient, base: str, server: redis.Redis
) -> None:
    name = key_to_text(b"k")
    for action, more in (("ttl", {"ttl": "2"}), ("persist", {}), ("rename", {"name": "x"}), ("delete", {})):
        server.flushall()
        server.set("k", "v", ex=10)
        form = {"key": name, "back": f"key={name}", "opened": hidden(operator, base, b"k"), **more}
        server.delete("k")
        server.hset("k", "a", "1")
        server.expire("k", 86_400)
        answer = operator.post(f"{base}/{action}", data=form)
        assert answer.status_code == 409 and server.ttl("k") > 86_000
        page = answer.get_data(as_text=True)
        assert "it was a string with" in page and "is a hash with" in page
        form["opened"] = re.findall(r'name="opened" value="([^"]+)"', page)[0]
        assert operator.post(f"{base}/{action}", data=form).status_code == 303
        assert server.ttl("k") < 80_000
    wrong = operator.post(f"{base}/delete", data=form | {"opened": "a b c"})
    assert wrong.status_code == 422


def test_a_session_that_ended_keeps_the_value_that_was_typed(
    client: FlaskClient, operator: FlaskClient, base: str, server: redis.Redis
) -> None:
    fill(server)
    form = opened(operator, base, b"text") | {"verb": "set-value", "value": "typed for long"}
    page = client.post(f"{base}/edit", data=form, content_type="multipart/form-data").get_data(as_text=True)
    fields = {
        html.unescape(name): html.unescape(value)
        for name, value in re.findall(r'<textarea name="([^"]*)" hidden>\n(.*?)</textarea>', page, re.DOTALL)
    }
    kept = {name.removeprefix("kept-."): value for name, value in fields.items()}
    again = operator.post(f"{base}/edit/again", data=kept, content_type="multipart/form-data")
    shown_again = again.get_data(as_text=True)
    assert again.status_code == 200 and "typed for long" in shown_again and 'id="edit-form"' in shown_again
    assert server.get("text") == b"line 1\n\tline 2"


STRANGE = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(
        ["", "eA", "dGV4dA", "aGFzaA", "!", "-1", "0", "9" * 30, "nan", "inf", "1e400", "\\xff", "\\", "*",
         "[", "[a-", "%00", "{id}", "(other)", SCRIPT, "../../etc", "none", "lt1h", "string", "hex", "text", "value",
         "new", "tree", "0-0", "*" * 50]
    ),
)  # fmt: skip
QUERY = st.dictionaries(
    st.sampled_from(
        [
            "q",
            "type",
            "ttl",
            "under",
            "cursor",
            "before",
            "found",
            "key",
            "view",
            "start",
            "part",
            "touch",
            "item",
            "edit",
            "pane",
        ]
    ),
    STRANGE,
    max_size=6,
)
FORM = st.dictionaries(
    st.sampled_from(
        [
            "key",
            "back",
            "address",
            "version",
            "name",
            "value",
            "score",
            "written",
            "field0",
            "value0",
            "ttl",
            "ttl.unit",
        ]
    ),
    STRANGE,
    max_size=8,
)
FIXED = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def hostile(app: Any, runtime: Runtime, server: redis.Redis) -> FlaskClient:
    fill(server)
    return sign_in(app, runtime, Role.OPERATOR, "hostile")


def is_sound(answer: Any) -> bool:
    return answer.status_code < 500 and SCRIPT.encode() not in answer.data


@FIXED
@given(QUERY, st.sampled_from([{}, DETAIL, PANES]))
def test_no_address_breaks_the_page(
    hostile: FlaskClient, base: str, query: dict[str, str], headers: dict[str, str]
) -> None:
    assert is_sound(hostile.get(base, query_string=query, headers=headers))


@FIXED
@given(
    FORM,
    st.sampled_from(["edit", "edit/again", "ttl", "persist", "rename"]),
    st.sampled_from([*Verb, "flush"]),
)
def test_no_form_breaks_the_page(
    hostile: FlaskClient, base: str, form: dict[str, str], path: str, verb: str
) -> None:
    assert is_sound(hostile.post(f"{base}/{path}", data={**form, "verb": verb}))
