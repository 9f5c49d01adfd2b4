"""Lets a system user reach a program and a folder that are closed to it.

It passes through closed folders by one POSIX ACL entry each. Opening `/root` to everybody would be simpler and
wrong: the entry names one user and grants passing through only, neither listing nor reading.
"""

from __future__ import annotations

import os
import pwd
import stat
import struct
from pathlib import Path

from dashboard.embedded.process import EmbeddedError

ATTRIBUTE = "system.posix_acl_access"
VERSION = struct.pack("<I", 2)
ENTRY = struct.Struct("<HHI")  # tag, permissions, user or group id
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NO_ID = 0xFFFFFFFF
PASS = 0o1


def let_pass(user: pwd.struct_passwd, path: Path) -> None:
    """Make every folder above `path` passable for `user`. Needs to be root.

    Raises: EmbeddedError naming the closed folder when the file system knows no ACLs.
    """
    for folder in reversed(path.resolve().parents):
        if _can_pass(folder, user):
            continue
        try:
            _add_entry(folder, user.pw_uid)
        except (OSError, AttributeError) as error:
            raise EmbeddedError(
                f"PostgreSQL runs as the system user {user.pw_name}, which may not pass through {folder}. "
                f"Run this as an ordinary user, or allow it with: chmod o+x {folder}"
            ) from error


def let_everybody_read(tree: Path) -> None:
    """Undo a strict umask on installed software: make a folder and all in it readable. Needs to own it."""
    for path in (tree, *tree.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        # Who may run or enter it as its owner tells what others may.
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            path.chmod(wanted)


def _can_pass(folder: Path, user: pwd.struct_passwd) -> bool:
    status = folder.stat()
    entries = _entries(folder)
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & stat.S_IXUSR)
    mine = entries.get((USER, user.pw_uid))
    if mine is not None:
        return bool(mine & entries.get((MASK, NO_ID), 0o7) & PASS)
    if status.st_gid == user.pw_gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _entries(folder: Path) -> dict[tuple[int, int], int]:
    """The folder's ACL as (tag, id) -> permissions; empty where it has none."""
    try:
        raw = os.getxattr(folder, ATTRIBUTE)
    except (OSError, AttributeError):  # no ACL on this folder, or no such thing on this system
        return {}
    return {(tag, who): permissions for tag, permissions, who in ENTRY.iter_unpack(raw[len(VERSION) :])}


def _add_entry(folder: Path, uid: int) -> None:
    mode = folder.stat().st_mode
    entries = _entries(folder) or {
        (USER_OBJ, NO_ID): mode >> 6 & 0o7,
        (GROUP_OBJ, NO_ID): mode >> 3 & 0o7,
        (OTHER, NO_ID): mode & 0o7,
    }
    # The mask limits named users and the group alike; where it is new it must not take from the group.
    entries[(MASK, NO_ID)] = entries.get((MASK, NO_ID), entries[(GROUP_OBJ, NO_ID)]) | PASS
    entries[(USER, uid)] = PASS
    packed = b"".join(ENTRY.pack(tag, entries[tag, who], who) for tag, who in sorted(entries))
    os.setxattr(folder, ATTRIBUTE, VERSION + packed)
