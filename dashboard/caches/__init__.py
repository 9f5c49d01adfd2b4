"""The table of caches: what is connected, how, and who may change it."""
