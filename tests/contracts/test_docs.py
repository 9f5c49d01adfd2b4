"""The docs tell what the code does: every setting has its row with its default, and no row has no setting."""

import re
from pathlib import Path

from dashboard.config import Settings, environment_name


def test_every_setting_is_documented_with_its_default(checkout: Path) -> None:
    text = (checkout / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", text, flags=re.MULTILINE))
    assert set(rows) == {environment_name(name) for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, int | float | str | bool) and not field.is_required():
            shown = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            assert rows[environment_name(name)].strip() == f"`{shown}`", name


def test_every_file_a_document_links_is_there(checkout: Path) -> None:
    for page in [*checkout.glob("*.md"), *(checkout / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links {target}"
