"""What differs between two documents. Pure."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from dashboard.caching.policy import Policy, PolicyDocument, RowMapping, Tier
from dashboard.policies import documents, words
from dashboard.policies.types import ChangeKind, Diff, FieldChange, ItemChange, ItemKind

Item = Policy | Tier | RowMapping
Field = tuple[str, str, str]  # name, label, value in words

_SHOWN_IN_SUMMARY: Final = 3


def diff(before: PolicyDocument, after: PolicyDocument) -> Diff:
    """All differences; the version's number is none."""
    return Diff(
        (
            *_tiers(before, after),
            *_policies(before, after),
            *_changed(ItemKind.DEFAULT, "", before.default, after.default, after),
            *_mappings(before, after),
        )
    )


def item_change(
    kind: ItemKind, name: str, before: Item | None, after: Item | None, tiers: Mapping[str, Tier]
) -> ItemChange | None:
    """How one item differs; None when it does not."""
    if before == after:
        return None
    some = after if after is not None else before
    label = some.label if isinstance(some, Tier) else ""
    old = list(_fields(before, tiers)) if before is not None else []
    new = list(_fields(after, tiers)) if after is not None else []
    if before is None:
        change, summary = ChangeKind.ADDED, f"added: {_essence(after, tiers)}"
    elif after is None:
        change, summary = ChangeKind.REMOVED, f"removed; was {_essence(before, tiers)}"
    else:
        change, summary = ChangeKind.CHANGED, _summary(before, after, old, new)
    olds, news = {field[0]: field for field in old}, {field[0]: field for field in new}
    changes = tuple(
        FieldChange(
            field, label_, olds[field][2] if field in olds else "", news[field][2] if field in news else ""
        )
        for field, label_, _ in (new or old)
        if olds.get(field) != news.get(field)
    )
    return ItemChange(kind, name, words.title(kind, name, label), change, changes, summary)


def versions(before: PolicyDocument, after: PolicyDocument, at: datetime) -> Diff:
    """What a version changed. A bypass that had ended by itself when it was published is none of its changes.

    Args:
        before: the version before it.
        at: when it was published.
    """
    return diff(documents.with_bypasses(before, before, at.timestamp()), after)


def content(before: PolicyDocument, after: PolicyDocument) -> Diff:
    """The difference without bypasses, which come and go and are no part of what is edited and reverted."""
    return diff(documents.without_bypasses(before), documents.without_bypasses(after))


def changed_names(found: Diff, *, is_bypass: bool = False) -> list[str]:
    """The items that differ, for the index of versions: "kind:name", or "bypass:prefix" where it is only that."""
    return [bypass_name(item.name) if is_bypass else f"{item.kind}:{item.name}" for item in found.items]


def bypass_name(prefix: str) -> str:
    """How a policy's bypass is called in the index of versions."""
    return f"bypass:{prefix}"


def _tiers(before: PolicyDocument, after: PolicyDocument) -> Iterator[ItemChange]:
    old, new = {tier.name: tier for tier in before.tiers}, {tier.name: tier for tier in after.tiers}
    for name in [*old, *(name for name in new if name not in old)]:
        yield from _changed(ItemKind.TIER, name, old.get(name), new.get(name), after)


def _policies(before: PolicyDocument, after: PolicyDocument) -> Iterator[ItemChange]:
    old = {policy.prefix: policy for policy in before.policies}
    new = {policy.prefix: policy for policy in after.policies}
    tiers = _labels(before, after)
    for prefix in sorted(old.keys() | new.keys()):
        before_, after_ = old.get(prefix), new.get(prefix)
        if before_ == after_:
            continue  # before anything is put into words: there may be thousands
        some = before_ or after_
        assert some is not None
        found = item_change(ItemKind.POLICY, some.prefix_text, before_, after_, tiers)
        if found is not None:
            yield found


def _mappings(before: PolicyDocument, after: PolicyDocument) -> Iterator[ItemChange]:
    old, new = {each.name: each for each in before.mappings}, {each.name: each for each in after.mappings}
    for name in sorted(old.keys() | new.keys()):
        yield from _changed(ItemKind.MAPPING, name, old.get(name), new.get(name), after)


def _changed(
    kind: ItemKind, name: str, before: Item | None, after: Item | None, document: PolicyDocument
) -> Iterator[ItemChange]:
    found = item_change(kind, name, before, after, {tier.name: tier for tier in document.tiers})
    if found is not None:
        yield found


