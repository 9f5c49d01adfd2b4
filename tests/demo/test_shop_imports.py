"""The shop is a customer: of the dashboard it knows the library, and what serves any page."""

import ast
from collections.abc import Iterator
from pathlib import Path

from dashboard.demo import shop

ALLOWED = ("dashboard.caching", "dashboard.demo.shop", "dashboard.demo.policies")
SERVES_PAGES = {"dashboard.web.headers", "dashboard.web.resources", "dashboard.web.formats"}


def imported(path: Path) -> Iterator[str]:
    """Modules of ours that a file names, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "all imports here are absolute"
            module = node.module or ""
            # Of a package its modules are imported, of a module its names.
            yield from (f"{module}.{each.name}" for each in node.names)


def test_the_shop_knows_nothing_else_of_ours() -> None:
    files = sorted(Path(shop.__file__).parent.glob("**/*.py"))
    found = {name for path in files for name in imported(path) if name.startswith("dashboard.")}
    assert len(files) > 10 and found
    others = {name for name in found if not name.startswith(ALLOWED)}
    assert {".".join(name.split(".")[:3]) for name in others} == SERVES_PAGES
