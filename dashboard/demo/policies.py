"""The policies that the demo's shop starts with: what an operator of it would have set up."""

import json
from typing import Final

from dashboard.caching.policy import TIERS, Policy, PolicyDocument, RowMapping, Strategy

REASON: Final = "First policies of the demo's shop"
_HOUR, _MINUTE = 3600, 60
_LOW, _OFTEN, _HOT = "low-volatility", "frequently-updated", "hot"
DOCUMENT: Final = PolicyDocument(
    version=1,
    tiers=TIERS,
    policies=(
        Policy(b"category:", _LOW, 24 * _HOUR, 4 * _HOUR, note="The tree changes with a release."),
        Policy(b"config:", _LOW, 24 * _HOUR, 4 * _HOUR, note="What every page shows."),
        Policy(
            b"product:", _OFTEN, _HOUR, 12 * _MINUTE, note="Texts, prices, reviews and what goes with it."
        ),
        Policy(b"home:", _OFTEN, _HOUR, 12 * _MINUTE, note="The most expensive query of the shop."),
        Policy(b"news:", _OFTEN, _HOUR, 12 * _MINUTE),
        Policy(b"search:", _OFTEN, _HOUR, 12 * _MINUTE, note="Few words are searched for often."),
        Policy(b"session:", _OFTEN, _HOUR, 10 * _MINUTE),
        Policy(b"inventory:", _HOT, 30, 6, note="Each order invalidates what it took."),
        Policy(b"wallet:", _HOT, 60, 15, Strategy.WRITE_THROUGH, note="Written with each booking."),
    ),
    default=Policy(b"", _HOT, 60, 15),
    mappings=(
        RowMapping(
            "products",
            "id",
            ("product:{id}", "product:{id}:reviews", "product:{id}:related", "inventory:{id}"),
        ),
    ),
)
FILE: Final = json.dumps(DOCUMENT.to_dict()).encode()
