"""``python -m benchmarks``: all of them."""

from benchmarks import caching, history, keyspace, pages, policies, polling, purging

for module in (polling, history, pages, policies, caching, purging, keyspace):
    print(f"\n== {module.__name__.rpartition('.')[2]}: {(module.__doc__ or '').splitlines()[0]}")
    module.main()
