"""The caches we operate; the only server-side user of redis-py."""
