"""The library needs redis and nothing else of ours or of Flask's or SQLAlchemy's."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_fresh_process_loads_neither_flask_nor_sqlalchemy(checkout: Path) -> None:
    code = (
        "import sys, json; from dashboard.caching import Cache; Cache('redis://127.0.0.1:1');"
        "print(json.dumps(sorted(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, check=True).stdout
    modules = json.loads(out)
    assert not [name for name in modules if name.partition(".")[0] in ("flask", "sqlalchemy", "pydantic")]
    ours = {name for name in modules if name.startswith("dashboard.")}
    assert ours and all(name.startswith("dashboard.caching") for name in ours)
