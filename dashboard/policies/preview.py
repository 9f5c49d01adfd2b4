"""When the keys of a burst of writes expire, without and with jitter. Pure arithmetic.

A key that is written at a moment within the burst (evenly, ``burst_s`` long) lives base + random(0, jitter) seconds:
its expiry is spread over burst plus jitter, as the sum of two even distributions, a trapezoid.
"""

import itertools
import math
from typing import Final

from dashboard.caching.policy import Policy
from dashboard.policies import words
from dashboard.policies.types import KeysSource, Preview

MAX_BARS: Final = 60
UNLIKELY: Final = 0.001
FEW_S: Final = 5.0
"""A burst that reloads no more keys than this in a second is no burst."""
CALM_S: Final = 100.0
"""More loads in a second than this are for the operator to judge: we do not know what the database takes."""
LONG_S: Final = 60
"""What is spread over less is felt as one burst all the same."""

_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400)


def preview(
    policy: Policy, keys: int, source: KeysSource, *, now: Policy | None = None, burst_s: int = 1
) -> Preview | None:
    """The preview of a policy; None when it caches nothing.

    Args:
        keys: how many are written in the burst.
        now: the policy that is published, if any.
        burst_s: how long the writes take, seconds.
    """
    if policy.base_ttl_s is None:
        return None
    step_s = next(
        (step for step in _STEPS if (burst_s + policy.jitter_s) / step <= MAX_BARS * 0.8), _STEPS[-1]
    )
    bars = math.ceil((burst_s + policy.jitter_s) / step_s) + 2
    begin = policy.base_ttl_s - policy.base_ttl_s % step_s
    edges = [begin + step_s * index for index in range(bars + 1)]
    plain = [keys * share for share in _shares(edges, policy.base_ttl_s, burst_s, 0)]
    jittered = [keys * share for share in _shares(edges, policy.base_ttl_s, burst_s, policy.jitter_s)]
    plain_peak = _peak(keys, burst_s, 0)
    jittered_peak = _peak(keys, burst_s, policy.jitter_s)
    now_peak = None if now is None or now.base_ttl_s is None else _peak(keys, burst_s, now.jitter_s)
    kind, verdict = _verdict(policy, keys, plain_peak, jittered_peak)
    return Preview(
        keys=keys,
        source=source,
        burst_s=burst_s,
        step_s=step_s,
        starts_s=tuple(edges[:-1]),
        plain=tuple(plain),
        jittered=tuple(jittered),
        plain_peak_s=plain_peak,
        jittered_peak_s=jittered_peak,
        likely_peak_s=min(keys, likely_peak(jittered_peak, burst_s + policy.jitter_s)),
        now_peak_s=now_peak,
        ttl_text=words.ttl_text(policy),
        now_ttl_text="" if now is None else words.ttl_text(now),
        kind=kind,
        verdict=verdict,
    )


def likely_peak(mean: float, seconds: int) -> int:
    """The count that no second of ``seconds`` exceeds in 999 of 1,000 bursts, each second being Poisson(``mean``)."""
    if mean <= 0:
        return 0
    allowed = UNLIKELY / max(1, seconds)
    if mean > 500:
        # Far from zero the normal curve is close, and the sum below would underflow.
        return math.ceil(mean + math.sqrt(mean) * math.sqrt(2 * math.log(1 / allowed)))
    count, term = 0, math.exp(-mean)
    below = term
    while 1.0 - below > allowed and count < 10_000:
        count += 1
        term *= mean / count
        below += term
    return count


def _peak(keys: int, burst_s: int, jitter_s: int) -> float:
    """Most keys expected to expire within one second."""
    middle = (burst_s + jitter_s) / 2
    low, high = max(0.0, middle - 0.5), middle + 0.5
    return keys * (_cumulated(high, burst_s, jitter_s) - _cumulated(low, burst_s, jitter_s))


def _shares(edges: list[int], base_s: int, burst_s: int, jitter_s: int) -> list[float]:
    done = [_cumulated(edge - base_s, burst_s, jitter_s) for edge in edges]
    return [after - before for before, after in itertools.pairwise(done)]


def _cumulated(at: float, burst_s: float, jitter_s: float) -> float:
    """Share of the keys that expired ``at`` seconds after the first could."""
    if jitter_s == 0 or burst_s == 0:
        whole = burst_s + jitter_s
        return min(1.0, max(0.0, at / whole)) if whole else float(at >= 0)

    def half_square(value: float) -> float:
        return max(0.0, value) ** 2 / 2

    area = half_square(at) - half_square(at - burst_s) - half_square(at - jitter_s)
    area += half_square(at - burst_s - jitter_s)
    return min(1.0, area / (burst_s * jitter_s))


def _verdict(policy: Policy, keys: int, plain: float, jittered: float) -> tuple[str, str]:
    if plain <= FEW_S:
        return "ok", f"No avalanche risk. {keys:,} keys are too few to be felt."
    if policy.jitter_s == 0:
        return (
            "warn",
            f"Avalanche risk. {keys:,} keys written together expire together, and are loaded together.",
        )
    over, peak = words.seconds(policy.jitter_s), f"{jittered:,.0f}"
    if jittered <= CALM_S and jittered <= plain / 4:
        return "ok", f"No avalanche risk. The burst's expirations are spread over {over}."
    if policy.jitter_s >= LONG_S and jittered <= plain / 4:
        return "info", f"Spread over {over}, and still {peak} loads in a second: can the database take those?"
    return "warn", f"Little relief. {peak} keys still expire in one second; a jitter of {over} is too short."
