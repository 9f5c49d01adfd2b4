"""The example of the API in docs/policies.md runs as it stands, against a server that listens."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from waitress.server import create_server

from dashboard.access import Role
from dashboard.app import create_app
from dashboard.auth import service as auth
from dashboard.auth.types import MadeToken
from dashboard.work import Runtime
from tests.support.people import PASSWORD, add_user, as_user
from tests.support.some_caches import add_cache
from tests.support.some_policies import page_of, publish, stage


@contextmanager
def serving(runtime: Runtime) -> Iterator[str]:
    """The application on a free port."""
    server = create_server(create_app(runtime), host="127.0.0.1", port=0, threads=2)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.close()
        thread.join(5)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_example_reads_checks_and_publishes(
    live_runtime: Runtime, checkout: Path, tmp_path: Path
) -> None:
    runtime = live_runtime
    cache_id = add_cache(runtime).id
    stage(runtime, cache_id, "news:")
    publish(runtime, cache_id)
    with as_user(runtime, add_user(runtime, "olga", Role.OPERATOR)) as work:
        made = auth.create_token(work, "ci", Role.OPERATOR, days=7, current=PASSWORD)
    assert isinstance(made, MadeToken)
    token = made.secret
    text = (checkout / "docs" / "policies.md").read_text()
    (example,) = re.findall(r"^## The API\n.*?```sh\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    edit = 'sed -i \'s/"base_ttl_s": 3600/"base_ttl_s": 7200/\' policies.json'
    with serving(runtime) as url:
        address = example.replace(
            "https://cachewarden.example.com/api/caches/1/", f"{url}/api/caches/{cache_id}/"
        )
        script = address.replace("# Edit policies.json.", f"{edit} #")
        assert script.count(edit) == 1 and "example.com" not in script
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=tmp_path,
            env={**os.environ, "CACHEWARDEN_TOKEN": token, "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    read = json.JSONDecoder().raw_decode
    checked, end = read(done.stdout)
    published, _ = read(done.stdout[end:].lstrip())
    assert (checked["version"], checked["is_new"]) == (1, False)
    assert (published["version"], published["is_new"]) == (2, True)
    assert checked["changes"] == published["changes"] and published["summary"] == "1 changed"
    page = page_of(runtime, cache_id)
    assert page.frame.version == 2 and page.rows[0].policy.base_ttl_s == 7200
