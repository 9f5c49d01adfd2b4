"""The Keys page in a browser, over two million keys of every type, with redis-cli as the judge."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import redis
from playwright.sync_api import Browser, Page, expect

from dashboard.caches import service as caches
from dashboard.embedded import valkey
from dashboard.fleet.url import parse_url
from dashboard.web.addresses import key_to_text
from dashboard.work import unit_of_work
from tests.browser.test_accessibility import in_both_themes
from tests.support import live, servers
from tests.support.pages import Watched

pytestmark = pytest.mark.browser

KEYS = 2_000_000
FILL = """
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local kind = i % 40
  if kind == 1 then redis.call('HSET', 'session:user:' .. i, 'id', i, 'cart', '[]')
  elseif kind == 2 then redis.call('RPUSH', 'queue:' .. i, 'a', 'b')
  elseif kind == 3 then redis.call('SADD', 'tags:' .. i, 'x', 'y')
  elseif kind == 4 then redis.call('ZADD', 'board:' .. i, 1, 'one', 2, 'two')
  elseif i % 4000 == 5 then redis.call('XADD', 'events:' .. i, '1-1', 'order', i)
  elseif kind < 10 then redis.call('SET', 'flag:' .. i, i)
  else redis.call('SET', 'product:' .. i, i, 'EX', 86400 + i % 3600) end
end
"""
TYPES = {
    "product:1999999": "string", "session:user:1999961": "hash", "queue:1999962": "list", "tags:1999963": "set",
    "board:1999964": "zset", "events:1996005": "stream",
}  # fmt: skip
BINARY = b"bin\x00\xff:\xfe 1"
ITEMS = {"id": 7, "name": "Gooseneck kettle", "stock": list(range(60)), "sale": None}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A Valkey with two million keys of every type, and a few to look at closely."""
    with valkey.start() as server, redis.Redis.from_url(server.url, socket_timeout=60) as client:
        fill = client.register_script(FILL)
        for first in range(0, KEYS, 50_000):
            fill(args=[first, first + 49_999])
        client.set(BINARY, bytes(range(256)), ex=5000)
        client.set("shop:item", json.dumps(ITEMS), ex=5000)
        client.hset("shop:many", mapping={f"field {number:05}": number for number in range(20_000)})
        client.setrange("shop:huge", 50_000_000, b"end")
        yield server.url


@pytest.fixture(scope="module")
def base(dashboard: live.Live, url: str) -> Iterator[str]:
    """The address of its Keys page."""
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        form = live.cache_form(dashboard, "two-million", poll_interval_s=60)
        made = caches.create_cache(work, replace(form, url=parse_url(url)))
    yield f"/caches/{made.id}/keys"
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        caches.delete_cache(work, made.id, "two-million")


@pytest.fixture
def plain(chromium: Browser, dashboard: live.Live, signed_in: dict[str, object]) -> Iterator[Page]:
    """A page without scripts."""
    context = chromium.new_context(
        base_url=dashboard.url,
        storage_state=signed_in,  # type: ignore[arg-type]
        java_script_enabled=False,
    )
    yield context.new_page()
    context.close()


