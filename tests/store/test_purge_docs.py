"""docs/invalidation.md is true: its example runs as it stands, and it names every option and exit code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import redis

from dashboard.cli.purge import purge
from dashboard.cli.purging import Code
from dashboard.invalidation import service
from dashboard.invalidation.types import EXCEEDED_BY, LARGE_SHARE, Limits, State
from dashboard.policies import service as policies
from dashboard.work import Runtime
from dashboard.worker import start_worker
from tests.conftest import SECRET_KEY
from tests.support.people import as_cli
from tests.support.some_caches import add_cache

DOC = Path(__file__).resolve().parents[2] / "docs" / "invalidation.md"


def test_the_example_runs(
    live_runtime: Runtime, fresh_database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    (example,) = re.findall(r"^```sh\n(.+?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL)
    cache_id = add_cache(live_runtime, "shop-prod", valkey_url).id
    with as_cli(live_runtime) as work:
        mapping = {"table": "products", "column": "id", "templates": ["product:{id}", "product:{id}:reviews"]}
        policies.stage_mapping(work, cache_id, mapping, original=None, seen="none")
        revision = policies.draft_page(work, cache_id).draft.revision
        policies.publish(work, cache_id, reason="Rows", revision=revision)
    commands = {
        "cachewarden": f'exec "{sys.executable}" -m dashboard "$@"',
        "psql": "printf '60\\n61\\n'",
    }
    for name, script in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "users.txt").write_text("1\n2\n")
    env = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": os.getcwd(),
        "DATABASE_URL": fresh_database_url,
        "CACHEWARDEN_SECRET_KEY": SECRET_KEY,
        "CACHEWARDEN_DATA_DIR": str(tmp_path),
    }
    with redis.Redis.from_url(valkey_url) as server:
        server.flushdb()
        server.mset({f"product:{number}{suffix}": "x" for number in range(90) for suffix in ("", ":reviews")})
        server.mset({f"other:{number}": "x" for number in range(5_000)})
        worker = start_worker(live_runtime)
        try:
            done = subprocess.run(
                # Who tries it out does not wait for a minute.
                ["/bin/sh", "-e", "-c", example.replace("--spread 60", "--spread 1")],
                env=env,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        finally:
            worker.stop()
        assert done.returncode == 0, done.stderr
        assert not list(server.scan_iter("product:*", count=10_000))
        assert len(list(server.scan_iter("other:*", count=10_000))) == 5_000
    with as_cli(live_runtime) as work:
        found = service.list_purges(work, cache_id)
    assert [(each.state, each.progress.touched) for each in found[::-1]] == [
        (State.DONE, 2 * 14),
        (State.DONE, 2 * 2),
        (State.DONE, 2 * 74),
        (State.PREVIEWED, 0),
    ]


def test_every_option_command_and_exit_code_is_in_it() -> None:
    text = DOC.read_text()
    options = {name for parameter in purge.params for name in parameter.opts}
    table = text.split("| Option |")[1].split("\n\n")[0]
    assert not [name for name in options if not re.search(rf"{name}\b", table)]
    assert not [name for name in purge.commands if f"`{name}" not in text and f"purge {name}" not in text]
    codes = re.findall(r"^\| (\d+) \|", text.split("| Exit code |")[1], re.MULTILINE)
    assert [int(code) for code in codes] == sorted(Code)


def test_its_numbers_are_those_of_the_code() -> None:
    text, limits = DOC.read_text(), Limits()
    shown = re.findall(
        r"^\| [^|]+ \| ([\d,]+)(?: ms|;[^|]*)? \|$", text.split("| At first |")[1], re.MULTILINE
    )
    assert [float(number.replace(",", "")) for number in shown[:6]] == [
        limits.database_budget_qps,
        limits.typed_above,
        limits.most_keys_per_s,
        limits.batch,
        limits.slowest_probe_ms,
        limits.at_a_time,
    ]
    assert f"{EXCEEDED_BY:.0%}".replace("%", " %") + " more keys" in text
    assert f"{LARGE_SHARE:.0%}".replace("%", " %") + " of its keys" in text
