"""Caching for applications: TTL policies that operators edit, no stampedes, no stale values left behind.

Needs nothing but ``redis``. Import what you use from here; the modules below are its parts.
"""

from dashboard.caching.cache import Cache
from dashboard.caching.codec import Codec, JsonCodec, MsgpackCodec
from dashboard.caching.decorator import CachedFunction
from dashboard.caching.errors import (
    CacheSettingsWarning,
    CachingError,
    InvalidationError,
    PolicyError,
    Problem,
    Unserialisable,
    UsageError,
    Wrong,
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
from dashboard.caching.writing import Write

__all__ = [
    "Cache",
    "CacheSettingsWarning",
    "CachedFunction",
    "CachingError",
    "Codec",
    "InvalidationError",
    "JsonCodec",
    "MsgpackCodec",
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
    "Write",
    "Wrong",
    "parse_document",
    "parse_policy",
    "parse_tier",
]
