"""From base units to words: the filters of all templates. Pure; values are bytes, seconds and ratios 0..1.

``None`` is written "n/a": it cannot be known, which is something else than 0. Times are UTC.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

NOT_AVAILABLE = "n/a"
_BYTE_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MONTHS = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)


def number(value: float | None) -> str:
    """A count or a rate with as many digits as help: ``1,842``, ``46.2``, ``0.25``, ``0``."""
    if value is None:
        return NOT_AVAILABLE
    size = abs(value)
    if size == 0 or isinstance(value, int) or size >= 99.95:
        return f"{value:,.0f}"
    if size < 0.005:
        return "<0.01" if value > 0 else ">-0.01"
    if size >= 0.995:
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:.2f}".rstrip("0")


def compact(value: float | None) -> str:
    """A large count in a narrow place: ``912``, ``84.8 k``, ``1.2 M``."""
    if value is None:
        return NOT_AVAILABLE
    for size, letter, least in ((1e9, "G", 999.5e6), (1e6, "M", 999.5e3), (1e3, "k", 1e4)):
        if abs(value) >= least:
            scaled = value / size
            return (f"{scaled:,.1f}" if abs(scaled) < 99.95 else f"{scaled:,.0f}").removesuffix(
                ".0"
            ) + f" {letter}"
    return number(round(value))


def percent(ratio: float | None) -> str:
    """A ratio 0..1 as ``91.4%``. Only what is all or nothing is written 100% or 0%."""
    if ratio is None:
        return NOT_AVAILABLE
    if 0 < ratio < 0.0005:
        return "<0.1%"
    share = min(ratio * 100, 99.9) if ratio < 1 else ratio * 100
    return f"{share:.1f}".removesuffix(".0") + "%"


def share(ratio: float | None) -> str:
    """A measured ratio 0..1 beside others of its kind: as ``percent``, but always with its decimal: ``72.0%``."""
    text = percent(ratio)
    is_whole = "." not in text and text not in (NOT_AVAILABLE, "0%", "100%")
    return f"{text[:-1]}.0%" if is_whole else text


def byte_unit(size: float) -> tuple[int, str]:
    """The unit to write ``size`` bytes in.

    Returns:
        (bytes in one unit, its name), such as (1048576, "MB").
    """
    step = 0
    while step < len(_BYTE_UNITS) - 1 and round(abs(size) / 1024**step, 1) >= 1024:
        step += 1
    return 1024**step, _BYTE_UNITS[step]


def byte_size(size: float | None) -> str:
    """Bytes as Redis counts them (1 MB = 1,048,576): ``36.1 MB``, ``512 MB``, ``870 B``."""
    if size is None:
        return NOT_AVAILABLE
    per_unit, unit = byte_unit(size)
    text = f"{size / per_unit:,.0f}" if per_unit == 1 else f"{size / per_unit:,.1f}".removesuffix(".0")
    return f"{text} {unit}"


def byte_share(used: int | None, limit: int | None) -> str:
    """Used bytes of a limit in the limit's unit: ``508 of 512 MB``; no limit (0 or None): ``508 MB``."""
    if used is None or not limit:
        return byte_size(used)
    shown = used / byte_unit(limit)[0]
    if shown < 0.95:
        return f"{byte_size(used)} of {byte_size(limit)}"
    digits = 1 if shown < 99.95 else 0
    return f"{shown:,.{digits}f}".removesuffix(".0") + f" of {byte_size(limit)}"


def duration(seconds: float | None) -> str:
    """A length of time in at most two units: ``4 h``, ``1 h 6 m``, ``30 s``, ``2.1 ms``, ``41 d``."""
    if seconds is None:
        return NOT_AVAILABLE
    if seconds == 0:
        return "0 s"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return (
            f"{seconds * 1e3:.1f}".removesuffix(".0") + " ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"
        )
    if seconds < 9.95 and seconds != round(seconds):
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for size, name, part, part_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "m"),
        (_MINUTE, "m", 1, "s"),
    ):
        if whole >= size:
            count, rest = whole // size, whole % size // part
            # Beyond ten days the hours are noise.
            return (
                f"{count} {name}"
                if not rest or (name == "d" and count >= 10)
                else f"{count} {name} {rest} {part_name}"
            )
    return f"{whole} s"


