"""The table of caches: who may change it, what is kept secret, two who change at once."""

import threading

import pytest
from sqlalchemy import text

from dashboard.access import Role
from dashboard.caches import service
from dashboard.caches.types import Environment
from dashboard.cipher import Cipher
from dashboard.errors import ConfigError, Conflict, Forbidden, InvalidInput, NotFound, Refused
from dashboard.fleet.url import parse_url
from dashboard.work import Runtime, UnitOfWork, unit_of_work
from tests.conftest import make_work
from tests.support.some_caches import SECRET, URL, add_cache, fields, form


def audit_text(work: UnitOfWork) -> str:
    rows = work.session.execute(text("SELECT audit_entry::text FROM audit_entry ORDER BY id")).scalars()
    return "\n".join(rows)


def actions(work: UnitOfWork) -> list[str]:
    return list(work.session.execute(text("SELECT action FROM audit_entry ORDER BY id")).scalars())


def test_create_and_look_up(work: UnitOfWork) -> None:
    made = service.create_cache(work, form("Shop", hit_ratio_target=0.9, read_only=True))
    assert service.get_cache(work, made.id) == service.find_cache(work, made.id) == made
    assert made.url == parse_url(URL) and made.revision == 1
    service.create_cache(work, form("archive", "unix:///run/redis.sock"))
    assert [cache.name for cache in service.list_caches(work)] == ["archive", "Shop"]
    assert service.find_cache(work, 0) is None
    with pytest.raises(NotFound):
        service.get_cache(work, 0)


def test_the_url_is_encrypted_and_shown_nowhere(work: UnitOfWork) -> None:
    made = service.create_cache(work, form())
    service.update_cache(work, made.id, form("other", f"redis://me:{SECRET}-2@127.0.0.1:2/0", revision=1))
    service.delete_cache(work, made.id)
    again = service.create_cache(work, form("third"))
    stored = work.session.execute(text("SELECT url FROM cache")).scalar_one()
    assert SECRET.encode() not in bytes(stored)
    assert SECRET not in repr(again) and SECRET not in repr(form())
    shown = audit_text(work)
    assert SECRET not in shown and "127.0.0.1:2" in shown


def test_each_change_has_one_entry(work: UnitOfWork) -> None:
    made = service.create_cache(work, form())
    service.update_cache(work, made.id, form(revision=1))  # nothing changed
    service.update_cache(work, made.id, form(revision=2, read_only=True))
    service.update_cache(work, made.id, form(url=URL.replace(SECRET, "another"), revision=3))
    service.delete_cache(work, made.id)
    assert actions(work) == [
        "caches:cache:create",
        "caches:cache:update",
        "caches:cache:update",
        "caches:cache:delete",
    ]
    before, after = work.session.execute(
        text("SELECT before, after FROM audit_entry WHERE action LIKE '%update' ORDER BY id LIMIT 1")
    ).one()
    assert (before, after) == ({"access": "read and write"}, {"access": "read-only"})
    assert "another" not in audit_text(work)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_only_administrators_change(runtime: Runtime, role: Role) -> None:
    cache = add_cache(runtime)
    with runtime.database.transaction() as session:
        work = make_work(runtime, session, role)
        for change in (
            lambda: service.create_cache(work, form("x")),
            lambda: service.update_cache(work, cache.id, form(revision=1)),
            lambda: service.delete_cache(work, cache.id),
            lambda: service.plan_test(work, {"url": "redis://h"}),
            lambda: service.new_drawer(work),
            lambda: service.edit_drawer(work, cache.id),
            lambda: service.remove_page(work, cache.id),
            lambda: service.typed_drawer(work, {}, None),
        ):
            with pytest.raises(Forbidden):
                change()
        assert service.list_caches(work) == [cache]


def test_names_are_unique_in_any_case(work: UnitOfWork) -> None:
    service.create_cache(work, form("Shop"))
    other = service.create_cache(work, form("other"))
    with pytest.raises(InvalidInput) as caught:
        service.create_cache(work, form("SHOP"))
    assert set(caught.value.fields) == {"name"}
    with pytest.raises(InvalidInput):
        service.update_cache(work, other.id, form("sHOP", revision=1))
    assert service.get_cache(work, other.id).revision == 1
    service.update_cache(work, other.id, form("OTHER", revision=1))


def test_the_second_of_two_editors_is_told(work: UnitOfWork) -> None:
    made = service.create_cache(work, form())
    service.update_cache(work, made.id, form("first", revision=made.revision))
    with pytest.raises(Conflict):
        service.update_cache(work, made.id, form("second", revision=made.revision))
    with pytest.raises(Conflict):
        service.update_cache(work, made.id, form("second", revision=None))
    assert service.get_cache(work, made.id).name == "first"
    with pytest.raises(NotFound):
        service.update_cache(work, made.id + 1, form(revision=1))


def test_two_editors_at_the_same_moment(live_runtime: Runtime) -> None:
    """Only one of two real transactions wins, and the counter says so."""
    cache = add_cache(live_runtime)
    actor = make_work(live_runtime, None).actor  # type: ignore[arg-type]
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def edit(name: str) -> None:
        start.wait()
        try:
            with unit_of_work(live_runtime, actor) as work:
                service.update_cache(work, cache.id, form(name, revision=1))
            outcomes.append(name)
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=edit, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "conflict" in outcomes and len(set(outcomes)) == 2
    with unit_of_work(live_runtime, actor) as work:
        now = service.get_cache(work, cache.id)
    assert now.revision == 2 and now.name in outcomes


