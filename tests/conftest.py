"""Fixtures: real PostgreSQL and Valkey per test process, one rolled-back transaction per test."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import psycopg
import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection
from sqlalchemy.orm import Session
from werkzeug.test import EnvironBuilder
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from dashboard import migrations
from dashboard.access import Actor, Role
from dashboard.app import create_app
from dashboard.auth import passwords
from dashboard.cipher import Cipher
from dashboard.clock import Clock
from dashboard.config import Settings, load_settings
from dashboard.db.session import Database
from dashboard.embedded import postgres, valkey
from dashboard.fleet.registry import Fleet
from dashboard.work import Runtime, UnitOfWork
from tests.support import servers

# A busy machine stalls any example now and then; that is no finding. pytest-timeout ends what really hangs.
# Here, before any module of tests is imported: a test takes the profile of that moment.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

SECRET_KEY = "a secret key that only the tests know, 32+"
PASSWORD = "correct horse battery staple"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Twice the processors: most tests wait for servers, for clocks or for a browser."""
    return 2 * (os.cpu_count() or 1)


SECOND_BROWSER = {"test_accessibility.py", "test_lab.py", "test_policies.py", "test_shop.py"}
"""About half of the time that browser tests take."""


class ByFile(LoadScopeScheduling):
    """A file's tests go to one process, and all browser tests to two: what they share is made once or twice.

    Each process with a browser has a dashboard and a shop under traffic beside it, to the end of the run.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        if file.parent.name != "browser":
            return str(file)
        return "browser 2" if file.name in SECOND_BROWSER else "browser 1"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Files in the order of the collection, see ``pytest_collection_modifyitems``."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, or one process would be busy when the others are done."""
    long = {item.path for item in items if any(map(item.get_closest_marker, ("browser", "slow")))}
    items.sort(key=lambda item: (item.path not in long, not item.get_closest_marker("browser")))


