"""A database of a few thousand rows in a shared file: versions with row locks that a killed process lets go of."""

import fcntl
import mmap
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROW = struct.Struct("<qqq")


class Database:
    """Rows of three numbers: the version, how many writers committed and have not told the cache yet, and the newest
    version that the cache was told of.

    The lock of a row is a lock of the file (between processes, released by the system when one dies) and one of the
    process (between threads).

    Args:
        path: of the file; made by ``create``.
        rows: how many.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 0)
        self._threads = [threading.Lock() for _ in range(rows)]

    @classmethod
    def create(cls, path: Path, rows: int) -> "Database":
        path.write_bytes(bytes(_ROW.size * rows))
        return cls(path, rows)

    @contextmanager
    def locked(self, row: int) -> Iterator[None]:
        """Hold the row's lock."""
        with self._threads[row]:
            while not self._try_lock(row):
                time.sleep(0.0002)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, row * _ROW.size)

    def _try_lock(self, row: int) -> bool:
        """Without waiting in the system: it takes the threads of two processes for a deadlock."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row * _ROW.size)
        except BlockingIOError:
            return False
        return True

    def version(self, row: int) -> int:
        return struct.unpack_from("<q", self._map, row * _ROW.size)[0]

    def commit(self, row: int, version: int) -> None:
        """Write a new version; the row's lock must be held."""
        struct.pack_into("<q", self._map, row * _ROW.size, version)

    def owe(self, row: int, number: int) -> None:
        """Note that an invalidation of the row is owed (1) or done (-1); the row's lock must be held."""
        struct.pack_into("<q", self._map, row * _ROW.size + 8, self.owed(row) + number)

    def owed(self, row: int) -> int:
        return struct.unpack_from("<q", self._map, row * _ROW.size + 8)[0]

    def tell(self, row: int, version: int) -> None:
        """The cache was told of a version, and has answered; the row's lock must be held."""
        if version > self.told(row):
            struct.pack_into("<q", self._map, row * _ROW.size + 16, version)

    def told(self, row: int) -> int:
        """No read that begins now may be given an older version."""
        return struct.unpack_from("<q", self._map, row * _ROW.size + 16)[0]

    def close(self) -> None:
        self._map.close()
        self._file.close()
