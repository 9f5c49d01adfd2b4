"""The engine: selection x action on a live cache, in bounded bursts, that may be stopped and taken over at any moment.

``count`` looks, ``run`` acts. Neither knows PostgreSQL: what has to survive the worker is handed to a ``Journal``, what
is asked of it meanwhile comes from a ``Control``; both are in ``signals``.

Nothing is missed and nothing counted twice, because keys are worked through in *segments*: the keys of a segment are
in the journal before the first of them is touched, together with the cursor behind them. Whoever takes over acts on the
pending segments once more, then goes on at the cursors.

A pass goes over every node once. A node whose run_id changed begins again at its first key, for cursors do not survive
a restart; and when the Cluster's nodes, or the slots they have, are not the same at the end of a pass as they were at
its beginning, another pass follows. A list, or a tag's index, is gone over again when a server was another at its end
than at its beginning.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from dashboard.caching import tags
from dashboard.caching.policy import Policy, PolicyTable
from dashboard.caching.wire import INSTANCES_KEY, POLICIES_KEY, TAG_PURGE
from dashboard.clock import Clock
from dashboard.errors import CacheUnavailable
from dashboard.fleet import scan
from dashboard.fleet.errors import Cause, FleetDenied, FleetError
from dashboard.fleet.pace import Allowance
from dashboard.fleet.permissions import acl_line
from dashboard.fleet.purging import Router, Trouble, finish, judge, run_script
from dashboard.fleet.registry import Connection, Node
from dashboard.fleet.watching import Paces
from dashboard.invalidation.action import Doing
from dashboard.invalidation.counter import Counter
from dashboard.invalidation.loads import Loads, concerned
from dashboard.invalidation.saving import Saver
from dashboard.invalidation.selection import head_of
from dashboard.invalidation.signals import (
    Cancelled,
    Control,
    Exceeded,
    Failed,
    Finished,
    Halted,
    Input,
    Journal,
    LeaseLost,
    NotNow,
    Paused,
    Segment,
)
from dashboard.invalidation.sources import ListSource, ScanSource, Source, TagSource
from dashboard.invalidation.types import (
    Action,
    Limits,
    NodeProgress,
    Plan,
    Preview,
    Progress,
    SelectBy,
    Selection,
    When,
)
from dashboard.invalidation.working import (
    AWAY_S,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Common,
    Gone,
    Stopped,
    Worker,
    stayed_away,
)

__all__ = [
    "Cancelled",
    "Control",
    "Exceeded",
    "Failed",
    "Finished",
    "Halted",
    "Input",
    "Journal",
    "LeaseLost",
    "Paused",
    "Segment",
    "count",
    "run",
]

PARALLEL: Final = 8
"""Nodes that are worked on at a time."""
MOST_PASSES: Final = 25
LOOK_S: Final = 1.0
"""How often the database's load is looked at."""
BASELINE_S: Final = 2.5
"""How long before a purge that could burden the database: the applications add to their counters once a second."""
BETWEEN_PASSES_S: Final = 2.0
LONGEST_BETWEEN_S: Final = 60.0
"""Pauses between passes grow: all of them together are some twenty minutes."""
_TAG_NEEDS: Final = (
    "EVALSHA",
    "EVAL",
    "ZADD",
    "PTTL",
    "PEXPIRE",
    "TIME",
    "ZREMRANGEBYSCORE",
    "ZRANGEBYSCORE",
)

Found = TypeVar("Found")


