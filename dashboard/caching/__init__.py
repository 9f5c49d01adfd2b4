"""Caching for applications: TTL policies that operators edit, no stampedes, no stale values left behind.

Needs nothing but ``redis``. Import what you use from here; the modules below are its parts.
"""

from dashboard.caching.errors import (
    CacheSettingsWarning,
    CachingError,
    InvalidationError,
    PolicyError,
    Problem,
    Unserialisable,
    UsageError,
)
from dashboard.caching.policy import (
    Policy,
    PolicyDocument,
    PolicyTable,
    Protection,
    Strategy,
    Tier,
    parse_document,
    parse_policy,
    parse_tier,
)

__all__ = [
    "CacheSettingsWarning",
    "CachingError",
    "InvalidationError",
    "Policy",
    "PolicyDocument",
    "PolicyError",
    "PolicyTable",
    "Problem",
    "Protection",
    "Strategy",
    "Tier",
    "Unserialisable",
    "UsageError",
    "parse_document",
    "parse_policy",
    "parse_tier",
]
