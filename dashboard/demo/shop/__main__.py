"""``python -m dashboard.demo.shop``: the shop as a process of its own, on loopback."""

import argparse
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Final

from waitress.server import create_server

from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop.app import create_shop
from dashboard.demo.shop.links import Links
from dashboard.demo.shop.modes import Modes
from dashboard.demo.shop.pages import Shop
from dashboard.demo.shop.schema import SCHEMA
from dashboard.demo.shop.store import ShopStore
from dashboard.demo.shop.types import MODES

SWITCH_S: Final = 0.0005
"""So long a thread computes before another one has its turn."""


def main(given: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C. Prints the address as one line once it listens; returns the exit code."""
    args = _parser().parse_args(given)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It says so of every request that has to wait: in a campaign that is each of them.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # An answer of the cache must not wait until another thread has rendered for Python's 5 ms.
    sys.setswitchinterval(SWITCH_S)
    with ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        store = stack.enter_context(
            closing(
                ShopStore(
                    args.database_url,
                    args.schema,
                    latency_s=args.latency_ms / 1000,
                    connections=args.threads,
                )
            )
        )
        modes = stack.enter_context(
            closing(Modes(store, args.redis_url, args.name, DOCUMENT, fixed=args.mode))
        )
        app = create_shop(Shop(store, modes), Links(args.dashboard_url, args.cache_id, args.cache_name))
        try:
            server = create_server(app, host="127.0.0.1", port=args.port, threads=args.threads, ident=None)
        except OSError as error:
            sys.stderr.write(f"Port {args.port} is taken ({error.strerror}).\n")
            return 3
        stack.callback(server.close)
        sys.stdout.write(f"http://127.0.0.1:{server.effective_port}\n")
        sys.stdout.flush()
        server.run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dashboard.demo.shop", description=__doc__)
    add = parser.add_argument
    add("--database-url", required=True, help="of a PostgreSQL that has the shop's schema, filled")
    add("--redis-url", required=True, help="of the cache")
    add("--schema", default=SCHEMA, help="name of the schema")
    add("--port", type=int, default=0, help="on loopback; 0: a free one, which is printed")
    add("--mode", choices=MODES, help="how to cache; unset: what was chosen in the shop, followed live")
    add("--threads", type=_whole, default=8, help="requests at once, and connections to PostgreSQL")
    add(
        "--latency-ms",
        type=float,
        default=0.0,
        help="what each statement takes longer, as if it were far away",
    )
    add("--name", default="shop-web-1", help="what this instance is called in the dashboard")
    add("--dashboard-url", default="", help="of the dashboard, for links; unset: none")
    add("--cache-id", type=int, help="the dashboard's number of this cache")
    add("--cache-name", default="demo-store", help="what it is called there")
    return parser


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