def count(
    connection: Connection,
    selection: Selection,
    keys: Input | None,
    table: PolicyTable[Policy],
    limits: Limits,
    control: Control,
    clock: Clock,
    chance: Callable[[], float],
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Preview:
    """Find out what a purge would touch; nothing is changed.

    It is exact where that takes no more than some two million keys or ten seconds of scanning; else an estimate. A
    selector that names its keys is always exact.

    Args:
        connection: the cache.
        selection: which keys.
        keys: the list of an exact selector, else None.
        table: the policies in force, for the sample.
        limits: of the cache: others shall wait no longer for a count than for a purge.
        control: asked before each burst.
        clock: of this machine.
        chance: a random number in [0, 1), for the sample.
        tell: told after each burst how many keys were looked at, of about how many (0: not known); by any thread.

    Raises:
        Failed: the cache forbids what is needed for it; the words name the ACL line.
        FleetError: the cache is away, or can't answer now; trying again may help.
        Paused, Cancelled, LeaseLost: from ``control``.
    """
    with connection.held():
        return Counter(connection, selection, keys, table, limits, control, clock, chance, tell).preview()


def run(
    connection: Connection,
    plan: Plan,
    keys: Input | None,
    table: PolicyTable[Policy],
    limits: Limits,
    cap: int,
    progress: Progress,
    journal: Journal,
    control: Control,
    clock: Clock,
    chance: Callable[[], float],
    age_s: float = 0.0,
    counts_first: bool = False,
) -> Progress:
    """Do it, from the beginning or from where another worker stopped.

    A Redis that is away, loading, read-only after a failover or out of memory is waited for, with growing pauses;
    ``Progress.waits_for`` says so. So much is saved before any exception but LeaseLost goes out.

    Args:
        connection: the cache.
        plan: what to do with which keys. ``when`` matters for OVER alone.
        keys: the list of an exact selector, else None.
        table: the policies in force.
        limits: of the cache, as of the start of this run.
        cap: keys it may touch (``Preview.cap`` of what was approved).
        progress: as saved last; ``Progress()`` at first.
        journal: where to save.
        control: asked before each burst.
        clock: of this machine; its wall-clock time matters to filters by when keys end, alone.
        chance: a random number in [0, 1), for the sample of a count.
        age_s: seconds since it began the first time, pauses included.
        counts_first: it was counted long ago: before the first key, what scans is counted again, too.

    Returns:
        the last progress, saved; every node of it is done.

    Raises:
        Exceeded: it would touch more than ``cap``.
        Halted: a node stays away.
        Failed: trying again can't help.
        Paused, Cancelled, LeaseLost: from ``control`` or ``journal``.
    """
    with connection.held():
        return _Run(
            connection,
            plan,
            keys,
            table,
            limits,
            cap,
            progress,
            journal,
            control,
            clock,
            chance,
            age_s,
            counts_first,
        ).go()


class _Run:
    def __init__(
        self,
        connection: Connection,
        plan: Plan,
        keys: Input | None,
        table: PolicyTable[Policy],
        limits: Limits,
        cap: int,
        progress: Progress,
        journal: Journal,
        control: Control,
        clock: Clock,
        chance: Callable[[], float],
        age_s: float,
        counts_first: bool,
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._selection = plan.selection
        self._keys = keys
        self._table = table
        self._control = control
        self._clock = clock
        self._chance = chance
        self._cap = cap
        self._counts_first = counts_first
        self._start = progress
        router = Router(connection)
        began_s = clock.monotonic() - age_s
        doing = Doing(plan, table, lambda: clock.monotonic() - began_s, lambda: clock.now().timestamp())
        budget = limits.database_budget_qps if doing.causes_loads else None
        over_s = plan.over_s if plan.when is When.OVER else 0
        self._allowance = Allowance(
            limits.most_keys_per_s,
            over_s,
            budget,
            from_s=progress.spread_from_s,
            from_share=progress.spread_from_share,
        )
        self._saver = Saver(progress, journal, clock, cap)
        begun = sorted(journal.pending(), key=lambda segment: segment.number)
        self._pending = [self._saver.again(segment) for segment in begun]
        self._common = Common(
            plan,
            limits,
            self._selection.by.is_exact or self._selection.by is SelectBy.TAG,
            router,
            doing,
            self._allowance,
            self._saver,
            control,
            clock,
            Paces(limits.slowest_probe_ms, clock, needs_memory=doing.needs_memory),
            one_by_one=router.is_cluster,
            looked_at=progress.scanned,
        )
        self._named = progress.expected_scans
        self._left: list[Worker] = []
        self._loads: Loads | None = None
        self._looked_s = float("-inf")

    def go(self) -> Progress:
        self._saver.start()
        try:
            self._work()
        except LeaseLost:
            self._saver.abandon()
            raise
        except BaseException:
            self._saver.close()
            raise
        finally:
            self._common.paces.close()
        return self._saver.close()

    def _work(self) -> None:
        is_fresh = not self._start.nodes
        self._common.doing.is_library_there = self._patiently(self._is_library_there)
        if self._common.is_exact and is_fresh:
            self._count_again()
        elif is_fresh and not self._start.passes and self._counts_first:
            self._estimate_again()
        self._look_at_loads(is_fresh)
        go_over = self._one_source if self._common.is_exact else self._pass
        pause_s = BETWEEN_PASSES_S
        for _ in range(MOST_PASSES):
            if go_over():
                return
            self._saver.change(
                waits_for="A server restarted, or keys are being moved: they are looked for again."
            )
            self._rest(pause_s)
            pause_s = min(LONGEST_BETWEEN_S, pause_s * 1.5)
        raise Halted(
            f"After {MOST_PASSES} passes the cache's nodes, or the slots they have, still change.",
            what_to_do="Resume when no slots are being moved and no server restarts.",
        )

    # --- before it begins -----------------------------------------------------------------------------------------

    def _is_library_there(self) -> bool:
        """Whether applications with the library were seen, or have policies to follow. Who may not know assumes it."""
        for key in (INSTANCES_KEY, POLICIES_KEY):
            ((node, _),) = self._common.router.split([key])
            # The one question about a key's existence that whoever watches a cache may ask anyway.
            command = ("MEMORY", "USAGE", key)
            replies, _ = node.run([command])
            (reply,) = finish(self._connection, node, [command], replies)
            if reply is not None:
                return True
        return False

    def _count_again(self) -> None:
        """A list is known, but not how many of its keys exist now."""
        found, self._named = self._patiently(lambda: self._counter().total())
        if found > self._cap:
            raise Exceeded(
                f"It would touch more keys than were approved: {found:,}, of {self._cap:,}.",
                what_to_do="Count again, and approve what is there now.",
            )

    def _estimate_again(self) -> None:
        """It was counted long ago: whoever approved so many does not want the first of many more gone."""

        def ask() -> Preview:
            try:
                return self._counter().preview()
            except FleetError:
                raise
            except CacheUnavailable as error:
                raise NotNow(error.message, what_to_do=error.what_to_do) from None

        found = self._patiently(ask)
        least = self._saver.progress.touched + found.keys - found.keys_error
        if least > self._cap:
            about = "about " if found.keys_error else ""
            raise Exceeded(
                f"It would touch more keys than were approved: {about}{found.keys:,}, of {self._cap:,}.",
                what_to_do="Nothing was done. Count again, and approve what is there now.",
            )

    def _counter(self) -> Counter:
        return Counter(
            self._connection,
            self._selection,
            self._keys,
            self._table,
            self._common.limits,
            self._control,
            self._clock,
            self._chance,
        )

    def _look_at_loads(self, is_fresh: bool) -> None:
        prefixes = concerned(self._table, head_of(self._selection))
        if prefixes is None or not self._common.doing.causes_loads:
            return
        self._loads = Loads(self._common.router, prefixes, self._control.looked_up)
        self._loads.read(self._clock.monotonic())
        budget = self._common.limits.database_budget_qps
        if not self._loads.is_counted or budget is None or not is_fresh or self._cap <= budget:
            return
        # So many keys could be too much at once: first see what the database bears without us.
        self._rest(BASELINE_S)
        load = self._loads.read(self._clock.monotonic())
        if load is not None:
            self._saver.change(
                loads_before_per_s=load.loads_per_s, loads_per_s=load.loads_per_s, hit_ratio=load.hit_ratio
            )
            self._allowance.begin_gently(load.reads_per_s)

    def _retire_tag(self) -> None:
        """A new version first: from here on no value of the tag is used, whatever is removed when."""
        if self._plan.action is not Action.DELETE or not self._selection.filters.is_empty:
            return
        key = tags.tag_key(self._selection.text)
        command = run_script(TAG_PURGE, key, tags.VERSION, tags.new_version(), 0)

        def retire() -> None:
            ((node, _),) = self._common.router.split([key])
            replies, _ = node.run([command])
            (reply,) = finish(self._connection, node, [command], replies, [TAG_PURGE])
            if isinstance(reply, Exception):
                refusal = judge(reply, node, lambda user: acl_line(user, _TAG_NEEDS))
                if refusal.trouble is Trouble.WAIT:
                    raise NotNow(refusal.words, what_to_do=refusal.advice)
                raise Failed(refusal.words, what_to_do=refusal.advice)

        self._patiently(retire)

    # --- the passes ---------------------------------------------------------------------------------------------

    def _one_source(self) -> bool:
        """Go over a list or a tag's index, from where it stands; whether that was all.

        A server that restarts, or fails over, may have keys again that were removed before.
        """
        source: Source
        if self._selection.by is SelectBy.TAG:
            source = TagSource(self._common.router, self._selection)
        else:
            assert self._keys is not None
            source = ListSource(self._keys, self._selection)
        before = self._saver.progress
        at = next((node for node in before.nodes if node.node == source.name), None)
        if at is None:
            # Which servers they are is known before the first key is touched.
            at = NodeProgress(source.name, self._patiently(self._servers), scan.START)
            if self._selection.by is SelectBy.TAG:
                # Before the place is saved: whoever takes over from it may take it for done. Twice does no harm.
                self._retire_tag()
            expected = before.scanned + self._named
            self._saver.set_nodes([at], passes=before.passes, shape="", expected_scans=expected)
        self._together([Worker(self._common, source, at, self._named, is_repeat=before.passes > 0)])
        passes = before.passes + 1
        if self._patiently(self._servers) == at.run_id:
            self._saver.change(passes=passes, waits_for="")
            return True
        self._saver.set_nodes(
            [], passes=passes, shape="", expected_scans=before.expected_scans, lost=[source.name]
        )
        return False

    def _servers(self) -> str:
        """Which servers hold the cache: changes when one restarts, or another takes its place.

        A tag's index is read from one node, so that it also matters where the slots are.
        """
        _, states = self._states()
        names = sorted(f"{id}={state.run_id}" for id, state in states.items())
        if self._selection.by is SelectBy.TAG:
            names.append(scan.shape(self._connection))
        return hashlib.sha1("\n".join(names).encode(), usedforsecurity=False).hexdigest()

    def _pass(self) -> bool:
        """Go over all nodes, from where they are; whether that was all."""
        before = self._saver.progress
        shape = self._patiently(lambda: scan.shape(self._connection))
        nodes, states = self._patiently(self._states)
        held = {at.node: at for at in before.nodes}
        is_new = not before.nodes
        work: list[NodeProgress] = []
        for node in nodes:
            at = held.get(node.id)
            if at is None or at.run_id != states[node.id].run_id:
                at = NodeProgress(node.id, states[node.id].run_id, scan.START)
            work.append(at)
        lost = [at for at in before.nodes if at.node not in states or at.run_id != states[at.node].run_id]
        keys = {node.id: states[node.id].keys for node in nodes}
        if not is_new:
            # What is gone by now was there when the pass began.
            share = before.expected_scans // max(1, len(nodes))
            keys = {id: max(number, share) for id, number in keys.items()}
        self._saver.set_nodes(
            work,
            passes=before.passes,
            shape=shape if is_new else before.shape,
            expected_scans=before.scanned + sum(keys.values())
            if is_new
            else before.expected_scans + sum(at.scanned for at in lost),
            lost=[at.node for at in lost],
        )
        self._together(
            [
                Worker(
                    self._common,
                    ScanSource(self._common.router, node, self._selection, keys[node.id]),
                    at,
                    keys[node.id],
                    is_repeat=before.passes > 0 or (not is_new and held.get(node.id) != at),
                )
                for node, at in zip(nodes, work, strict=True)
            ]
        )
        return self._is_complete()

    def _is_complete(self) -> bool:
        """After a pass: whether everything is as it was when it began; prepares another pass if not."""
        progress = self._saver.progress
        nodes, states = self._patiently(self._states)
        shape = self._patiently(lambda: scan.shape(self._connection))
        done = {at.node: at for at in progress.nodes if at.cursor is None}
        if any(node.id not in done or done[node.id].run_id != states[node.id].run_id for node in nodes):
            # A node came, or was restarted: the others need not be gone over again for that.
            return False
        if shape == progress.shape and not scan.has_open_slots(shape):
            self._saver.change(passes=progress.passes + 1, waits_for="")
            return True
        # Keys moved, perhaps from a node whose turn was still to come to one that was done.
        self._saver.set_nodes(
            [],
            passes=progress.passes + 1,
            shape="",
            expected_scans=progress.expected_scans,
        )
        return False

    def _states(self) -> tuple[Sequence[Node], dict[str, scan.ServerState]]:
        self._connection.refresh()
        nodes = self._connection.nodes()
        return nodes, {node.id: scan.server_state(node) for node in nodes}

    def _together(self, workers: Sequence[Worker]) -> None:
        """Let all of them work, some at a time; the first that fails ends the others."""
        pending, self._pending = self._pending, []
        names = {worker.name for worker in workers}
        for worker in workers:
            mine = [begun for begun in pending if begun.segment.node == worker.name]
            if worker is workers[0]:
                # Their node is gone: whoever does them asks where the keys are now.
                mine += [begun for begun in pending if begun.segment.node not in names]
            worker.take_over(mine)
        for gone in self._left:
            workers[0].inherit(gone)
        self._left = []
        failure: BaseException | None = None
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="purge") as pool:
            by_future = {pool.submit(worker.go): worker for worker in workers}
            running: set[Future[NodeProgress]] = set(by_future)
            while running:
                done, running = wait(running, timeout=LOOK_S / 4, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if isinstance(error, Gone):
                        self._left.append(by_future[future])
                    if error is None or isinstance(error, Gone | Stopped):
                        continue
                    # A lost lease outweighs whatever else was found: then nothing may be written any more.
                    # And a wish to end what would be asked of the operator otherwise.
                    is_graver = isinstance(failure, Exceeded) and isinstance(error, Cancelled)
                    if failure is None or isinstance(error, LeaseLost) or is_graver:
                        failure = error
                    if not isinstance(error, Paused | Cancelled | Exceeded):
                        self._common.stop.set()
                try:
                    self._look()
                except BaseException as error:
                    failure = failure or error
                    self._common.stop.set()
        if failure is not None:
            raise failure

    def _look(self) -> None:
        """Once a second: what the database, and others, feel of it."""
        now_s = self._clock.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        self._saver.change(probe_p99_ms=self._common.paces.probe_p99_ms)
        load = self._loads.read(now_s) if self._loads is not None else None
        if load is not None:
            self._saver.change(loads_per_s=load.loads_per_s, hit_ratio=load.hit_ratio)
            with self._common.lock:
                self._allowance.loaded(load.loads_per_s - (self._saver.progress.loads_before_per_s or 0.0))

    # --- patience -----------------------------------------------------------------------------------------------

    def _rest(self, seconds: float) -> None:
        end_s = self._clock.monotonic() + seconds
        while (left_s := end_s - self._clock.monotonic()) > 0:
            self._common.check()
            self._control.wait(left_s)

    def _patiently(self, ask: Callable[[], Found]) -> Found:
        """Ask again and again, with growing pauses, until the cache answers."""
        began_s = self._clock.monotonic()
        pause_s = FIRST_PAUSE_S
        while True:
            self._common.check()
            try:
                found = ask()
            except (FleetError, NotNow) as error:
                if isinstance(error, FleetDenied) and error.problem.cause is Cause.NOPERM:
                    raise Failed(error.message, what_to_do=error.what_to_do) from None
                if self._clock.monotonic() - began_s > AWAY_S:
                    raise stayed_away(error) from None
                self._saver.change(waits_for=error.message)
                self._control.wait(pause_s)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
                self._connection.refresh()
            else:
                self._saver.change(waits_for="")
                return found
