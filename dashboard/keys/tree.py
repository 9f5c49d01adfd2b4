"""The tree of prefixes, and what the last scan says of one of them. Pure."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from dashboard.keys.forms import Place
from dashboard.keys.screen import (
    Frame,
    PrefixView,
    Share,
    TreeRow,
    TreeView,
    estimate,
    key_name,
    size_estimate,
)
from dashboard.keyspace.service import FOLDED
from dashboard.keyspace.types import (
    TTL_BOUNDS_S,
    Conformance,
    Growth,
    GrowthPoint,
    Kind,
    ScanPanel,
    Snapshot,
    TreeNode,
)
from dashboard.web.formats import byte_size, compact, duration, number, percent, since

MOST_ROWS: Final = 300
"""On the page at once; the children of the others come when their parent is chosen."""
MOST_CHILDREN: Final = 50
"""Of one prefix; of a chosen one, and those above it, more."""
MOST_CHOSEN: Final = 500
MOST_BIGGEST: Final = 10
_Weight = Callable[[TreeNode], float]


def tree_view(snapshot: Snapshot, place: Place, frame: Frame, panel: ScanPanel) -> TreeView:
    """The tree, with the way to the chosen prefix open."""
    weight = _weight(snapshot.root)
    builder = _Builder(place, frame, weight, max(map(weight, snapshot.root.children), default=0.0))
    return TreeView(
        words=f"{number(round(snapshot.root.keys.value))} keys",
        panel=panel,
        rows=builder.rows(snapshot.root, 0),
        all_href=f"{frame.base}?{place.list_query(under=(), pane='')}",
    )


def taken(snapshot: Snapshot, frame: Frame) -> str:
    """When it was counted, and how exactly: ``Sampled 14:20, ±1%``."""
    at = since(snapshot.ended_at, frame.now)
    if snapshot.kind is Kind.FULL or snapshot.factor == 1:
        return f"All keys read, {at}"
    size = snapshot.root.size
    if size is None or not size.value:
        return f"Sampled {at}"
    return f"Sampled {at}, ±{percent(size.error / size.value)}"


def find_node(root: TreeNode, path: Sequence[str]) -> TreeNode | None:
    """The node at a path; None: the last scan has none there."""
    node = root
    for length in range(1, len(path) + 1):
        wanted = tuple(path[:length])
        found = next((child for child in node.children if child.path == wanted), None)
        if found is None:
            return None
        node = found
    return node


def prefix_view(
    snapshot: Snapshot,
    node: TreeNode,
    place: Place,
    frame: Frame,
    *,
    growth: Growth | None,
    line: Sequence[GrowthPoint],
    line_kind: Kind = Kind.FULL,
    whole: Snapshot | None = None,
    is_uneven: bool = False,
) -> PrefixView:
    """What the last scan says of a prefix, or of all keys.

    Args:
        growth: since the oldest scan of the last days; None: not known.
        line: its size at each scan of line_kind, oldest first.
        whole: the last full scan, where this is a sample: large keys that it knew and the sample did not meet.
        is_uneven: the sample missed large keys: its intervals are too narrow.
    """
    is_all = not node.path
    count = node.keys.value
    has_size = node.size is not None and any(point.size_bytes is not None for point in line)
    values = tuple(point.size_bytes if has_size else point.keys for point in line)
    drawn = values if sum(value is not None for value in values) > 1 else ()
    return PrefixView(
        name="All keys" if is_all else "".join(node.path) if node.name not in node.path[-1:] else node.name,
        taken=f"Sampled {since(snapshot.ended_at, frame.now)}" if is_uneven else taken(snapshot, frame),
        facts=_facts(node, snapshot, is_uneven=is_uneven),
        ttls=_ttls(node),
        types=tuple(
            Share(name, compact(amount), amount / count if count else 0.0)
            for name, amount in sorted(node.types.items(), key=lambda item: -item[1])
        )[:8],
        encodings=tuple(Share(name, percent(share), share) for name, share in node.encodings.items()),
        biggest=_biggest(node, place, frame, whole),
        growth="" if growth is None else _growth(growth, frame),
        line=drawn,
        line_label=f"{'Memory' if has_size else 'Keys'} of {'all keys' if is_all else node.name}, last 7 days",
        line_words=_line_words(line, values, frame, has_size=has_size, kind=line_kind) if drawn else "",
        purge_href=_purge_href(node, frame),
        purge_note=_purge_note(node),
        is_all=is_all,
        **_drift(snapshot, node, frame),
    )


def _biggest(
    node: TreeNode, place: Place, frame: Frame, whole: Snapshot | None
) -> tuple[tuple[str, str, str], ...]:
    """Its largest keys; after a sample also those that the last full scan met, with its age."""
    found = [(big, "") for big in node.biggest]
    earlier = None if whole is None else find_node(whole.root, node.path)
    if whole is not None and earlier is not None:
        met = {big.key for big in node.biggest}
        at = since(whole.ended_at, frame.now)
        found += [(big, f", full scan {at}") for big in earlier.biggest if big.key not in met]
    found.sort(key=lambda each: -each[0].size_bytes)
    return tuple(
        (
            key_name(big.key),
            f"{byte_size(big.size_bytes)}, {big.type}{words}",
            f"{frame.base}?{place.key_query(big.key)}",
        )
        for big, words in found[:MOST_BIGGEST]
    )


def _line_words(
    line: Sequence[GrowthPoint],
    values: Sequence[float | None],
    frame: Frame,
    *,
    has_size: bool,
    kind: Kind,
) -> str:
    """What a line begins and ends with: ``Nov 20, 14:00: 12 MB, 14:05: 14 MB (samples)``."""
    known = [(point.at, value) for point, value in zip(line, values, strict=True) if value is not None]
    words = ", ".join(
        f"{since(at, frame.now)}: {byte_size(value) if has_size else f'{compact(value)} keys'}"
        for at, value in (known[0], known[-1])
    )
    return f"{words} ({'samples' if kind is Kind.SAMPLE else 'full scans'})"


def _facts(node: TreeNode, snapshot: Snapshot, *, is_uneven: bool) -> tuple[tuple[str, str], ...]:
    count, total = node.keys.value, snapshot.root.keys.value
    facts = [
        ("Keys", estimate(node.keys)),
        ("Memory", size_estimate(node.size)),
        ("Without TTL", percent(node.without_ttl.value / count) if count else "n/a"),
    ]
    if is_uneven and node.size is not None:
        facts[1] = ("Memory", f"{byte_size(node.size.value)} or more")
    if node.path and total:
        facts.append(("Of all keys", percent(min(1.0, count / total))))
    if node.size is not None and count:
        facts.append(("Each, on average", byte_size(node.size.value / count)))
    if node.frequency is not None:
        facts.append(("LFU counter, on average", f"{node.frequency:.0f} of 255"))
    else:
        facts.append(("Oldest idle", duration(node.idle_s) if node.idle_s is not None else "not known"))
    if not snapshot.policy_version:
        facts.append(("Policy", "none was published"))
    return tuple(facts)


def _ttls(node: TreeNode) -> tuple[Share, ...]:
    """Neighbouring spans without keys are left out at both ends."""
    count = sum(node.ttl_counts)
    if not count:
        return ()
    bounds = [duration(bound) for bound in TTL_BOUNDS_S]
    labels = [
        f"Up to {bounds[0]}",
        *(f"Up to {bound}" for bound in bounds[1:]),
        f"Over {bounds[-1]}",
        "No TTL",
    ]
    rows = [
        Share(label, compact(amount), amount / count)
        for label, amount in zip(labels, node.ttl_counts, strict=False)
    ]
    known = [index for index, row in enumerate(rows[:-1]) if row.share]
    shown = rows[known[0] : known[-1] + 1] if known else []
    return (*shown, *(row for row in rows[-1:] if row.share))


def _growth(growth: Growth, frame: Frame) -> str:
    at = since(growth.since, frame.now)
    words = [_change(growth.keys, growth.keys_error, compact) + " keys"]
    if growth.size_bytes is not None:
        words.append(_change(growth.size_bytes, growth.size_error, byte_size))
    return f"{', '.join(words)} since {at}"


def _change(value: float, error: float, form: Callable[[float], str]) -> str:
    """With its error; what may as well be nothing is not said to be more or less."""
    if error and abs(value) <= error:
        return f"±{form(error)}"
    return f"{'+' if value >= 0 else '−'}{form(abs(value))}" + (f" ± {form(error)}" if error else "")


def _purge_href(node: TreeNode, frame: Frame) -> str:
    if not node.path or node.pattern is None:
        return ""
    is_prefix = (
        not node.is_folded
        and not any("{" in part for part in node.path)
        and node.name.endswith(tuple(":/|.-_#"))
    )
    chosen = (
        {"by": "prefix", "prefix": "".join(node.path)}
        if is_prefix
        else {"by": "pattern", "pattern": node.pattern}
    )
    return f"/caches/{frame.cache_id}/invalidate?{urlencode(chosen)}"


def _purge_note(node: TreeNode) -> str:
    """What a purge of a prefix takes beside its keys; empty: nothing."""
    if node.pattern is None or not any(FOLDED in part for part in node.path):
        return ""
    return (
        f"It is chosen by the pattern {node.pattern}, and * stands for any text, delimiters too: all keys that fit are "
        "taken, also those of other prefixes. The preview counts them."
    )


def _drift(snapshot: Snapshot, node: TreeNode, frame: Frame) -> dict[str, Any]:
    """Of the policies at and below a prefix: how many keys break them, and the purge form that mends the worst."""
    if not snapshot.policy_version:
        return {}  # what is told of the default is of one that nobody published
    here = "".join(node.path)
    found = [each for each in snapshot.policies if each.prefix.startswith(here)]
    keys = sum(each.keys.value for each in found)
    if not keys:
        return {}
    worst = max(found, key=_broken)
    broken = sum(map(_broken, found))
    if not broken:
        return {"drift": f"All {compact(keys)} keys keep to their policy"}
    drift = {"drift": f"{compact(broken)} of {compact(keys)} keys break their policy", "is_drifting": True}
    if worst.prefix:
        query = urlencode({"by": "prefix", "prefix": worst.prefix, "action": "policy"})
        drift |= {
            "apply_href": f"/caches/{frame.cache_id}/invalidate?{query}",
            "apply_label": f"Apply the policy of {worst.prefix}",
        }
    return drift


def _broken(policy: Conformance) -> float:
    return policy.without_ttl.value + policy.too_long.value


class _Builder:
    """Makes rows until there are enough; nearest the root first."""

    def __init__(self, place: Place, frame: Frame, weight: _Weight, top: float) -> None:
        self.place, self.frame, self.weight, self.top = place, frame, weight, top
        self.left = MOST_ROWS

    def rows(self, parent: TreeNode, depth: int) -> tuple[TreeRow, ...]:
        under = self.place.under
        is_on_way = parent.path == under[: len(parent.path)]
        shown = parent.children[: MOST_CHOSEN if is_on_way else MOST_CHILDREN]
        self.left -= len(shown)
        rows = [self.row(node, depth) for node in shown]
        hidden = len(parent.children) - len(shown)
        if hidden:
            rows.append(self.more(parent, hidden))
        return tuple(rows)

    def row(self, node: TreeNode, depth: int) -> TreeRow:
        under, path = self.place.under, node.path
        is_on_way = bool(path) and path == under[: len(path)]
        # The first level's children are at hand, unfolded in the page; deeper ones when their parent is chosen.
        wants = is_on_way or (depth == 0 and self.left > len(node.children))
        children = self.rows(node, depth + 1) if wants and node.children else ()
        is_rest = node.pattern is None
        return TreeRow(
            id=hashlib.blake2s("\0".join(path).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest(),
            name=node.name,
            href="" if is_rest else f"{self.frame.base}?{self.place.list_query(under=path, pane='')}",
            keys=compact(node.keys.value) if node.keys.value >= 1e6 else number(round(node.keys.value)),
            size="" if node.size is None else byte_size(node.size.value),
            share=min(1.0, self.weight(node) / self.top) if self.top else 0.0,
            is_current=path == under,
            is_open=is_on_way,
            children=children,
            has_more=bool(node.children) and not children,
            is_rest=is_rest,
            note=f"at least {number(node.hidden)} names" if node.hidden else "",
        )

    def more(self, parent: TreeNode, hidden: int) -> TreeRow:
        query = self.place.list_query(under=parent.path, pane="")
        return TreeRow(
            id=f"more-{len(parent.path)}-{hidden}",
            name=f"{number(hidden)} more",
            href="" if parent.path == self.place.under else f"{self.frame.base}?{query}",
            keys="",
            size="",
            share=0.0,
            is_current=False,
            is_open=False,
            children=(),
            has_more=False,
            is_rest=True,
        )


def _weight(root: TreeNode) -> _Weight:
    def memory(node: TreeNode) -> float:
        return 0.0 if node.size is None else node.size.value

    def keys(node: TreeNode) -> float:
        return node.keys.value

    return keys if root.size is None else memory