def _labels(before: PolicyDocument, after: PolicyDocument) -> dict[str, Tier]:
    return {tier.name: tier for tier in (*before.tiers, *after.tiers)}


def _essence(item: Item | None, tiers: Mapping[str, Tier]) -> str:
    if isinstance(item, Tier):
        return words.range_text(item)
    if isinstance(item, RowMapping):
        return ", ".join(item.templates)
    assert item is not None
    return f"{_tier(item.tier, tiers)}, {words.ttl_text(item)}"


def _summary(before: Item, after: Item, old: list[Field], new: list[Field]) -> str:
    parts = []
    if isinstance(before, RowMapping) and isinstance(after, RowMapping):
        parts = [f"adds {each}" for each in after.templates if each not in before.templates]
        parts += [f"drops {each}" for each in before.templates if each not in after.templates]
        return "; ".join(parts) or "in another order"
    rest = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    if isinstance(before, Policy) and isinstance(after, Policy):
        if words.ttl_text(before) != words.ttl_text(after):
            parts.append(f"{words.ttl_text(before)} to {words.ttl_text(after)}")
        rest = [pair for pair in rest if pair[0][0] not in ("base_ttl_s", "jitter_s")]
        # The tier goes first: its name says the most.
        parts = [f"{a[2]} to {b[2]}" for a, b in rest if a[0] == "tier"] + parts
        rest = [pair for pair in rest if pair[0][0] != "tier"]
    elif (
        isinstance(before, Tier)
        and isinstance(after, Tier)
        and words.range_text(before) != words.range_text(after)
    ):
        parts.append(f"{words.range_text(before)} to {words.range_text(after)}")
        rest = [pair for pair in rest if pair[0][0] == "label"]
    parts += [_short(a, b) for a, b in rest]
    shown = "; ".join(parts[:_SHOWN_IN_SUMMARY])
    more = len(parts) - _SHOWN_IN_SUMMARY
    return f"{shown}; {more} more" if more > 0 else shown


def _short(before: Field, after: Field) -> str:
    if before[0] == "note":
        return "note changed"
    if before[0] == "label":
        return f"renamed {after[2]}"
    if before[0] == "bypass_until":
        return "bypass ended" if after[2] == "Off" else f"bypassed until {after[2]}"
    return f"{before[1]} {_lower(before[2])} to {_lower(after[2])}"


def _lower(value: str) -> str:
    return value[:1].lower() + value[1:]


def _tier(name: str, tiers: Mapping[str, Tier]) -> str:
    return tiers[name].label if name in tiers else name


def _fields(item: Item, tiers: Mapping[str, Tier]) -> Iterator[Field]:
    if isinstance(item, Tier):
        yield "label", "Name", item.label
        yield "min_ttl_s", "Shortest TTL", _optional(item.min_ttl_s, words.seconds, words.NOT_CACHED)
        yield "max_ttl_s", "Longest TTL", _optional(item.max_ttl_s, words.seconds, words.NOT_CACHED)
        return
    if isinstance(item, RowMapping):
        yield "templates", "Keys", ", ".join(item.templates)
        return
    protection = item.protection
    yield "tier", "Tier", _tier(item.tier, tiers)
    yield "base_ttl_s", "TTL", words.base_text(item)
    yield "jitter_s", "Jitter", words.jitter_text(item)
    yield "strategy", "Strategy", words.STRATEGIES[item.strategy]
    yield "protection.lease", "Lease", "On" if protection.lease else "Off"
    yield (
        "protection.early_refresh_beta",
        "Early refresh",
        _optional(protection.early_refresh_beta, lambda beta: f"Beta {beta:g}"),
    )
    yield "protection.grace_s", "Stale-while-revalidate", _optional(protection.grace_s, words.seconds)
    yield (
        "negative_ttl_s",
        "Negative TTL",
        words.seconds(item.negative_ttl_s) if item.negative_ttl_s else "Off",
    )
    yield "longest_wait_s", "Longest wait", f"{item.longest_wait_s:g} s"
    yield "note", "Note", item.note
    yield "bypass_until", "Bypass", _optional(item.bypass_until, words.moment)


def _optional(value: Any, text: Callable[[Any], str], none: str = "Off") -> str:
    return none if value is None else text(value)
