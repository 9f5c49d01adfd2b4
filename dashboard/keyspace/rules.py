"""The policies of a scan, numbered: which one a key has, and how long its TTL may be. Pure."""

from bisect import bisect_left, bisect_right
from typing import Any, Final

from dashboard.caching.policy import RESERVED, Policy, PolicyTable

OWN: Final = 0
"""Number of no policy: our own keys, which have none."""
SLACK_S: Final = 1
"""A TTL may be longer by this: clocks, and whole seconds, differ."""


class Rules:
    """Numbers the policies as they were when the scan began; a scan that goes on elsewhere keeps to them.

    Args:
        found: prefix and longest TTL in ms (None: nothing is too long) of each policy; the default's prefix is empty.
        delimiter: what follows a literal part, where it is always the same.
    """

    def __init__(self, found: list[tuple[bytes, int | None]], delimiter: bytes) -> None:
        self.delimiter = delimiter
        self.prefixes: list[bytes | None] = [None]
        self.limits_ms: list[int | None] = [None]
        default = OWN
        numbered = [(RESERVED, OWN)]
        for number, (prefix, limit_ms) in enumerate(found, 1):
            self.prefixes.append(prefix)
            self.limits_ms.append(limit_ms)
            if prefix:
                numbered.append((prefix, number))
            else:
                default = number
        table = PolicyTable(numbered, default)
        self._bounds, self._items = table.bounds, table.items

    @classmethod
    def of(cls, table: PolicyTable[Policy], delimiter: bytes) -> "Rules":
        """The rules of the policies in force."""
        policies = {policy.prefix: policy for policy in (*table.items, table.default)}
        return cls([(prefix, longest_ms(policy)) for prefix, policy in policies.items()], delimiter)

    def find(self, key: bytes) -> int:
        """Number of the policy of a key."""
        return self._items[bisect_right(self._bounds, key)]

    def only(self, head: bytes) -> int | None:
        """Number of the policy of all keys that begin with these bytes; None: there are several."""
        return self.between(head, _after(head))

    def between(self, first: bytes, end: bytes | None) -> int | None:
        """Number of the policy of all keys from one to before another (None: to the last); None: there are several."""
        at = bisect_right(self._bounds, first)
        last = len(self._bounds) if end is None else bisect_left(self._bounds, end)
        return self._items[at] if at >= last else None

    def state(self) -> list[Any]:
        """For JSON."""
        pairs = zip(self.prefixes[1:], self.limits_ms[1:], strict=True)
        return [[(prefix or b"").decode("latin-1"), limit_ms] for prefix, limit_ms in pairs]

    @classmethod
    def restore(cls, state: list[Any], delimiter: bytes) -> "Rules":
        """What ``state`` gave."""
        return cls([(prefix.encode("latin-1"), limit_ms) for prefix, limit_ms in state], delimiter)


def longest_ms(policy: Policy) -> int | None:
    """The longest TTL that is taken to keep to a policy; None where it caches nothing."""
    longest_s = policy.longest_ttl_s
    return None if longest_s is None else 1000 * (longest_s + SLACK_S)


def _after(head: bytes) -> bytes | None:
    short = head.rstrip(b"\xff")
    return short[:-1] + bytes([short[-1] + 1]) if short else None