def cli(url: str, *words: str | bytes) -> str:
    """What the server itself says, by its own command line."""
    program = shutil.which("redis-cli")
    if program is None:
        servers.skip_or_fail("CACHEWARDEN_REQUIRE_REDIS", "redis-cli is not installed")
    assert program is not None
    server = urlsplit(url)
    said = subprocess.run(
        [program, "-p", str(server.port), *words],
        env={"REDISCLI_AUTH": server.password} if server.password else {},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return said.stdout.decode("utf-8", "replace").removesuffix("\n")


def at(base: str, key: str | bytes, more: str = "") -> str:
    return f"{base}?key={key_to_text(key if isinstance(key, bytes) else key.encode())}{more}"


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent")).strip()


def expect_focus(page: Page, text: str) -> None:
    """The focus goes there, once the page has changed as it was told."""
    expect(page.locator("a:focus")).to_have_text(text)


def test_any_of_two_million_keys_is_found_and_opened(page: Page, base: str, url: str) -> None:
    assert int(cli(url, "DBSIZE")) == KEYS + 4
    page.goto(base)
    for key, kind in TYPES.items():
        page.get_by_role("textbox", name="Key, prefix or pattern").fill(key)
        page.keyboard.press("Enter")
        row = page.locator("#keys-list tbody tr").first
        expect(row).to_contain_text(key)
        row.get_by_role("link", name=key, exact=True).click()
        detail = page.locator("#keys-detail.open")
        expect(detail.get_by_role("heading", name=key)).to_be_visible()
        assert cli(url, "TYPE", key) == kind
        expect(detail.locator("dl.facts").first).to_contain_text(kind)
        page.keyboard.press("Escape")
        expect(page.locator("#keys-detail.open")).to_have_count(0)
    ttl = int(cli(url, "TTL", "product:1999999"))
    page.goto(at(base, "product:1999999"))
    assert abs(int(page.locator("[data-ttl]").get_attribute("data-ttl") or "0") - ttl) <= 30
    expect(page.locator("#keys-detail pre.code")).to_have_text("1999999")


def test_a_rare_prefix_among_two_million(page: Page, base: str, url: str) -> None:
    page.goto(f"{base}?q=events:1*5")
    keys = page.locator("#keys-list")
    found: set[str] = set()
    for _ in range(200):
        # Where a part of the keys has none, the list goes on by itself.
        expect(keys.get_by_text("Looking further")).to_have_count(0, timeout=60_000)
        found |= set(keys.locator("tbody a.k").all_inner_texts())
        following = keys.get_by_role("link", name=re.compile("^(Next keys|Look further)"))
        if not following.count():
            break
        keys.evaluate("list => list.setAttribute('data-seen', '')")
        following.click()
        expect(page.locator("#keys-list[data-seen]")).to_have_count(0)
    assert found == set(cli(url, "--scan", "--pattern", "events:1*5").splitlines())
    expect(page.locator("#keys-list .found, #keys-list .empty")).to_contain_text("all keys looked at")


def test_a_binary_name_is_opened_by_its_address_and_its_value_saved(page: Page, base: str) -> None:
    page.goto(f"{base}?q=bin")
    # Perhaps the last of them all.
    expect(page.locator("#keys-list tbody a.k")).to_have_count(1, timeout=60_000)
    page.get_by_role("link", name="bin\\x00\\xff:\\xfe 1").click()
    expect(page.locator("#keys-detail-h")).to_have_text("bin\\x00\\xff:\\xfe 1")
    expect(page.locator(".code.hex").get_by_text("@ABCDEFGHIJKLMNO")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download").click()
    assert saved.value.path().read_bytes() == bytes(range(256))
    page.reload()
    expect(page.locator("#keys-detail-h")).to_have_text("bin\\x00\\xff:\\xfe 1")


def test_large_values_open_at_once_and_go_on_in_parts(page: Page, base: str) -> None:
    page.goto(at(base, "shop:huge", "&view=hex"))
    expect(page.get_by_text("Bytes 1 to 4,096 of 50,000,003")).to_be_visible()
    page.get_by_role("link", name="Next part").click()
    expect(page.get_by_text("Bytes 4,097 to 8,192 of 50,000,003")).to_be_visible()
    page.goto(at(base, "shop:many"))
    expect(page.locator("#keys-detail")).to_contain_text("of 20,000 fields")
    first = page.locator(".items a").first.inner_text()
    page.get_by_role("link", name="Next part").click()
    expect(page.locator(".items a").first).not_to_have_text(first)


def test_json_is_folded(page: Page, base: str) -> None:
    page.goto(at(base, "shop:item"))
    code = page.locator(".code.json")
    expect(code).to_contain_text('"Gooseneck kettle"')
    long = code.locator("summary", has_text='"stock"')
    expect(long).to_contain_text("60 lines")
    assert not code.get_by_text("59", exact=True).is_visible()
    long.click()
    expect(code.get_by_text("59", exact=True)).to_be_visible()
    page.get_by_role("link", name="Raw").click()
    expect(page.locator("pre.code")).to_have_text(json.dumps(ITEMS))


def test_an_edit_keeps_the_ttl_and_a_change_meanwhile_is_shown(page: Page, base: str, url: str) -> None:
    cli(url, "SET", "edit:me", "line 1\nline 2", "EX", "4000")
    ends = cli(url, "PEXPIRETIME", "edit:me")
    page.goto(at(base, "edit:me"))
    page.get_by_role("link", name="Edit value").click()
    field = page.get_by_label("Value", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_value("line 1\nline 2")
    field.fill("line 1\nchanged\n")
    page.get_by_role("button", name="Save value").click()
    expect(page.locator("#keys-detail pre.code")).to_contain_text("changed")
    assert cli(url, "GET", "edit:me") == "line 1\nchanged\n" and cli(url, "PEXPIRETIME", "edit:me") == ends

    page.get_by_role("link", name="Edit value").click()
    expect(field).to_have_value("line 1\nchanged\n")
    cli(url, "SET", "edit:me", "somebody else's", "KEEPTTL")
    field.fill("mine")
    page.get_by_role("button", name="Save value").click()
    alert = page.get_by_role("alert").filter(has_text="Changed meanwhile")
    expect(alert).to_contain_text("somebody else's")
    expect(field).to_have_value("mine")
    assert cli(url, "GET", "edit:me") == "somebody else's"
    page.get_by_role("button", name="Save value").click()
    expect(page.locator("#keys-detail pre.code")).to_have_text("mine")
    assert cli(url, "GET", "edit:me") == "mine" and cli(url, "PEXPIRETIME", "edit:me") == ends

    page.get_by_label("New TTL").fill("2")
    page.get_by_label("Unit of the TTL").select_option("d")
    page.get_by_role("button", name="Set TTL").click()
    expect(page.locator("[data-ttl]")).to_contain_text("1 d 23 h")
    assert 172_000 < int(cli(url, "TTL", "edit:me")) <= 172_800
    page.get_by_role("button", name="Delete key").click()
    page.get_by_role("button", name="Delete this key").click()
    expect(page.get_by_role("status").filter(has_text="is deleted")).to_be_visible()
    assert cli(url, "EXISTS", "edit:me") == "0"


def test_what_was_typed_goes_only_with_a_yes(page: Page, base: str) -> None:
    page.goto(at(base, "shop:item", "&edit=value"))
    field = page.get_by_label("Value", exact=True)
    expect(field).to_be_focused()
    page.keyboard.type("typed ")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.keyboard.press("Escape")
    expect(field).to_have_value(re.compile("typed "))
    page.once("dialog", lambda dialog: dialog.accept())
    page.keyboard.press("Escape")
    expect(page.locator("#edit-form")).to_have_count(0)
    page.get_by_role("link", name="Edit value").click()
    expect(field).not_to_have_value(re.compile("typed "))
    page.keyboard.press("Escape")  # nothing was typed: nothing is asked
    expect(page.locator("#edit-form")).to_have_count(0)


def test_members_of_every_type_are_changed(page: Page, base: str, url: str) -> None:
    cli(url, "HSET", "edit:hash", "a b", "1")
    cli(url, "ZADD", "edit:zset", "1", "one")
    page.goto(at(base, "edit:hash"))
    page.get_by_role("link", name="a b", exact=True).click()
    page.get_by_role("link", name="Edit this field").click()
    page.get_by_label("Value", exact=True).fill("2")
    page.get_by_role("button", name="Save field").click()
    expect(page.locator("#keys-detail pre.code, #keys-detail .code.json")).to_have_text("2")
    assert cli(url, "HGET", "edit:hash", "a b") == "2"
    page.goto(at(base, "edit:zset"))
    page.get_by_role("link", name="Add a member").click()
    page.get_by_role("textbox", name="Member").fill("two")
    page.get_by_label("Score").fill("2.5")
    page.get_by_role("button", name="Add this member").click()
    expect(page.locator(".items")).to_contain_text("two")
    assert cli(url, "ZSCORE", "edit:zset", "two") == "2.5"
    cli(url, "DEL", "edit:hash", "edit:zset")


def test_by_keyboard_alone(page: Page, base: str) -> None:
    page.goto(base.replace("/keys", "/overview"))
    page.keyboard.press("g")
    page.keyboard.press("k")
    page.wait_for_url(lambda address: address.endswith(base))
    page.keyboard.press("/")
    page.keyboard.type("session:user:")
    page.keyboard.press("Enter")
    # The list before, of all keys, may begin with one of them, too.
    expect(page.locator("#keys-list tbody tr", has_text="product:")).to_have_count(0)
    expect(page.locator("#keys-list tbody tr").first).to_contain_text("session:user:")
    page.keyboard.press("ArrowDown")
    first = focused(page)
    page.keyboard.press("ArrowDown")
    second = focused(page)
    assert first != second and second.startswith("session:user:")
    page.keyboard.press("Enter")
    expect(page.locator("#keys-detail-h")).to_have_text(second)
    expect(page.locator("#keys-list tr[aria-selected]")).to_contain_text(second)
    page.keyboard.press("ArrowUp")
    expect_focus(page, first)
    page.keyboard.press("Space")
    expect(page.locator("[data-count]")).to_have_text("1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(page.locator("#keys-detail.open")).to_have_count(0)
    expect_focus(page, second)


@pytest.mark.timeout(120)
def test_the_tree_chooses_what_the_list_shows(page: Page, base: str) -> None:
    page.goto(base)
    page.get_by_role("button", name="Quick look").click()
    product = page.locator(".tree a").filter(has_text=re.compile("^product:[0-9]"))
    expect(product).to_be_visible(timeout=30_000)
    product.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert focused(page).startswith("product:{id}")
    page.keyboard.press("Enter")
    expect(page.locator("#keys-detail-h")).to_contain_text("product:")
    expect(page.locator("#keys-list tbody tr").first).to_contain_text("product:")
    assert all(text.startswith("product:") for text in page.locator("#keys-list tbody a.k").all_inner_texts())
    # About 1.5 million; a sample says so with its error.
    said = page.locator("#keys-detail .facts dd").first.inner_text()
    assert "±" in said and abs(float(said.split(" ")[0].replace(",", "")) - KEYS * 0.75) < KEYS * 0.03
    page.get_by_role("link", name="Invalidate these keys").click()
    expect(page.locator("#choose")).to_be_visible()
    expect(page.get_by_role("textbox", name=re.compile("Prefix|Pattern"))).to_have_value(
        re.compile("^product:")
    )


def test_ticked_keys_go_into_the_form_of_a_purge(page: Page, base: str) -> None:
    page.goto(f"{base}?q=session:user:*1")
    page.get_by_label("Tick all keys on this page").check()
    count = page.locator("#keys-list tbody tr").count()
    page.get_by_role("button", name=f"Invalidate ticked {count}").click()
    field = page.get_by_role("textbox", name="Keys", exact=True)
    assert len(field.input_value().splitlines()) == count


def test_a_key_that_expires_while_it_is_open(page: Page, base: str, url: str) -> None:
    cli(url, "SET", "edit:short", "x", "PX", "2500")
    page.goto(at(base, "edit:short"))
    expect(page.locator("#keys-detail.open")).to_contain_text("There is no such key", timeout=15_000)


@pytest.mark.parametrize("path", ["", "?under=product:", "open", "edit", "gone", "hash"])
def test_no_finding_by_axe_whatever_is_open(
    page: Page, watched: Watched, base: str, axe: str, path: str
) -> None:
    paths = {
        "open": at(base, "shop:item"), "edit": at(base, "shop:item", "&edit=value"), "gone": at(base, "no such key"),
        "hash": at(base, "session:user:1999961"),
    }  # fmt: skip
    page.goto(paths.get(path, base + path))
    page.wait_for_load_state("networkidle")
    assert in_both_themes(page, watched, axe) == []
    for width in (1920, 1280, 1024, 768, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_one_pane_at_a_time_on_a_phone(page: Page, base: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{base}?q=flag:19")
    tree, keys, detail = page.locator("#keys-tree"), page.locator("#keys-list"), page.locator("#keys-detail")
    expect(keys).to_be_visible()
    expect(detail).to_be_hidden()
    expect(tree).to_be_hidden()
    keys.locator("a.k").first.click()
    expect(detail).to_be_visible()
    expect(keys).to_be_hidden()
    expect(page.locator("#keys-detail-h")).to_be_focused()
    detail.get_by_role("link", name="Close").click()
    expect(keys).to_be_visible()
    expect(keys.locator("a.k").first).to_be_focused()
    keys.get_by_role("link", name="Prefixes").click()
    expect(tree).to_be_visible()
    expect(keys).to_be_hidden()
    tree.get_by_role("link", name="Keys", exact=True).click()
    expect(keys).to_be_visible()


def test_all_of_it_without_scripts(plain: Page, base: str, url: str) -> None:
    cli(url, "SET", "plain:1", "before", "EX", "4000")
    plain.goto(base)
    plain.get_by_role("textbox", name="Key, prefix or pattern").fill("plain:1")
    plain.get_by_role("button", name="Search").click()
    plain.get_by_role("link", name="plain:1").click()
    plain.get_by_role("link", name="Edit value").click()
    plain.get_by_label("Value", exact=True).fill("after")
    plain.get_by_role("button", name="Save value").click()
    assert cli(url, "GET", "plain:1") == "after" and int(cli(url, "TTL", "plain:1")) > 3000
    plain.get_by_text("Rename it").click()
    plain.get_by_label("New name").fill("plain:2")
    plain.get_by_role("button", name="Rename key").click()
    expect(plain.locator("#keys-detail-h")).to_have_text("plain:2")
    plain.get_by_role("button", name="Delete key").click()
    plain.get_by_role("button", name="Delete this key").click()
    assert cli(url, "EXISTS", "plain:1", "plain:2") == "0"
    plain.get_by_text("product:").first.is_visible()


def test_before_redis_7_2_a_value_is_read_only_when_asked_for(page: Page, dashboard: live.Live) -> None:
    """Such a server takes any reading for a use."""
    with servers.redis_server() as port:
        url = f"redis://127.0.0.1:{port}/0"
        cli(url, "SET", "old:1", "seen")
        with unit_of_work(dashboard.runtime, live.ACTOR) as work:
            form = live.cache_form(dashboard, "old-server", poll_interval_s=60)
            made = caches.create_cache(work, replace(form, url=parse_url(url)))
        try:
            page.goto(at(f"/caches/{made.id}/keys", "old:1"))
            expect(page.locator("pre.code")).to_have_count(0)
            page.get_by_role("link", name="Read it all the same").click()
            expect(page.locator("pre.code")).to_have_text("seen")
        finally:
            with unit_of_work(dashboard.runtime, live.ACTOR) as work:
                caches.delete_cache(work, made.id, "old-server")
