"""``cachewarden policies`` as a user runs it: files, exit codes, one line per problem."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from dashboard.caching.policy import parse_document
from dashboard.caching.wire import POLICIES_KEY
from dashboard.policies import service
from dashboard.work import Runtime
from tests.conftest import SECRET_KEY
from tests.support.policies import acting, publish, stage
from tests.support.some_caches import add_cache

pytestmark = pytest.mark.slow


class Command:
    """Runs the command in a folder of its own."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.folder = folder
        self._env = {
            **os.environ,
            "DATABASE_URL": database_url,
            "CACHEWARDEN_SECRET_KEY": SECRET_KEY,
            "CACHEWARDEN_DATA_DIR": str(folder),
        }

    def __call__(self, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "dashboard", "policies", *words],
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env=self._env | {"PYTHONPATH": os.getcwd()},
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def command(fresh_database_url: str, tmp_path: Path) -> Command:
    return Command(fresh_database_url, tmp_path)


@pytest.fixture
def cache_id(live_runtime: Runtime, valkey_url: str) -> int:
    cache = add_cache(live_runtime, "shop-prod", valkey_url)
    stage(live_runtime, cache.id)
    publish(live_runtime, cache.id)
    return cache.id


def test_from_the_dashboard_to_the_repository_and_back(
    live_runtime: Runtime, cache_id: int, command: Command, valkey_url: str
) -> None:
    file = command.folder / "policies.yaml"
    assert command("export", "--cache", "Shop-Prod", file.name) == (0, "", "")
    assert command("diff", "--cache", "shop-prod", file.name) == (0, "No difference.\n", "")
    assert command("apply", "--check", "--cache", "shop-prod", file.name)[0] == 0

    file.write_text(file.read_text().replace("base_ttl_s: 3600", "base_ttl_s: 7200"))
    changed = "~ policy news:: 1 h + up to 12 m to 2 h + up to 12 m\n1 changed.\n"
    assert command("diff", "--cache", "shop-prod", file.name) == (1, changed, "")
    assert command("apply", "--check", "--cache", "shop-prod", file.name) == (1, changed, "")
    with redis.Redis.from_url(valkey_url) as server:
        assert parse_document(server.get(POLICIES_KEY)).version == 1

        code, _, said = command("apply", "--cache", "shop-prod", file.name)
        assert code == 2 and "A reason is needed" in said
        done = command("apply", "--cache", "shop-prod", "--reason", "merge 42", file.name)
        assert done == (0, "Published v2: 1 changed.\n", "")
        assert parse_document(server.get(POLICIES_KEY)).find(b"news:").base_ttl_s == 7200
    again = command("apply", "--cache", "shop-prod", "--reason", "merge 42", file.name)
    assert again == (0, "Nothing to do: v2 says the same.\n", "")
    with acting(live_runtime) as work:
        newest, oldest = service.history_page(work, cache_id).rows
    assert (newest.kind, newest.reason, oldest.version) == ("apply", "merge 42", 1)
    code, out, _ = command("export", "--cache", "shop-prod", "--version", "1", "--format", "json")
    assert code == 0 and json.loads(out)["policies"][0]["base_ttl_s"] == 3600


def test_standard_input_is_a_file_too(cache_id: int, command: Command) -> None:
    _, text, _ = command("export", "--cache", "shop-prod")
    assert command("diff", "--cache", "shop-prod", "-", stdin=text.encode())[0] == 0


def test_each_problem_is_one_line_and_the_exit_code_says_error(cache_id: int, command: Command) -> None:
    bad = {
        "tiers": [{"name": "hot", "min_ttl_s": 30, "max_ttl_s": 120}],
        "policies": [{"prefix": "a:", "tier": "hot", "base_ttl_s": 7, "colour": "red"}],
        "default": {"tier": "cold"},
    }
    (command.folder / "bad.json").write_text(json.dumps(bad))
    for verb in (["diff"], ["apply", "--check"], ["apply", "--reason", "x"]):
        code, out, said = command(*verb, "--cache", "shop-prod", "bad.json")
        assert (code, out) == (2, "")
        lines = said.splitlines()
        assert [line.split(": ")[2] for line in lines] == [
            "policies[0].colour",
            "policies[0].base_ttl_s",
            "default.tier",
        ]
        assert all(line.startswith("cachewarden: bad.json: ") for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["diff", "--cache", "nobody", "empty.yaml"], "There is no cache nobody."),
        (["diff", "--cache", "shop-prod", "missing.yaml"], "missing.yaml can't be read: No such file"),
        (["diff", "--cache", "shop-prod", "."], ". can't be read: Is a directory"),
        (["diff", "--cache", "shop-prod", "empty.yaml"], "must hold one object"),
        (["export", "--cache", "shop-prod", "no/such/folder.yaml"], "can't be written"),
        (["export", "--cache", "shop-prod", "--version", "9"], "There is no version 9."),
        (["diff", "--cache", "shop-prod", "large.yaml"], "more than 3,000,000 bytes"),
    ],
)
def test_errors_are_one_line_each(cache_id: int, command: Command, words: list[str], said: str) -> None:
    (command.folder / "empty.yaml").touch()
    (command.folder / "large.yaml").write_bytes(b"#" * 10_000_000)
    code, out, error = command(*words)
    assert (code, out) == (2, "")
    assert said in error and "Traceback" not in error and len(error.splitlines()) <= 2
