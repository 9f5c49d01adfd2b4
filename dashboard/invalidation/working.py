"""One thread's work on one source: find keys, hand them to the journal, act on those that are in it, at its pace."""

import contextlib
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dashboard.clock import Clock
from dashboard.fleet import scan
from dashboard.fleet.errors import Cause, FleetDenied, FleetError
from dashboard.fleet.pace import Allowance, Pace
from dashboard.fleet.permissions import acl_line
from dashboard.fleet.purging import Router, Trouble, finish, judge
from dashboard.fleet.registry import Node
from dashboard.fleet.watching import Paces
from dashboard.invalidation import facts
from dashboard.invalidation.action import SCRIPTS, Call, Doing
from dashboard.invalidation.saving import SEGMENT_BYTES, SEGMENT_KEYS, SEGMENT_S, Begun, Saver
from dashboard.invalidation.signals import Cancelled, Control, Exceeded, Failed, Halted, NotNow, Paused
from dashboard.invalidation.sources import Source
from dashboard.invalidation.types import Action, Limits, NodeProgress, Plan

AWAY_S: Final = 15 * 60.0
"""A node that has been away for so long is not waited for any longer."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
FEWEST: Final = 10
"""Keys that a SCAN looks at, at least."""


class Stopped(Exception):
    """Another of the threads has failed, or everything was told to end: leave."""


class Gone(Exception):
    """The node belongs to the cache no longer; others have its keys."""


@dataclass(slots=True, eq=False)
class Common:
    """What all threads of a run share.

    Args:
        one_by_one: keys can't be removed several at a time, as in a Cluster.
        looked_at: keys that were looked at so far, by all of them.
        stop: set when one of them has failed.
        exceeded: why all should come to a good end: it would touch more than was approved.
    """

    plan: Plan
    limits: Limits
    is_exact: bool
    router: Router
    doing: Doing
    allowance: Allowance
    saver: Saver
    control: Control
    clock: Clock
    paces: Paces
    one_by_one: bool = False
    looked_at: int = 0
    exceeded: Exceeded | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        """Raise what should end the work."""
        if self.stop.is_set():
            raise Stopped
        self.saver.check()
        self.control.check()
        if self.exceeded is not None:
            raise self.exceeded

    def check_lease(self) -> None:
        """The same, but for what waits until all that was taken is finished: an operator's wishes, the approval."""
        with contextlib.suppress(Paused, Cancelled, Exceeded):
            self.check()


