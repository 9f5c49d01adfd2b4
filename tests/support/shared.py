"""Real data kept beside the checkout; tests that need it are skipped where it is absent."""

import os
from pathlib import Path


def shared_data() -> Path | None:
    """The folder of ``CACHEWARDEN_SHARED_DATA``, else ``../shared/data`` beside the checkout, else None."""
    given = os.environ.get("CACHEWARDEN_SHARED_DATA")
    checkout = Path(__file__).resolve().parents[2]
    folder = Path(given) if given else checkout.parent / "shared" / "data"
    return folder if folder.is_dir() else None
