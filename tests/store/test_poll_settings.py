"""The two settings a poll reads: what they are used for, and what is said where CONFIG is forbidden."""

import pytest
import redis

from dashboard.monitoring import service
from dashboard.work import Runtime
from tests.support import servers
from tests.support.people import as_cli
from tests.support.polled import poll, polled_cache
from tests.support.some_caches import add_cache


@pytest.mark.parametrize(("microseconds", "seconds"), [("2500", 0.0025), ("0", 0.0), ("-1", None)])
def test_the_slow_logs_threshold(runtime: Runtime, microseconds: str, seconds: float | None) -> None:
    with servers.redis_server("--slowlog-log-slower-than", microseconds) as port:
        cache = polled_cache(runtime, f"redis://127.0.0.1:{port}/0", polls=1)
        with as_cli(runtime) as work:
            assert service.slow_log_page(work, cache.id).threshold_s == seconds


def test_whether_snapshots_are_wanted(runtime: Runtime) -> None:
    with servers.redis_server() as port:  # started with --save ""
        cache = polled_cache(runtime, f"redis://127.0.0.1:{port}/0", polls=1)
        with as_cli(runtime) as work:
            assert service.facts(work)[cache.id].save_config == ""


def test_forbidden_config_is_said_and_is_no_alarm(runtime: Runtime) -> None:
    with servers.redis_server() as port:
        with redis.Redis(port=port) as admin:
            rules = ("on", "nopass", "+info", "+client|list", "+client|setname", "+slowlog|get")
            admin.execute_command("ACL", "SETUSER", "limited", *rules)
            admin.config_resetstat()
            cache = add_cache(runtime, url=f"redis://limited@127.0.0.1:{port}/0")
            poll(runtime, cache)
            poll(runtime, cache)
            assert admin.info("errorstats")["errorstat_NOPERM"]["count"] == 1
        with as_cli(runtime) as work:
            verdicts, _ = service.verdicts(work, cache.id)
            assert service.facts(work)[cache.id].save_config is None
            assert service.slow_log_page(work, cache.id).threshold_s is None
    (found,) = [verdict for verdict in verdicts if verdict.code == "access.config_get"]
    assert found.kind == "unknown" and found.title == "Not evaluable: CONFIG GET is forbidden."
    assert "+config|get" in found.next_step
