"""Use cases of caches: look them up, connect, test, add, change and remove them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dashboard.access import Role, require
from dashboard.audit import service as audit
from dashboard.caches import forms, store
from dashboard.caches.models import CacheRow
from dashboard.caches.types import Cache, CacheForm, Drawer, Environment, RemovePage, SealedUrl, TypedCache
from dashboard.errors import Conflict, InvalidInput, NotFound, Refused
from dashboard.fleet.check import CheckReport, check_connection
from dashboard.fleet.registry import Connection
from dashboard.fleet.url import CacheUrl
from dashboard.web.numbers import digits_of
from dashboard.work import UnitOfWork


def list_caches(work: UnitOfWork) -> list[Cache]:
    """All caches by name."""
    return [_cache(work, row) for row in store.list_caches(work.session)]


def get_cache(work: UnitOfWork, cache_id: int) -> Cache:
    """The cache.

    Raises:
        NotFound: there is none with this id.
    """
    cache = find_cache(work, cache_id)
    if cache is None:
        raise _gone()
    return cache


def find_cache(work: UnitOfWork, cache_id: int) -> Cache | None:
    """The cache, or None."""
    row = store.find_cache(work.session, cache_id)
    return None if row is None else _cache(work, row)


def hold_cache(work: UnitOfWork, cache_id: int) -> bool:
    """Whether the cache is there; if so, nobody removes it before this transaction has ended.

    For a worker that is about to store something of a cache, before it locks anything else: rows of a removed cache
    can't be stored, and removing it waits for the rows of it that others hold.
    """
    return store.hold_cache(work.session, cache_id)


def connect(work: UnitOfWork, cache: Cache) -> Connection:
    """The cache's connection; nothing is sent yet.

    Raises:
        ConfigError: the stored URL can't be decrypted.
    """
    return work.fleet.open(cache.id, cache.url, cache.revision)


def require_writable(cache: Cache) -> None:
    """Refuse to change anything in a cache that is read-only; everything that writes to Redis calls it.

    Raises:
        Refused: the cache is read-only.
    """
    if cache.read_only:
        raise Refused(
            f"{cache.name} is read-only: nobody may change anything in it.",
            what_to_do="An administrator can change that on the Connections page.",
        )


def create_cache(work: UnitOfWork, form: CacheForm) -> Cache:
    """Add a cache.

    Raises:
        Forbidden: the actor is no administrator.
        InvalidInput: the name is taken.
    """
    require(work.actor, Role.ADMIN)
    cache_id = store.insert_cache(work.session, _values(work, form, form.url), work.now)
    if cache_id is None:
        raise _name_taken()
    cache = get_cache(work, cache_id)
    audit.record(work, "caches:cache:create", cache.name, after=_shown(cache), cache_name=cache.name)
    return cache


def update_cache(work: UnitOfWork, cache_id: int, form: CacheForm) -> Cache:
    """Change a cache; a password that was not typed is kept.

    Raises:
        Forbidden: the actor is no administrator.
        NotFound: it was removed.
        Conflict: somebody else changed it since the form was shown.
        InvalidInput: the name is taken, or the password must be typed again.
    """
    require(work.actor, Role.ADMIN)
    row = store.find_cache(work.session, cache_id, lock=True)
    if row is None:
        raise _gone()
    old = _cache(work, row)
    if form.revision != old.revision:
        raise Conflict(
            f"Somebody else changed {old.name} since this form was opened.",
            what_to_do="What they changed is listed below; saving again replaces it.",
        )
    url = _with_kept_passwords(form.url, old.stored_url, forget=form.forget_password)
    if not store.update_cache(work.session, cache_id, _values(work, form, url), work.now):
        raise _name_taken()
    new = get_cache(work, cache_id)
    before, after = _shown(old), _shown(new)
    if old.stored_url is None or old.stored_url.secrets != url.secrets:
        before["sign_in"], after["sign_in"] = "as stored before", "changed"
    audit.record_changes(work, "caches:cache:update", new.name, before, after, cache_name=new.name)
    work.after_commit(lambda: work.fleet.forget(cache_id))
    return new


def delete_cache(work: UnitOfWork, cache_id: int, typed_name: str = "") -> Cache:
    """Remove a cache and its history; nothing in Redis itself is touched.

    Args:
        typed_name: the cache's name, typed again; needed for a production cache.

    Returns:
        The cache as it was.

    Raises:
        Forbidden: the actor is no administrator.
        NotFound: it is gone already.
        InvalidInput: the name was not typed, or another one.
    """
    require(work.actor, Role.ADMIN)
    row = store.find_cache(work.session, cache_id, lock=True)
    if row is None:
        raise _gone()
    cache = _cache(work, row)
    if cache.is_production and typed_name.strip() != cache.name:
        message = f"Type {cache.name} to remove this production cache."
        raise InvalidInput(message, fields={"name": message})
    audit.record(work, "caches:cache:delete", cache.name, before=_shown(cache), cache_name=cache.name)
    store.delete_cache(work.session, cache_id)
    work.after_commit(lambda: work.fleet.forget(cache_id))
    return cache


def plan_test(
    work: UnitOfWork, values: Mapping[str, str], cache_id: int | None = None
) -> Callable[[], CheckReport]:
    """Read a form for the connection test.

    Args:
        values: the form's fields.
        cache_id: whose stored password to use when none was typed.

    Returns:
        The test itself, to be run outside the transaction: it waits for the network.

    Raises:
        Forbidden: the actor is no administrator.
        NotFound: there is no such cache.
        InvalidInput: the URL can't be taken, or the password must be typed again.
    """
    require(work.actor, Role.ADMIN)
    url = forms.parse_test(values)
    if cache_id is not None:
        stored = get_cache(work, cache_id).stored_url
        url = _with_kept_passwords(url, stored, forget="forget_password" in values)
    timeout_s = work.settings.poll_timeout_s
    return lambda: check_connection(url, timeout_s)


def parse_form(values: Mapping[str, str]) -> CacheForm:
    """Read a form that adds or edits a cache.

    Raises:
        InvalidInput: a message per wrong field.
    """
    return forms.parse(values)


def new_drawer(work: UnitOfWork) -> Drawer:
    """The form to add a cache, with the defaults of the settings.

    Raises:
        Forbidden: the actor is no administrator.
    """
    require(work.actor, Role.ADMIN)
    return Drawer(
        cache_id=None,
        title="Add cache",
        typed=TypedCache(
            poll_interval_s=str(work.settings.poll_interval_s),
            hit_ratio_target=_percent(work.settings.hit_ratio_target),
        ),
    )


def edit_drawer(work: UnitOfWork, cache_id: int) -> Drawer:
    """The form with a cache's values, without its passwords.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.ADMIN)
    cache = get_cache(work, cache_id)
    return Drawer(
        cache_id=cache.id,
        title=f"Edit {cache.name}",
        typed=TypedCache(
            name=cache.name,
            url=cache.stored_url.without_secrets if cache.stored_url is not None else "",
            environment=cache.environment.value,
            poll_interval_s=str(cache.poll_interval_s),
            hit_ratio_target=_percent(cache.hit_ratio_target),
            read_only=cache.read_only,
        ),
        revision=cache.revision,
        has_password=_has_password(cache),
    )


