"""Where the shop leads into the dashboard. Pure."""

import base64
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

MAPPING: Final = "products.id"
"""Name of the mapping from the shop's products to their keys."""


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses in the dashboard; each is empty where there is no dashboard.

    Args:
        dashboard_url: of the dashboard, without a slash at its end; empty: there is none.
        cache_id: the dashboard's number of the shop's cache; None: not known.
        cache_name: what it is called there.
    """

    dashboard_url: str = ""
    cache_id: int | None = None
    cache_name: str = "demo-store"

    @property
    def overview(self) -> str:
        """Of the cache."""
        return self._of_cache("overview")

    @property
    def campaign(self) -> str:
        """The lab's scenario for a campaign."""
        return f"{self.dashboard_url}/lab/campaign" if self.dashboard_url else ""

    @property
    def forgotten(self) -> str:
        """The lab's scenario for what was forgotten."""
        return f"{self.dashboard_url}/lab/forgotten-invalidation" if self.dashboard_url else ""

    def key(self, key: str) -> str:
        """A key, in the browser of keys."""
        text = base64.urlsafe_b64encode(key.encode("utf-8", "replace")).rstrip(b"=").decode()
        return self._of_cache("keys", key=text)

    def purge(self, *keys: str) -> str:
        """The form that removes keys: by their rows where all show some, else by their names."""
        rows = [_row(key) for key in keys]
        if all(rows):
            return self._of_cache(
                "invalidate", by="rows", mapping=MAPPING, rows="\n".join(dict.fromkeys(rows))
            )
        return self._of_cache("invalidate", by="keys", keys="\n".join(keys))

    def _of_cache(self, page: str, **query: str) -> str:
        if not self.dashboard_url or self.cache_id is None:
            return ""
        start = f"{self.dashboard_url}/caches/{self.cache_id}/{page}"
        return f"{start}?{urlencode(query)}" if query else start


NOWHERE: Final = Links()


def _row(key: str) -> str:
    """Number of the product whose row a key shows; empty: it shows none."""
    kind, _, rest = key.partition(":")
    number = rest.partition(":")[0]
    return number if kind in ("product", "inventory") and number.isdigit() else ""