@pytest.mark.parametrize(
    "url",
    [
        "redis://me@127.0.0.2:1/0",
        "redis://me@127.0.0.1:2/0",
        "redis://you@127.0.0.1:1/0",
        "redis://127.0.0.1:1/0",
        "rediss://me@127.0.0.1:1/0",
        "redis+cluster://me@127.0.0.1:1",
    ],
)
def test_a_stored_password_is_not_sent_elsewhere(work: UnitOfWork, url: str) -> None:
    made = service.create_cache(work, form())
    with pytest.raises(InvalidInput) as caught:
        service.update_cache(work, made.id, form(url=url, revision=1))
    assert set(caught.value.fields) == {"password"}
    with pytest.raises(InvalidInput):
        service.plan_test(work, {"url": url}, made.id)
    assert service.get_cache(work, made.id).url == parse_url(URL)
    forgotten = service.update_cache(work, made.id, form(url=url, revision=1, forget_password=True))
    assert forgotten.url == parse_url(url)


def test_a_stored_password_is_kept_for_the_same_server(work: UnitOfWork) -> None:
    made = service.create_cache(work, form())
    kept = service.update_cache(work, made.id, form(url="redis://me@127.0.0.1:1/3", revision=1))
    assert kept.url.password == SECRET and kept.url.db == 3
    other = service.update_cache(work, made.id, form(url="redis://me:new@127.0.0.1:1/3", revision=2))
    assert other.url.password == "new"
    none = service.update_cache(
        work, made.id, form(url="redis://me@127.0.0.1:1/3", revision=3, forget_password=True)
    )
    assert none.url.password is None


def test_a_sentinels_stored_password_is_kept_likewise(work: UnitOfWork) -> None:
    url = "redis+sentinel://:pw@s1/shop/0"
    made = service.create_cache(work, form(url=f"{url}?sentinel_password={SECRET}"))
    kept = service.update_cache(work, made.id, form(url="redis+sentinel://s1/shop/1", revision=1))
    assert (kept.url.password, kept.url.sentinel_password) == ("pw", SECRET)
    with pytest.raises(InvalidInput) as caught:
        service.update_cache(work, made.id, form(url="redis+sentinel://:new@s2/shop/1", revision=2))
    assert set(caught.value.fields) == {"url"} and SECRET not in str(caught.value.fields)


def test_read_only_is_refused_in_the_service(work: UnitOfWork) -> None:
    service.require_writable(service.create_cache(work, form()))
    with pytest.raises(Refused) as caught:
        service.require_writable(service.create_cache(work, form("x", read_only=True)))
    assert "x is read-only" in caught.value.message


def test_production_is_removed_with_its_name_only(work: UnitOfWork) -> None:
    made = service.create_cache(work, form(environment=Environment.PRODUCTION))
    for typed in ("", "shop", "SHOP-PROD"):
        with pytest.raises(InvalidInput):
            service.delete_cache(work, made.id, typed)
    service.delete_cache(work, made.id, " shop-prod ")
    with pytest.raises(NotFound):
        service.delete_cache(work, made.id, "shop-prod")
    assert service.find_cache(work, made.id) is None


def test_another_secret_key_takes_no_list_away(work: UnitOfWork) -> None:
    made = service.create_cache(work, form())
    good = service.create_cache(work, form("readable"))
    work.session.execute(
        text("UPDATE cache SET url = :url WHERE id = :id"),
        {"url": Cipher("another secret key of enough length").encrypt(URL), "id": made.id},
    )
    assert service.list_caches(work)[0] == good
    lost = service.get_cache(work, made.id)
    assert lost.address == "address can't be decrypted"
    with pytest.raises(ConfigError):
        service.connect(work, lost)
    assert service.edit_drawer(work, made.id).typed.url == ""
    assert service.update_cache(work, made.id, form(revision=1)).url == parse_url(URL)


def test_a_saved_cache_gets_a_new_connection_and_a_removed_one_none(runtime: Runtime) -> None:
    cache = add_cache(runtime)
    with unit_of_work(runtime, make_work(runtime, None).actor) as work:  # type: ignore[arg-type]
        first = service.connect(work, cache)
        assert service.connect(work, cache) is first
        saved = service.update_cache(work, cache.id, form(revision=1))
    with unit_of_work(runtime, make_work(runtime, None).actor) as work:  # type: ignore[arg-type]
        assert service.connect(work, saved) is not first


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "  ", "Enter a name"),
        ("name", "x" * 65, "longer than 64"),
        ("name", "a\u202eb", "can't be seen"),
        ("url", "", "Enter the cache's URL"),
        ("url", "redis://me:***@h", "***"),
        ("url", f"redis://me:{SECRET}-other@h", None),
        ("environment", "staging", "Production or Development"),
        ("poll_interval_s", "4", "outside 5 to 3600"),
        ("poll_interval_s", "3601", "outside"),
        ("poll_interval_s", "1e3", "whole seconds"),
        ("poll_interval_s", "٣٠", "whole seconds"),
        ("hit_ratio_target", "0", "per cent"),
        ("hit_ratio_target", "100", "per cent"),
        ("hit_ratio_target", "nan", "per cent"),
    ],
)
def test_forms_say_what_is_wrong(field: str, value: str, words: str | None) -> None:

    with pytest.raises(InvalidInput) as caught:
        service.parse_form(fields(**{field: value}))
    place = "password" if words is None else field
    assert set(caught.value.fields) == {place}
    assert (words or "another password") in caught.value.fields[place]
    assert SECRET not in str(caught.value.fields)


def test_form_with_everything() -> None:

    read = service.parse_form(fields(name=" a  b ", read_only="1", hit_ratio_target="92.5", revision="7"))
    assert (read.name, read.read_only, read.hit_ratio_target, read.revision) == ("a b", True, 0.925, 7)
    assert read.url.password == SECRET