def typed_drawer(
    work: UnitOfWork,
    values: Mapping[str, str],
    cache_id: int | None,
    *,
    errors: Mapping[str, str] | None = None,
    report: CheckReport | None = None,
    is_test: bool = False,
) -> Drawer:
    """The form as it was sent, without its passwords.

    When somebody else changed the cache meanwhile, it says what, and the next save replaces it.

    Args:
        is_test: the form was sent for the connection test.

    Raises:
        NotFound: the cache was removed.
    """
    require(work.actor, Role.ADMIN)
    drawer = new_drawer(work) if cache_id is None else edit_drawer(work, cache_id)
    revision: int | None = drawer.revision
    changes: tuple[str, ...] = ()
    if cache_id is not None and errors is not None and "" in errors:
        changes = _differences(drawer.typed, forms.typed(values))
    elif cache_id is not None:
        # The same revision as was shown: a refused form must not hide a change by somebody else.
        revision = digits_of(values.get("revision", ""), 9)
    return replace(
        drawer,
        typed=forms.typed(values),
        errors=dict(errors or {}),
        revision=revision,
        changes=changes,
        report=report,
        is_test_refused=is_test and bool(errors),
    )


def remove_page(work: UnitOfWork, cache_id: int, error: str = "") -> RemovePage:
    """What the page before a removal shows.

    Raises:
        NotFound: it is gone already.
    """
    require(work.actor, Role.ADMIN)
    cache = get_cache(work, cache_id)
    return RemovePage(cache, needs_name=cache.is_production, error=error)


