"""Before and after, as lines and as one row's words."""

from dashboard.audit.diff import DiffLine, changed_count, diff_lines, summary


def test_a_changed_field_shows_both_values_among_the_others() -> None:
    before = {"name": "shop", "ttl_s": 120, "gone": True}
    after = {"name": "shop", "ttl_s": 30, "new": None}
    assert diff_lines(before, after) == (
        DiffLine("", 'name: "shop"'),
        DiffLine("del", "ttl_s: 120"),
        DiffLine("ins", "ttl_s: 30"),
        DiffLine("ins", "new: none"),
        DiffLine("del", "gone: yes"),
    )
    assert changed_count(before, after) == 3


def test_something_new_is_all_additions_and_something_gone_all_removals() -> None:
    assert [line.sign for line in diff_lines(None, {"a": 1, "b": 2})] == ["+", "+"]
    assert [line.sign for line in diff_lines({"a": 1, "b": 2}, None)] == ["-", "-"]
    assert diff_lines(None, None) == ()


def test_one_and_true_are_different_values() -> None:
    assert diff_lines({"a": 1}, {"a": True}) == (DiffLine("del", "a: 1"), DiffLine("ins", "a: yes"))


def test_the_summary_says_what_changed_and_why() -> None:
    assert summary({"role": "viewer"}, {"role": "admin"}, "") == "Role viewer to admin"
    assert summary({"disabled": False}, {"disabled": True}, "Left us") == "Disabled no to yes. “Left us”"
    assert summary(None, {"role": "viewer"}, "") == "Role viewer"
    told = summary({"state": "running"}, {"state": "paused", "keys_touched": 84755}, "")
    assert told == "State running to paused, keys touched 84,755"
    assert summary(None, {"url": "redis://h", "name": "shop"}, "") == "Name shop, URL redis://h"
    assert summary({"poll_interval_s": 10}, {"poll_interval_s": 30}, "") == "Poll interval 10 s to 30 s"
    assert summary({"is_read_only": False, "ttl_s": 1}, {"is_read_only": True}, "") == (
        "Read only no to yes, TTL 1 s to nothing"
    )
    assert summary({"ttl_s": 8509.396}, {"ttl_s": None}, "") == "TTL 8,509 s to none"
    assert summary({"role": "viewer"}, None, "Moved") == "“Moved”"
    assert summary(None, None, "") == ""


def test_the_summary_stays_short() -> None:
    before = dict.fromkeys("abcdef", 1)
    after = dict.fromkeys("abcdef", 2)
    assert summary(before, after, "") == "A 1 to 2, b 1 to 2, c 1 to 2 and 3 more"
    assert len(summary({"a": "x" * 300}, {"a": "y" * 300}, "")) < 150
