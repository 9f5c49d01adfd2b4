"""What the pages on scans show, put together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from dashboard.access import Role, can, require
from dashboard.caches import service as caches
from dashboard.caching.policy import prefix_to_text
from dashboard.keyspace import forms, panel, scans, screen, snapshots
from dashboard.keyspace.forms import TypedLimits
from dashboard.keyspace.limits import limits
from dashboard.keyspace.types import Growth, Scan, ScanLimits, ScanPanel, TreeNode
from dashboard.web.formats import byte_size, byte_unit, number
from dashboard.work import UnitOfWork

MOST_PREFIXES: Final = 50
LONGEST_KEY: Final = 200


@dataclass(frozen=True, slots=True)
class PrefixLine:
    """One prefix of the first level.

    Args:
        share: of the memory, or of the keys where no memory is known, 0..1.
        error_text: how far off its memory may be; empty: exact.
        without_ttl: share of its keys, 0..1.
        growth: over the last 7 days, as far as that is known.
        biggest_text: its largest key, as text; empty: not known.
    """

    node: TreeNode
    share: float
    error_text: str
    without_ttl: float
    growth: Growth | None
    biggest_text: str


@dataclass(frozen=True, slots=True)
class KeyspacePage:
    """templates/keyspace/page.html.

    Args:
        prefixes: of the first level, largest first; more: how many are not shown.
        growth: of the whole cache.
        line_times, line_values: of its memory, or its keys where no memory is known, over 7 days; seconds and values in
            the unit that line_text names. line_ends: when and what its first and last value are.
        notes: what keeps the newest snapshot from being right.
        scans: newest first; next_before: ``before`` of the next ones; None: there are none.
        problem: why what was asked for was not done.
    """

    cache_id: int
    cache_name: str
    now: datetime
    scan: ScanPanel
    prefixes: tuple[PrefixLine, ...]
    more: int
    growth: Growth | None
    line_times: tuple[float, ...]
    line_values: tuple[float | None, ...]
    line_text: str
    line_ends: tuple[tuple[datetime, str], ...]
    notes: tuple[str, ...]
    scans: tuple[Scan, ...]
    next_before: int | None
    limits: ScanLimits
    may_set: bool
    problem: str = ""

    def word(self, scan: Scan) -> str:
        """Where a scan stands."""
        return screen.WORDS[scan.state]

    def badge(self, scan: Scan) -> str:
        """And how that looks."""
        return screen.BADGES[scan.state]


@dataclass(frozen=True, slots=True)
class LimitsPage:
    """templates/keyspace/limits.html."""

    cache_name: str
    base: str
    typed: TypedLimits
    revision: int
    errors: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def keyspace_page(
    work: UnitOfWork, cache_id: int, *, before: int | None = None, problem: str = ""
) -> KeyspacePage:
    """What is known of a cache's keys, how it grew, who scanned.

    Args:
        before: only scans with lower numbers.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    cache = caches.get_cache(work, cache_id)
    found = scans.list_scans(work, cache_id, before=before, limit=scans.LISTED + 1)
    shown = tuple(found[: scans.LISTED])
    latest = snapshots.latest(work, cache_id)
    nodes = () if latest is None else latest.root.children
    grown = snapshots.growth(work, cache_id, [(), *(node.path for node in nodes[:MOST_PREFIXES])])
    kind = snapshots.usual_kind(work, cache_id)
    line = snapshots.growth_line(work, cache_id, kind=kind)
    has_sizes = latest is not None and latest.root.size is not None
    values = [point.size_bytes if has_sizes else point.keys for point in line]
    shown_panel = panel.panel(work, cache_id)
    unit, unit_name = (
        byte_unit(max((value or 0.0 for value in values), default=0.0)) if has_sizes else (1, "")
    )
    return KeyspacePage(
        cache_id=cache.id,
        cache_name=cache.name,
        now=work.now,
        scan=shown_panel,
        prefixes=()
        if latest is None
        else tuple(
            _line(node, latest.root, grown.get(node.path), is_uneven=bool(shown_panel.uneven))
            for node in nodes[:MOST_PREFIXES]
        ),
        more=max(0, len(nodes) - MOST_PREFIXES),
        growth=grown.get(()),
        line_times=tuple((point.at - line[0].at).total_seconds() for point in line),
        line_values=tuple(None if value is None else value / unit for value in values),
        line_text=f"{f'Memory, {unit_name}' if has_sizes else 'Keys'}, by {screen.KINDS[kind]}",
        line_ends=tuple(
            (point.at, byte_size(value) if has_sizes else number(value))
            for point, value in zip(line, values, strict=True)
            if value is not None
        )[:: max(1, sum(value is not None for value in values) - 1)],
        notes=() if latest is None else latest.notes,
        scans=shown,
        next_before=shown[-1].number if len(found) > len(shown) else None,
        limits=limits(work, cache_id),
        may_set=can(work.actor, Role.ADMIN),
        problem=problem,
    )


def limits_page(
    work: UnitOfWork,
    cache_id: int,
    *,
    typed: TypedLimits | None = None,
    errors: Mapping[str, str] | None = None,
    problem: str = "",
) -> LimitsPage:
    """The form of a cache's limits.

    Args:
        typed, errors, problem: of a form that was refused.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    cache = caches.get_cache(work, cache_id)
    allowed = limits(work, cache_id)
    return LimitsPage(
        cache_name=cache.name,
        base=f"/caches/{cache.id}/keyspace",
        typed=typed or forms.shown_limits(allowed),
        revision=allowed.revision,
        errors=dict(errors or {}),
        problem=problem,
    )


def _line(node: TreeNode, root: TreeNode, growth: Growth | None, *, is_uneven: bool) -> PrefixLine:
    part, whole = node.keys.value, root.keys.value
    if node.size is not None and root.size is not None and root.size.value:
        part, whole = node.size.value, root.size.value
    return PrefixLine(
        node=node,
        share=min(1.0, part / whole) if whole else 0.0,
        error_text="" if is_uneven else screen.relative(node.size),
        without_ttl=min(1.0, node.without_ttl.value / node.keys.value) if node.keys.value else 0.0,
        growth=growth,
        biggest_text=prefix_to_text(node.biggest[0].key[:LONGEST_KEY]) if node.biggest else "",
    )
