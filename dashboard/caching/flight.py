"""One load per key and process: the first thread flies, the others get its result."""

import math
import threading
from typing import Any, Final, Generic, TypeVar

Result = TypeVar("Result")


class Late:
    """What ``Flight.wait`` returns when the time is over."""


LATE: Final = Late()


class Flight(Generic[Result]):
    """A read in progress that other threads may join.

    ``basis`` tells a late-comer whether the load that is running is recent enough for it: it is what stood in the
    cache when the load began. A late-comer that sees the same bytes knows that nobody invalidated the key since.
    None while no load is running: whatever comes of it will be recent.
    """

    __slots__ = ("_done", "_error", "_result", "basis", "began", "leader")

    def __init__(self) -> None:
        self.leader = threading.get_ident()
        self.basis: Any = None
        self.began = math.inf
        """When the load began, monotonic seconds."""
        self._done: threading.Event | None = None
        self._error: Exception | None = None
        self._result: Result | None = None

    def board(self) -> None:
        """Somebody will wait; called while the flight is on the board."""
        if self._done is None:
            self._done = threading.Event()

    def land(self, result: Result) -> None:
        """Hand the result to everybody; called after the flight was taken off the board."""
        self._result = result
        if self._done is not None:
            self._done.set()

    def crash(self, error: BaseException) -> None:
        """Hand the error to everybody who waits; what ends only the leader's thread leaves them to themselves."""
        if isinstance(error, Exception):
            self._error = error
        if self._done is not None:
            self._done.set()

    def suits(self, asked_at: float, seen: Any) -> bool:
        """Whether what comes of it is recent enough.

        Args:
            asked_at: when the caller looked at the cache, monotonic seconds.
            seen: what it saw there.
        """
        return self.began >= asked_at or self.basis == seen

    def wait(self, timeout_s: float) -> Result | Late:
        """The result, or LATE after ``timeout_s`` seconds, or when there will be none.

        Raises:
            Exception: the leader's.
        """
        if self._done is None or not self._done.wait(timeout_s):
            return LATE
        if self._error is not None:
            raise self._error
        return LATE if self._result is None else self._result


class Flights(Generic[Result]):
    """The flights of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.by_key: dict[bytes, Flight[Result]] = {}
        """Read without the lock on the way of every hit."""

    def join(self, key: bytes, unwanted: Flight[Result] | None = None) -> tuple[Flight[Result] | None, bool]:
        """The key's flight, and whether the caller is its leader and must land it.

        None for a loader that reads its own key: it must neither wait for itself nor for its own placeholder.

        Args:
            key: the key.
            unwanted: a flight whose result the caller can't use; a new one takes its place.
        """
        with self._lock:
            held = self.by_key.get(key)
            if held is not None and held.leader == threading.get_ident():
                return None, False
            if held is not None and held is not unwanted:
                held.board()
                return held, False
            made: Flight[Result] = Flight()
            self.by_key[key] = made
            return made, True

    def leave(self, key: bytes, flight: Flight[Result]) -> None:
        """Take the flight off the board; those who wait still get its result."""
        with self._lock:
            if self.by_key.get(key) is flight:
                del self.by_key[key]

    def detach(self, key: bytes) -> None:
        """The key was invalidated here: whoever comes now must not join a load that began before."""
        if self.by_key:
            with self._lock:
                self.by_key.pop(key, None)
