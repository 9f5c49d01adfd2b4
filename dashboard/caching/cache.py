"""``Cache``: what applications use. Executes the protocol's decisions with threads."""

import atexit
import logging
import math
import os
import threading
import time
import weakref
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, ParamSpec, TypeVar, overload

import redis
from redis.exceptions import ResponseError

from dashboard.caching import codec as codecs
from dashboard.caching import link as links
from dashboard.caching import many, protocol
from dashboard.caching import tags as tagging
from dashboard.caching.asking import Asking, asking
from dashboard.caching.background import Background
from dashboard.caching.breaker import Breaker
from dashboard.caching.chance import CHANCE
from dashboard.caching.counters import Ledger, Tally
from dashboard.caching.decorator import CachedFunction
from dashboard.caching.errors import UsageError
from dashboard.caching.flight import Flight, Flights, Late
from dashboard.caching.follow import Follower
from dashboard.caching.indexing import Index
from dashboard.caching.keeper import Keeper
from dashboard.caching.keyform import KeyForm
from dashboard.caching.link import Link, Unreachable
from dashboard.caching.policy import (
    DEFAULT_POLICY,
    RESERVED,
    Policy,
    PolicyDocument,
    PolicyTable,
)
from dashboard.caching.protocol import AWAY, UNHEARD, Asked, Away, Context, Load, Loaded, Outcome, Pause, Send
from dashboard.caching.removal import OnError, Removal
from dashboard.caching.ttl import watch_below_ms
from dashboard.caching.wire import kind_of
from dashboard.caching.writing import Write

T = TypeVar("T")
D = TypeVar("D")
P = ParamSpec("P")
Key = str | bytes

MAX_KEY_BYTES: Final = 4096
MAX_LOADS_WHILE_AWAY: Final = 32
"""So many loads run at once in a process while Redis is away; others wait, up to their longest wait."""
BATCH: Final = 500
"""Commands, or keys of one command, per round trip."""

_MARKS: Final = frozenset((0, tagging.HEADER[0]))
"""First bytes of what is not plainly a value."""

log = logging.getLogger(__name__)


class Rule:
    """A policy as it is executed: with the counters of its prefix."""

    __slots__ = ("beta", "grace_s", "is_simple", "needs_ttl", "policy", "tally")

    def __init__(self, policy: Policy, tally: Tally, is_started: bool) -> None:
        self.policy = policy
        self.tally = tally
        protection = policy.protection
        self.needs_ttl = protection.early_refresh_beta is not None or protection.grace_s is not None
        self.beta = protection.early_refresh_beta or 0.0
        self.grace_s = protection.grace_s or 0
        self.is_simple = is_started and policy.is_cached and policy.bypass_until is None
        """Whether a read may begin with the value alone, without a look at clock and bypass."""


