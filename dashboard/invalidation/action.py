"""What is sent for each key, and what the answers say. Pure.

Deleting is UNLINK; where applications use the library, within a script that looks at each value. The other actions
are scripts of one key each, so that looking at the value and changing its TTL are one step; on a Cluster they need
nothing of other keys. Two things make them safe next to the library:

- A placeholder of a load or a write in flight is removed: its fill would otherwise bring a value back that was read
  before the purge, with a full TTL. A hold stores nothing and stays, also one that a write covers: without it, whoever
  reads next would store what a replica of the database still says.
- A refresh that is under way compares the key's moment of expiry with what it saw. So that moment is moved for every
  key, by some milliseconds where it is soon enough already.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboard.caching.policy import Policy, PolicyTable
from dashboard.caching.wire import HOLDS, MAGIC, Script
from dashboard.fleet.purging import run_script
from dashboard.fleet.registry import Command
from dashboard.invalidation.types import Action, Plan

_LOOK: Final = (
    HOLDS
    + """
local left = redis.call('PTTL', KEYS[1])
if left == -2 then return 0 end
local value = redis.pcall('GETRANGE', KEYS[1], 0, 17)
if type(value) ~= 'string' then
  -- Whoever may not look can't tell a placeholder; a key of another type is none.
  if not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
  value = ''
end
local isPlaceholder = string.sub(value, 1, 13) == string.sub(HOLD, 1, 13)
"""
)

SOONER: Final = Script(
    "sooner",
    _LOOK
    + """
if value == HOLD then return 3 end
if isPlaceholder then
  drop(KEYS[1])
  return 1
end
if left == -1 or left > tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  return 1
end
redis.call('PEXPIRE', KEYS[1], math.max(1, left - 5))
return 2
""",
)
"""Have a key expire sooner. ARGV: in how many ms; the life (ms) above which that is done. Five milliseconds less is
more than the two by which ``caching.wire.REFRESH`` may err before Redis 7."""

CONFORM: Final = Script(
    "conform",
    _LOOK
    + """
if isPlaceholder then return 2 end
local life = tonumber(ARGV[1])
if left == -1 or left > tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], life)
  return 1
end
if left <= life and left >= life - tonumber(ARGV[4]) then return 4 end
if left < tonumber(ARGV[3]) and value ~= 'null' and value ~= '\\192' then
  redis.call('PEXPIRE', KEYS[1], life)
  return 1
end
return 2
""",
)
"""Give a key the TTL of its policy. ARGV: a life, the longest life, the life below which it becomes longer (0: never),
how long ago the key may have been given its life already (all ms). "There is none" (JSON's null, MessagePack's nil) has
a shorter life of its own, which never becomes longer."""

REMOVE: Final = Script(
    "remove",
    HOLDS
    + """
