"""``make soak``: ten minutes of random interleavings, then what the same finds in others.

``python -m tests.soak [minutes]``
"""

import random
import sys
import time

from dashboard.embedded import valkey
from tests.soak import harness, scheduled
from tests.support.servers import redis_server

OTHERS = ("plain", "dogpile.cache", "Flask-Caching")


def main(minutes: float) -> int:
    """Run; returns the exit status."""
    seed = random.randrange(2**31)
    say(f"seed {seed}")
    half_s = minutes * 60 / 2
    failures: list[str] = []
    with redis_server() as port, valkey.start() as newer:
        urls = {"Redis 7": f"redis://127.0.0.1:{port}/0", "Valkey": newer.url}
        for server, url in urls.items():
            for name, kinds in (("plain keys", scheduled.PLAIN), ("tagged keys", scheduled.TAGGED)):
                steps = scheduled.run(url, kinds, seconds=half_s / 4, seed=seed)
                say(f"scheduled steps, {name}, {server}: {steps}")
                if steps.stale or not steps.kept:
                    failures.append(f"{name} on {server}")
            rows = harness.run("cachewarden", url, seconds=half_s / 2, seed=seed)
            say(f"threads and processes, {server}: {rows}")
            if rows.stale or not rows.stored:
                failures.append(f"threads and processes on {server}")
        url = urls["Redis 7"]
        naive = scheduled.run(url, scheduled.NAIVE, seconds=10, seed=seed)
        say(f"scheduled steps, GET / SETEX / DEL: {naive}")
        if not naive.stale:
            failures.append("the harness finds nothing in GET / SETEX / DEL")
        for other in OTHERS:
            rows = harness.run(other, url, seconds=15, seed=seed)
            say(f"threads and processes, {other}: {rows}")
            if not rows.stale:
                failures.append(f"the harness finds nothing in {other}")
    say("FAILED: " + "; ".join(failures) if failures else "nothing stale was left behind")
    return bool(failures)


def say(text: str) -> None:
    """One line with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10))
