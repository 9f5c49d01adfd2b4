"""Real data that lies beside the checkout and not in it: replies of real servers, a recorded incident."""

import os
from pathlib import Path

import pytest


def shared_data() -> Path | None:
    """The folder of the data, None when it is not there.

    CACHEWARDEN_SHARED_DATA names it; else it is looked for at ``../shared/data`` seen from the checkout.
    """
    named = os.environ.get("CACHEWARDEN_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    return folder if folder.is_dir() else None


def need_shared_data() -> Path:
    """The folder of the data; skips the test, or the module, with one line when it is absent."""
    folder = shared_data()
    if folder is None:
        pytest.skip("the shared data is absent (CACHEWARDEN_SHARED_DATA)", allow_module_level=True)
    return folder
