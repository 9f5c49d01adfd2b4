"""The connection test against real servers: each failure in words, and what comes after it is not tried."""

import gc
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from dashboard.fleet.check import CheckReport, State, check_connection
from dashboard.fleet.url import parse_url
from tests.support import odd_servers, servers

SECRET = "hunter2-do-not-show"
TIMEOUT_S = 0.5


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with servers.redis_server("--requirepass", SECRET) as port:
        yield port


@pytest.fixture
def admin(port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=port, password=SECRET, decode_responses=True) as client:
        yield client
        client.acl_deluser("limited")


def check(text: str) -> CheckReport:
    report = check_connection(parse_url(text), TIMEOUT_S)
    shown = repr(report)
    assert SECRET not in shown and "wrong-one" not in shown
    if report.ok:
        assert report.failed_at is None and State.CRIT not in {step.state for step in report.steps}
    else:
        assert report.failed_at is not None
        assert report.steps[report.failed_at - 1].state is State.CRIT
        assert {step.state for step in report.steps[report.failed_at :]} <= {State.WAIT}
        assert report.problem.endswith(".") and report.advice
    return report


def test_all_is_well(port: int) -> None:
    report = check(f"redis://:{SECRET}@127.0.0.1:{port}/2")
    assert report.ok and report.problem == "" and report.acl_line is None
    assert [(step.state, step.title) for step in report.steps] == [
        (State.OK, f"Reached 127.0.0.1:{port}"),
        (State.OK, "Signed in as"),
        (State.OK, "INFO is readable"),
        (State.OK, "CLIENT LIST, SLOWLOG and CONFIG GET"),
        (State.OK, "SCAN and MEMORY USAGE"),
    ]
    assert report.steps[1].subject == "default"
    assert report.steps[2].detail.startswith("Redis 7.")
    assert 0 < report.took_s < 3


def test_test_counts_no_lookups_and_leaves_no_connection(port: int, admin: redis.Redis) -> None:
    admin.config_resetstat()
    check(f"redis://:{SECRET}@127.0.0.1:{port}")
    stats = admin.info("stats")
    assert stats["keyspace_hits"] == stats["keyspace_misses"] == 0
    assert admin.dbsize() == 0
    odd_servers.wait_until(
        lambda: {client["name"] for client in admin.client_list()} == {""}, "our connections are closed"
    )


def test_a_failed_test_closes_its_connections_at_once(port: int, admin: redis.Redis) -> None:
    gc.collect()
    gc.disable()
    try:
        report = check(f"redis+sentinel://:{SECRET}@127.0.0.1:{port}/main?sentinel_password={SECRET}")
        assert report.problem == f"127.0.0.1:{port} is not a Sentinel."
        odd_servers.wait_until(
            lambda: {client["name"] for client in admin.client_list()} == {""}, "closed by itself", 5
        )
    finally:
        gc.enable()


def test_refused() -> None:
    report = check(f"redis://127.0.0.1:{servers.free_port()}")
    assert (report.failed_at, report.steps[0].detail) == (1, "refused")
    assert "nothing listens there" in report.problem


def test_name_not_found() -> None:
    report = check_connection(parse_url("redis://no-such-host.invalid"), 20)
    assert report.failed_at == 1
    assert "not known to the name server" in report.problem or "in time" in report.problem


def test_silent_server_ends_in_time() -> None:
    with odd_servers.listener(odd_servers.silent) as port:
        start = time.monotonic()
        report = check(f"redis://127.0.0.1:{port}")
        assert time.monotonic() - start < 4 * TIMEOUT_S
    assert report.failed_at == 2 and "did not answer in time" in report.problem
    assert report.steps[1].title == "No answer"


def test_what_is_no_failed_sign_in_is_not_called_one(port: int, tmp_path: Path) -> None:
    report = check(f"redis://:{SECRET}@127.0.0.1:{port}/99")
    assert (report.failed_at, report.steps[1].title) == (2, "No such database")
    report = check(f"redis+sentinel://:{SECRET}@127.0.0.1:{port}/main?sentinel_password={SECRET}")
    assert report.problem == f"127.0.0.1:{port} is not a Sentinel." and "26379" in report.advice
    path = tmp_path / "none.sock"
    assert check(f"unix://{path}").problem == f"The socket {path} does not exist."