def _cache(work: UnitOfWork, row: CacheRow) -> Cache:
    return Cache(
        id=row.id,
        name=row.name,
        sealed=SealedUrl(row.url, work.cipher.decrypt),
        environment=Environment(row.environment),
        poll_interval_s=row.poll_interval_s,
        read_only=row.read_only,
        hit_ratio_target=row.hit_ratio_target,
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _values(work: UnitOfWork, form: CacheForm, url: CacheUrl) -> dict[str, Any]:
    return {
        "name": form.name,
        "url": work.cipher.encrypt(url.to_text()),
        "environment": form.environment.value,
        "poll_interval_s": form.poll_interval_s,
        "read_only": form.read_only,
        "hit_ratio_target": form.hit_ratio_target,
    }


def _shown(cache: Cache) -> dict[str, object]:
    """What the audit log keeps of a cache."""
    return {
        "name": cache.name,
        "url": cache.stored_url.masked if cache.stored_url is not None else "can't be decrypted",
        "environment": cache.environment.value,
        "poll_interval_s": cache.poll_interval_s,
        "hit_ratio_target": cache.hit_ratio_target,
        "access": "read-only" if cache.read_only else "read and write",
    }


def _with_kept_passwords(new: CacheUrl, old: CacheUrl | None, *, forget: bool) -> CacheUrl:
    if old is None or forget or not old.secrets:
        return new
    keeps_own = old.password is not None and new.password is None
    keeps_sentinel = old.sentinel_password is not None and new.sentinel_password is None
    if (keeps_own or keeps_sentinel) and not new.same_target(old):
        raise InvalidInput("The password must be typed again.", fields=_type_again(keeps_own))
    if keeps_own:
        new = replace(new, password=old.password)
    if keeps_sentinel:
        new = replace(new, sentinel_password=old.sentinel_password)
    return new


def _type_again(own: bool) -> dict[str, str]:
    why = "the stored one is not sent to another server, as another user or with other protection"
    if own:
        return {"password": f"Type the password again: {why}."}
    return {"url": f"Type the Sentinels' password again (?sentinel_password=): {why}."}


def _differences(stored: TypedCache, sent: TypedCache) -> tuple[str, ...]:
    """What is stored otherwise than the form has it, in words."""
    pairs = (
        ("Name", stored.name, sent.name),
        ("URL", stored.url, sent.url),
        ("Environment", stored.environment, sent.environment),
        ("Poll interval", f"{stored.poll_interval_s} s", f"{sent.poll_interval_s} s"),
        ("Hit ratio target", f"{stored.hit_ratio_target}%", f"{sent.hit_ratio_target}%"),
        ("Read-only", _yes(stored.read_only), _yes(sent.read_only)),
    )
    return tuple(f"{name} is now {now}; this form has {typed}." for name, now, typed in pairs if now != typed)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _has_password(cache: Cache) -> bool:
    return cache.stored_url is not None and cache.stored_url.password is not None


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.2f}".rstrip("0").rstrip(".")


def _gone() -> NotFound:
    return NotFound("There is no such cache.", what_to_do="It may have been removed; see Connections.")


def _name_taken() -> InvalidInput:
    message = "Another cache has this name; upper and lower case make no difference."
    return InvalidInput(message, fields={"name": message})
