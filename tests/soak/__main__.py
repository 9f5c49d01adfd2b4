"""``make soak``: ten minutes of random interleavings, then what the same finds in others.

``python -m tests.soak [minutes]``
"""

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from dashboard.embedded import valkey
from tests.soak import expiry, harness, scheduled
from tests.soak.flaky import flaky
from tests.support.servers import redis_server

OTHERS = ("plain", "dogpile.cache", "Flask-Caching")
KINDS = {"plain keys": scheduled.PLAIN, "tagged keys": scheduled.TAGGED, "held keys": scheduled.HELD}
FAILS = 0.02
"""So many commands of threads and processes fail where they do."""
BURST = 10_000
JITTER_S = 300
MOST_PER_S = 70


def main(minutes: float) -> int:
    """Run; returns the exit status."""
    seed = random.randrange(2**31)
    say(f"seed {seed}")
    failures: list[str] = []
    with redis_server() as quiet, ThreadPoolExecutor(1) as beside:
        # What a burst needs is time, most of it idle.
        jitter_s = min(JITTER_S, int(minutes * 45))
        keys = BURST * jitter_s // JITTER_S
        burst = beside.submit(expiry.burst, f"redis://127.0.0.1:{quiet}/0", keys=keys, jitter_s=jitter_s)
        interleave(minutes * 60, seed, failures)
        compare(seed, failures)
        expired = burst.result()
        say(f"{keys} keys written in a burst with {jitter_s} s of jitter: {expired}")
        if expired.most > MOST_PER_S or expired.total < keys:
            failures.append("the burst")
    say("FAILED: " + "; ".join(failures) if failures else "nothing stale was left behind")
    return bool(failures)


def interleave(seconds: float, seed: int, failures: list[str]) -> None:
    """This library, on every server, as long as was asked for."""
    with (
        redis_server() as port,
        redis_server("--rename-command", "PEXPIRETIME", "") as old,
        valkey.start() as newer,
    ):
        urls = {
            "Redis 7": f"redis://127.0.0.1:{port}/0",
            "Valkey": newer.url,
            "Redis without PEXPIRETIME": f"redis://127.0.0.1:{old}/0",
        }
        each_s = seconds / 2 / len(urls)
        for server, url in urls.items():
            for name, kinds in KINDS.items():
                is_old = url.endswith(f":{old}/0")
                steps = scheduled.run(url, kinds, seconds=each_s / len(KINDS), seed=seed, is_old=is_old)
                say(f"scheduled steps, {name}, {server}: {steps}")
                if steps.stale or steps.served or not steps.kept:
                    failures.append(f"{name} on {server}")
            for how in ("", ", failing"):
                behind = int(url.rpartition(":")[2].partition("/")[0])
                with flaky(behind, FAILS if how else 0.0, seed) as proxy:
                    through = url.replace(f":{behind}/", f":{proxy.port}/") if how else None
                    rows = harness.run("cachewarden", url, seconds=each_s / 2, seed=seed, through=through)
                say(
                    f"threads and processes, {server}{how}: {rows}"
                    + (f", {proxy.failures} failures" if how else "")
                )
                # Where Redis fails, a process may share older loads while it can't reach it.
                if rows.stale or (rows.served and not how) or not rows.stored:
                    failures.append(f"threads and processes on {server}{how}")


def compare(seed: int, failures: list[str]) -> None:
    """What the same finds in the plain recipe and in others."""
    with redis_server() as port:
        url = f"redis://127.0.0.1:{port}/0"
        naive = scheduled.run(url, scheduled.NAIVE, seconds=10, seed=seed)
        say(f"scheduled steps, GET / SETEX / DEL: {naive}")
        if not (naive.stale and naive.served):
            failures.append("the harness finds nothing in GET / SETEX / DEL")
        for other in OTHERS:
            rows = harness.run(other, url, seconds=15, seed=seed)
            say(f"threads and processes, {other}: {rows}")
            if not (rows.stale and rows.served):
                failures.append(f"the harness finds nothing in {other}")


def say(text: str) -> None:
    """One line with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10))