def age_s(seconds: float | None) -> str:
    """A length of time in one unit, rounded down, as in ``17 m`` old."""
    if seconds is None:
        return NOT_AVAILABLE
    whole = max(0, int(seconds))
    for size, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if whole >= size:
            return f"{whole // size} {name}"
    return f"{whole} s"


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago: ``17 m``; the template adds "ago" or "old". ``never`` for None."""
    return "never" if moment is None else age_s((now - moment).total_seconds())


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago in the course of a sentence: ``17 m ago``, ``just now``; ``never`` for None."""
    if moment is None or (now - moment).total_seconds() >= 1:
        return age(moment, now) + (" ago" if moment else "")
    return "just now"


def time(moment: datetime | None, now: datetime, seconds: bool = False) -> str:
    """Today ``14:26`` (or ``14:26:31``), this year ``Nov 11``, older ``2024-11-11``; ``never`` for None."""
    if moment is None:
        return "never"
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    if moment.date() == now.date():
        return f"{moment:%H:%M:%S}" if seconds else f"{moment:%H:%M}"
    return _day(moment, now)


def stamp(moment: datetime | None, now: datetime) -> str:
    """Day and time of a log line: ``Today 14:25:25``, ``Yesterday 17:41:55``, ``Nov 3 09:12:45``."""
    if moment is None:
        return "never"
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    days = {now.date(): "Today", now.date() - timedelta(days=1): "Yesterday"}
    return f"{days.get(moment.date()) or _day(moment, now)} {moment:%H:%M:%S}"


def since(moment: datetime, now: datetime) -> str:
    """A moment in the course of a sentence: ``13:38``, ``Nov 11, 13:38``, ``2024-11-11``."""
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    day = time(moment, now)
    return day_and_time(moment) if moment.date() != now.date() and moment.year == now.year else day


def day_and_time(moment: datetime) -> str:
    """A moment of this year, whatever day it is now: ``Nov 11, 13:38``."""
    moment = moment.astimezone(UTC)
    return f"{_MONTHS[moment.month - 1]} {moment.day}, {moment:%H:%M}"


def _day(moment: datetime, now: datetime) -> str:
    if moment.year == now.year:
        return f"{_MONTHS[moment.month - 1]} {moment.day}"
    return f"{moment:%Y-%m-%d}"


def clock(epoch: float) -> str:
    """A place on a chart's axis, epoch seconds: ``14:30``, ``14:30:10``; midnight: ``Nov 11``."""
    moment = datetime.fromtimestamp(epoch, UTC)
    if epoch % _DAY == 0:
        return f"{_MONTHS[moment.month - 1]} {moment.day}"
    return f"{moment:%H:%M:%S}" if epoch % _MINUTE else f"{moment:%H:%M}"


def iso(moment: datetime | None) -> str:
    """For ``datetime`` attributes and URLs: ``2026-11-22T14:26:31Z``; empty for None."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def utc(moment: datetime | None) -> str:
    """The whole point in time, for titles: ``2026-11-22 14:26:31 UTC``; ``never`` for None."""
    return "never" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


FILTERS: dict[str, Callable[..., Any]] = {
    "age_s": age_s,
    "ago": ago,
    "bytes": byte_size,
    "byte_share": byte_share,
    "clock": clock,
    "compact": compact,
    "duration": duration,
    "iso": iso,
    "number": number,
    "percent": percent,
    "share": share,
    "since": since,
    "stamp": stamp,
    "time": time,
    "utc": utc,
}
"""Name in templates to function."""
