"""``python -m dashboard.demo.shop``: starts, says where it is, ends when it is asked to."""

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import servers


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "dashboard.demo.shop", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_it_says_where_it_is_serves_and_ends_on_a_signal(shop_url: str, valkey_url: str) -> None:
    port = servers.free_port()
    with started(
        "--database-url", shop_url, "--redis-url", valkey_url, "--port", str(port), "--mode", "naive"
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url == f"http://127.0.0.1:{port}"
        request = urllib.request.Request(f"{url}/product/1", headers={"X-Shop-Traffic": "1"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
            assert "loaded=" in answer.headers["X-Shop-Reads"]
        with started("--database-url", shop_url, "--redis-url", valkey_url, "--port", str(port)) as second:
            _, said = second.communicate(timeout=60)
            assert second.returncode == 3
            assert f"Port {port} is taken" in said
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0
        assert said == ""


def test_a_wrong_argument_is_said() -> None:
    with started("--database-url", "x", "--redis-url", "y", "--threads", "0") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "at least 1" in said
