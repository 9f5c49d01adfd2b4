"""Real Sentinel and Cluster: finding the primaries, and finding them again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dashboard.errors import CacheUnavailable
from dashboard.fleet.check import check_connection
from dashboard.fleet.commands import poll
from dashboard.fleet.errors import Cause, FleetError
from dashboard.fleet.registry import Fleet
from dashboard.fleet.url import parse_url
from tests.support import odd_servers, servers

PASSWORD, SENTINEL_PASSWORD = "shop-secret", "sentinel-secret"


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet(timeout_s=1.0)
    yield fleet
    fleet.close()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[tuple[int, int, int]]:
    with odd_servers.sentinel_group(
        tmp_path, password=PASSWORD, sentinel_password=SENTINEL_PASSWORD
    ) as ports:
        yield ports


def sentinel_url(*ports: int, password: str = SENTINEL_PASSWORD, service: str = "shop") -> str:
    nodes = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"redis+sentinel://:{PASSWORD}@{nodes}/{service}?sentinel_password={password}"


def test_sentinel(group: tuple[int, int, int], fleet: Fleet) -> None:
    primary, replica, sentinel = group
    # A dead Sentinel before the living one costs nothing but its refusal.
    url = parse_url(sentinel_url(servers.free_port(), sentinel))
    connection = fleet.open(1, url)
    (node,) = connection.nodes()
    assert node.id == f"127.0.0.1:{primary}"
    assert "role:master" in poll(node).info

    report = check_connection(url)
    assert report.ok and report.problem  # one of the two Sentinels is away
    assert [step.title for step in report.steps][:3] == [
        "Reached 1 of 2 Sentinels",
        "Sentinel named the primary",
        "Signed in as",
    ]

    for wrong, cause in (
        (sentinel_url(sentinel, service="nobody"), Cause.TOPOLOGY),
        (sentinel_url(sentinel, password="wrong"), Cause.PASSWORD),
        (f"redis://:{SENTINEL_PASSWORD}@127.0.0.1:{sentinel}", Cause.TOPOLOGY),
    ):
        with pytest.raises(FleetError) as caught:
            poll(Fleet(timeout_s=1.0).open(1, parse_url(wrong)).nodes()[0])
        assert caught.value.problem.cause is cause
        bad = check_connection(parse_url(wrong))
        assert not bad.ok and "entinel" in bad.problem

    # The primary is demoted while it lives on: the next poll sees it, the one after asks the Sentinel.
    with redis.Redis(port=sentinel, password=SENTINEL_PASSWORD) as client:
        client.execute_command("SENTINEL", "FAILOVER", "shop")
    promoted = f"127.0.0.1:{replica}"

    def follows() -> bool:
        try:
            (now,) = connection.nodes()
            poll(now)
            return now.id == promoted
        except CacheUnavailable:
            return False

    odd_servers.wait_until(follows, "the poll follows the failover")
    assert "role:master" in poll(connection.nodes()[0]).info


def test_cluster(tmp_path: Path, fleet: Fleet) -> None:
    with odd_servers.cluster(tmp_path) as ports:
        seeds = ",".join(f"127.0.0.1:{port}" for port in ports[:2])
        url = parse_url(f"redis+cluster://{seeds}")
        connection = fleet.open(1, url)
        nodes = connection.nodes()
        assert sorted(node.id for node in nodes) == sorted(f"127.0.0.1:{port}" for port in ports)
        run_ids = {poll(node).info.split("run_id:")[1][:40] for node in nodes}
        assert len(run_ids) == 3
        assert connection.topology().replicas == 0

        report = check_connection(url)
        assert report.ok and not report.problem and report.nodes == 3
        assert report.steps[1].detail == "3 primaries"

        one = check_connection(parse_url(f"redis://127.0.0.1:{ports[0]}"))
        assert one.ok and "one node of a Cluster" in one.problem

        # A user that may do all but look for the nodes.
        for port in ports:
            with redis.Redis(port=port) as client:
                client.execute_command("ACL", "SETUSER", "u", "on", "nopass", "+info", "+ping")
        denied = check_connection(parse_url(f"redis+cluster://u@{seeds}"))
        assert denied.problem == "NOPERM: this user may not run CLUSTER SLOTS."
        assert denied.acl_line == "ACL SETUSER u +cluster|slots"

    # All gone: the nodes stay known, each says that it does not answer.
    with pytest.raises(CacheUnavailable):
        poll(connection.nodes()[0])
    assert len(connection.nodes()) == 3


def test_no_cluster_and_no_sentinel(fleet: Fleet) -> None:
    with servers.redis_server() as port:
        for text in (f"redis+cluster://127.0.0.1:{port}", f"redis+sentinel://127.0.0.1:{port}/shop"):
            with pytest.raises(FleetError):
                fleet.open(1, parse_url(text)).nodes()
            report = check_connection(parse_url(text))
            assert not report.ok and report.failed_at == 2 and report.advice
    with pytest.raises(FleetError) as caught:
        fleet.open(1, parse_url(f"redis+sentinel://127.0.0.1:{servers.free_port()}/shop")).nodes()
    assert caught.value.problem.cause is Cause.REFUSED


@pytest.mark.parametrize(
    "answer",
    [
        b"+OK\r\n",
        b"*2\r\n$4\r\nhost\r\n$6\r\nbanana\r\n",
        b"*2\r\n$4\r\nhost\r\n$5\r\n99999\r\n",
        b"*1\r\n$4\r\nhost\r\n",
        b"*1\r\n*3\r\n:0\r\n:1\r\n:2\r\n",
        b"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nh\r\n$1\r\nx\r\n",
        b"*0\r\n",
    ],
)
@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_answers_that_are_no_topology(answer: bytes, kind: str, fleet: Fleet) -> None:
    with odd_servers.listener(odd_servers.says(b"+OK\r\n", answer)) as port:
        tail = "/shop" if kind == "sentinel" else ""
        with pytest.raises(FleetError):
            fleet.open(1, parse_url(f"redis+{kind}://127.0.0.1:{port}{tail}")).nodes()