local answers, values = {}, {}
for index, key in ipairs(KEYS) do
  local value = redis.pcall('GETRANGE', key, 0, #ARGV[1] - 1)
  if value == ARGV[1] then
    local _, left = look(key)
    drop(key)
    answers[index] = left > 0 and 3 or 1
  elseif type(value) ~= 'string' and not string.find(value.err, 'WRONGTYPE', 1, true) then
    return value
  elseif value == '' then
    answers[index] = redis.call('UNLINK', key)
  else
    answers[index] = 1
    values[#values + 1] = key
  end
end
if #values > 0 then redis.call('UNLINK', unpack(values)) end
return table.concat(answers)
""",
)
"""Remove keys, but leave holds in force. KEYS: some hundred at most; ARGV: how placeholders begin. Answers with a digit
per key: GONE, TOUCHED or HELD."""

SCRIPTS: Final = (SOONER, CONFORM, REMOVE)
_BY_SCRIPT: Final = ("EVALSHA", "EVAL", "PTTL", "PEXPIRE", "GETRANGE", "SET", "TIME", "UNLINK")
_TO_REMOVE: Final = ("EVALSHA", "EVAL", "PTTL", "GETRANGE", "SET", "TIME", "UNLINK")
GONE, TOUCHED, UNCHANGED, HELD, HAD = 0, 1, 2, 3, 4
"""What scripts answer: it was not there; done; nothing to do; a hold, which stays; it looks as if it was done."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command, and the keys it is about."""

    command: Command
    keys: Sequence[bytes]


@dataclass(slots=True)
class Outcome:
    """What became of some keys.

    Args:
        touched: were removed, or have another TTL.
        touched_again: the same, if it may have been done to them before: what is gone was there when it was found, and
            what has little left to live may have got that from us.
        hits, misses: lookups of ours that the server counted.
        codes: what a script answered for each key, if it was about several.
    """

    touched: int = 0
    touched_again: int = 0
    hits: int = 0
    misses: int = 0
    codes: tuple[int, ...] = ()

    def untouched(self, keys: Sequence[bytes], *, is_again: bool) -> list[bytes]:
        """Which of the call's keys do not count as touched."""
        if self.codes:
            fine = (GONE, TOUCHED) if is_again else (TOUCHED,)
            return [key for key, code in zip(keys, self.codes, strict=True) if code not in fine]
        is_touched = self.touched_again if is_again else self.touched
        # A call without codes is about one key, or nobody asks which.
        return [] if is_touched else list(keys)


class Doing:
    """A plan's action, made ready for keys.

    Args:
        plan: what to do.
        table: the policies in force.
        age_s: seconds since the purge began the first time.
        now: epoch seconds.
    """

    def __init__(
        self,
        plan: Plan,
        table: PolicyTable[Policy],
        age_s: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._table = table
        self._age_s = age_s
        self._now = now
        self._salt = f"{plan.selection.target}:{plan.window_s}:".encode()
        self.is_library_there = True
        """Whether applications may use the library, so that there may be holds."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The commands that a user must be allowed."""
        if self._plan.action is not Action.DELETE:
            return _BY_SCRIPT
        return _TO_REMOVE if self.is_library_there else ("UNLINK",)

    @property
    def needs_memory(self) -> bool:
        """Whether the server has to store more: a TTL where there was none."""
        return self._plan.action is not Action.DELETE

    @property
    def causes_loads(self) -> bool:
        """Whether readers go to the database because of it, as it happens."""
        return self._plan.action in (Action.DELETE, Action.SOFT)

    @property
    def cost(self) -> float:
        """What a key costs a server, next to looking at a key in a scan."""
        if self._plan.action is not Action.DELETE:
            return 6.0
        return 3.5 if self.is_library_there else 1.5

    def calls(
        self, keys: Sequence[bytes], *, one_by_one: bool, is_repeat: bool = False, is_again: bool = False
    ) -> list[Call]:
        """What to send for keys of one node; nothing for those that the action does not concern.

        Args:
            keys: whose turn it is.
            one_by_one: each needs a command of its own, as in a Cluster.
            is_repeat: most of them had their turn before: what lies within the window stays there.
            is_again: it was their turn when a worker was killed, or an exchange broke off.
        """
        if self._plan.action is not Action.DELETE:
            # Some more than a second for the way to the server.
            age_ms = int(self._age_s() * 1000) + 2_000 if is_repeat or is_again else 0
            made = [(key, self._script(key, is_repeat, age_ms)) for key in keys]
            return [Call(command, (key,)) for key, command in made if command is not None]
        parts = [(key,) for key in keys] if one_by_one else [tuple(keys)] if keys else []
        if self.is_library_there:
            return [Call(_remove(part), part) for part in parts]
        if self._plan.wants_report:
            # UNLINK of several keys does not say which of them it found.
            parts = [(key,) for key in keys]
        return [Call(("UNLINK", *part), part) for part in parts]

    def read(self, call: Call, reply: Any) -> Outcome:
        """What the answer to a call says."""
        if call.command[1] == REMOVE.digest:
            answers = reply if isinstance(reply, bytes) else b""
            touched, gone = answers.count(b"%d" % TOUCHED), answers.count(b"%d" % GONE)
            codes = tuple(code - ord("0") for code in answers)
            return Outcome(touched, touched + gone, len(answers) - gone, gone, codes)
        done = reply if isinstance(reply, int) else 0
        if call.command[0] == "UNLINK":
            return Outcome(done, len(call.keys))
        # Each script asks PTTL and GETRANGE.
        hits, misses = (0, 1) if done == GONE else (2, 0)
        again = done in (GONE, TOUCHED, HAD) or (done == UNCHANGED and self._plan.action is not Action.POLICY)
        return Outcome(int(done == TOUCHED), int(again), hits, misses)

    def _draw(self, key: bytes) -> float:
        """A number in [0, 1) that looks random and is the same for a key whoever asks: whose turn comes a second time,
        after a restart or under another worker, has its moment already."""
        drawn = hashlib.blake2b(self._salt + key, digest_size=6).digest()
        return int.from_bytes(drawn, "big") / 2**48

    def _script(self, key: bytes, is_repeat: bool, age_ms: int) -> Command | None:
        action = self._plan.action
        if action is Action.SPREAD:
            window_ms = self._plan.window_s * 1000
            until = self._plan.selection.filters.ends_until
            if until is not None:
                # The window ends with the last of the keys: who began late has less time, and leaves none behind.
                window_ms = max(1, min(window_ms, int((until - self._now()) * 1000)))
            life_ms = max(1, int(self._draw(key) * window_ms))
            return run_script(SOONER, key, life_ms, window_ms if is_repeat else life_ms)
        policy = self._table.find(key)
        grace_ms = (policy.protection.grace_s or 0) * 1000
        if action is Action.SOFT:
            if not grace_ms:
                return _remove((key,))
            # Stale is what has less to live than the grace. Not all of it at once: what nobody reads again would
            # otherwise expire together.
            return run_script(SOONER, key, int(grace_ms * (0.5 + 0.5 * self._draw(key))) - 1, grace_ms - 1)
        if policy.base_ttl_s is None:
            # Keys of this kind are not cached: no TTL is right, and no reader of the library looks at them.
            return None
        base_ms, jitter_ms = policy.base_ttl_s * 1000, policy.jitter_s * 1000
        life_ms = base_ms + int(self._draw(key) * (jitter_ms + 1)) + grace_ms
        shortest_ms, longest_ms = base_ms + grace_ms, base_ms + jitter_ms + grace_ms
        below_ms = shortest_ms if self._plan.lengthens else 0
        return run_script(CONFORM, key, life_ms, longest_ms, below_ms, age_ms)


def _remove(keys: Sequence[bytes]) -> Command:
    return ("EVALSHA", REMOVE.digest, len(keys), *keys, MAGIC)