class FixedClock(Clock):
    """A clock a test can move."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)
        self.mono = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.mono


class RolledBackDatabase(Database):
    """Every transaction is a savepoint within one outer transaction, which the fixture rolls back."""

    def __init__(self, parent: Database, connection: Connection) -> None:
        self.engine = parent.engine
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with Session(
            self._connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        ) as session:
            yield session
            session.commit()


@pytest.fixture(scope="session", autouse=True)
def shipped_hasher() -> Iterator[PasswordHasher]:
    """Passwords cost a millisecond instead of a tenth of a second; this is the hasher that is shipped."""
    patch = pytest.MonkeyPatch()
    shipped = passwords.HASHER
    patch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    passwords.unknown_account_hash.cache_clear()
    yield shipped
    patch.undo()


@pytest.fixture(scope="session")
def postgres_url(worker_id: str) -> Iterator[str]:
    """URL of an empty database of this test process, on a server that may be restarted by nobody."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        name = f"cachewarden_test_{worker_id}_{os.getpid()}"
        with psycopg.connect(given, autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}"')
            try:
                yield given.rpartition("/")[0] + "/" + name
            finally:
                admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        return
    with servers.folder() as made, postgres.start(made, config=servers.FAST_POSTGRES) as server:
        yield server.url


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder for an embedded server; see `servers.folder`."""
    with servers.folder() as made:
        yield made


@pytest.fixture(scope="session")
def template_url(postgres_url: str, worker_id: str) -> Iterator[str]:
    """URL of a migrated database that nobody is connected to: the template of fresh ones."""
    # A server that is given serves every test process.
    name = f"cachewarden_template_{worker_id}_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}"')
        admin.execute(f'CREATE DATABASE "{name}"')
    url = postgres_url.rpartition("/")[0] + "/" + name
    database = Database(url)
    migrations.upgrade(database)
    database.dispose()
    yield url
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}"')


_numbers = itertools.count()


@pytest.fixture
def fresh_database_url(postgres_url: str, template_url: str) -> Iterator[str]:
    """A migrated database of this test's own, for tests that need real commits, threads or processes."""
    name = f"fresh_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE {template_url.rpartition("/")[2]}')
        yield postgres_url.rpartition("/")[0] + "/" + name
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def migrated(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    migrations.upgrade(database)
    yield database
    database.dispose()


@pytest.fixture
def database(migrated: Database) -> Iterator[Database]:
    """The database within a transaction that is rolled back after the test."""
    with migrated.engine.connect() as connection:
        outer = connection.begin()
        yield RolledBackDatabase(migrated, connection)
        outer.rollback()


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(
        secret_key=SECRET_KEY,
        data_dir=tmp_path_factory.mktemp("data"),
        secure_cookies=False,
        poll_timeout_s=1.0,
    )


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


def _runtime(settings: Settings, database: Database, clock: Clock) -> Iterator[Runtime]:
    fleet = Fleet(timeout_s=settings.poll_timeout_s)
    yield Runtime(settings, database, fleet, Cipher(SECRET_KEY), clock)
    fleet.close()


@pytest.fixture
def runtime(settings: Settings, database: Database, clock: FixedClock) -> Iterator[Runtime]:
    """A runtime whose every change is rolled back after the test; its clock stands still."""
    yield from _runtime(settings, database, clock)


@pytest.fixture
def live_runtime(settings: Settings, fresh_database_url: str) -> Iterator[Runtime]:
    """A runtime with real commits, in a database of its own, and the real clock."""
    database = Database(fresh_database_url)
    yield from _runtime(settings, database, Clock())
    database.dispose()


def make_work(runtime: Runtime, session: Session, role: Role = Role.ADMIN) -> UnitOfWork:
    """A unit of work of an actor with ``role``."""
    actor = Actor(None, f"test-{role}", role, "cli", "127.0.0.1", "test-request")
    return UnitOfWork(session, runtime.fleet, runtime.cipher, runtime.settings, actor, runtime.clock.now())


@pytest.fixture
def work(runtime: Runtime) -> Iterator[UnitOfWork]:
    """A unit of work of an administrator; rolled back after the test."""
    with runtime.database.transaction() as session:
        yield make_work(runtime, session)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """URL of a Valkey of this test process."""
    given = os.environ.get("TEST_REDIS_URL")
    if given:
        yield given
        return
    with valkey.start(config={"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}) as server:
        yield server.url


@pytest.fixture
def valkey_url(valkey_server: str) -> str:
    """URL of an empty Valkey with zeroed statistics."""
    servers.flush(valkey_server)
    return valkey_server


@pytest.fixture(scope="session")
def redis7_server() -> Iterator[str]:
    """URL of a Redis 7 of the system's package."""
    with servers.redis_server("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru") as port:
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def redis7_url(redis7_server: str) -> str:
    """URL of an empty Redis 7 with zeroed statistics."""
    servers.flush(redis7_server)
    return redis7_server


@pytest.fixture(params=["valkey", "redis7"])
def server_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty Valkey, then of an empty Redis 7: the test is done with both."""
    return str(request.getfixturevalue(f"{request.param}_url"))


class SameOriginClient(FlaskClient):
    """Sends what a browser would send from one of our own pages."""

    def open(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        headers = kwargs.get("headers")
        if not (args and isinstance(args[0], EnvironBuilder)):
            merged = {"Sec-Fetch-Site": "same-origin", **dict(headers or {})}
            kwargs["headers"] = {name: value for name, value in merged.items() if value is not None}
        return super().open(*args, **kwargs)  # type: ignore[arg-type]


@pytest.fixture
def app(runtime: Runtime) -> Flask:
    app = create_app(runtime)
    app.test_client_class = SameOriginClient
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser in which nobody is signed in."""
    return app.test_client()


def sign_in(app: Flask, runtime: Runtime, role: Role, name: str | None = None) -> FlaskClient:
    """A browser in which an account with ``role`` is signed in, through the real sign-in form."""
    from dashboard.auth import service

    name = name or f"the-{role}"
    with runtime.database.transaction() as session:
        service.create_user(make_work(runtime, session), name=name, role=role, password=PASSWORD)
    browser = app.test_client()
    answer = browser.post("/sign-in", data={"name": name, "password": PASSWORD})
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return browser


@pytest.fixture
def as_role(app: Flask, runtime: Runtime) -> Callable[[Role], FlaskClient]:
    """``as_role(Role.ADMIN)``: a browser signed in with that role."""
    return lambda role: sign_in(app, runtime, role)


@pytest.fixture
def viewer(as_role: Callable[[Role], FlaskClient]) -> FlaskClient:
    return as_role(Role.VIEWER)


@pytest.fixture
def operator(as_role: Callable[[Role], FlaskClient]) -> FlaskClient:
    return as_role(Role.OPERATOR)


@pytest.fixture
def admin(as_role: Callable[[Role], FlaskClient]) -> FlaskClient:
    return as_role(Role.ADMIN)


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """Name of this pytest-xdist worker; "main" without it."""
    return getattr(request.config, "workerinput", {}).get("workerid", "main")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The project's root."""
    return Path(__file__).resolve().parent.parent
