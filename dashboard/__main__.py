"""``python -m dashboard`` is ``cachewarden``."""

from dashboard.cli import main

main()