def test_many_silent_seeds_end_in_time() -> None:
    with odd_servers.listener(odd_servers.silent) as port, ExitStack() as stack:
        ports = [port, *(stack.enter_context(odd_servers.listener(odd_servers.silent)) for _ in range(7))]
        start = time.monotonic()
        report = check("redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports))
        assert time.monotonic() - start < 8 * TIMEOUT_S
    assert not report.ok


@pytest.mark.parametrize("password", ["wrong-one", ""])
def test_wrong_password(port: int, password: str) -> None:
    login = f":{password}@" if password else ""
    report = check(f"redis://{login}127.0.0.1:{port}")
    assert report.failed_at == 2
    assert report.problem.startswith("WRONGPASS" if password else "NOAUTH")
    assert report.steps[2].title == "INFO" and report.steps[2].detail == "not tried"


def test_password_that_is_not_wanted() -> None:
    with servers.redis_server() as port:
        report = check(f"redis://:wrong-one@127.0.0.1:{port}")
        assert report.failed_at == 2 and "has no password set" in report.problem


def test_info_forbidden(port: int, admin: redis.Redis) -> None:
    admin.execute_command("ACL", "SETUSER", "limited", "on", f">{SECRET}", "+ping")
    report = check(f"redis://limited:{SECRET}@127.0.0.1:{port}")
    assert report.failed_at == 3 and report.steps[2].title == "INFO was refused"
    assert report.problem.startswith("NOPERM: this user may not run INFO.")
    assert report.acl_line == "ACL SETUSER limited +info"
    assert report.acl_all is not None
    admin.execute_command(*report.acl_line.split())
    report = check(f"redis://limited:{SECRET}@127.0.0.1:{port}")
    assert report.ok and "NOPERM" in report.problem and report.acl_line is not None
    assert [step.state for step in report.steps[3:]] == [State.WARN, State.WARN]
    admin.execute_command(*report.acl_line.split())
    admin.execute_command("ACL", "SETUSER", "limited", "~*")
    assert check(f"redis://limited:{SECRET}@127.0.0.1:{port}").problem == ""


def test_commands_taken_away() -> None:
    with servers.redis_server("--rename-command", "CONFIG", "", "--rename-command", "SLOWLOG", "x") as port:
        report = check(f"redis://127.0.0.1:{port}")
    assert report.ok and report.acl_line is None
    assert "does not offer SLOWLOG GET, CONFIG GET" in report.problem


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (odd_servers.says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "as a web server"),
        (odd_servers.says(b"SSH-2.0-OpenSSH_9.2\r\n"), "as an SSH server"),
        (odd_servers.says(b"banana\r\n"), "not Redis' protocol"),
        (odd_servers.says(b"+OK\r\n", b"+HELLO\r\n+HELLO\r\n"), "not Redis' protocol"),
        (odd_servers.closing, "closed the connection"),
        (odd_servers.says(b"-LOADING Redis is loading the dataset in memory\r\n"), "LOADING"),
        (odd_servers.says(b"-ERR max number of clients reached\r\n"), "limit of clients"),
    ],
)
def test_not_a_redis(talk: odd_servers.Talk, words: str) -> None:
    with odd_servers.listener(talk) as port:
        report = check(f"redis://127.0.0.1:{port}")
    assert report.failed_at == 2 and words in report.problem


def test_real_web_server() -> None:
    with odd_servers.http_server() as port:
        report = check(f"redis://127.0.0.1:{port}")
    assert report.failed_at == 2 and "as a web server" in report.problem
    assert report.steps[1].title == "Not a Redis"


def test_plain_server_spoken_to_with_tls(port: int) -> None:
    report = check(f"rediss://:{SECRET}@127.0.0.1:{port}")
    assert report.failed_at == 2 and report.problem.startswith("TLS failed")
    assert "redis:// instead of rediss://" in report.advice


def test_tls(tmp_path: Path) -> None:
    certificate, key = odd_servers.certificate(tmp_path)
    other, _ = odd_servers.certificate(tmp_path, name="elsewhere.example")
    tls_port = servers.free_port()
    files = (
        "--tls-cert-file",
        str(certificate),
        "--tls-key-file",
        str(key),
        "--tls-ca-cert-file",
        str(certificate),
    )
    with servers.redis_server("--tls-port", str(tls_port), "--tls-auth-clients", "no", *files):
        servers.wait_for_port(tls_port)
        trusted = check(f"rediss://localhost:{tls_port}?ssl_ca_certs={certificate}")
        assert trusted.ok and trusted.steps[1].title == "TLS certificate is valid"
        assert trusted.steps[1].detail in ("89 days left", "90 days left")

        unknown = check(f"rediss://localhost:{tls_port}")
        assert unknown.failed_at == 2 and "not accepted: self-signed" in unknown.problem

        unchecked = check(f"rediss://localhost:{tls_port}?ssl_cert_reqs=none")
        assert unchecked.ok and unchecked.steps[1].state is State.WARN

        wrong = check(f"rediss://localhost:{tls_port}?ssl_ca_certs={other}")
        assert wrong.failed_at == 2 and "not accepted" in wrong.problem

        away = check(f"rediss://localhost:{tls_port}?ssl_ca_certs={tmp_path}/away.pem")
        assert away.failed_at == 2 and "does not exist" in away.problem

        plain = check(f"redis://localhost:{tls_port}")
        assert plain.failed_at == 2 and "rediss://" in plain.advice


def test_tls_certificate_that_ends_soon(tmp_path: Path) -> None:
    certificate, key = odd_servers.certificate(tmp_path, days=5)
    tls_port = servers.free_port()
    files = (
        "--tls-cert-file",
        str(certificate),
        "--tls-key-file",
        str(key),
        "--tls-ca-cert-file",
        str(certificate),
    )
    with servers.redis_server("--tls-port", str(tls_port), "--tls-auth-clients", "yes", *files):
        servers.wait_for_port(tls_port)
        ours = f"?ssl_ca_certs={certificate}&ssl_certfile={certificate}&ssl_keyfile={key}"
        report = check(f"rediss://localhost:{tls_port}{ours}")
        assert report.ok and "ends in 4 days" in report.problem

        without = check(f"rediss://localhost:{tls_port}?ssl_ca_certs={certificate}")
        assert not without.ok


def test_tls_handshake_without_answer() -> None:
    with odd_servers.listener(odd_servers.silent) as port:
        report = check(f"rediss://127.0.0.1:{port}")
    assert report.failed_at == 2 and "TLS failed" in report.problem


def test_replica_is_remarked_on() -> None:
    with (
        servers.redis_server() as primary,
        servers.redis_server("--replicaof", "127.0.0.1", str(primary)) as port,
    ):
        report = check(f"redis://127.0.0.1:{port}")
    assert report.ok and "is a replica" in report.problem


def test_socket_that_is_not_there(tmp_path: Path) -> None:
    report = check(f"unix://{tmp_path}/away.sock")
    assert report.failed_at == 1 and "does not exist" in report.problem
