"""``cachewarden purge`` as a data-fix script runs it: what it asks for, what it says, and its exit codes."""

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from dashboard.audit import service as audit
from dashboard.cli import main
from dashboard.invalidation import service
from dashboard.invalidation.states import Verb
from dashboard.invalidation.types import Purge, State, When
from dashboard.policies import service as policies
from dashboard.work import Runtime
from dashboard.worker import start_worker
from tests.conftest import SECRET_KEY
from tests.support.people import as_cli
from tests.support.purges import AT_ONCE, counted, in_state, move
from tests.support.some_caches import add_cache

pytestmark = pytest.mark.slow

LATER = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT%H:%M}"


class Shop:
    """A cache with 400 products and 9,600 other keys, and the command that purges it."""

    def __init__(self, runtime: Runtime, database_url: str, valkey_url: str, folder: Path) -> None:
        self.runtime = runtime
        self.folder = folder
        self.cache_id = add_cache(runtime, "shop", valkey_url).id
        self.server = redis.Redis.from_url(valkey_url)
        self.server.flushdb()
        self.server.mset({f"product:{number}": "x" * 40 for number in range(400)})
        self.server.mset({f"other:{number}": "x" for number in range(9_600)})
        self.env = {
            "DATABASE_URL": database_url,
            "CACHEWARDEN_SECRET_KEY": SECRET_KEY,
            "CACHEWARDEN_DATA_DIR": str(folder),
        }

    def run(self, *words: str, stdin: bytes = b"") -> Result:
        """Run ``cachewarden purge``."""
        return CliRunner(env=self.env).invoke(main, ["purge", *words], input=stdin, prog_name="cachewarden")

    def json(self, *words: str, code: int = 0) -> Any:
        """What it answers with --json."""
        done = self.run(*words, "--json")
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    def process(self, *words: str, **streams: Any) -> "subprocess.Popen[bytes]":
        """The same as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "dashboard", "purge", *words], env={**os.environ, **self.env}, **streams
        )

    def left(self, prefix: str = "product:") -> int:
        """How many keys of a prefix there are."""
        return sum(1 for _ in self.server.scan_iter(f"{prefix}*", count=10_000))

    def purges(self) -> list[Purge]:
        """All of them, newest first."""
        with as_cli(self.runtime) as work:
            return service.list_purges(work, self.cache_id)


@pytest.fixture
def shop(live_runtime: Runtime, fresh_database_url: str, valkey_url: str, tmp_path: Path) -> Iterator[Shop]:
    """With nobody who works."""
    shop = Shop(live_runtime, fresh_database_url, valkey_url, tmp_path)
    yield shop
    shop.server.close()


@pytest.fixture
def working(shop: Shop) -> Iterator[Shop]:
    """With a worker."""
    worker = start_worker(shop.runtime)
    yield shop
    worker.stop()


def test_a_prefix_is_counted_confirmed_and_purged(working: Shop) -> None:
    asked = working.run("--cache", "Shop", "--prefix", "product:", "--wait")
    assert asked.exit_code == 3 and working.left() == 400
    assert "400 keys of 10,000 in the cache." in asked.stdout
    assert "Missing: --yes." in asked.stderr and "nothing is changed" in asked.stderr

    done = working.run("--prefix", "product:", "--yes", "--reason", "Prices were wrong", "--wait")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].startswith("Purge 2 is done: 400 keys touched")
    assert (working.left(), working.left("other:")) == (0, 9_600)
    newest, oldest = working.purges()
    assert (newest.state, newest.progress.touched, newest.reason) == (State.DONE, 400, "Prices were wrong")
    assert newest.source == "cli" and oldest.state is State.PREVIEWED

    # Nothing is left to purge, which is no failure of a script that runs again.
    again = working.run("--prefix", "product:", "--wait")
    assert again.exit_code == 0 and "Nothing to do." in again.stdout


def test_a_large_one_wants_the_text_and_the_reason(working: Shop) -> None:
    asked = working.run("--prefix", "other:", "--yes", "--wait")
    assert asked.exit_code == 3
    assert "More than 5% of the keys in this cache." in asked.stderr
    assert "Missing: --confirm other:, --reason" in asked.stderr
    wrong = working.run("--prefix", "other:", "--confirm", "product:", "--reason", "Why not")
    assert wrong.exit_code == 3 and "Missing: --confirm other:." in wrong.stderr
    assert working.left("other:") == 9_600
    number = asked.stderr.split("cachewarden purge approve ")[1].split()[0]
    done = working.run("approve", number, "--confirm", "other:", "--reason", "All of them", "--wait")
    assert done.exit_code == 0, done.output
    assert (working.left(), working.left("other:")) == (400, 0)


def test_lists_ranges_files_and_standard_input(working: Shop) -> None:
    by_template = ("--template", "product:{id}", "--ids")
    assert working.run(*by_template, "0,3-5", "--yes", "--wait").exit_code == 0
    assert working.left() == 396 and not working.server.exists("product:4")
    (working.folder / "fixed.txt").write_text("10\n11\r\n12;13")
    file = f"@{working.folder}/fixed.txt"
    assert working.run(*by_template, file, "--yes", "--wait").exit_code == 0
    assert working.left() == 392
    done = working.run(*by_template, "-", "--yes", "--wait", stdin=b'20 "21",22')
    assert done.exit_code == 0 and working.left() == 389
    working.server.mset({b"odd \xff\n": b"x", b"odd:\\": b"x"})
    keys = working.folder / "keys.txt"
    keys.write_bytes(b'product:30\r\n\nodd \\xff\\x0a\n"odd:\\\\"')
    assert working.run("--keys", str(keys), "--yes", "--wait").exit_code == 0
    assert working.left() == 388 and working.left("odd") == 0
    assert working.run("--keys", "-", "--yes", "--wait", stdin=b"product:31\n").exit_code == 0
    assert working.left() == 387


def test_rows_by_their_mapping(working: Shop) -> None:
    unknown = working.run("--rows", "products.id", "--ids", "7", "--wait")
    assert unknown.exit_code == 2
    assert "No published mapping is called products.id. None is published" in unknown.stderr
    with as_cli(working.runtime) as work:
        content = json.loads(policies.published(work, working.cache_id).body)
        templates = ["product:{id}", "other:{id}"]
        content["mappings"] = [{"table": "products", "column": "id", "templates": templates}]
        policies.apply(work, working.cache_id, json.dumps(content).encode(), "json", reason="Rows")
    done = working.run("--rows", "products.id", "--ids", "7,20-29", "--yes", "--wait")
    assert done.exit_code == 0, done.output
    assert (working.left(), working.left("other:")) == (389, 9_589)
    assert not working.server.exists("product:7", "other:7", "product:25")


def test_every_action_and_filter_reaches_the_purge(working: Shop) -> None:
    working.server.expire("product:1", 50)
    asked = "--prefix product: --action spread --window 2m --spread 1 --type string --ttl-min 1m --ttl-max 2d"
    working.json(*f"{asked} --size-min 10 --size-max 1MB --preview-only".split())
    (purge,) = working.purges()
    assert (purge.plan.action.value, purge.plan.window_s) == ("spread", 120)
    assert (purge.plan.when.value, purge.plan.over_s) == ("over", 1)
    filters = purge.plan.selection.filters
    assert (filters.type, filters.ttl_min_s, filters.ttl_max_s) == ("string", 60, 172_800)
    assert (filters.size_min_bytes, filters.size_max_bytes) == (10, 1_048_576)
    done = working.run("--prefix", "product:", "--action", "spread", "--without-ttl", "--yes", "--wait")
    assert done.exit_code == 0, done.output
    assert 0 <= working.server.ttl("product:1") <= 50
    # Some may have ended by now; none is left without a TTL.
    left = {working.server.ttl(f"product:{number}") for number in range(2, 400)}
    assert -1 not in left and 0 < max(left) <= 300


def test_json_is_all_that_stands_on_standard_output(working: Shop) -> None:
    seen = working.json("--prefix", "product:", "--preview-only")
    assert seen["state"] == "previewed" and seen["preview"]["keys"] == 400
    assert seen["asks_for"] == {"count": True, "typed": None, "reason": False}
    assert working.left() == 400
    asked = working.json("--prefix", "product:", "--wait", code=3)
    assert asked["state"] == "previewed" and asked["asks_for"]["count"]
    done = working.json("--prefix", "product:", "--yes", "--wait")
    assert (done["state"], done["touched"], done["share"]) == ("done", 400, 1.0)
    assert done["asks_for"] is None and done["ended_at"].endswith("+00:00")
    listed = working.json("list", "--state", "done")
    assert [each["number"] for each in listed] == [done["number"]]
    assert working.json("show", str(done["number"])) == done


def test_what_was_touched_is_written_as_a_list_that_it_takes(working: Shop) -> None:
    done = working.json("--prefix", "product:39", "--report", "--yes", "--wait")
    report = working.run("report", str(done["number"]))
    lines = sorted(report.stdout.splitlines())
    assert lines == sorted(["product:39", *(f"product:39{digit}" for digit in range(10))])
    refused = working.run("report", str(working.json("--prefix", "product:1", "--yes", "--wait")["number"]))
    assert refused.exit_code == 2 and "keeps no report" in refused.stderr


def test_waiting_ends_with_the_time_and_the_purge_goes_on(working: Shop) -> None:
    later = ("--prefix", "product:", "--at", LATER, "--yes")
    done = working.run(*later, "--wait", "--timeout", "2")
    assert done.exit_code == 4 and "--timeout" in done.stderr
    (purge,) = working.purges()
    assert purge.state is State.WAITING
    approved = working.run(*later)
    assert approved.exit_code == 0 and "Purge 2 is approved." in approved.stdout
    assert working.left() == 400


def test_the_time_is_up_before_it_was_counted(shop: Shop) -> None:
    """Nothing goes on then, and the command that would have it go on is said."""
    done = shop.run(
        *("--prefix", "product:", "--confirm", "product:", "--reason", "New ones", "--wait", "--timeout", "0")
    )
    assert done.exit_code == 3
    assert "It was not approved, and nothing is purged." in done.stderr
    assert "purge approve 1 --confirm product: --reason 'New ones' --wait\n" in done.stderr
    looked = shop.run("--prefix", "product:", "--preview-only", "--timeout", "0")
    assert looked.exit_code == 4 and "cachewarden purge show 2" in looked.stderr
    assert "approve" not in looked.stderr
    assert [purge.state for purge in shop.purges()] == [State.DRAFT, State.DRAFT]


def test_what_it_waits_for_is_said(shop: Shop) -> None:
    first = in_state(shop.runtime, shop.cache_id, State.RUNNING)
    second = in_state(shop.runtime, shop.cache_id, State.WAITING)
    waited = shop.run("show", str(second.number), "--wait", "--timeout", "1")
    assert f"Purge {second.number}: waits for purge {first.number} to end\n" in waited.stderr
    move(shop.runtime, first.number, Verb.FINISH)
    waited = shop.run("show", str(second.number), "--wait", "--timeout", "1")
    assert "waits for" not in waited.stderr


def test_a_paused_one_is_not_said_to_go_on(shop: Shop) -> None:
    paused = in_state(shop.runtime, shop.cache_id, State.PAUSED)
    waited = shop.run("show", str(paused.number), "--wait", "--timeout", "0")
    assert (
        waited.exit_code == 4
        and f"It is paused. To go on: cachewarden purge resume {paused.number}\n" in waited.stderr
    )
    assert "goes on" not in waited.stderr


def test_a_time_that_is_over_is_said_before_anything_is_counted(shop: Shop) -> None:
    done = shop.run("--prefix", "product:", "--at", "2020-01-01", "--yes")
    assert done.exit_code == 2 and "still to come" in done.stderr and shop.purges() == []


def test_an_error_is_said_once(shop: Shop) -> None:
    refused = shop.run("--template", "product:{ID}", "--ids", "1")
    assert refused.exit_code == 2
    words = refused.stderr.removeprefix("cachewarden: ").split(".")[0]
    assert words and refused.stderr.count(words) == 1


def test_without_a_worker_it_says_so(shop: Shop) -> None:
    done = shop.run("--prefix", "product:", "--yes", "--wait")
    assert done.exit_code == 4 and "No worker runs" in done.stderr
    assert shop.left() == 400


@pytest.mark.parametrize("change", ["cancel", "pause"])
def test_one_that_somebody_else_stops(shop: Shop, change: str) -> None:
    purge = in_state(shop.runtime, shop.cache_id, State.WAITING)
    said = shop.run(change, str(purge.number))
    state = {"cancel": State.CANCELLED, "pause": State.PAUSED}[change]
    assert said.exit_code == 0 and said.stdout == f"Purge {purge.number} is {state}.\n"
    again = shop.run(change, str(purge.number))
    assert again.exit_code == 2 and "not possible now" in again.stderr
    # Whoever paused it by hand will have it go on: that is waited for.
    waited = shop.run("show", str(purge.number), "--wait", "--timeout", "1")
    assert waited.exit_code == {"cancel": 1, "pause": 4}[change]
    if change == "pause":
        assert shop.run("resume", str(purge.number)).stdout == f"Purge {purge.number} is waiting.\n"


def test_one_that_stopped_by_itself(shop: Shop) -> None:
    purge = in_state(shop.runtime, shop.cache_id, State.RUNNING)
    number = str(purge.number)
    move(shop.runtime, purge.number, Verb.HOLD, problem="A node is away.")
    waited = shop.run("show", number, "--wait")
    assert waited.exit_code == 4
    assert "A node is away." in waited.stderr and f"purge resume {number}" in waited.stderr
    move(shop.runtime, purge.number, Verb.RESUME)
    move(shop.runtime, purge.number, Verb.START)
    move(shop.runtime, purge.number, Verb.HOLD, problem="It would touch more.", needs_count=True)
    waited = shop.run("show", number, "--wait")
    assert waited.exit_code == 3 and f"cachewarden purge approve {number}" in waited.stderr
    resumed = shop.run("resume", number)
    assert resumed.exit_code == 3 and "It would touch more." in resumed.stderr


def test_one_that_would_go_beyond_its_approval_is_counted_and_approved_again(shop: Shop) -> None:
    """It was counted when there were a hundred of the four hundred keys."""
    purge = in_state(shop.runtime, shop.cache_id, State.WAITING)
    number = str(purge.number)
    worker = start_worker(shop.runtime)
    try:
        waited = shop.run("show", number, "--wait")
        assert waited.exit_code == 3 and "more keys than were approved" in waited.stderr
        assert shop.left() >= 400 - purge.cap
        done = shop.json("approve", number, "--yes", "--wait")
    finally:
        worker.stop()
    assert (done["state"], done["touched"], shop.left()) == ("done", 400, 0)
    assert shop.left("other:") == 9_600


@pytest.mark.parametrize(
    "left_open",
    [
        {"when": When.OVER, "over_s": 0},
        {"when": When.AT, "at": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
    ids=["not chosen", "its time is over"],
)
def test_when_is_said_where_nobody_chose_it(shop: Shop, left_open: dict[str, Any]) -> None:
    purge = counted(shop.runtime, shop.cache_id, replace(AT_ONCE, **left_open))
    number = str(purge.number)
    for words in (("--yes",), ("--yes", "--now", "--spread", "5"), ("--yes", "--at", "2020-01-01T00:00")):
        assert shop.run("approve", number, *words).exit_code == 2
    refused = shop.run("approve", number, "--spread", "5m")
    assert refused.exit_code == 3 and f"approve {number} --yes --spread 300" in refused.stderr
    assert shop.purges()[0].state is State.PREVIEWED
    approved = shop.json("approve", number, "--yes", "--spread", "5m")
    assert (approved["state"], approved["when"], approved["over_s"]) == ("waiting", "over", 300)


def test_an_approval_may_choose_another_time(shop: Shop) -> None:
    spread = replace(AT_ONCE, when=When.OVER, over_s=3600)
    for words, when in ((("--now",), "now"), (("--at", "2999-01-01"), ""), ((), "over")):
        number = str(counted(shop.runtime, shop.cache_id, spread).number)
        done = shop.run("approve", number, "--yes", *words, "--json")
        assert (done.exit_code == 0) == bool(when)
        if when:
            assert json.loads(done.stdout)["when"] == when


def test_one_that_failed(shop: Shop) -> None:
    purge = in_state(shop.runtime, shop.cache_id, State.RUNNING)
    move(shop.runtime, purge.number, Verb.FAIL, problem="UNLINK is not allowed.")
    waited = shop.run("show", str(purge.number), "--wait")
    assert waited.exit_code == 1 and "UNLINK is not allowed." in waited.stderr
    assert shop.run("approve", str(purge.number)).exit_code == 2


def test_ctrl_c_ends_the_waiting_and_not_the_purge(working: Shop) -> None:
    waiting = working.process(
        *("--prefix", "product:", "--at", LATER, "--yes", "--wait"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert waiting.stderr is not None
    for line in waiting.stderr:
        if b"waits for" in line:
            break
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert b"Purge 1 goes on. To stop it: cachewarden purge cancel 1" in said and b"Traceback" not in said
    (purge,) = working.purges()
    assert purge.state is State.WAITING


def test_ctrl_c_before_there_is_a_purge(shop: Shop) -> None:
    with shop.process("--keys", "-", "--yes", stdin=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdin is not None and reading.stderr is not None
        # More than a pipe holds: once it is written, the command reads, and soon waits for more.
        reading.stdin.write(b"product:1\n" * 100_000)
        time.sleep(1)
        reading.send_signal(signal.SIGINT)
        said = reading.stderr.read()
        assert reading.wait(60) == 130
    assert b"Nothing is purged." in said and b"Abort" not in said
    assert shop.purges() == []


def test_ctrl_c_where_it_asks(working: Shop) -> None:
    ours, theirs = pty.openpty()
    asking = working.process(
        *("--prefix", "product:"), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    read_until(ours, b"Delete 400 keys? [y/N]: ")
    time.sleep(1)
    asking.send_signal(signal.SIGINT)
    read_until(ours, b"purge 1 was not approved")
    assert asking.wait(60) == 130
    os.close(ours)


def test_a_terminal_is_asked_and_sees_a_bar(working: Shop) -> None:
    ours, theirs = pty.openpty()
    asking = working.process(
        *("--prefix", "other:", "--wait"), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    seen = read_until(ours, b"Type other: to confirm: ")
    os.write(ours, b"other:\n")
    seen += read_until(ours, b"Why, in a few words: ")
    os.write(ours, b"The feed was wrong\n")
    seen += read_until(ours, b"keys touched")
    asking.wait(60)
    os.close(ours)
    assert asking.returncode == 0 and b"####]  100%" in seen
    assert working.left("other:") == 0
    (purge,) = working.purges()
    assert purge.reason == "The feed was wrong"


def test_a_terminal_sees_how_far_a_count_is(shop: Shop) -> None:
    ours, theirs = pty.openpty()
    with shop.process(
        "--prefix", "product:", stdout=theirs, stderr=theirs, start_new_session=True
    ) as waiting:
        os.close(theirs)
        counted_so_far(shop)
        seen = read_until(ours, b"120,000 of about 400,000 keys looked at")
        waiting.kill()
    os.close(ours)
    assert b"Counting for purge 1" in seen and re.search(rb"\]\s+30%", seen)


def test_a_script_sees_how_far_a_count_is(shop: Shop) -> None:
    with shop.process("--prefix", "product:", stderr=subprocess.PIPE) as waiting:
        counted_so_far(shop)
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        waiting.kill()
    assert said == b"Counting for purge 1: 120,000 of about 400,000 keys looked at\n"


def counted_so_far(shop: Shop) -> None:
    """As a worker tells it that has counted for some seconds."""
    deadline = time.monotonic() + 60
    while not shop.purges():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with shop.runtime.database.transaction() as session:
        session.execute(text("UPDATE purge SET counted = 120000, to_count = 400000"))


def test_a_terminal_that_says_no(working: Shop) -> None:
    ours, theirs = pty.openpty()
    asking = working.process(
        *("--prefix", "product:"), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    read_until(ours, b"Delete 400 keys? [y/N]: ")
    os.write(ours, b"n\n")
    read_until(ours, b"nothing is changed")
    asking.wait(60)
    os.close(ours)
    assert asking.returncode == 3 and working.left() == 400


def read_until(stream: int, text: bytes, within_s: float = 60) -> bytes:
    """What a terminal shows until this text came."""
    seen, ends_at = b"", time.monotonic() + within_s
    while text not in seen:
        assert time.monotonic() < ends_at, seen
        if select.select([stream], [], [], 1)[0]:
            seen += os.read(stream, 65_536)
    return seen


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--yes", "Say which keys"),
        ("--prefix a --tag b", "Say which keys"),
        ("--prefix a --ids 1", "need --ids, and nothing else"),
        ("--template product:{id}", "need --ids"),
        ("--prefix a --window 5", "--window belongs to"),
        ("--prefix a --lengthen", "--lengthen belongs to"),
        ("--prefix a --spread 5 --at 2030-01-01", "Only one of --spread"),
        ("--prefix a --at tomorrow", "is no time such as"),
        ("--prefix a --spread 5x", "is no time; write seconds"),
        ("--prefix a --size-min 1.5MB", "is no size"),
        ("--prefix a list", "Options of list stand behind its name"),
        ("--prefix ''", "an empty one would be every key"),
        ("--prefix cachewarden:", "never purged"),
        ("--pattern ''", "Enter a pattern"),
        ("--template product --ids 1", "{id} is missing"),
        ("--template product:{id} --ids 9-1", "runs backwards"),
        ("--template product:{id} --ids 1-9000000", "more than 5,000,000"),
        ("--template product:{id} --ids @nothing.txt", "nothing.txt can't be read: No such file"),
        ("--keys .", "can't be read: Is a directory"),
        ("--keys -", "Enter at least one"),
        ("--prefix a --at 2020-01-01 --yes", "still to come"),
        ("--prefix a --ttl-min 5m --ttl-max 1m", "Must not be below"),
        ("--cache nobody --prefix a", "There is no cache nobody."),
        ("show 7", "There is no purge 7."),
        ("approve 7", "There is no purge 7."),
        ("cancel 7", "There is no purge 7."),
    ],
)
def test_what_can_not_be_is_refused_with_code_2(
    request: pytest.FixtureRequest, shop: Shop, words: str, said: str
) -> None:
    if "2020" in words:
        request.getfixturevalue("working")
        shop.server.set("a1", "x")
    done = shop.run(*shlex.split(words))
    assert (done.exit_code, done.stdout.count("touched")) == (2, 0)
    assert said in done.stderr and "Traceback" not in done.output
    assert [purge.state for purge in shop.purges()] in ([], [State.PREVIEWED])


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        (b"\xff\xfe1\x00", "UTF-16"),
        (b"product:\xff", "no UTF-8"),
        (b"product:1\nproduct:\\q", "Line 2: write a backslash"),
        (b"product:1\r\n\r\ncachewarden:policies", "Line 3: Keys that begin with cachewarden:"),
        (b"product:1\n" + b"x" * 100_000, "Line 2: "),
        (b"product:\x00", "NUL"),
    ],
)
def test_hostile_lists_of_keys(shop: Shop, stdin: bytes, said: str) -> None:
    done = shop.run("--keys", "-", "--yes", stdin=stdin)
    assert done.exit_code == 2 and said in done.stderr and not shop.purges()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(
    option=st.sampled_from(["--prefix", "--pattern", "--tag", "--rows", "--template", "--cache", "--reason"]),
    text=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30),
    ids=st.one_of(st.none(), st.text("0123456789-.,;\"' \n\\{}é\ufffd", max_size=20)),
)
def test_whatever_is_written_there_purges_nothing_unasked(
    shop: Shop, option: str, text: str, ids: str | None
) -> None:
    words = [f"{option}={text}", *([] if ids is None else [f"--ids={ids}"]), "--timeout=0"]
    if option in ("--cache", "--reason"):
        words.append("--prefix=product:")
    done = shop.run(*words, stdin=b"1 2 3")
    # Refused; or counted, for which there is no worker and no time.
    assert done.exit_code in (2, 3), done.output
    assert not done.exception or isinstance(done.exception, SystemExit)
    assert shop.server.dbsize() == 10_000 and not any(each.state.is_active for each in shop.purges())


def test_a_read_only_cache_refuses(shop: Shop) -> None:
    add_cache(shop.runtime, "frozen", read_only=True)
    done = shop.run("--cache", "frozen", "--prefix", "product:", "--yes", "--wait")
    assert done.exit_code == 2 and "read-only" in done.stderr


def test_which_cache_is_meant(shop: Shop) -> None:
    add_cache(shop.runtime, "other", "redis://127.0.0.1:1/0")
    done = shop.run("list")
    assert done.exit_code == 2 and "Say it with --cache: other, shop" in done.stderr


def test_lists(shop: Shop) -> None:
    assert shop.run("list").stdout == "There is none.\n"
    assert shop.run("schedules").stdout == "There is none.\n"
    purge = counted(shop.runtime, shop.cache_id)
    lines = shop.run("list").stdout.splitlines()
    assert lines[0].split() == ["NUMBER", "STATE", "ACTION", "KEYS", "STARTED", "BY", "WHAT"]
    assert lines[1].startswith("1       previewed") and lines[1].endswith("product:*")
    with as_cli(shop.runtime) as work:
        service.create_schedule(
            work, purge.number, revision=purge.revision, line="0 3 * * *", confirmed_keys=100
        )
    (schedule,) = shop.json("schedules")
    assert (schedule["cron"], schedule["target"], schedule["last_purge"]) == ("0 3 * * *", "product:*", None)
    assert "0 3 * * *" in shop.run("schedules").stdout
    assert "above 10,000 keys" in shop.run("limits").stdout
    assert shop.json("limits")["typed_above"] == 10_000


def test_whoever_ran_it_is_in_the_audit_log(working: Shop) -> None:
    assert working.run("--prefix", "product:1", "--yes", "--reason", "Prices", "--wait").exit_code == 0
    with as_cli(working.runtime) as work:
        began = work.now - timedelta(hours=1)
        entries = audit.trail(work, "purge 1", actions="invalidation:purge:*", since=began)
    told = [entry.actor_name for entry in entries[::-1]]
    # Made and approved by whoever ran it; counted, begun and finished by the worker.
    by = working.purges()[0].by
    assert [name == by for name in told] == [True, False, True, False, False]
