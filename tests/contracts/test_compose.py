"""docker-compose.yml and the Dockerfile name only commands, settings and files that exist."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from dashboard.cli import main
from dashboard.config import Settings, environment_name
from dashboard.db.session import OLDEST_VERSION

Service = dict[str, Any]
SETTINGS = {environment_name(name) for name in Settings.model_fields}
OURS = ("migrate", "web", "worker")


@pytest.fixture(scope="module")
def compose(checkout: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((checkout / "docker-compose.yml").read_text())
    return parsed


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = compose["services"]
    return found


@pytest.fixture(scope="module")
def dockerfile(checkout: Path) -> str:
    return (checkout / "Dockerfile").read_text()


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The click command a command line means, and the words left over as its arguments."""
    assert words[0] == "cachewarden"
    command, rest = main, words[1:]
    while isinstance(command, click.Group):
        assert rest, f"{words} stops at a group of commands"
        context = click.Context(command)
        inner = command.get_command(context, rest[0])
        assert inner is not None, f"there is no command {rest[0]!r} in {words}"
        command, rest = inner, rest[1:]
    return command, rest


def variables(text: str) -> Iterator[tuple[str, str]]:
    """Every ${NAME...} in a text: its name and what follows the name."""
    yield from re.findall(r"\$\{([A-Z_]+)([^}]*)\}", text)


@pytest.mark.parametrize("name", OURS)
def test_commands_exist(services: dict[str, Service], name: str) -> None:
    command, arguments = resolve(services[name]["command"])
    with command.make_context(command.name, list(arguments)) as context:  # parses and checks, does not run
        assert context.args == []


def test_settings_exist(services: dict[str, Service], dockerfile: str) -> None:
    given = {name for service in OURS for name in services[service]["environment"]}
    given |= set(re.findall(r"\b(CACHEWARDEN_[A-Z_]+)=", dockerfile))
    assert {"CACHEWARDEN_SECRET_KEY", "DATABASE_URL", "CACHEWARDEN_HOST"} <= given
    assert given - SETTINGS == set()


def test_all_of_ours_share_the_same_settings(services: dict[str, Service]) -> None:
    assert (
        services["web"]["environment"]
        == services["worker"]["environment"]
        == services["migrate"]["environment"]
    )


def test_defaults_written_for_settings_are_valid(services: dict[str, Service]) -> None:
    example = {"CACHEWARDEN_SECRET_KEY": "x" * 32, "POSTGRES_PASSWORD": "secret"}

    def filled(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(":-")
        return default or example[name.partition(":?")[0]]

    values = {
        name: re.sub(r"\$\{([^}]+)\}", filled, text) for name, text in services["web"]["environment"].items()
    }
    fields = {environment_name(name): name for name in Settings.model_fields}
    settings = Settings(**{fields[name]: value for name, value in values.items()})
    assert settings.database_url is not None
    assert (
        settings.database_url.get_secret_value()
        == "postgresql://cachewarden:secret@postgres:5432/cachewarden"
    )


def test_no_secret_has_a_default(checkout: Path) -> None:
    text = (checkout / "docker-compose.yml").read_text()
    secret = {name: rest for name, rest in variables(text) if re.search("PASSWORD|SECRET|TOKEN", name)}
    assert set(secret) == {"CACHEWARDEN_SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert all(rest.startswith(":?") for rest in secret.values())


def test_every_service_has_a_memory_limit(services: dict[str, Service]) -> None:
    assert {name for name, service in services.items() if "mem_limit" not in service} == set()


def test_every_server_has_a_health_check(services: dict[str, Service]) -> None:
    checked = {name for name, service in services.items() if service["healthcheck"].get("test")}
    assert checked == {"web", "worker", "postgres", "redis"}


def test_health_checks_ask_routes_that_exist(services: dict[str, Service], dockerfile: str, app: Any) -> None:
    paths = re.findall(r"127\.0\.0\.1:(\d+)(/\w+)", f"{services['web']['healthcheck']} {dockerfile}")
    assert paths
    adapter = app.url_map.bind("")
    for port, path in paths:
        assert adapter.match(path)
        assert port == re.search(r"CACHEWARDEN_PORT=(\d+)", dockerfile)[1]  # type: ignore[index]


def test_the_worker_health_check_is_a_command(services: dict[str, Service]) -> None:
    resolve(services["worker"]["healthcheck"]["test"][1:])


def test_the_web_server_is_published_on_loopback_only(services: dict[str, Service]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(published) == ["web"]
    assert all(port.startswith("127.0.0.1:") for port in published["web"])


def test_volumes_are_named_and_used(compose: dict[str, Any], services: dict[str, Service]) -> None:
    used = {
        volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])
    }
    assert used == set(compose["volumes"])


def test_the_redis_is_a_cache_within_its_limit(services: dict[str, Service]) -> None:
    line = shlex.join(services["redis"]["command"])
    assert services["redis"]["image"] == "redis:8-alpine"
    assert "--maxmemory 512mb --maxmemory-policy allkeys-lru" in line
    assert int(services["redis"]["mem_limit"].removesuffix("m")) > 512


def test_postgres_is_a_supported_version(services: dict[str, Service]) -> None:
    assert int(services["postgres"]["image"].removeprefix("postgres:")) >= OLDEST_VERSION


def test_the_image_starts_a_command_that_exists(dockerfile: str) -> None:
    words = re.findall(r'"([^"]+)"', dockerfile.rpartition("\nCMD ")[2])
    resolve(words)


def test_the_wsgi_module_is_where_gunicorn_looks(checkout: Path) -> None:
    assert importlib.util.find_spec("dashboard.wsgi") is not None
    assert '"dashboard.wsgi:app"' in (checkout / "dashboard" / "cli" / "serve.py").read_text()
