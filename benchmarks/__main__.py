"""``python -m benchmarks``: all of them."""

from benchmarks import caching, history, keyspace, pages, policies, polling, prefixes, purging

for module in (polling, history, pages, policies, caching, purging, keyspace, prefixes):
    print(f"\n== {module.__name__.rpartition('.')[2]}: {(module.__doc__ or '').splitlines()[0]}")
    module.main()
