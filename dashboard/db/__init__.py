"""PostgreSQL, without Flask."""
