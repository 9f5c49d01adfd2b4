"""What the last scan of the keyspace found of each policy's keys: memory, and keys that break the policy.

The keyspace's area tells it after each scan; here it is kept beside the counters, for the prefix tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from dashboard.access import Role, require
from dashboard.caching.policy import prefix_from_text, prefix_to_text
from dashboard.policies import store
from dashboard.policies.types import KeyspaceKeys, ScanMark
from dashboard.work import UnitOfWork

FULL: Final = "full"
MOST_EXAMPLES: Final = 5
_LONGEST_EXAMPLE: Final = 1_024


def record_keyspace(
    work: UnitOfWork,
    cache_id: int,
    prefixes: Mapping[str, KeyspaceKeys],
    *,
    snapshot_id: int,
    kind: str,
    taken_at: datetime,
) -> None:
    """Keep what a scan found, in place of what an earlier one did; a later one's stays.

    Args:
        prefixes: by the policy's prefix as text; "" the default.
        kind: "sample" or "full".
        taken_at: aware; when the scan ended.
    """
    held = store.find_keyspace(work.session, cache_id, lock=True)
    if held is not None and held.taken_at > taken_at:
        return
    store.put_keyspace(
        work.session,
        cache_id,
        snapshot_id=snapshot_id,
        kind=kind,
        taken_at=taken_at,
        prefixes={name: _to_json(found) for name, found in prefixes.items()},
    )


@dataclass(frozen=True, slots=True)
class Scanned:
    """What the last scan found.

    Args:
        mark: which scan; None: there was none.
        prefixes: by prefix, those of the policies that it knew.
    """

    mark: ScanMark | None
    prefixes: Mapping[str, KeyspaceKeys]

    def of(self, prefix: str) -> KeyspaceKeys | None:
        """Of one policy; one that had no key is all zeros. None: there was no scan since it was published."""
        return self.prefixes.get(prefix)


def scanned(work: UnitOfWork, cache_id: int) -> Scanned:
    """What the last scan of a cache found."""
    require(work.actor, Role.VIEWER)
    held = store.find_keyspace(work.session, cache_id)
    if held is None:
        return Scanned(None, {})
    mark = ScanMark(held.snapshot_id, held.taken_at, held.kind != FULL)
    return Scanned(mark, {name: _from_json(found, mark) for name, found in held.prefixes.items()})


def _to_json(found: KeyspaceKeys) -> dict[str, Any]:
    return {
        "keys": found.keys,
        "keys_error": found.keys_error,
        "size": found.size_bytes,
        "size_error": found.size_error,
        "without_ttl": found.without_ttl,
        "too_long": found.too_long,
        "examples": [
            [prefix_to_text(key[:_LONGEST_EXAMPLE]), ttl_s] for key, ttl_s in found.examples[:MOST_EXAMPLES]
        ],
        "has_policy": found.has_policy,
    }


def _from_json(kept: Mapping[str, Any], mark: ScanMark) -> KeyspaceKeys:
    return KeyspaceKeys(
        keys=kept["keys"],
        keys_error=kept["keys_error"],
        size_bytes=kept["size"],
        size_error=kept["size_error"],
        without_ttl=kept["without_ttl"],
        too_long=kept["too_long"],
        examples=tuple((prefix_from_text(text), ttl_s) for text, ttl_s in kept["examples"]),
        taken_at=mark.taken_at,
        is_sample=mark.is_sample,
        has_policy=kept.get("has_policy", True),
    )
