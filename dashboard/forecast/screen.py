"""The forecast in words. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from dashboard.forecast import remedies
from dashboard.forecast.check import Check
from dashboard.forecast.trial import Remedy, Side, Trial
from dashboard.forecast.types import Cause, Forecast, Horizon, Rule, Stem, Wall
from dashboard.keyspace import service as keyspace
from dashboard.web import formats

MOST_SERIES: Final = 5
MOST_SPIKES: Final = 8
_LABELLED: Final = 6
_BUNCH_S: Final = 120
REST: Final = "others"
NAMELESS: Final = "no prefix"
HORIZONS: Final = {Horizon.HOUR: "1 h", Horizon.DAY: "24 h", Horizon.WEEK: "7 d"}
AHEAD: Final = {Horizon.HOUR: "hour", Horizon.DAY: "24 hours", Horizon.WEEK: "7 days"}
STEP: Final = {Horizon.HOUR: "10 s", Horizon.DAY: "minute", Horizon.WEEK: "hour"}
_PER: Final = {60: "minute", 3_600: "hour"}
REMEDIES: Final = {
    Remedy.JITTER: "Add jitter to the policy",
    Remedy.RESPREAD: "Re-spread the keys stored now",
    Remedy.WARM_UP: "Warm up ahead",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One number.

    Args:
        status: ok, warn, crit or "".
    """

    label: str
    value: str
    unit: str
    sub: str
    status: str = ""
    word: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One series of the chart.

    Args:
        counts: per step.
    """

    name: str
    counts: Sequence[float]


@dataclass(frozen=True, slots=True)
class Chart:
    """Expirations per step.

    Args:
        labels: words above each marked step, in time order; "" for one that another's stands for.
        sentence: the reading for those who can't see it.
    """

    title: str
    span: str
    start: int
    step_s: int
    lines: Sequence[Line]
    marked: Sequence[int]
    labels: Sequence[str]
    limit: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Spike:
    """A wall in the list.

    Args:
        start: epoch seconds; what links call it by.
        kind: crit (beyond the budget) or warn.
        facts: label and value.
        try_href: "" where nothing can be done any more.
    """

    start: int
    time: str
    names: Sequence[str]
    kind: str
    word: str
    text: str
    facts: Sequence[tuple[str, str]]
    policy_href: str
    policy_word: str
    try_href: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class SideView:
    """Before or after.

    Args:
        counts, marked: as the chart needs them.
    """

    title: str
    text: str
    counts: Sequence[float]
    marked: frozenset[int]
    kind: str
    word: str


@dataclass(frozen=True, slots=True)
class TryView:
    """A remedy that is tried.

    Args:
        remedies: value, label and whether it is chosen.
        percent: of the jitter, of the base TTL; None where it is not about jitter.
        help: what the remedy does, in a sentence.
        is_posted: the action is a form (JITTER), not a link.
        action_href: a page that goes on with it; "" where there is none.
        selected: which keys that takes.
        limit: keys per step from which on one may be a wall.
    """

    name: str
    stem: str
    policy: str
    start: int
    remedies: Sequence[tuple[str, str, bool]]
    remedy: str
    percent: int | None
    jitter_s: int
    help: str
    before: SideView
    after: SideView
    grid_start: int
    step_s: int
    limit: float
    high: float
    action: str
    is_posted: bool
    action_href: str
    selected: str


@dataclass(frozen=True, slots=True)
class Row:
    """One stem in the table."""

    name: str
    kind: str
    word: str
    keys: float
    busiest: float
    bunching: float | None
    ttl: str
    keys_href: str


@dataclass(frozen=True, slots=True)
class Steady:
    """A stem that expires all the time."""

    name: str
    per_s: float


@dataclass(frozen=True, slots=True)
class ForecastScreen:
    """What the page shows.

    Args:
        meta: what it was read from.
        is_old: the scan is so old that the forecast should be made anew.
        checked: how an earlier forecast did; "" where none can be judged.
        may_act: stage a jitter, begin a purge; may_sample: look at keys anew.
        ahead_value: the horizon, for forms.
    """

    cache_id: int
    base: str
    may_act: bool
    may_sample: bool
    ahead_value: str
    ranges: Sequence[tuple[str, str]]
    current: str
    has_scan: bool
    meta: str = ""
    is_old: bool = False
    tiles: Sequence[Tile] = ()
    chart: Chart | None = None
    spikes: Sequence[Spike] = ()
    more_spikes: int = 0
    ahead: str = ""
    tried: TryView | None = None
    rows: Sequence[Row] = ()
    steady: Sequence[Steady] = ()
    checked: str = ""
    step: str = ""


OLD_S: Final = 3_600


def fill(
    frame: ForecastScreen,
    found: Forecast,
    trial: Trial | None,
    judged: tuple[datetime, Check] | None,
    remedies_offered: Sequence[Remedy],
) -> ForecastScreen:
    """The page of a forecast.

    Args:
        frame: what there is without one.
    """
    basis = found.basis
    taken = datetime.fromtimestamp(basis.taken_at, UTC)
    looked = f"{basis.looked_at:,} {'sampled ' if basis.is_sample else ''}keys"
    shown = sorted(found.walls, key=lambda wall: (not wall.is_risk, wall.start))
    return replace(
        frame,
        meta=f"Read from the TTLs of {looked} at {formats.time(taken, _moment(found.now))}",
        is_old=found.now - basis.taken_at > OLD_S,
        tiles=_tiles(found),
        chart=_chart(found),
        spikes=[_spike(frame, found, wall, trial) for wall in shown[:MOST_SPIKES]],
        more_spikes=max(0, len(shown) - MOST_SPIKES),
        ahead=AHEAD[found.horizon],
        tried=None if trial is None else _try(frame, found, trial, remedies_offered),
        rows=_rows(frame, found),
        steady=[Steady(_shown(name), per_s) for name, per_s in sorted(found.course.steady.items())],
        checked="" if judged is None else _judged(judged, found.now),
        step=STEP[found.horizon],
    )


def _tiles(found: Forecast) -> list[Tile]:
    total, basis = found.course.total, found.basis
    keys = sum(total)
    return [
        Tile(
            f"Expire in the next {AHEAD[found.horizon]}",
            _count(keys),
            "keys",
            _of_those(keys, basis.with_ttl),
        ),
        _busiest(found, total),
        _database(found),
        _never(found),
    ]


def _of_those(keys: float, with_ttl: float) -> str:
    if with_ttl <= 0:
        return "no key has a TTL"
    share = keys / with_ttl
    # Keys that come back end more than once.
    if share > 1:
        return f"each key with a TTL {formats.number(share)} times on average"
    return f"{formats.percent(share)} of the keys with a TTL"


def _busiest(found: Forecast, total: Sequence[float]) -> Tile:
    label = f"Busiest {STEP[found.horizon]}"
    if not any(total):
        return Tile(label, "0", "keys", "nothing expires")
    at = max(range(len(total)), key=total.__getitem__)
    usual = sorted(total)[len(total) // 2]
    by_median = total[at] / usual if usual > 0 else None
    sub = f"{formats.number(by_median)} times the median" if by_median else "most steps are empty"
    begin = found.course.grid.start + at * found.course.grid.step_s
    tile = Tile(label, _count(total[at]), f"at {_clock(begin, found.now, found.horizon)}", sub)
    if any(wall.start <= begin < wall.end for wall in found.walls):
        return replace(
            tile, status="crit" if any(wall.is_risk for wall in found.walls) else "warn", word="Spike"
        )
    return tile


def _database(found: Forecast) -> Tile:
    basis = found.basis
    if basis.loads_per_s is None:
        return Tile(
            "Database peak", formats.NOT_AVAILABLE, "", "neither applications nor the server count reads"
        )
    peak = max([basis.loads_per_s, *(wall.peak_per_s for wall in found.walls)])
    now = f"now {formats.number(basis.loads_per_s)}"
    if basis.budget_per_s is None:
        return Tile("Database peak", formats.number(peak), "q/s", f"no budget, {now}")
    is_over = peak > basis.budget_per_s
    return Tile(
        "Database peak",
        formats.number(peak),
        "q/s",
        f"budget {formats.number(basis.budget_per_s)}, {now}",
        "crit" if is_over else "ok",
        "Over budget" if is_over else "Within budget",
    )


def _never(found: Forecast) -> Tile:
    stems = found.basis.stems
    never = sum(stem.expiries.never for stem in stems)
    if never < 1:
        return Tile("Keys without TTL", "0", "", "every key expires", "ok", "None")
    most = max(stems, key=lambda stem: stem.expiries.never)
    sub = f"{_count(most.expiries.never)} of them {_shown(most.name)}"
    return Tile("Keys without TTL", _count(never), "never expire", sub, "warn", "Drift")


def _chart(found: Forecast) -> Chart:
    on, total = found.course.grid, found.course.total
    marked = {
        step: wall
        for wall in found.walls
        for step in range((wall.start - on.start) // on.step_s, (wall.end - on.start) // on.step_s)
    }
    fullest = {
        wall.start: max(
            range((wall.start - on.start) // on.step_s, (wall.end - on.start) // on.step_s),
            key=total.__getitem__,
        )
        for wall in found.walls
    }
    labelled = sorted(found.walls, key=lambda wall: -wall.keys)[:_LABELLED]
    words = {
        fullest[wall.start]: f"{_shown(wall.blame[0].stem)} {_count(wall.blame[0].keys)}"
        f" at {_clock(wall.start, found.now, found.horizon)}"
        for wall in labelled
        if wall.blame
    }
    said = "; ".join(
        f"{_count(wall.keys)} at {_clock(wall.start, found.now, found.horizon)}, {_names(wall)}"
        for wall in labelled
    )
    span = f"{_clock(on.start, found.now, found.horizon)} to {_clock(on.end, found.now, found.horizon)} UTC"
    return Chart(
        title=f"Keys expiring per {STEP[found.horizon]}",
        span=span,
        start=on.start,
        step_s=on.step_s,
        lines=_lines(found),
        marked=sorted(marked),
        labels=[words.get(step, "") for step in sorted(marked)],
        limit=found.line,
        sentence=f"{_count(sum(total))} keys expire from {span}. "
        + (f"Spikes: {said}." if said else "No spike."),
    )


def _lines(found: Forecast) -> list[Line]:
    by_stem = found.course.by_stem
    ranked = sorted((name for name in by_stem if any(by_stem[name])), key=lambda name: -sum(by_stem[name]))
    shown = ranked if len(ranked) <= MOST_SERIES + 1 else ranked[:MOST_SERIES]
    lines = [Line(_shown(name), by_stem[name]) for name in shown]
    rest = ranked[len(shown) :]
    if rest:
        lines.append(
            Line(
                f"{len(rest)} {REST}",
                [sum(by_stem[name][at] for name in rest) for at in range(found.course.grid.steps)],
            )
        )
    return lines or [Line("none", [0.0] * found.course.grid.steps)]


def _spike(frame: ForecastScreen, found: Forecast, wall: Wall, trial: Trial | None) -> Spike:
    first = wall.blame[0]
    named = {stem.name: stem for stem in found.basis.stems}
    basis = found.basis
    peak = formats.NOT_AVAILABLE if basis.loads_per_s is None else f"{formats.number(wall.peak_per_s)} q/s"
    query = urlencode({"ahead": found.horizon.value, "at": wall.start})
    can = wall.end - found.now > remedies.SOONEST_S or named[first.stem].rule is not None
    return Spike(
        start=wall.start,
        time=_clock(wall.start, found.now, found.horizon),
        names=[_shown(blame.stem) for blame in wall.blame[:3]],
        kind="crit" if wall.is_risk else "warn",
        word="Avalanche risk" if wall.is_risk else "Watch",
        text=f"{_cause(first.cause, wall, named[first.stem].rule, found)} {_cost(wall, found)}",
        facts=(
            ("Keys", _count(first.keys)),
            ("Of the prefix", formats.percent(first.share)),
            ("Database peak", peak),
        ),
        policy_href=f"/caches/{frame.cache_id}/policies/edit?{urlencode({'prefix': first.policy})}"
        if first.policy
        else f"/caches/{frame.cache_id}/policies/add",
        policy_word="Open policy" if first.policy else "Add a policy",
        try_href=f"{frame.base}?{query}#try" if can else "",
        is_open=trial is not None and trial.wall.start == wall.start,
    )


def _parts(wall: Wall, named: Mapping[str, Stem]) -> tuple[tuple[str, str], tuple[str, str]]:
    keys = sum(blame.keys for blame in wall.blame)
    held = sum(named[blame.stem].expiries.keys - named[blame.stem].expiries.never for blame in wall.blame)
    whose = "Of the prefix" if len(wall.blame) == 1 else f"Of {len(wall.blame)} prefixes"
    return ("Keys", _count(keys)), (whose, formats.percent(min(1.0, keys / held) if held else None))


def _cause(cause: Cause, wall: Wall, rule: Rule | None, found: Forecast) -> str:
    match cause:
        case Cause.ROUND_TIME:
            return "They end on the full hour: set with EXPIREAT, or written on an hour with a TTL of whole hours."
        case Cause.NO_JITTER:
            base_s = (rule.base_s + rule.grace_s) if rule is not None else 0.0
            written = _clock(int(wall.start - base_s), found.now, found.horizon)
            return f"Written together at about {written}. The policy has no jitter."
        case Cause.WARM_UP:
            spite = "" if rule is None else ", in spite of the policy"
            return f"Nearly all keys of the prefix at once{spite}: a warm-up that sets one TTL for all."
        case Cause.BURST:
            return "Written together." if rule is None else "Written together, past the policy's jitter."


def _cost(wall: Wall, found: Forecast) -> str:
    budget = found.basis.budget_per_s
    if found.basis.loads_per_s is None:
        return "What it costs the database is not known: nothing counts reads."
    if budget is None:
        return "There is no database budget to measure it by."
    even = (
        " No application counts its reads: they are taken to be even over all keys."
        if found.basis.is_even
        else ""
    )
    if wall.is_risk:
        return f"Goes over the {formats.number(budget)} q/s budget for about {formats.duration(wall.over_s)}.{even}"
    if found.basis.is_even:
        return f"By the server's reads it stays under the budget.{even}"
    return "Stays under the budget, no action needed."


def _try(frame: ForecastScreen, found: Forecast, trial: Trial, offered: Sequence[Remedy]) -> TryView:
    per = _PER.get(trial.grid.step_s) or _length(trial.grid.step_s)
    rule = trial.stem.rule or Rule(0.0)
    keys = next(blame.keys for blame in trial.wall.blame if blame.stem == trial.stem.name)
    high = max(trial.before.peak, trial.after.peak, 1.0)
    is_jitter = trial.remedy is Remedy.JITTER
    return TryView(
        name=_shown(trial.stem.name),
        stem=trial.stem.name,
        policy=trial.stem.expiries.policy,
        start=trial.wall.start,
        remedies=[(each.value, REMEDIES[each], each is trial.remedy) for each in offered],
        remedy=trial.remedy.value,
        percent=round(trial.jitter_s / rule.base_s * 100) if is_jitter and rule.base_s else None,
        jitter_s=trial.jitter_s,
        help=_help(trial, rule, found, per, keys),
        before=_side_view("Before", trial.before, per),
        after=_side_view("After", trial.after, per),
        grid_start=trial.grid.start,
        step_s=trial.grid.step_s,
        limit=trial.line,
        high=high,
        action="Stage this jitter" if is_jitter else "Go on to the purge",
        selected="" if is_jitter else _selected(trial, found.now),
        is_posted=is_jitter,
        action_href="" if is_jitter else _purge_href(frame, found, trial),
    )


def _help(trial: Trial, rule: Rule, found: Forecast, per: str, keys: float) -> str:
    begins, ends = (_clock(int(each), found.now, Horizon.DAY) for each in (trial.begins, trial.ends))
    most = f"at most {_count(trial.most_per_step)} per {per}"
    match trial.remedy:
        case Remedy.JITTER:
            ttl = (
                f"{_length(rule.base_s)} + up to {_length(trial.jitter_s)}"
                if trial.jitter_s
                else (f"{_length(rule.base_s)}, no jitter")
            )
            return (
                f"{ttl}: what is written again after this spike ends {begins} to {ends}, {most}."
                " The keys stored now end as before."
            )
        case Remedy.RESPREAD:
            return (
                f"The {_count(keys)} keys that would end in the spike end at random moments from now to {ends}, {most}:"
                " never later than they would have."
            )
        case Remedy.WARM_UP:
            return (
                f"The {_count(keys)} keys are marked stale one after the other from now to {ends}, {most}. Each is"
                " refreshed by its next read, which is served the old value meanwhile."
            )


def _side_view(title: str, side: Side, per: str) -> SideView:
    reads = "" if side.peak_per_s is None else f", database {formats.number(side.peak_per_s)} q/s"
    kind, word = ("crit", "Over budget") if side.is_over else ("ok", "Within budget")
    if side.peak_per_s is None:
        kind = word = ""
    return SideView(title, f"peak {_count(side.peak)} per {per}{reads}", side.counts, side.marked, kind, word)


def _selector(stem: str) -> dict[str, str] | None:
    """What selects the keys of a stem on the Invalidate page; None: nothing does."""
    if stem in ("", keyspace.OTHER):
        return None
    if keyspace.FOLDED not in stem:
        return {"by": "prefix", "prefix": stem}
    pattern = keyspace.pattern_of((stem,), is_leaf=stem.endswith(keyspace.FOLDED))
    return None if pattern is None else {"by": "pattern", "pattern": pattern}


def _purge_href(frame: ForecastScreen, found: Forecast, trial: Trial) -> str:
    selector = _selector(trial.stem.name)
    if selector is None:
        return ""
    window = remedies.window_s(trial.wall, found.now)
    first, last = (f"{_moment(epoch):%Y-%m-%dT%H:%M:%S}" for epoch in remedies.ends_between(trial.wall))
    fields: dict[str, str | int] = {**selector, "ends_from": first, "ends_until": last}
    if trial.remedy is Remedy.RESPREAD:
        fields |= {"action": "spread", "window_s": window, "window_s.unit": "s"}
    else:
        fields |= {"action": "soft"}
    return f"/caches/{frame.cache_id}/invalidate?{urlencode(fields)}"


def _selected(trial: Trial, now: float) -> str:
    """What the purge takes, where that is not the spike alone."""
    selector = _selector(trial.stem.name)
    if selector is None:
        return "No prefix or pattern selects these keys alone: choose them on the Invalidate page."
    words = selector.get("pattern") or f"{selector['prefix']}*"
    over = ""
    if trial.remedy is Remedy.WARM_UP:
        over = f" Spread it over {formats.duration(remedies.window_s(trial.wall, now))} when you confirm it."
    return f"The purge takes all keys of {words} that end in the spike; its preview counts them.{over}"


def _rows(frame: ForecastScreen, found: Forecast) -> list[Row]:
    named = {stem.name: stem for stem in found.basis.stems}
    risky = {blame.stem for wall in found.walls if wall.is_risk for blame in wall.blame}
    watched = {blame.stem for wall in found.walls for blame in wall.blame}
    rows = []
    for name, counts in found.course.by_stem.items():
        keys = sum(counts)
        kind, word = (
            ("crit", "Avalanche risk")
            if name in risky
            else ("warn", "Watch")
            if name in watched
            else ("ok", "Even")
        )
        rows.append(
            Row(
                name=_shown(name),
                kind=kind,
                word=word,
                keys=keys,
                busiest=max(counts, default=0.0),
                bunching=_bunching(counts, found.course.grid.step_s),
                ttl=_ttl(named[name]),
                keys_href=_keys_href(frame, name),
            )
        )
    return sorted(rows, key=lambda row: -row.keys)


def _keys_href(frame: ForecastScreen, stem: str) -> str:
    selector = _selector(stem) or {}
    words = selector.get("pattern") or (f"{selector['prefix']}*" if selector else "")
    return f"/caches/{frame.cache_id}/keys?{urlencode({'q': words})}"


def _bunching(counts: Sequence[float], step_s: int) -> float | None:
    """Share of all in the busiest two minutes; None where steps are wider, or nothing ends."""
    width = _BUNCH_S // step_s
    total = sum(counts)
    if width < 1 or total <= 0:
        return None
    around = most = sum(counts[:width])
    for at in range(width, len(counts)):
        around += counts[at] - counts[at - width]
        most = max(most, around)
    return min(1.0, most / total)


def _ttl(stem: Stem) -> str:
    rule = stem.rule
    if rule is None:
        return "no policy"
    if not rule.base_s:
        return "not cached"
    jitter = f" + up to {_length(rule.jitter_s)}" if rule.jitter_s else ", no jitter"
    return _length(rule.base_s) + jitter


def _judged(judged: tuple[datetime, Check], now: float) -> str:
    made_at, check = judged
    off = check.total_off
    sentence = (
        f"The forecast of {formats.time(made_at, _moment(now))} for the {formats.duration(check.steps * 60)} since:"
        f" {_count(check.predicted)} keys forecast, {_count(check.happened)} expired"
    )
    if off is None or check.off is None:
        return f"{sentence}."
    way = "as many" if abs(off) < 0.005 else f"{formats.percent(abs(off))} too {'many' if off > 0 else 'few'}"
    return f"{sentence}, {way}; {formats.percent(check.off)} off minute by minute."


def _length(seconds: float) -> str:
    """As policies are written: a day or two in hours."""
    if seconds % 3_600 == 0 and 3_600 <= seconds < 3 * 86_400:
        return f"{seconds / 3_600:.0f} h"
    return formats.duration(seconds)


def _names(wall: Wall) -> str:
    return " and ".join(_shown(blame.stem) for blame in wall.blame[:3])


def _shown(stem: str) -> str:
    """A stem's name; keys without a delimiter have none."""
    return stem or NAMELESS


def _count(keys: float) -> str:
    return f"{round(keys):,}"


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def _clock(epoch: int, now: float, horizon: Horizon) -> str:
    """A moment: with seconds in the next hour, with the day where it is another one's."""
    moment = _moment(epoch)
    clock = f"{moment:%H:%M:%S}" if horizon is Horizon.HOUR and epoch % 60 else f"{moment:%H:%M}"
    return clock if moment.date() == _moment(now).date() else f"{moment:%b} {moment.day}, {clock}"
