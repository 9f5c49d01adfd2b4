"""Addresses of caches: what is taken, what is refused, what is never shown."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.errors import InvalidInput
from dashboard.fleet.url import Address, CacheUrl, Kind, parse_url, redacted
from tests.support.shared import shared_data

SECRET = "hunter2-do-not-show"

TAKEN = {
    "redis://localhost": CacheUrl(Kind.SERVER, (Address("localhost", 6379),)),
    "redis://cache-01:6380/3": CacheUrl(Kind.SERVER, (Address("cache-01", 6380),), db=3),
    " redis://CACHE.example. ": CacheUrl(Kind.SERVER, (Address("cache.example.", 6379),)),
    "redis://:pw@h/": CacheUrl(Kind.SERVER, (Address("h", 6379),), password="pw"),
    "redis://me@h": CacheUrl(Kind.SERVER, (Address("h", 6379),), username="me"),
    "rediss://me:p%40ss%2Fw%3Ard@h:1/2": CacheUrl(
        Kind.SERVER, (Address("h", 1),), tls=True, username="me", password="p@ss/w:rd", db=2
    ),
    "redis://[::1]:6380": CacheUrl(Kind.SERVER, (Address("::1", 6380),)),
    "redis://[2001:DB8:0::1]": CacheUrl(Kind.SERVER, (Address("2001:db8::1", 6379),)),
    "redis://h?db=4": CacheUrl(Kind.SERVER, (Address("h", 6379),), db=4),
    "unix:///run/redis.sock": CacheUrl(Kind.SERVER, path="/run/redis.sock"),
    "unix://me:pw@/run/a%20b.sock?db=2": CacheUrl(
        Kind.SERVER, path="/run/a b.sock", username="me", password="pw", db=2
    ),
    "redis+sentinel://u:p@s1,s2:26380/shop/1?sentinel_password=sp": CacheUrl(
        Kind.SENTINEL,
        (Address("s1", 26379), Address("s2", 26380)),
        username="u",
        password="p",
        db=1,
        service="shop",
        sentinel_password="sp",
    ),
    "rediss+sentinel://s1/my%20shop": CacheUrl(
        Kind.SENTINEL, (Address("s1", 26379),), tls=True, service="my shop"
    ),
    "redis+cluster://:pw@a:7000,b:7001": CacheUrl(
        Kind.CLUSTER, (Address("a", 7000), Address("b", 7001)), password="pw"
    ),
    "rediss+cluster://a:7000/0?ssl_cert_reqs=none": CacheUrl(
        Kind.CLUSTER, (Address("a", 7000),), tls=True, verify=False
    ),
    "rediss://a?ssl_ca_certs=/etc/ca.pem&ssl_certfile=/c&ssl_keyfile=/k": CacheUrl(
        Kind.SERVER, (Address("a", 6379),), tls=True, ca_file="/etc/ca.pem", cert_file="/c", key_file="/k"
    ),
}


@pytest.mark.parametrize("text", TAKEN)
def test_takes(text: str) -> None:
    assert parse_url(text) == TAKEN[text]


REFUSED = {
    "": "Enter",
    "localhost:6379": "no scheme",
    "user:secret@localhost": "no scheme",
    "javascript:alert(1)": "scheme is not one",
    "redis:/localhost": "no scheme",
    "http://h": "scheme",
    f"postgresql://u:{SECRET}@h": "scheme",
    "redis://": "host is missing",
    "redis://:6379": "host is missing",
    "redis://h:0": "port",
    "redis://h:65536": "port",
    "redis://h:": "port",
    f"redis://u:{SECRET}": "port",
    "redis://h:６３７９": "port",
    "redis://h/x": "database",
    "redis://h/-1": "database",
    "redis://h/1?db=1": "twice",
    "redis://h/1/2": "database",
    "redis://a,b": "several servers",
    "redis://a b": "blank",
    "redis://h\0": "control",
    "redis://h\n": None,
    f"redis://u:{SECRET}@x@h": "more than one @",
    f"redis://u:{SECRET}/x@h": "/ before an @",
    f"redis://u:{SECRET}?x@h": "? before an @",
    f"redis://u:{SECRET}#x@h": "#",
    f"redis://u:{SECRET}:x@h": "password contains a :",
    f"redis://u:{SECRET}%zz@h": "%25",
    f"redis://u:{SECRET}%ff@h": "UTF-8",
    "redis://h?retry_on_timeout=1": "does not know",
    f"redis://h?password={SECRET}": "before the host",
    "redis://h?ssl_cert_reqs=none": "rediss",
    "redis://h?sentinel_password=x": "does not know",
    "rediss://h?ssl_cert_reqs=maybe": "required or none",
    "rediss://h?ssl_keyfile=/k": "ssl_certfile",
    "rediss://h?ssl_ca_certs=/a&ssl_ca_certs=/b": "twice",
    "redis://::1": "brackets",
    "redis://[::g]": "IPv6",
    "redis://[::1": "IPv6",
    "redis://[::1]6379": "IPv6",
    "redis://h_$": "host name",
    "redis+sentinel://s1": "service",
    "redis+sentinel://s1/": "service",
    "redis+cluster://a/1": "database 0",
    "redis+cluster://a?db=1": "does not know",
    "redis+cluster://a,a": "twice",
    "redis+cluster://" + ",".join(f"n{number}" for number in range(33)): "more than 32",
    "unix://": "path",
    "unix://host/path": "path",
    "redis://" + "h" * 5000: "longer",
}


@pytest.mark.parametrize("text", [text for text, words in REFUSED.items() if words])
def test_refuses_with_a_way_out_and_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_url(text)
    message = caught.value.fields["url"]
    assert REFUSED[text] in message
    assert SECRET not in message
    assert len(message) > 20 and message.endswith((".", "host", "host."))


def test_trailing_newline_is_a_blank_around_it() -> None:
    assert parse_url("redis://h\n") == parse_url("redis://h")


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
secrets = st.none() | names
hosts = st.from_regex(
    r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,10}){0,2}", fullmatch=True
) | st.ip_addresses(v=6).map(str)
addresses = st.builds(Address, hosts, st.integers(1, 65535))
paths = st.none() | names.map(lambda text: "/" + text)


@st.composite
def urls(draw: st.DrawFn) -> CacheUrl:
    kind = draw(st.sampled_from(Kind))
    common = {"username": draw(secrets), "password": draw(secrets)}
    db = draw(st.integers(0, 99999)) if kind is not Kind.CLUSTER else 0
    if kind is Kind.SERVER and draw(st.booleans()):
        return CacheUrl(kind, path=draw(names.map(lambda text: "/" + text)), db=db, **common)
    tls = draw(st.booleans())
    most = 1 if kind is Kind.SERVER else 5
    extra: dict[str, object] = {}
    if kind is Kind.SENTINEL:
        extra = {
            "service": draw(names),
            "sentinel_username": draw(secrets),
            "sentinel_password": draw(secrets),
        }
    if tls:
        cert = draw(paths)
        extra |= {"verify": draw(st.booleans()), "ca_file": draw(paths), "cert_file": cert}
        extra["key_file"] = draw(paths) if cert else None
    nodes = tuple(draw(st.lists(addresses, min_size=1, max_size=most, unique=True)))
    return CacheUrl(kind, nodes, tls=tls, db=db, **common, **extra)  # type: ignore[arg-type]


@given(urls())
def test_round_trip(url: CacheUrl) -> None:
    assert parse_url(url.to_text()) == url


@given(urls())
def test_no_secret_is_shown(url: CacheUrl) -> None:
    # As long as a password is long enough not to be part of something else by chance.
    marked = CacheUrl(
        **{
            **{name: getattr(url, name) for name in CacheUrl.__dataclass_fields__},
            "password": SECRET,
            "sentinel_password": SECRET if url.kind is Kind.SENTINEL else None,
        }
    )
    for shown in (repr(marked), str(marked), marked.masked, marked.without_secrets, marked.address):
        assert SECRET not in shown
    assert SECRET in marked.to_text()
    assert redacted(marked.to_text()) == marked.without_secrets
    assert parse_url(marked.without_secrets).same_target(marked)


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    for start in ("", "redis://", "rediss+cluster://", "redis+sentinel://h/", "unix://"):
        try:
            url = parse_url(start + text)
        except InvalidInput as error:
            assert error.fields["url"]
        else:
            assert parse_url(url.to_text()) == url
        redacted(start + text)


def test_naughty_strings_as_password() -> None:
    data = shared_data()
    if data is None:
        pytest.skip("no shared data")
    for text in json.loads((data / "strings" / "blns.json").read_text()):
        if not text or "\0" in text:
            continue
        url = CacheUrl(Kind.SERVER, (Address("h", 6379),), username=text, password=text)
        assert parse_url(url.to_text()) == url
        assert not re.search(r"[\s\x00-\x1f]", url.to_text())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"redis://me:{SECRET}@h:1/2", "redis://me@h:1/2"),
        (f"redis://me:{SECRET}@x@h:1", "redis://me@h:1"),
        (f"redis://:{SECRET}#@h", "redis://h"),
        (f"redis//me:{SECRET}@h", "h"),
        (f"redis://me:{SECRET}", "redis://me:"),
        (
            f"redis+sentinel://s/shop?sentinel_password={SECRET}&x=1",
            "redis+sentinel://s/shop?sentinel_password=&x=1",
        ),
        (f"redis://h?password={SECRET}", "redis://h?password="),
        ("localhost:6379", "localhost:6379"),
        ("redis://h:99999", "redis://h:99999"),
    ],
)
def test_redacted(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("redis://cache-01:6379/0", "cache-01:6379"),
        ("redis+cluster://search-1:7000,search-2:7000,search-3:7000", "search-[1-3]:7000"),
        ("redis+sentinel://sntl-2,sntl-1/x", "sntl-[1-2]:26379"),
        ("redis+cluster://127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002", "127.0.0.1:[7000-7002]"),
        ("redis+cluster://a:7000,b:7001,c:7002", "a:7000 + 2"),
        ("redis+cluster://n-01:7000,n-02:7000", "n-01:7000 + 1"),
        ("redis+cluster://[::1]:7000,[::1]:7001", "[::1]:[7000-7001]"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
    ],
)
def test_short_address(text: str, short: str) -> None:
    assert parse_url(text).address == short


@pytest.mark.parametrize(
    "other",
    [
        "redis://me@other:6379",
        "redis://me@h:6380",
        "redis://you@h:6379",
        "redis://h:6379",
        "rediss://me@h:6379",
        "redis+cluster://me@h:6379",
        "unix://me@/h",
    ],
)
def test_a_stored_password_goes_to_the_same_target_only(other: str) -> None:
    stored = parse_url(f"redis://me:{SECRET}@h:6379/0")
    assert not parse_url(other).same_target(stored)
    assert parse_url("redis://me@h/7").same_target(stored)


def test_weaker_tls_is_another_target() -> None:
    stored = parse_url(f"rediss://:{SECRET}@h")
    assert not parse_url("redis://h").same_target(stored)
    assert not parse_url("rediss://h?ssl_cert_reqs=none").same_target(stored)