class Cache:
    """A cache for an application: cache-aside and write-through, without stampedes and stale values.

    One object per process and Redis, shared by all threads; it may be made before a fork. Nothing is sent before
    the first call. Every method that reads survives a Redis that is away: the loader runs instead.

    Args:
        client_or_url: ``redis://...`` (recommended: short time-outs and no retries are then set here), a
            ``redis.Redis`` (also from ``Sentinel(...).master_for(...)``), or a ``RedisCluster``.
        default: the policy where no published document says otherwise.
        codec: how values become bytes: JSON by default, or ``MsgpackCodec()``, or an object like it.
        on_error: what ``invalidate`` and writes do when Redis can't be told: ``"raise"`` InvalidationError, or
            ``"retry"`` in the background until it works; meanwhile this process does not use the keys' values.
        follow: whether to follow the policies that are published in Redis, and to report this process there.
        name: what this application is called where its instances are listed; the program's name when empty.
        pool_size: most connections of this process; more callers wait a moment, then load.
        background_context: makes a context for loaders that run in the background (early refresh and
            stale-while-revalidate), e.g. ``app.app_context`` of Flask.

    Raises:
        UsageError: a client or a codec that can't work.
    """

    def __init__(
        self,
        client_or_url: "str | redis.Redis | redis.RedisCluster",
        *,
        default: Policy = DEFAULT_POLICY,
        codec: codecs.Codec | None = None,
        on_error: OnError = "raise",
        follow: bool = True,
        name: str = "",
        pool_size: int = links.POOL_SIZE,
        background_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        if default.prefix:
            raise UsageError("the default policy has no prefix")
        self._link: Link = links.connect(client_or_url, pool_size)
        self._codec = codecs.choose(codec)
        self._decode = self._codec.decode
        self._default = default
        self._document: PolicyDocument | None = None
        self._background_context = background_context
        self._background = Background()
        self._flights: Flights[Outcome] = Flights()
        self._ledger = Ledger()
        self._follower = Follower(self._apply, name=name) if follow else None
        self._removal = Removal(self._link, on_error, self._looked)
        self._index = Index(self._link, lambda key: self._link.breaker(key).is_closed)
        self._keeper = self._new_keeper()
        self._is_started = False
        self._rules: PolicyTable[Rule]
        self._after_fork()
        self._compile()
        _caches.add(self)

    # --- reading -----------------------------------------------------------------------------------------------

    def get_or_load(self, key: Key, loader: Callable[[], T], *, tags: Iterable[str] = ()) -> T:
        """The cached value, or what ``loader`` returns, which is then cached.

        Of all that miss a key at the same time one loads; the others, in any process, wait for it. A hit returns
        what the codec makes of the stored bytes (with JSON, a tuple comes back as a list); whoever loads gets the
        loader's own object.

        Args:
            key: the key in Redis.
            loader: reads the database; None means that there is none, which is cached for the policy's negative
                TTL. Must not return what it read before it was called.
            tags: labels for ``invalidate_tag``; the same ones at every call for the key.

        Returns:
            the value; one that the codec can't store is returned all the same, and counted.

        Raises:
            UsageError: the key or a tag is none.
            Exception: what the loader raised; it is not cached. Whoever waited for it in this process gets it too.
        """
        try:
            raw_key = key.encode() if type(key) is str else _as_bytes(key)
        except UnicodeEncodeError:
            raise UsageError("a key can't contain half of a surrogate pair") from None
        if not 0 < len(raw_key) <= MAX_KEY_BYTES:
            _check(raw_key)
        rules = self._rules
        rule = rules.items[bisect_right(rules.bounds, raw_key)]
        if tags:
            asked = asking(tags)
            link = self._link
            if (
                rule.is_simple
                and not rule.tally.acquires_first
                and not self._removal.pending
                and isinstance(link, links.DirectLink)
            ):
                tagged: T = self._read_tagged(link, raw_key, rule, asked, loader)
                return tagged
            loaded: T = self._read(self._context(raw_key, rule, asked.tags), rule, loader)
            return loaded
        if rule.is_simple and not rule.tally.acquires_first and not self._removal.pending:
            # The way of most reads, written out: one round trip, and little around it. So what ``_send`` does
            # (tell the breaker, count errors) stands here, in ``_read_tagged``, and there: change all three.
            needs_ttl = rule.needs_ttl
            left_ms = -1
            breaker = self._link.breaker(raw_key)
            if breaker.is_closed:
                asked_at = time.monotonic() if self._flights.by_key else 0.0
                try:
                    if needs_ttl:
                        raw, left_ms = self._link.get_with_ttl(raw_key)
                    else:
                        raw = self._link.get(raw_key)
                except (Unreachable, ResponseError) as error:
                    replies: list[Any] | Away = UNHEARD
                    if isinstance(error, Unreachable) and error.is_ill:
                        breaker.failed(time.monotonic())
                        replies = AWAY
                    rule.tally.add("errors")
                else:
                    if breaker.has_failed:
                        breaker.succeeded()
                    if raw and raw[0] not in _MARKS:
                        try:
                            value: T = self._decode(raw)
                        except Exception:
                            # Not ours to read: it is replaced.
                            pass
                        else:
                            tally = rule.tally
                            with tally.lock:
                                tally.hits += 1
                                if needs_ttl:
                                    tally.own_hits += 1
                            # Far from its end, there is nothing to decide.
                            if needs_ttl and left_ms < watch_below_ms(
                                rule.grace_s, tally.mean_load_s, rule.beta
                            ):
                                self._refresh_if_due(
                                    self._context(raw_key, rule, ()), raw, value, left_ms, loader
                                )
                            return value
                    replies = [raw]
                    if needs_ttl:
                        rule.tally.add("own_misses" if raw is None else "own_hits")
                context = self._context(raw_key, rule, ())
                found: T = self._settle(context, replies, asked_at, loader, left_ms)
                return found
        bare: T = self._read(self._context(raw_key, rule, ()), rule, loader)
        return bare

    @overload
    def get(self, key: Key) -> Any | None: ...
    @overload
    def get(self, key: Key, default: D) -> Any | D: ...
    def get(self, key: Key, default: Any = None) -> Any:
        """The cached value, or ``default``; never loads and never waits.

        Raises:
            UsageError: the key is none.
        """
        raw_key = _checked(key)
        rule = self._rule(raw_key)
        context = self._context(raw_key, rule, ())
        if self._is_bypassed(context):
            return default
        replies = self._send(context, context.ask().commands)
        payload = None
        if not isinstance(replies, Away) and isinstance(replies[0], bytes):
            kind = kind_of(replies[0])
            if kind is None:
                payload = self._run(protocol.usable(context, replies[0], replies[1:]), context)
            else:
                context.tally.add("own_hits")
        if payload is not None and self._is_readable(payload):
            context.tally.add("hits")
            return self._decode(payload)
        context.tally.add("misses")
        return default

    def get_or_load_many(
        self,
        keys: Iterable[str],
        loader: Callable[[list[str]], Mapping[str, T]],
        *,
        tags: Iterable[str] = (),
    ) -> dict[str, T | None]:
        """Several values at once: one look at the cache, one call of ``loader`` for all that miss.

        Keys that somebody else is loading are waited for; what does not come within the policy's longest wait is
        loaded with a second call and not cached.

        Args:
            keys: the keys; double ones are asked for once.
            loader: gets the missing keys, returns a mapping; a key it leaves out counts as None.
            tags: as for ``get_or_load``, for all of the keys.

        Returns:
            every key in the given order, with its value.

        Raises:
            UsageError: a key or a tag is none.
            Exception: what the loader raised.
        """
        names = list(dict.fromkeys(keys))
        checked = tagging.check(tags)
        contexts: dict[bytes, Context] = {}
        bypassed: list[str] = []
        by_key: dict[bytes, str] = {}
        for name in names:
            raw_key = _checked(name)
            by_key[raw_key] = name
            context = self._context(raw_key, self._rule(raw_key), checked)
            if self._is_bypassed(context):
                bypassed.append(name)
            else:
                contexts[raw_key] = context
        found: dict[str, Any] = {}
        if contexts:
            asked = list(contexts.values())
            steps = many.read_many(asked, self._look_at(asked), self._is_readable)
            result = self._drive_many(steps, by_key, loader)
            for raw_key, payload in result.payloads.items():
                found[by_key[raw_key]] = self._decode(payload)
            for raw_key, value in result.values.items():
                found[by_key[raw_key]] = value
        if bypassed:
            loaded = loader(bypassed)
            for name in bypassed:
                found[name] = loaded.get(name)
        return {name: found[name] for name in names}

    def cached(
        self, template: str, *, ignore: Iterable[str] = (), tags: Iterable[str] = ()
    ) -> Callable[[Callable[P, T]], CachedFunction[P, T]]:
        """Decorate a function so that its results are cached: ``@cache.cached("product:{id}")``.

        The decorated function also has ``key(...)`` and ``invalidate(...)``, called like the function itself.

        Args:
            template: the key, with ``{name}`` for every parameter.
            ignore: parameters that don't change the result, e.g. a database session; ``self`` and ``cls`` are
                always left out.
            tags: see ``get_or_load``; a tag may contain fields as well.

        Raises:
            UsageError: two different calls could make one key; or an ``async`` function.
        """
        tag_templates = tagging.check(tags)

        def decorate(function: Callable[P, T]) -> CachedFunction[P, T]:
            form = KeyForm(template, function, ignore)
            tag_forms = tuple(KeyForm.loose(each, function) for each in tag_templates)
            return CachedFunction(self, function, form, tag_forms)

        return decorate

    # --- writing -----------------------------------------------------------------------------------------------

    def put(self, key: Key, value: Any, *, tags: Iterable[str] = (), on_error: OnError | None = None) -> bool:
        """Store a value that was just written to the database (write-through in one step).

        Right only after the commit and with a single writer: two writers can leave the older value. In all other
        cases use ``write_through``.

        Args:
            key: the key.
            value: what a loader would return now.
            tags: as for ``get_or_load``.
            on_error: see ``Cache``.

        Returns:
            whether it was stored; where the policy says cache-aside or no cache, or the codec or Redis refuses the
            value, the key is invalidated instead.

        Raises:
            UsageError: the key or a tag is none, or ``on_error`` is something else.
            InvalidationError: Redis can't be told, so an older value may still be there.
        """
        with self.write_through(key, tags=tags, on_error=on_error) as write:
            write.value = value
        return write.is_stored

    def write_through(
        self,
        key: Key,
        *,
        tags: Iterable[str] = (),
        lease_s: float = 10.0,
        on_error: OnError | None = None,
    ) -> Write:
        """Store a value together with a database transaction::

            session.execute(update(...))            # the row is locked from here on
            with cache.write_through("product:7") as write:
                write.value = {"id": 7, "price": 5}
                session.commit()

        Enter the block after the row was written and commit inside it. The cache holds the new value only when
        the block ends well; when it raises, or no value was given, the key is invalidated. Two writers can't leave
        the older value behind, for the row's lock gives their order.

        Args:
            key: the key.
            tags: as for ``get_or_load``.
            lease_s: how long the commit may take; a slower one is correct, too, and invalidates.
            on_error: see ``Cache``.

        Raises:
            UsageError: the key or a tag is none, or ``on_error`` is something else.
            InvalidationError: at the end of the block, when Redis can't be told.
        """
        raw_key = _checked(key)
        self._start()
        context = self._context(raw_key, self._rule(raw_key), tagging.check(tags))
        if not (math.isfinite(lease_s) and 0 < lease_s <= 3600):
            raise UsageError("lease_s must be within 0 and 3600 seconds")
        self._removal.mode(on_error)
        return Write(
            context=context,
            link=self._link,
            removal=self._removal,
            encode=self._codec.encode,
            detach=self._flights.detach,
            is_bypassed=self._is_uncached(context.policy),
            lease_ms=max(1, int(lease_s * 1000)),
            on_error=on_error,
        )

    def invalidate(self, *keys: Key, hold_ms: int | None = None, on_error: OnError | None = None) -> None:
        """Drop keys. Call it after the database commit, never before.

        Args:
            keys: the keys.
            hold_ms: for so long nobody stores a value for them: longer than the lag of the replicas that loaders
                read from.
            on_error: see ``Cache``.

        Raises:
            UsageError: a key is none, or ``on_error`` is something else.
            InvalidationError: Redis can't be told.
        """
        if hold_ms is not None and not 1 <= hold_ms <= 3_600_000:
            raise UsageError("hold_ms must be from 1 to 3,600,000 milliseconds")
        self._removal.mode(on_error)
        raw_keys = [_checked(key) for key in keys]
        self._start()
        for raw_key in raw_keys:
            self._rule(raw_key).tally.add("invalidations")
            self._flights.detach(raw_key)
        try:
            self._removal.remove(
                raw_keys,
                hold_ms,
                on_error,
                lambda raw_key: self._rule(raw_key).tally.add("invalidation_errors"),
            )
        finally:
            # Whoever began while Redis was being told may have read the database before the commit.
            for raw_key in raw_keys:
                self._flights.detach(raw_key)

    def invalidate_tag(self, *tags: str, on_error: OnError | None = None) -> int:
        """Drop everything that was stored with one of the tags. Call it after the database commit.

        No value of the tags is used any more from the moment this returns, also those that are loaded just now.

        Args:
            tags: the tags.
            on_error: see ``Cache``.

        Returns:
            how many keys were removed at once; the memory of others comes back when they expire.

        Raises:
            UsageError: a tag is none, or ``on_error`` is something else.
            InvalidationError: Redis can't be told.
        """
        checked = tagging.check(tags)
        self._removal.mode(on_error)
        self._start()
        for raw_key in list(self._flights.by_key):
            self._flights.detach(raw_key)
        self._index.flush(checked)
        return self._removal.purge(checked, on_error)

    # --- around it ---------------------------------------------------------------------------------------------

    def policy_for(self, key: Key) -> Policy:
        """The policy that applies to ``key`` in this process now."""
        return self._rule(_as_bytes(key)).policy

    @property
    def document(self) -> PolicyDocument | None:
        """The published document that is in force here, None while there is none."""
        self._start()
        return self._document

    def use(self, document: PolicyDocument) -> None:
        """Put a document in force by hand, e.g. in tests or without a dashboard."""
        self._apply(document)

    def close(self) -> None:
        """Carry the counters, sign off, close the connections. Calls after it start everything anew.

        Invalidations that were kept for later are tried once more; what is lost then stays until its TTL ends.
        """
        with self._starting:
            was_started, self._is_started = self._is_started, False
            keeper = self._keeper
            if was_started:
                # Whoever calls from here on starts this one, whatever the old one still does.
                self._keeper = self._new_keeper()
            self._compile()
        if was_started:
            self._beat()
            keeper.stop()
        self._link.close()

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- policies ----------------------------------------------------------------------------------------------

    def _new_keeper(self) -> Keeper:
        return Keeper(self._link, self._follower, self._ledger, self._beat)

    def _apply(self, document: PolicyDocument) -> None:
        with self._compiling:
            self._document = document
            self._compile()

    def _compile(self) -> None:
        # One at a time, or the one that began with the older document could end last.
        with self._compiling:
            document = self._document
            default, policies = (
                (self._default, ()) if document is None else (document.default, document.policies)
            )
            self._ledger.retain({default.prefix, *(policy.prefix for policy in policies)})
            rules = [(policy.prefix, self._make_rule(policy)) for policy in policies]
            # Keys that are ours are never simple: what reads them otherwise refuses them.
            rules.append((RESERVED, Rule(default, self._ledger.tally(default.prefix), is_started=False)))
            self._rules = PolicyTable(rules, self._make_rule(default))

    def _make_rule(self, policy: Policy) -> Rule:
        return Rule(policy, self._ledger.tally(policy.prefix), self._is_started)

    def _rule(self, raw_key: bytes) -> Rule:
        self._start()
        return self._rules.find(raw_key)

    def _start(self) -> None:
        if not self._is_started:
            self._start_once()

    def _start_once(self) -> None:
        with self._starting:
            if not self._is_started:
                self._keeper.start()
                self._is_started = True
                self._compile()

    def _after_fork(self) -> None:
        """In a child process: no thread runs, no lock may be trusted, the connections are the parent's."""
        self._starting = threading.Lock()
        self._compiling = threading.RLock()
        self._slots = threading.BoundedSemaphore(MAX_LOADS_WHILE_AWAY)
        self._holds_slot = threading.local()

    def _in_child(self) -> None:
        self._is_started = False
        self._ledger = Ledger()
        self._flights = Flights()
        self._link.after_fork()
        self._background.after_fork()
        self._removal.after_fork()
        self._index.after_fork()
        self._keeper = self._new_keeper()
        self._after_fork()
        self._compile()

    # --- executing the protocol --------------------------------------------------------------------------------

    def _context(self, raw_key: bytes, rule: Rule, tags: tuple[str, ...]) -> Context:
        return Context(
            raw_key,
            rule.policy,
            rule.tally,
            tags,
            time.monotonic,
            CHANCE.random,
            self._index.add,
            self._removal.concerns_tag,
        )

    def _beat(self) -> None:
        """About once a second."""
        self._removal.repeat()
        self._index.flush()

    def _looked(self, raw_key: bytes, found: int) -> None:
        """An invalidation looked at a key, which the server counts."""
        protocol.count_removal(self._rules.find(raw_key).tally, found)

    def _is_uncached(self, policy: Policy) -> bool:
        return not policy.is_cached or policy.is_bypassed(time.time())

    def _is_bypassed(self, context: Context) -> bool:
        """Whether a read goes around the cache; counts it."""
        if self._is_uncached(context.policy):
            context.tally.add("bypasses")
            return True
        # An invalidation of it did not get through: what is stored may be from before it.
        if self._removal.concerns(context.key, context.tags):
            context.tally.add("bypasses")
            return True
        return False

    def _read(self, context: Context, rule: Rule, loader: Callable[[], Any]) -> Any:
        _check(context.key)
        if not self._is_started:
            self._start()
            rule = self._rules.find(context.key)
            context.policy, context.tally = rule.policy, rule.tally
        if self._is_bypassed(context):
            return loader()
        if rule.tally.acquires_first and context.key not in self._flights.by_key:
            return self._settle(context, Asked.NOTHING, time.monotonic(), loader)
        asked_at = time.monotonic()
        commands = list(context.ask().commands)
        if rule.needs_ttl:
            commands.append((b"PTTL", context.key))
        replies = self._send(context, commands)
        left_ms = -1
        if not isinstance(replies, Away):
            if rule.needs_ttl:
                left = replies.pop()
                left_ms = left if isinstance(left, int) else -1
                context.tally.add("own_misses" if replies[0] is None else "own_hits")
            protocol.count_versions(context, replies[1:])
        return self._settle(context, replies, asked_at, loader, left_ms)

    def _read_tagged(
        self, link: links.DirectLink, raw_key: bytes, rule: Rule, asked: Asking, loader: Callable[[], Any]
    ) -> Any:
        """The way of most reads with tags: as without, and their versions come in the same round trip."""
        context = self._context(raw_key, rule, asked.tags)
        breaker = self._link.breaker(raw_key)
        if not breaker.is_closed:
            return self._read(context, rule, loader)
        asked_at = time.monotonic()
        tally = rule.tally
        needs_ttl = rule.needs_ttl
        try:
            replies = link.get_tagged(raw_key, asked.commands, asked.packed, needs_ttl)
        except Unreachable as error:
            if error.is_ill:
                breaker.failed(time.monotonic())
            tally.add("errors")
            return self._settle(context, AWAY if error.is_ill else UNHEARD, asked_at, loader)
        if breaker.has_failed:
            breaker.succeeded()
        left = replies.pop() if needs_ttl else -1
        left_ms = left if isinstance(left, int) else -1
        raw = replies[0]
        if type(raw) is bytes and (payload := asked.payload(raw, replies[1:])) is not None:
            try:
                value = self._decode(payload)
            except Exception:
                # Not ours to read: it is replaced.
                pass
            else:
                with tally.lock:
                    tally.hits += 1
                    tally.own_hits += len(replies) - 1 + needs_ttl
                if needs_ttl and left_ms < watch_below_ms(rule.grace_s, tally.mean_load_s, rule.beta):
                    self._refresh_if_due(context, raw, value, left_ms, loader)
                return value
        if needs_ttl:
            tally.add("own_misses" if raw is None else "own_hits")
        protocol.count_versions(context, replies[1:])
        return self._settle(context, replies, asked_at, loader, left_ms)

    def _hit(self, context: Context, replies: list[Any]) -> tuple[bool, Any]:
        """Whether the first look answers the question, and the value."""
        raw = replies[0]
        if not isinstance(raw, bytes) or kind_of(raw) is not None:
            return False, None
        payload = self._run(protocol.usable(context, raw, replies[1:]), context)
        if payload is None:
            return False, None
        try:
            return True, self._decode(payload)
        except Exception:
            return False, None

    def _refresh_if_due(
        self, context: Context, raw: bytes, value: Any, left_ms: int, loader: Callable[[], Any]
    ) -> None:
        if value is None:
            # It lives shortly anyway.
            return
        is_due, is_stale = protocol.is_due(context, left_ms)
        if is_stale:
            context.tally.add("stale_served")
        if is_due:
            self._background.run(context.key, lambda: self._refresh(context, raw, loader))

    def _refresh(self, context: Context, raw: bytes, loader: Callable[[], Any]) -> None:
        with self._background_context():
            self._drive(protocol.refresh(context, raw), context, loader, None)

    def _settle(
        self,
        context: Context,
        replies: list[Any] | Away | Asked,
        asked_at: float,
        loader: Callable[[], Any],
        left_ms: int = -1,
    ) -> Any:
        """Go on after the first look: lead the key's flight, or join it.

        Args:
            context: the key at hand.
            replies: to ``context.ask()``.
            asked_at: when, monotonic seconds.
            loader: the caller's.
            left_ms: reply to PTTL, where it was asked for.
        """
        if isinstance(replies, list):
            is_hit, value = self._hit(context, replies)
            if is_hit:
                context.tally.add("hits")
                self._refresh_if_due(context, replies[0], value, left_ms, loader)
                return value
        seen: Any = replies
        if isinstance(replies, list):
            # A purge leaves the placeholder of a tagged key where the index had lost it: it vouches for nothing.
            seen = object() if context.tags else replies[0]
        elif replies is UNHEARD:
            # Nor does it that neither this caller nor an earlier one got an answer.
            seen = object()
        unwanted: Flight[Outcome] | None = None
        while True:
            flight, leads = self._flights.join(context.key, unwanted)
            if flight is None:
                return self._own(self._drive(protocol.load_only(context, AWAY), context, loader, None), True)
            if leads:
                return self._lead(context, flight, replies, asked_at or time.monotonic(), loader)
            if not flight.suits(asked_at, seen):
                unwanted = flight
                continue
            outcome = flight.wait(context.policy.longest_wait_s)
            if isinstance(outcome, Late):
                context.tally.add("waits")
                context.tally.add("wait_timeouts")
                basis = seen if isinstance(seen, bytes | Away) else AWAY
                return self._own(self._drive(protocol.load_only(context, basis), context, loader, None), True)
            if outcome.as_of >= asked_at or (outcome.is_loaded and outcome.basis == seen):
                context.tally.add("waits")
                context.tally.add("misses")
                return self._own(outcome, False)
            # It answers a question from before ours: ask again.
            unwanted, replies, seen = flight, Asked.NOTHING, Asked.NOTHING
            asked_at = time.monotonic()

    def _lead(
        self,
        context: Context,
        flight: Flight[Outcome],
        replies: list[Any] | Away | Asked,
        asked_at: float,
        loader: Callable[[], Any],
    ) -> Any:
        steps = protocol.read(context, replies, asked_at, self._is_readable)
        try:
            outcome = self._drive(steps, context, loader, flight)
        except BaseException as error:
            self._flights.leave(context.key, flight)
            flight.crash(error)
            raise
        self._flights.leave(context.key, flight)
        flight.land(outcome)
        value = self._own(outcome, True)
        if outcome.raw is not None and context.watches_ttl:
            self._refresh_if_due(context, outcome.raw, value, outcome.left_ms, loader)
        return value

    def _own(self, outcome: Outcome, is_leader: bool) -> Any:
        """The value for one caller: whoever did not load it gets a copy, for it may be changed."""
        if outcome.payload is None or (outcome.is_loaded and is_leader):
            return outcome.value
        try:
            return self._decode(outcome.payload)
        except Exception:
            return outcome.value

    def _is_readable(self, payload: bytes) -> bool:
        try:
            self._decode(payload)
        except Exception:
            return False
        return True

    def _drive(
        self,
        steps: Generator[protocol.Step, Any, Outcome],
        context: Context,
        loader: Callable[[], Any],
        flight: Flight[Outcome] | None,
    ) -> Outcome:
        """Execute the steps of a read."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Send):
                    step = steps.send(self._send(context, step.commands))
                elif isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = next(steps)
                else:
                    if flight is not None:
                        flight.basis, flight.began = step.basis, time.monotonic()
                    try:
                        loaded = self._load(step, context, loader)
                    except BaseException as error:
                        step = steps.throw(error)
                    else:
                        step = steps.send(loaded)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome

    def _run(self, steps: Generator[protocol.Step, Any, T], context: Context) -> T:
        """Execute steps that only send."""
        try:
            step = next(steps)
            while True:
                assert isinstance(step, Send)
                step = steps.send(self._send(context, step.commands))
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _load(self, step: Load, context: Context, loader: Callable[[], Any]) -> Loaded:
        if not isinstance(step.basis, Away):
            return self._timed(loader)
        with self._slot(context):
            return self._timed(loader)

    def _timed(self, loader: Callable[[], Any]) -> Loaded:
        began = time.perf_counter()
        value = loader()
        return Loaded(value, time.perf_counter() - began, self._codec.encode)

    @contextmanager
    def _slot(self, context: Context) -> Iterator[None]:
        """While Redis is away only some loads run at once, lest the database gets all of the traffic at once."""
        # A load within a load has its slot already; waiting for another could wait for ever.
        if getattr(self._holds_slot, "held", False):
            yield
            return
        # Late is better than never: the loader may wait, the application must not fail.
        has_slot = self._slots.acquire(timeout=context.policy.longest_wait_s)
        self._holds_slot.held = True
        try:
            yield
        finally:
            self._holds_slot.held = False
            if has_slot:
                self._slots.release()

    def _send(self, context: Context, commands: Sequence[tuple[Any, ...]]) -> list[Any] | Away:
        """One round trip, all or nothing."""
        if self._link.has_nodes and len(commands) > 1:
            replies = self._send_each(commands)
            return next((reply for reply in replies if isinstance(reply, Away)), replies)
        breaker = self._link.breaker(context.key)
        if not breaker.allows(time.monotonic()):
            context.tally.add("errors")
            return AWAY
        try:
            replies = self._link.exchange(commands)
        except Unreachable as error:
            if error.is_ill:
                breaker.failed(time.monotonic())
            context.tally.add("errors")
            return AWAY if error.is_ill else UNHEARD
        breaker.succeeded()
        return replies

    def _send_each(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """In round trips of BATCH commands, what can be had; AWAY stands for the rest.

        Each server has its own breaker: one that is away neither hides nor slows the others.
        """
        replies: list[Any] = [AWAY] * len(commands)
        for start in range(0, len(commands), BATCH):
            by_server: dict[Breaker, list[int]] = {}
            for index in range(start, min(start + BATCH, len(commands))):
                by_server.setdefault(self._link.breaker(commands[index][1]), []).append(index)
            now = time.monotonic()
            asked = [breaker for breaker in by_server if breaker.allows(now)]
            wanted = [index for breaker in asked for index in by_server[breaker]]
            failures: dict[int, Unreachable] = {}
            if wanted:
                try:
                    answers = self._link.exchange_each([commands[index] for index in wanted])
                except Unreachable as error:
                    answers = [error] * len(wanted)
                for index, answer in zip(wanted, answers, strict=True):
                    if isinstance(answer, Unreachable):
                        failures[index] = answer
                        replies[index] = AWAY if answer.is_ill else UNHEARD
                    else:
                        replies[index] = answer
            for breaker, indices in by_server.items():
                failure = failures.get(indices[0])
                if failure is None and breaker in asked:
                    breaker.succeeded()
                    continue
                if failure is not None and failure.is_ill:
                    breaker.failed(time.monotonic())
                self._rules.find(commands[indices[0]][1]).tally.add("errors")
        return replies

    def _look_at(self, contexts: Sequence[Context]) -> list[list[Any] | Away]:
        """One look at all of them, in pieces of BATCH keys; each gets the replies to its own question."""
        tags = [protocol.version_of(tag) for tag in contexts[0].tags]
        values: list[Any] = []
        versions: list[Any] = []
        if self._link.has_nodes:
            replies = self._send_each([*tags, *((b"GET", context.key) for context in contexts)])
            versions, values = replies[: len(tags)], replies[len(tags) :]
        else:
            for start in range(0, len(contexts), BATCH):
                keys = [context.key for context in contexts[start : start + BATCH]]
                replies = self._send_each([(b"MGET", *keys), *(tags if start == 0 else ())])
                versions = replies[1:] if start == 0 else versions
                values.extend(replies[0] if isinstance(replies[0], list) else [replies[0]] * len(keys))
        is_away = any(isinstance(version, Away) for version in versions)
        return [AWAY if is_away or isinstance(value, Away) else [value, *versions] for value in values]

    def _drive_many(
        self,
        steps: Generator[Any, Any, many.Found],
        names: Mapping[bytes, str],
        loader: Callable[[list[str]], Mapping[str, Any]],
    ) -> many.Found:
        any_context: Context | None = None
        try:
            step = next(steps)
            while True:
                if isinstance(step, many.LoadMany):
                    any_context = step.contexts[0]
                    wanted = [names[context.key] for context in step.contexts]
                    try:
                        with self._slot(any_context) if step.is_away else nullcontext():
                            began = time.perf_counter()
                            loaded = loader(wanted)
                            took_s = time.perf_counter() - began
                        values = [loaded.get(name) for name in wanted]
                    except BaseException as error:
                        step = steps.throw(error)
                    else:
                        step = steps.send(many.LoadedMany(values, took_s, self._codec.encode))
                elif isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = next(steps)
                else:
                    step = steps.send(self._send_each(step.commands))
        except StopIteration as stop:
            found: many.Found = stop.value
            return found


_caches: "weakref.WeakSet[Cache]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for cache in list(_caches):
        cache._in_child()


@atexit.register
def _at_exit() -> None:
    """Carry what was counted last, and sign off: a process that ended is not away."""
    for cache in list(_caches):
        try:
            cache.close()
        except Exception:
            log.debug("Closing a cache at the end failed", exc_info=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _as_bytes(key: Key) -> bytes:
    if isinstance(key, str):
        try:
            return key.encode()
        except UnicodeEncodeError:
            raise UsageError("a key can't contain half of a surrogate pair") from None
    if isinstance(key, bytes):
        return key
    raise UsageError(f"a key is text or bytes, not {type(key).__name__}")


def _check(raw_key: bytes) -> None:
    if not 1 <= len(raw_key) <= MAX_KEY_BYTES:
        raise UsageError(f"a key has 1 to {MAX_KEY_BYTES} bytes; got {len(raw_key)}")
    if raw_key.startswith(RESERVED):
        raise UsageError(f"keys that start with {RESERVED.decode()!r} are this software's own")


def _checked(key: Key) -> bytes:
    raw_key = _as_bytes(key)
    _check(raw_key)
    return raw_key
