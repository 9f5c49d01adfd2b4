"""One write-through: from the placeholder before the commit to the value after it."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from redis.exceptions import ResponseError

from dashboard.caching import protocol
from dashboard.caching.link import Link, Unreachable
from dashboard.caching.protocol import Context
from dashboard.caching.removal import OnError, Removal
from dashboard.caching.wire import Kind, placeholder


class _Unset:
    pass


_UNSET: Final = _Unset()


class Write:
    """What ``with cache.write_through(key) as write`` gives; set ``write.value``."""

    def __init__(
        self,
        *,
        context: Context,
        link: Link,
        removal: Removal,
        encode: Callable[[Any], bytes],
        detach: Callable[[bytes], None],
        is_bypassed: bool,
        lease_ms: int,
        on_error: OnError | None,
    ) -> None:
        self._context = context
        self._link = link
        self._removal = removal
        self._encode = encode
        self._detach = detach
        self._is_bypassed = is_bypassed
        self._lease_ms = lease_ms
        self._on_error = on_error
        self._token = placeholder(Kind.WRITE)
        self._versions: dict[str, int] | None = None
        self.value: Any = _UNSET
        """What a loader would return after the commit."""
        self.is_stored = False
        """After the block: whether the cache holds the value."""

    def __enter__(self) -> "Write":
        self._detach(self._context.key)
        try:
            answers = self._link.exchange(
                protocol.announce(self._context, self._token, self._lease_ms).commands
            )
            if not isinstance(answers[0], ResponseError):
                protocol.count_removal(self._context.tally, answers[0])
            self._versions = protocol.versions_in(self._context, answers[1:])
        except Unreachable:
            # The write goes on; its end must get through, or is raised.
            self._context.tally.add("errors")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        context = self._context
        self._detach(context.key)
        context.tally.add("writes")
        payload = None
        if error is None and not self._is_bypassed and not isinstance(self.value, _Unset):
            try:
                payload = self._encode(self.value)
            except Exception:
                # The commit has happened: whatever a codec raises, the key must be concluded.
                context.tally.add("not_stored")
        # After an exception it is open whether the commit happened: leave nothing behind.
        send = protocol.conclude(context, self._token, payload, self.value is None, self._versions)
        cause: Exception | None = None
        try:
            answer = self._link.exchange(send.commands)[0]
            if isinstance(answer, ResponseError):
                cause = answer
            self.is_stored = len(send.commands[0]) > 2 and answer == 1
            if answer == 1:
                context.tally.add("own_hits")
        except Unreachable as failure:
            cause = failure
        if isinstance(cause, ResponseError):
            # Redis answers, but does not store it (OOM, ...): then the key must go.
            context.tally.add("not_stored")
            self._removal.remove([context.key], None, self._mode(error), lambda _: self._failed())
        elif cause is not None:
            self._failed()
            self._removal.keep_or_raise([context.key], None, self._mode(error), cause)

    def _failed(self) -> None:
        self._context.tally.add("invalidation_errors")

    def _mode(self, error: BaseException | None) -> OnError | None:
        # The application's own exception must not be hidden behind ours.
        return self._on_error if error is None else "retry"
