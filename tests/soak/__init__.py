"""Long random tests of the library: ``make soak``, or a short piece of them in ``make test``."""
