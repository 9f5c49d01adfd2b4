"""How fast a walk over all keys may go. Pure: everything that is measured is an argument.

``Pace`` belongs to one node. It makes bursts so small that nobody on the server waits long for the end of one, rests
between them where others wait all the same, and stands still while the server has to catch up with freeing memory or
with its replicas. ``Allowance`` belongs to the whole walk: the admin's limit, the spread over time, the database.
"""

import statistics
from collections import deque
from typing import Final

from dashboard.fleet.scan import ServerState

LONGEST_BURST_S: Final = 0.0008
"""A burst may take so long as seen from here; the server is busy with it for some 0.7 ms, the rest is ours."""
SHORTEST_BURST_S: Final = 0.0002
FIRST_UNITS: Final = 50
FEWEST_UNITS: Final = 10
MOST_UNITS: Final = 2_000
"""Of work in a burst; looking at one key in a scan is a unit."""
LEAST_DUTY: Final = 0.2
"""Of the time the server works for us at least so much: with bursts this short, others then wait for something else."""
PROBES: Final = 100
"""So many probes are judged at a time."""
PENDING_STOP: Final = 50_000
"""Objects that wait to be freed: none is added above."""
PENDING_GO: Final = 10_000
LAG_SLOW: Final = 4_000_000
"""Bytes a replica is behind: slow down above."""
LAG_STOP: Final = 32_000_000
"""Stand still above, before the server cuts the replica off."""
FULL: Final = 0.98
"""Share of maxmemory from which on a server that does not evict is left alone with what needs memory."""
LATE_S: Final = 2.0
"""What is to take a while and is later than that does not catch up, but goes on evenly."""
STILL_S: Final = 0.05
"""How long to stand still before another look."""


class Pace:
    """The pace on one node. One thread works and asks; another may watch at the same time.

    Args:
        slowest_probe_ms: what others may wait at the 99th percentile.
        needs_memory: whether the action makes the server store more (a TTL where there was none).
    """

    def __init__(self, slowest_probe_ms: float, *, needs_memory: bool = False) -> None:
        self._slowest_s = slowest_probe_ms / 1000
        self._needs_memory = needs_memory
        self._costs: deque[float] = deque(maxlen=9)
        self._units = float(FIRST_UNITS)
        self._probes: list[float] = []
        self._quickest_s: float | None = None
        self._burst_s = LONGEST_BURST_S
        self._duty = 1.0
        self._is_freeing = False
        self._is_full = False
        self._lag = 0
        self.probe_p99_s: float | None = None
        """What others waited when it was judged last."""

    # --- for the one that works ---------------------------------------------------------------------------------

    @property
    def units(self) -> int:
        """How much work the next burst may be."""
        return int(self._units)

    def worked(self, units: float, took_s: float) -> None:
        """A burst of so much work took so long, answer included."""
        # The way there and back is none of the server's work.
        self._costs.append(self._spent_s(took_s) / max(1.0, units))
        # The median, because this process may have been put aside in the middle of one.
        wanted = self._burst_s / statistics.median(self._costs)
        self._units = min(MOST_UNITS, max(FEWEST_UNITS, min(wanted, self._units * 1.5)))

    def overflowed(self) -> None:
        """An answer was too large to be read: begin small again."""
        self._units = FEWEST_UNITS

    def rest_s(self, took_s: float) -> float:
        """How long to leave the server alone after a burst that took so long."""
        if self.is_still:
            return STILL_S
        duty = self._duty
        if self._lag > LAG_SLOW:
            duty = min(duty, 0.5)
        return self._spent_s(took_s) * (1.0 / duty - 1.0)

    def _spent_s(self, took_s: float) -> float:
        return max(1e-6, took_s - (self._quickest_s or 0.0))

    @property
    def is_full(self) -> bool:
        """Whether the server has no room for what is to be done, and makes none by itself."""
        return self._is_full

    @property
    def is_still(self) -> bool:
        """Whether nothing should be touched until the server has caught up."""
        return self._is_freeing or self._is_full or self._lag > LAG_STOP

    @property
    def slowed_by(self) -> str:
        """Why it is not faster: "", "probe", "memory" or "replication"."""
        if self._is_freeing or self._is_full:
            return "memory"
        if self._lag > LAG_SLOW:
            return "replication"
        return "probe" if self._duty < 1.0 or self._burst_s < LONGEST_BURST_S else ""

    # --- for the one that watches -------------------------------------------------------------------------------

    def probed(self, took_s: float) -> None:
        """Another client waited so long for the least of answers."""
        if self._quickest_s is None or took_s < self._quickest_s:
            self._quickest_s = took_s
        self._probes.append(took_s)
        if len(self._probes) < PROBES:
            return
        self.probe_p99_s = sorted(self._probes)[-2]
        self._probes.clear()
        # A network's delay is there without us, too.
        waited_s = self.probe_p99_s - self._quickest_s
        if waited_s > self._slowest_s:
            if self._burst_s > SHORTEST_BURST_S:
                self._burst_s = max(SHORTEST_BURST_S, self._burst_s * 0.6)
            else:
                self._duty = max(LEAST_DUTY, self._duty * 0.7)
        elif waited_s < 0.7 * self._slowest_s:
            if self._duty < 1.0:
                self._duty = min(1.0, self._duty * 1.2)
            else:
                self._burst_s = min(LONGEST_BURST_S, self._burst_s * 1.2)

    def observed(self, state: ServerState) -> None:
        """What the server says about itself."""
        bound = PENDING_GO if self._is_freeing else PENDING_STOP
        self._is_freeing = state.lazyfree_pending > bound
        self._is_full = (
            self._needs_memory
            and not state.is_evicting
            and state.max_memory > 0
            and (state.used_memory or 0) > FULL * state.max_memory
        )
        self._lag = state.lag_bytes or 0