def stayed_away(error: FleetError | NotNow) -> Halted:
    """What a purge is paused with that waited for too long."""
    return Halted(
        f"{error.message} It has been so for {AWAY_S / 60:.0f} minutes.",
        what_to_do=f"{error.what_to_do} Then resume.".strip(),
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Keys of one segment whose turn it is.

    Args:
        is_again: they may have been touched before, by an exchange that broke off or a worker that was killed. They
            were there when they were found, so whatever is gone by now counts as touched.
    """

    begun: Begun
    keys: Sequence[bytes]
    is_again: bool = False


class Worker:
    """Works through one source, from a place on.

    Args:
        common: what all share.
        source: where the keys come from.
        at: the place.
        expected: keys that will be looked at, about.
        is_repeat: the keys, or some, were gone over before.
    """

    def __init__(
        self, common: Common, source: Source, at: NodeProgress, expected: int, *, is_repeat: bool = False
    ) -> None:
        self._common = common
        self._source = source
        self._at = at
        self._expected = max(1, expected)
        self._is_repeat = is_repeat
        self._found: list[bytes] = []
        self._found_bytes = 0
        self._found_since_s = 0.0
        self._unsaved: deque[Begun] = deque()
        self._ready: deque[Batch] = deque()
        self._ready_keys = 0
        self._is_draining = False
        self._away_since_s: float | None = None
        self._pause_s = FIRST_PAUSE_S

    @property
    def name(self) -> str:
        """Its source's."""
        return self._source.name

    def take_over(self, begun: Sequence[Begun]) -> None:
        """Begin with segments that another worker of this purge was stopped at."""
        self._put_back([Batch(each, each.segment.keys, True) for each in begun])

    def inherit(self, gone: "Worker") -> None:
        """Begin with what was left on a node that belongs to the cache no longer."""
        self._put_back(gone._ready)
        self._unsaved.extend(gone._unsaved)

    def go(self) -> NodeProgress:
        """Work until the source is exhausted and every key of it had its turn.

        Raises:
            Stopped, Gone: leave; what was begun stays in the journal for whoever comes next.
            Halted, Failed, LeaseLost: it can't go on.
            Paused, Cancelled, Exceeded: it was asked to stop, or more would be touched than was approved; what had
                been begun is done, or in the journal where its server can't do it at present.
        """
        asked: Paused | Cancelled | Exceeded | None = None
        while True:
            try:
                self._common.check()
            except (Paused, Cancelled, Exceeded) as error:
                asked = error
                self._is_draining = True
            self._admit()
            if self._is_done():
                if asked is not None:
                    raise asked
                return self._at
            try:
                self._turn()
            except (FleetError, NotNow) as error:
                if asked is not None:
                    # What was begun is in the journal: whoever resumes goes on with it.
                    raise asked from None
                self._wait_for(error)
            else:
                if self._away_since_s is not None:
                    self._away_since_s, self._pause_s = None, FIRST_PAUSE_S
                    self._common.saver.change(waits_for="")

    # --- one turn -------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        common, node = self._common, self._source.node
        pace = common.paces.of(node) if node is not None else None
        if node is not None and pace is not None and pace.is_still:
            # This may take long: who wants it to stop does not wait for that. What was begun is in the journal.
            common.check()
            self._stand_still(node, pace)
            return
        if self._is_draining:
            # Whoever wants it to end does not wait for a spread; what an administrator allows holds all the same.
            with common.lock:
                left_s = common.allowance.limit_wait_s(common.clock.monotonic())
            if left_s > 0:
                self._rest(min(left_s, 0.25), "limit")
                return
        elif (wait_s := self._wait_s()) > 0:
            self._seal()
            self._rest(min(wait_s, 0.25), common.allowance.slowed_by)
            return
        may_find = self._may_find()
        if not self._ready and not may_find:
            common.saver.wait_saved(self._unsaved[0], 0.1)
            return
        units = pace.units if pace is not None else common.limits.batch
        if node is not None and pace is not None:
            self._burst(node, pace, units, may_find)
            return
        self._act_anywhere(self._take(units))
        if may_find:
            self._find_anywhere(units)

    def _burst(self, node: Node, pace: Pace, units: int, may_find: bool) -> None:
        """Act on some keys and look for others, in one round trip."""
        common = self._common
        share = 0.7 if may_find else 1.0
        batches = self._take(int(units * share / common.doing.cost))
        calls = [self._calls(batch) for batch in batches]
        flat = [call for each in calls for call in each]
        work = sum(len(call.keys) for call in flat) * common.doing.cost
        step = None
        try:
            if may_find and self._at.cursor is not None:
                most = common.allowance.most_at_once(self._expected)
                count = max(FEWEST, min(int(units - work), most))
                step = self._source.step(self._at.cursor, count, flat)
                replies, took_s = step.replies, step.took_s
                work += count
            else:
                replies, took_s = self._send(node, flat)
        except BaseException:
            self._put_back([Batch(batch.begun, batch.keys, True) for batch in batches])
            raise
        pace.worked(work, took_s)
        self._settle(node, batches, calls, replies)
        if step is not None:
            keys = step.keys
            if not common.plan.selection.filters.is_empty:
                keys = self._filtered(node, pace, keys)
            self._keep(keys, step.cursor, step.looked_at)
        self._rest(pace.rest_s(took_s), pace.slowed_by)

    def _act_anywhere(self, batches: Sequence[Batch]) -> None:
        """Act on keys wherever they are, in bursts that suit each node."""
        common = self._common
        waiting: deque[tuple[Node, Batch]] = deque()
        try:
            for batch in batches:
                for node, here in common.router.split(batch.keys):
                    waiting.append((node, Batch(batch.begun, here, batch.is_again)))
        except BaseException:
            self._put_back(batches)
            raise
        while waiting:
            node, batch = waiting[0]
            pace = common.paces.of(node)
            try:
                # What was taken is finished, unless it is another's: it is little.
                common.check_lease()
                while pace.is_still:
                    self._stand_still(node, pace)
                    common.check()
                most = max(1, int(pace.units / common.doing.cost))
                part = Batch(batch.begun, batch.keys[:most], batch.is_again)
                waiting.popleft()
                if len(batch.keys) > most:
                    waiting.appendleft((node, Batch(batch.begun, batch.keys[most:], batch.is_again)))
                self._act_on(node, pace, part)
            except BaseException:
                self._put_back([batch for _, batch in waiting])
                raise

    def _act_on(self, node: Node, pace: Pace, batch: Batch) -> None:
        common = self._common
        calls = self._calls(batch)
        try:
            replies, took_s = self._send(node, calls)
        except BaseException:
            self._put_back([Batch(batch.begun, batch.keys, True)])
            raise
        if calls:
            pace.worked(len(calls) * common.doing.cost, took_s)
        self._settle(node, [batch], [calls], replies)
        self._rest(pace.rest_s(took_s), pace.slowed_by)

    def _calls(self, batch: Batch) -> list[Call]:
        one_by_one = self._common.one_by_one
        return self._common.doing.calls(
            batch.keys, one_by_one=one_by_one, is_repeat=self._is_repeat, is_again=batch.is_again
        )

    def _send(self, node: Node, calls: Sequence[Call]) -> tuple[list[Any], float]:
        if not calls:
            return [], 0.0
        commands = [call.command for call in calls]
        replies, took_s = node.run(commands)
        return finish(self._common.router.connection, node, commands, replies, SCRIPTS), took_s

    def _find_anywhere(self, units: int) -> None:
        common = self._common
        assert self._at.cursor is not None
        count = max(1, min(units, common.allowance.most_at_once(self._expected)))
        step = self._source.step(self._at.cursor, count, ())
        # A list, or a tag's index, names keys that may not exist. Those in the journal did: whoever does a segment
        # again could not tell otherwise which of its keys were removed before.
        keys = [
            key
            for node, here in common.router.split(step.keys)
            for key in self._filtered(node, common.paces.of(node), here)
        ]
        self._keep(keys, step.cursor, step.looked_at)

    def _filtered(self, node: Node, pace: Pace, keys: Sequence[bytes]) -> list[bytes]:
        common, filters = self._common, self._common.plan.selection.filters
        wants = facts.Wants.of(filters)
        passed: list[bytes] = []
        most = max(1, pace.units // (2 * wants.number))
        for start in range(0, len(keys), most):
            part = keys[start : start + most]
            found, took_s = facts.learn(common.router.connection, node, part, wants, common.control)
            pace.worked(2 * wants.number * len(part), took_s)
            now = common.clock.now().timestamp()
            for key, known in zip(part, found, strict=True):
                if known is not None and facts.passes(known, filters, now):
                    passed.append(key)
            self._rest(pace.rest_s(took_s), pace.slowed_by)
        return passed

    # --- keys on their way --------------------------------------------------------------------------------------

    def _may_find(self) -> bool:
        """Whether to look for more: not while the journal, or the acting, lies behind."""
        if self._is_draining or self._at.cursor is None:
            return False
        behind = self._ready_keys + sum(len(begun.segment.keys) for begun in self._unsaved)
        return behind < min(2 * SEGMENT_KEYS, self._ahead)

    @property
    def _ahead(self) -> int:
        """How many keys to be ahead of the acting: what is begun is finished when somebody pauses or cancels, so no
        more than the limits let through in a second or two."""
        return self._common.allowance.most_at_once(self._expected) * 10

    def _keep(self, keys: list[bytes], cursor: int | None, looked_at: int) -> None:
        """Take what was found; the place behind it is saved with the segment that the keys go into."""
        scanned = self._at.scanned + looked_at
        if cursor is None and self._source.node is not None:
            # SCAN looks at about as many keys as it is told.
            scanned = max(self._at.scanned, min(scanned, self._expected))
        with self._common.lock:
            self._common.looked_at += scanned - self._at.scanned
        self._at = replace(self._at, cursor=cursor, scanned=scanned)
        if not self._found:
            self._found_since_s = self._common.clock.monotonic()
        self._found += keys
        self._found_bytes += sum(map(len, keys))
        self._seal()

    def _seal(self) -> None:
        """Close the segment when it is large enough, old enough, or the last."""
        saver = self._common.saver
        if not self._found:
            saver.moved(self._at)
            return
        is_due = (
            len(self._found) >= min(SEGMENT_KEYS, self._ahead)
            or self._found_bytes >= SEGMENT_BYTES
            or self._at.cursor is None
            or self._common.clock.monotonic() - self._found_since_s >= SEGMENT_S
        )
        if not is_due:
            return
        keys = list(dict.fromkeys(self._found))
        # Those that are gone over again are still there, unless they were removed; most need no change any more.
        claims = not self._is_repeat or self._common.plan.action is Action.DELETE
        try:
            self._unsaved.append(saver.begin(self._at, keys, claims=claims))
        except Exceeded as error:
            # What was begun is finished; these are found again under the next approval.
            self._common.exceeded = error
            return
        self._found, self._found_bytes = [], 0

    def _admit(self) -> None:
        while self._unsaved and self._unsaved[0].is_saved:
            begun = self._unsaved.popleft()
            self._ready.append(Batch(begun, begun.segment.keys))
            self._ready_keys += len(begun.segment.keys)

    def _take(self, most: int) -> list[Batch]:
        taken: list[Batch] = []
        left = max(
            1, min(most, self._common.limits.batch, self._common.allowance.most_at_once(self._expected))
        )
        while left and self._ready:
            batch = self._ready.popleft()
            if len(batch.keys) > left:
                self._ready.appendleft(Batch(batch.begun, batch.keys[left:], batch.is_again))
                batch = Batch(batch.begun, batch.keys[:left], batch.is_again)
            taken.append(batch)
            left -= len(batch.keys)
        number = sum(len(batch.keys) for batch in taken)
        self._ready_keys -= number
        if number:
            with self._common.lock:
                self._common.allowance.took(number, self._common.clock.monotonic())
        return taken

    def _put_back(self, batches: Sequence[Batch]) -> None:
        self._ready.extendleft(reversed(batches))
        self._ready_keys += sum(len(batch.keys) for batch in batches)

    def _settle(
        self, node: Node, batches: Sequence[Batch], calls: Sequence[Sequence[Call]], replies: Sequence[Any]
    ) -> None:
        """Count what was done; put back what was refused."""
        common = self._common
        answers = iter(replies)
        refused: list[Batch] = []
        error: Exception | None = None
        hits = misses = 0
        for batch, made in zip(batches, calls, strict=True):
            touched = again = left = 0
            untouched: list[bytes] = []
            if common.plan.wants_report:
                called = {key for call in made for key in call.keys}
                untouched = [key for key in batch.keys if key not in called]
            for call in made:
                reply = next(answers)
                if isinstance(reply, Exception):
                    error = reply
                    left += len(call.keys)
                    refused.append(Batch(batch.begun, call.keys, batch.is_again))
                    continue
                outcome = common.doing.read(call, reply)
                touched += outcome.touched
                again += outcome.touched_again
                if common.plan.wants_report:
                    untouched += outcome.untouched(call.keys, is_again=batch.is_again)
                hits += outcome.hits
                misses += outcome.misses
            turned = len(batch.keys) - left
            if turned:
                touched = again if batch.is_again else touched
                common.saver.done(batch.begun, touched, turned - touched, untouched)
        if hits or misses:
            common.control.looked_up(hits, misses)
        if error is None:
            return
        self._put_back(refused)
        if str(error).startswith("CROSSSLOT") or getattr(error, "status_code", "") == "CROSSSLOT":
            # A node of a Cluster that was added as a plain server.
            common.one_by_one = True
            return
        refusal = judge(error, node, lambda user: acl_line(user, common.doing.needs))
        if refusal.trouble is Trouble.WAIT:
            node.doubt()
            raise NotNow(refusal.words, what_to_do=refusal.advice)
        raise Failed(refusal.words, what_to_do=refusal.advice)

    def _is_done(self) -> bool:
        if self._ready or self._unsaved:
            return False
        return self._is_draining or (self._at.cursor is None and not self._found)

    # --- waiting ------------------------------------------------------------------------------------------------

    def _wait_s(self) -> float:
        common = self._common
        with common.lock:
            # Of all nodes together: of a large Cluster some have their turn when others are done.
            share = common.looked_at / max(1, common.saver.expected_scans)
            return common.allowance.wait_s(common.clock.monotonic(), common.saver.spent_s, share)

    def _stand_still(self, node: Node, pace: Pace) -> None:
        """Until the server has caught up; one that has no room is waited for as if it was away."""
        self._common.saver.slowed(pace.slowed_by)
        if pace.is_full:
            raise NotNow(
                f"{node.id} is full and evicts nothing, and a TTL takes memory where there was none.",
                what_to_do="Make room, or delete instead.",
            )
        self._rest(pace.rest_s(0.0), pace.slowed_by)

    def _rest(self, seconds: float, reason: str) -> None:
        self._common.saver.slowed(reason)
        if seconds <= 0:
            return
        if self._is_draining:
            # The control waits no more: somebody wants it to end. The server has its rests all the same.
            self._common.stop.wait(seconds)
        else:
            self._common.control.wait(seconds)

    def _wait_for(self, error: FleetError | NotNow) -> None:
        """The server can't be used at present: wait, look where it is, and whether it is still the same."""
        common = self._common
        if isinstance(error, FleetDenied) and error.problem.cause is Cause.NOPERM:
            raise Failed(error.message, what_to_do=error.what_to_do)
        if isinstance(error, FleetError) and error.problem.cause is Cause.TOO_LARGE:
            for node in common.router.connection.nodes():
                common.paces.of(node).overflowed()
        now_s = common.clock.monotonic()
        self._away_since_s = self._away_since_s or now_s
        if now_s - self._away_since_s > AWAY_S:
            raise stayed_away(error)
        common.saver.change(waits_for=error.message)
        self._common.control.wait(self._pause_s)
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        try:
            self._identify()
        except FleetError:
            # The next turn meets it again.
            return

    def _identify(self) -> None:
        """A restarted server is scanned from the beginning; one that is not of the cache any more is left."""
        common, node = self._common, self._source.node
        common.router.connection.refresh()
        nodes = common.router.connection.nodes()
        if node is None:
            return
        if all(each.id != node.id for each in nodes):
            raise Gone
        run_id = scan.server_state(node).run_id
        if run_id != self._at.run_id:
            # What was found but not begun is found again.
            self._found, self._found_bytes = [], 0
            self._is_repeat = True
            self._at = NodeProgress(node.id, run_id, scan.START)
            common.saver.restarted(self._at)
