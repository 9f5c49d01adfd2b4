"""``python -m benchmarks``: all of them."""

from benchmarks import history, pages, polling

for module in (polling, history, pages):
    print(f"\n== {module.__name__.rpartition('.')[2]}: {(module.__doc__ or '').splitlines()[0]}")
    module.main()
