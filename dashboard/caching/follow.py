"""Which policies are in force in this process: the published document, or the last good one, or none."""

import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import dashboard
from dashboard.caching.errors import PolicyError, Problem
from dashboard.caching.policy import MAX_DOCUMENT_BYTES, PolicyDocument, parse_document
from dashboard.caching.wire import Instance, Refusal

MAX_REASON_CHARS: Final = 1_000


class Follower:
    """Holds the document in force and says so.

    Args:
        apply: called with every new document.
        wall: epoch seconds.
        name: of the application; empty: its program's.
    """

    def __init__(
        self, apply: Callable[[PolicyDocument], None], wall: Callable[[], float] = time.time, name: str = ""
    ) -> None:
        self._apply = apply
        self._name = name
        self._wall = wall
        self._newest: bytes | None = None
        self.instance = introduce(wall(), name)

    def renew(self) -> str:
        """Become another application instance, with the same policies; returns its id.

        A child process is one, and so is what starts again after it was closed: who signs the old one off must not
        take the new one with it.
        """
        held = self.instance
        self.instance = replace(
            introduce(self._wall(), self._name),
            policy_version=held.policy_version,
            applied_at=held.applied_at,
            refusal=held.refusal,
        )
        return self.instance.id

    def consider(self, found: bytes | None) -> bool:
        """Look at what stands in Redis now.

        Args:
            found: the document, up to MAX_DOCUMENT_BYTES + 1 bytes of it; None or empty: there is none, because
                nothing was published or it was evicted, and what is in force stays.

        Returns:
            whether anything changed that should be reported at once.
        """
        if not found or found == self._newest:
            return False
        self._newest = found
        try:
            if len(found) > MAX_DOCUMENT_BYTES:
                raise PolicyError([Problem("", f"It has more than {MAX_DOCUMENT_BYTES:,} bytes.")])
            document = parse_document(found)
        except PolicyError as error:
            refusal = Refusal(version_in(found), str(error)[:MAX_REASON_CHARS], self._wall())
            self.instance = replace(self.instance, refusal=refusal)
            return True
        self._apply(document)
        self.instance = replace(
            self.instance, policy_version=document.version, applied_at=self._wall(), refusal=None
        )
        return True

    def report(self) -> Instance:
        """This process as it is now."""
        self.instance = replace(self.instance, seen_at=self._wall())
        return self.instance


def introduce(now: float, name: str = "") -> Instance:
    """This process, just started."""
    host, pid = socket.gethostname(), os.getpid()
    return Instance(
        id=f"{host}:{pid}:{secrets.token_hex(4)}",
        host=host,
        pid=pid,
        program=name or os.path.basename(sys.argv[0] if sys.argv else "") or "python",
        library=dashboard.__version__,
        started_at=now,
        seen_at=now,
    )


def version_in(found: bytes) -> int | None:
    """The version a refused document seems to have, for the report."""
    match = re.search(rb'"version"\s*:\s*(\d{1,15})\b', found[:MAX_DOCUMENT_BYTES])
    return int(match[1]) if match else None
