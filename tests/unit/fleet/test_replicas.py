"""Which replicas a primary's INFO names as fit to be read."""

from dashboard.fleet.replicas import MOST_BEHIND, candidates
from dashboard.fleet.url import Address


def info(*replicas: str, role: str = "master", offset: str = "5000000") -> bytes:
    lines = [f"role:{role}", f"connected_slaves:{len(replicas)}", f"master_repl_offset:{offset}"]
    lines += [f"slave{index}:{line}" for index, line in enumerate(replicas)]
    return "\r\n".join(lines).encode()


def test_the_nearest_comes_first() -> None:
    found = candidates(
        info(
            "ip=10.0.0.1,port=6379,state=online,offset=4999000,lag=1",
            "ip=replica-2.example,port=6380,state=online,offset=5000000,lag=0",
            "ip=fd00::1,port=6379,state=online,offset=4999999,lag=1",
        )
    )
    assert found == [
        Address("replica-2.example", 6380),
        Address("fd00::1", 6379),
        Address("10.0.0.1", 6379),
    ]


def test_those_that_do_not_keep_up_are_left_out() -> None:
    behind = 5_000_000 - MOST_BEHIND - 1
    assert not candidates(
        info(
            "ip=10.0.0.1,port=6379,state=wait_bgsave,offset=0,lag=0",
            f"ip=10.0.0.2,port=6379,state=online,offset={behind},lag=0",
            "ip=10.0.0.3,port=6379,state=online,offset=5000000,lag=11",
            "ip=,port=6379,state=online,offset=5000000,lag=0",
            "ip=10.0.0.4,port=0,state=online,offset=5000000,lag=0",
            "ip=10.0.0.5,port=99999,state=online,offset=5000000,lag=0",
            "ip=10.0.0.6,port=6379,state=online,offset=x,lag=0",
        )
    )


def test_a_replica_has_none_for_us() -> None:
    assert not candidates(info("ip=10.0.0.1,port=6379,state=online,offset=5000000,lag=0", role="slave"))
    assert not candidates(b"")
