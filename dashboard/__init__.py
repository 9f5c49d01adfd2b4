"""Cachewarden: an admin dashboard for Redis caches."""

__version__ = "0.1.0"