class Allowance:
    """The limits that hold for a purge as a whole.

    Args:
        most_keys_per_s: the admin's.
        over_s: spread evenly over so many seconds; 0: as fast as all else allows.
        budget_per_s: database reads that may be caused; None: not limited.
        from_s: seconds of work before the time to spread over began.
        from_share: how much of the way was behind it then, 0..1; the rest is what is spread.
    """

    def __init__(
        self,
        most_keys_per_s: float,
        over_s: float = 0.0,
        budget_per_s: float | None = None,
        *,
        from_s: float = 0.0,
        from_share: float = 0.0,
    ) -> None:
        self._most = most_keys_per_s
        self._over_s = over_s
        self._from_s = from_s
        self._from_share = min(0.999, from_share)
        self._budget = budget_per_s
        self._rate = most_keys_per_s
        self._next_s = self._limit_next_s = 0.0
        self._taken = 0
        self._taken_from_s = self._taken_to_s = 0.0
        self._reason = ""

    @property
    def keys_per_s(self) -> float:
        """The limit at present."""
        return self._rate

    @property
    def slowed_by(self) -> str:
        """What the last wait was for: "", "limit", "database" or "spread"."""
        return self._reason

    def begin_gently(self, reads_per_s: float) -> None:
        """The selected prefixes are read so often; before anything was touched.

        Each key that goes causes one read of the database at most, so as many keys as the budget are safe to begin
        with. Where all reads together fit in, there is nothing to fear.
        """
        if self._budget is not None and reads_per_s > self._budget:
            self._rate = min(self._most, max(1.0, self._budget))

    def loaded(self, caused_per_s: float) -> None:
        """So many database reads per second more than before it began, measured over the last seconds."""
        span_s, taken = self._taken_to_s - self._taken_from_s, self._taken
        self._taken = 0
        if self._budget is None:
            return
        if caused_per_s > self._budget:
            # The limit may be far above what is possible: slower than at present is what helps.
            present = min(self._rate, taken / span_s) if span_s > 0 else self._rate
            # Never to nothing: what was touched already causes reads for a while, however slowly it goes on.
            self._rate = max(1.0, self._budget * 0.05, present * 0.7)
        elif caused_per_s < 0.8 * self._budget:
            self._rate = min(self._most, self._rate * 1.15)

    def wait_s(self, now_s: float, spent_s: float, share: float) -> float:
        """How long to wait before the next burst; 0: go.

        Args:
            now_s: monotonic.
            spent_s: seconds that the purge has been working, pauses not counted.
            share: how much of the way is behind it, 0..1.
        """
        spread_s = spent_s - self._from_s
        if self._over_s > 0 and spread_s < self._over_s:
            done = (share - self._from_share) / (1.0 - self._from_share)
            early_s = done * self._over_s - spread_s
            if early_s > 0:
                self._reason = "spread"
                return early_s
            if early_s < -LATE_S:
                # It was held up, or must go a part of the way again: what is left is spread over what is left.
                self._over_s -= spread_s
                self._from_s, self._from_share = spent_s, min(0.999, max(0.0, share))
        wait = self._next_s - now_s
        if wait > 0:
            self._reason = "database" if self._rate < self._most else "limit"
            return wait
        self._reason = ""
        return 0.0

    def limit_wait_s(self, now_s: float) -> float:
        """The same where nothing but the admin's limit is to hold.

        Args:
            now_s: monotonic.
        """
        return max(0.0, self._limit_next_s - now_s)

    def took(self, keys: int, now_s: float) -> None:
        """So many keys are being touched now."""
        if not self._taken:
            self._taken_from_s = now_s
        self._taken += keys
        self._taken_to_s = now_s
        # What was not used is not saved up for more than a moment: a limit is one at every second.
        self._next_s = max(self._next_s, now_s - 0.02) + keys / self._rate
        self._limit_next_s = max(self._limit_next_s, now_s - 0.02) + keys / self._most

    def most_at_once(self, expected: int) -> int:
        """The largest burst that the limits leave sense in: several a second, so that nothing comes in lumps.

        Args:
            expected: keys looked at in all.
        """
        most = self._rate / 10
        if self._over_s > 0:
            most = min(most, expected * (1.0 - self._from_share) / self._over_s / 4)
        return max(1, int(most))
