"""Where the sign-in leads: certainly to this dashboard, whatever stands in the address."""

import json
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dashboard.auth.redirects import local_path
from tests.support.shared import shared_data

OURS = "https://cache.example"
# Pieces from which the known ways around such checks are made.
PIECES = st.sampled_from(
    [
        "/", "//", "///", "\\", "/\\", "\\/", "https:", "http://", "javascript:", "evil.example", "@evil.example",
        ".", "..", "/.", "/..", "%2f", "%5c", "%09", "%00", "\t", "\n", "\r\n", " ", "\x00", "\x7f", "\xa0",
        "\u2028", "／", "。", "?", "#", "?next=//evil.example", ":80", "caches", "&", ";", "[", "]", "[::1]",
    ]
)  # fmt: skip


def host_a_browser_would_go_to(location: str) -> str:
    """The host, read as leniently as browsers do: blanks are cut, backslashes are slashes."""
    seen = location.strip("".join(map(chr, range(0x21)))).translate({9: None, 10: None, 13: None})
    return urlsplit(urljoin(OURS + "/sign-in", seen.replace("\\", "/"))).netloc


@pytest.mark.parametrize(
    "wanted",
    ["/", "/caches/3/overview?range=6h", "/audit?action=auth%3Auser%3A*&open=4#entry-4", "/a/../b"],
)
def test_a_path_of_ours_is_kept(wanted: str) -> None:
    assert local_path(wanted) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        None, "", "caches", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
        "https://evil.example/", "https:evil.example", "javascript:alert(1)", "/\t/evil.example", " /caches",
        "/ok\r\nSet-Cookie: a=b", "/\x00", "/.//evil.example", "/..//evil.example", "/caches//evil.example",
        "/é", "/sign-in", "/sign-in/", "/sign-in?next=/sign-in", "/sign-out", "/" + "a" * 3000, "//[", "/\x85/evil",
    ],
)  # fmt: skip
def test_anything_else_leads_home(wanted: str | None) -> None:
    assert local_path(wanted) == "/"


@given(st.one_of(st.text(), st.lists(PIECES, max_size=6).map("".join), PIECES.map(lambda piece: "/" + piece)))
@example("//evil.example/%2f..")
@example("/%09/evil.example")
def test_no_text_leads_away(wanted: str) -> None:
    taken = local_path(wanted)
    assert taken.startswith("/")
    assert host_a_browser_would_go_to(taken) == "cache.example"
    assert taken.isascii() and taken.isprintable()


def test_no_known_nasty_string_leads_away() -> None:
    folder = shared_data()
    if folder is None:
        pytest.skip("the shared data is absent (CACHEWARDEN_SHARED_DATA)")
    for nasty in json.loads((folder / "strings" / "blns.json").read_text()):
        for wanted in (nasty, "/" + nasty, "//" + nasty):
            assert host_a_browser_would_go_to(local_path(wanted)) == "cache.example", wanted
