"""The background thread of a ``Cache``: follows the policies, carries counters, repeats failed invalidations."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from dashboard.caching.counters import Ledger
from dashboard.caching.follow import Follower
from dashboard.caching.link import Link, Unreachable
from dashboard.caching.policy import MAX_DOCUMENT_BYTES
from dashboard.caching.wire import (
    COUNTERS,
    COUNTERS_KEY,
    INSTANCE_TTL_S,
    INSTANCES_KEY,
    MAX_COUNTED_PREFIXES,
    POLICIES_CHANNEL,
    POLICIES_KEY,
    Instance,
)

BEAT_S: Final = 1.0
"""Counters are carried this often, and failed invalidations repeated."""
POLL_S: Final = 5.0
"""The document is looked at this often even without a message, and the instance reports."""
REREAD_S: Final = 60.0
"""It is read as a whole this often even if its head and size are those that were read: it could have been edited."""
HEAD_BYTES: Final = 64
"""Of the document; its version is among them, as it is published."""
TIDY_S: Final = 3600.0
"""How often instances that are gone are looked for."""
RELISTEN_S: Final = 2.0
MOST_CARRIED: Final = 2 * MAX_COUNTED_PREFIXES * len(COUNTERS)
"""So many fields at most are kept while Redis refuses them: those of two documents of many prefixes."""

log = logging.getLogger(__name__)


class Keeper:
    """Runs until ``stop``; every failure of Redis is survived and tried again.

    Args:
        link: the way to Redis.
        follower: the policies in force; None: they are not followed.
        ledger: the counters.
        repeat: repeats failed invalidations.
    """

    def __init__(
        self, link: Link, follower: Follower | None, ledger: Ledger, repeat: Callable[[], None]
    ) -> None:
        self._link = link
        self._follower = follower
        self._ledger = ledger
        self._repeat = repeat
        self.after_fork()

    def after_fork(self) -> None:
        """In a child process the thread does not run, and the parent carries what the parent counted."""
        self._stopped = threading.Event()
        self._carried: Counter[str] = Counter()
        self._flushing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pubsub: Any = None
        self._listen_at = 0.0
        self._is_waiting = False
        self._looked: tuple[Any, ...] | None = None
        self._read_at = -math.inf
        self._id = ""
        self._is_reported = False

    def start(self) -> None:
        """Ask for the policies once, then go on in the background."""
        if self._follower is not None:
            self._id = self._follower.renew()
            self._follow()
        thread = threading.Thread(target=self._run, name="cachewarden-keeper", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The process has too many, or is ending. Reads go on with what is in force.
            log.warning("No thread can be started: policies are not followed, counters not carried")
        else:
            self._thread = thread

    def stop(self) -> None:
        """End the thread, carry what was counted, and sign off."""
        self._stopped.set()
        thread = self._thread
        # One that waits for messages ends by itself when its wait is over.
        if thread is not None and not self._is_waiting:
            thread.join(2)
        self.flush()
        if self._is_reported:
            self._try([(b"HDEL", INSTANCES_KEY, self._id)])

    def flush(self) -> None:
        """Carry the counters now."""
        with self._flushing:
            self._carried.update(self._ledger.take())
            if not self._carried:
                return
            taken = list(self._carried.items())
            try:
                replies = self._link.exchange_once(
                    [(b"HINCRBY", COUNTERS_KEY, field, number) for field, number in taken]
                )
            except Unreachable as error:
                # Without an answer they may have been added. Counting them twice would be worse than losing them.
                if not error.is_unsent:
                    self._carried.clear()
                return
            # What Redis refused (OOM, READONLY, MISCONF) was surely not added.
            refused = [
                pair for pair, reply in zip(taken, replies, strict=True) if isinstance(reply, ResponseError)
            ]
            self._carried = Counter(dict(refused[:MOST_CARRIED]))

    def _run(self) -> None:
        # At once: it may have been published before anybody listened.
        polled_at = tidied_at = -math.inf
        is_first = True
        while not self._stopped.is_set():
            try:
                self._is_waiting = True
                heard = not is_first and self._wait(BEAT_S)
                is_first = False
                self._is_waiting = False
                if self._stopped.is_set():
                    break
                now = time.monotonic()
                self._repeat()
                self.flush()
                if self._follower is None:
                    continue
                if heard or now - polled_at >= POLL_S:
                    polled_at = now
                    self._listen(now)
                    self._follow(is_told=heard)
                if now - tidied_at >= TIDY_S:
                    tidied_at = now
                    self._tidy()
            except Exception:
                # A thread that ends would leave the application with old policies, silently.
                log.exception("The keeper's round failed; it goes on")
                self._stopped.wait(BEAT_S)
        self._hang_up()

    def _wait(self, seconds: float) -> bool:
        """Whether a message came within the time."""
        deadline = time.monotonic() + seconds
        while not self._stopped.is_set():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            if self._pubsub is None:
                self._stopped.wait(left_s)
                self._listen(time.monotonic())
                # What was published while nobody listened is there to be read.
                return self._pubsub is not None
            try:
                message = self._pubsub.get_message(ignore_subscribe_messages=True, timeout=min(left_s, 0.5))
            except (RedisError, OSError, ValueError):
                self._hang_up()
                continue
            if message is not None:
                return True
        return False

    def _listen(self, now: float) -> None:
        if self._follower is None or self._pubsub is not None or now < self._listen_at:
            return
        self._listen_at = now + RELISTEN_S
        try:
            self._pubsub = self._link.client.pubsub()
            self._pubsub.subscribe(POLICIES_CHANNEL)
        except (RedisError, OSError):
            self._hang_up()

    def _hang_up(self) -> None:
        held, self._pubsub = self._pubsub, None
        if held is not None:
            try:
                held.close()
            except (RedisError, OSError):
                log.debug("Closing a broken subscription failed", exc_info=True)

    def _follow(self, is_told: bool = False) -> None:
        """Look whether the policies changed, then report.

        Args:
            is_told: a message said that they did.
        """
        assert self._follower is not None
        now = time.monotonic()
        # Its head has the version, and with the size that tells nearly always: it may have a megabyte.
        replies = self._try([(b"GETRANGE", POLICIES_KEY, 0, HEAD_BYTES - 1), (b"STRLEN", POLICIES_KEY)])
        if replies is None:
            return
        looked = None if any(isinstance(reply, ResponseError) for reply in replies) else tuple(replies)
        if is_told or looked is None or looked != self._looked or now - self._read_at >= REREAD_S:
            replies = self._try([(b"GETRANGE", POLICIES_KEY, 0, MAX_DOCUMENT_BYTES)])
            if replies is None:
                return
            if isinstance(replies[0], bytes):
                self._follower.consider(replies[0])
                # If it was replaced between the two, the next look differs again.
                self._looked, self._read_at = looked, now
        # Its own, whatever was started since.
        instance = replace(self._follower.report(), id=self._id)
        self._is_reported = True
        self._try([(b"HSET", INSTANCES_KEY, instance.id, instance.to_json())])

    def _tidy(self) -> None:
        """Drop instances that were not seen for a day; one that comes back reports again."""
        replies = self._try([(b"HGETALL", INSTANCES_KEY)])
        if not replies or not isinstance(replies[0], list | dict):
            return
        found = replies[0]
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        oldest = time.time() - INSTANCE_TTL_S
        gone = []
        for name, text in pairs:
            instance = Instance.from_json(text)
            # What can't be read may be a newer version's.
            if instance is not None and instance.seen_at < oldest:
                gone.append(name)
        if gone:
            self._try([(b"HDEL", INSTANCES_KEY, *gone)])

    def _try(self, commands: list[tuple[Any, ...]]) -> list[Any] | None:
        try:
            return self._link.exchange(commands)
        except Unreachable:
            return None
