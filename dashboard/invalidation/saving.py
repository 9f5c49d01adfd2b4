"""Keeps the progress consistent and saved, beside those who work: one thread that writes the journal.

What is saved is always true: a cursor never lies behind keys that are not in the journal, and the counts are those of
segments that are done. While one commit is on its way, scanning goes on; its segments are touched once it is there.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from dashboard.clock import Clock
from dashboard.invalidation.signals import Exceeded, Finished, Journal, Segment
from dashboard.invalidation.types import NodeProgress, Progress

SEGMENT_KEYS: Final = 10_000
SEGMENT_BYTES: Final = 8_000_000
SEGMENT_S: Final = 1.0
"""A segment is closed after so many seconds, however few keys it has: slow purges are saved as often as fast ones."""
SAVE_S: Final = 1.0
"""Progress without segments is saved this often."""
RATE_S: Final = 4.0
"""The rate shown is that of the last seconds."""
FIRST_RATE_S: Final = 1.0


@dataclass(slots=True, eq=False)
class Begun:
    """A segment on its way.

    Args:
        is_saved: it is in the journal: its keys may be touched.
        left: keys that wait for their turn.
        untouched: those that were not touched, where that is to be reported.
    """

    segment: Segment
    is_saved: bool
    left: int
    touched: int = 0
    skipped: int = 0
    untouched: set[bytes] = field(default_factory=set)


class Saver:
    """The purge's progress. Those who work tell it; its thread saves.

    Args:
        progress: as it was saved last.
        journal: where to save.
        clock: of this machine.
        cap: keys that may be touched.
    """

    def __init__(self, progress: Progress, journal: Journal, clock: Clock, cap: int) -> None:
        self._cap = cap
        self._journal = journal
        self._clock = clock
        self._progress = progress
        self._saved = progress
        self._nodes = {node.node: node for node in progress.nodes}
        self._number = journal.next_number()
        self._waiting: deque[Begun] = deque()
        self._finished: list[Finished] = []
        self._open: Counter[str] = Counter()
        """Keys in segments that are not done, by node."""
        self._touched_on = Counter(progress.touched_on)
        self._began_s = clock.monotonic()
        self._went = 0
        """Keys touched by this worker, those of segments that are not done with them: segments come in lumps."""
        self._rates = deque([(self._began_s, 0)])
        """When so many had gone; one of them is older than RATE_S."""
        self._spent_s = progress.spent_s
        self._changed = threading.Condition()
        self._slowed_by = ""
        self._is_ending = False
        self._is_urgent = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="purge-journal", daemon=True)

    def start(self) -> None:
        """Begin to save."""
        self._thread.start()

    def close(self) -> Progress:
        """Save what there is and stop; the progress as saved last.

        Raises:
            LeaseLost: it could not be saved, because it is another's now.
        """
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._thread.join()
        self.check()
        return self._saved

    def abandon(self) -> None:
        """Stop without saving anything more."""
        with self._changed:
            self._failure = self._failure or RuntimeError("abandoned")
            self._changed.notify_all()
        self._thread.join()

    def check(self) -> None:
        """Raise what ended the saving, if it ended."""
        if self._failure is not None:
            raise self._failure

    # --- told by those who work -----------------------------------------------------------------------------------

    @property
    def progress(self) -> Progress:
        """As of now, saved or not."""
        with self._changed:
            return self._now()

    def change(self, **values: object) -> None:
        """Set fields of the progress that are no counts: why it is slow, what it waits for."""
        with self._changed:
            self._progress = replace(self._progress, **values)  # type: ignore[arg-type]

    def slowed(self, reason: str) -> None:
        """Why it is not faster at this moment."""
        # Told at every burst, and no more than a hint: without the lock.
        self._slowed_by = reason

    def set_nodes(
        self,
        nodes: Sequence[NodeProgress],
        *,
        passes: int,
        shape: str,
        expected_scans: int,
        lost: Iterable[str] = (),
    ) -> None:
        """Begin a pass, or go on with one on other nodes; saved before anything else happens.

        Args:
            lost: nodes that are other servers now, or none: what was touched on them may be there again.
        """
        with self._changed:
            for name in lost:
                self._lose(name)
            self._nodes = {node.node: node for node in nodes}
            self._progress = replace(
                self._progress, passes=passes, shape=shape, expected_scans=expected_scans
            )
            self._is_urgent = True
            self._changed.notify_all()

    def moved(self, at: NodeProgress) -> None:
        """A node was worked through up to here, and nothing that was found waits outside of segments."""
        with self._changed:
            self._advance(at)

    def restarted(self, at: NodeProgress) -> None:
        """A node is another server now, and begins again at its first key."""
        with self._changed:
            before = self._nodes.get(at.node)
            self._lose(at.node)
            self._nodes[at.node] = at
            more = before.scanned if before is not None else 0
            self._progress = replace(self._progress, expected_scans=self._progress.expected_scans + more)

    def begin(self, at: NodeProgress, keys: Sequence[bytes], *, claims: bool = True) -> Begun:
        """Hand over keys that were found, and where the node's scan goes on behind them.

        Args:
            claims: whether all of them count towards what was approved; False: only what was touched does.

        Raises:
            Exceeded: more would be touched than was approved; nothing is begun.
        """
        with self._changed:
            would = self._progress.touched - self._progress.came_back
            if claims:
                would += self._open.total() + len(keys)
            if would > self._cap:
                raise Exceeded(
                    f"It would touch more keys than were approved: {would:,} or more, of {self._cap:,}.",
                    what_to_do="Count again, and approve what is there now.",
                )
            segment = Segment(self._number, at.node, tuple(keys))
            self._number += 1
            begun = Begun(segment, False, len(keys))
            self._advance(at)
            self._waiting.append(begun)
            self._open[at.node] += len(keys)
            self._changed.notify_all()
            return begun

    def again(self, segment: Segment) -> Begun:
        """A segment that another worker began."""
        with self._changed:
            self._open[segment.node] += len(segment.keys)
            return Begun(segment, True, len(segment.keys))

    def done(self, begun: Begun, touched: int, skipped: int, untouched: Sequence[bytes] = ()) -> None:
        """So many keys of a segment had their turn; ``untouched`` for the report."""
        with self._changed:
            begun.untouched.update(untouched)
            begun.touched += touched
            self._went += touched
            begun.skipped += skipped
            begun.left -= touched + skipped
            if begun.left > 0:
                return
            segment, kept = begun.segment, None
            self._open[segment.node] -= len(segment.keys)
            self._touched_on[segment.node] += begun.touched
            if begun.untouched:
                kept = tuple(key for key in segment.keys if key not in begun.untouched)
            self._finished.append(Finished(segment.number, kept))
            self._progress = replace(
                self._progress,
                touched=self._progress.touched + begun.touched,
                skipped=self._progress.skipped + begun.skipped,
            )

    @property
    def expected_scans(self) -> int:
        """Keys that will be looked at in all."""
        return self._progress.expected_scans

    @property
    def spent_s(self) -> float:
        """Seconds of work so far."""
        return self._spent_s + self._clock.monotonic() - self._began_s

    def wait_saved(self, begun: Begun, seconds: float) -> None:
        """Wait until a segment is in the journal, at most so long."""
        with self._changed:
            if not begun.is_saved and self._failure is None:
                self._changed.wait(seconds)

    # --- the thread -----------------------------------------------------------------------------------------------

    def _advance(self, at: NodeProgress) -> None:
        before = self._nodes.get(at.node)
        self._nodes[at.node] = at
        more = at.scanned - (before.scanned if before else 0)
        self._progress = replace(self._progress, scanned=self._progress.scanned + max(0, more))

    def _lose(self, name: str) -> None:
        # What is under way there is found a second time, too.
        came_back = self._progress.came_back + self._touched_on.pop(name, 0) + self._open[name]
        self._progress = replace(self._progress, came_back=came_back)

    def _now(self) -> Progress:
        now_s = self._clock.monotonic()
        while len(self._rates) > 1 and now_s - self._rates[1][0] >= RATE_S:
            self._rates.popleft()
        first_s, first = self._rates[0]
        # Keys go in bursts: of a shorter time than that no rate can be told.
        rate = (self._went - first) / max(FIRST_RATE_S, now_s - first_s)
        return replace(
            self._progress,
            nodes=tuple(self._nodes.values()),
            touched_on=dict(self._touched_on),
            keys_per_s=rate,
            slowed_by=self._slowed_by,
            spent_s=self.spent_s,
            updated_at=self._clock.now(),
        )

    def _is_due(self) -> bool:
        return bool(self._waiting or self._is_ending or self._is_urgent or self._failure)

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    # What is done goes along with what begins next: each commit takes time from those who work.
                    self._changed.wait_for(self._is_due, SAVE_S)
                    if self._failure is not None:
                        return
                    begun = list(self._waiting)
                    self._waiting.clear()
                    finished, self._finished = self._finished, []
                    self._is_urgent = False
                    progress = self._now()
                    self._rates.append((self._clock.monotonic(), self._went))
                    is_last = self._is_ending
                self._journal.commit(progress, [each.segment for each in begun], finished)
                with self._changed:
                    self._saved = progress
                    for each in begun:
                        each.is_saved = True
                    self._changed.notify_all()
                    if is_last and not self._waiting and not self._finished:
                        return
        except BaseException as error:
            # Whatever it is: those who work must not go on without a journal, and are told why.
            with self._changed:
                self._failure = error
                self._changed.notify_all()
