"""A small real shop on PostgreSQL, cached through ``dashboard.caching`` as any application would do it."""
