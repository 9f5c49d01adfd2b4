"""Servers from wheels (Valkey and PostgreSQL) for the demo and the tests; not meant for production."""
