"""Locks on photos for several processes with one output folder; released when their process ends."""

import errno
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Self

from bringback.errors import UsageError
from bringback.runtime.files import PASSING

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)  # errors of file systems without locks
_MANIFEST, _DOOR = 1 << 61, 1 << 60  # byte offsets above those of all names
_ONE = Lock()


class Locks:
    """Claims on names within a folder, each a lock on one byte of `.bringback.lock` in it.

    The system releases them when a process ends, however it ends, also on network file systems with POSIX locks.
    Without any locks, every claim is granted. A process has one object per folder (`of`), because locks belong to the
    process, not to an object. A context manager; the last one to leave deletes the lock file, and temporary files that
    a killed process left.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / ".bringback.lock"
        self._held: set[str] = set()
        self._users, self._file = 0, -1
        self._guard, self._one_line = Lock(), Lock()

    @staticmethod
    def of(folder: Path) -> "Locks":
        """The object of this process for a folder."""
        with _ONE:  # concurrent threads might otherwise get two
            return _claims(folder.resolve())

    def __enter__(self) -> Self:
        """Create the folder if needed and open the lock file; raises OSError."""
        with self._guard:
            if self._users == 0:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._open()
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._users -= 1
            if self._users:
                return
            with suppress(OSError):
                # Only if no other process has a lock (unknown on Windows) and no other run has replaced the file.
                if _lock(self._file, 0, whole=True) and self._is_there():
                    others = {lock.parent for lock in self.folder.rglob(self.path.name)} - {self.folder}
                    for left in self.folder.rglob(f"{PASSING}*.part"):
                        if others.isdisjoint(left.parents):  # runs into a folder below have files of their own
                            left.unlink()
                    self.path.unlink()
            os.close(self._file)

    def take(self, name: str) -> bool:
        """Claim a name; returns False if another process, or another thread of this one, has it."""
        with self._guard:
            if name in self._held:
                return False
            while True:
                _lock(self._file, _DOOR, wait=True)  # waits while another run cleans up with the whole file locked
                taken = _lock(self._file, _byte(name))
                _unlock(self._file, _DOOR)
                if not taken:
                    return False
                if self._is_there():
                    break
                if self._held:  # the file was deleted by hand: other processes no longer see these locks
                    break
                os.close(self._file)  # another run deleted it when it ended
                self._open()
            self._held.add(name)
            return True

    def give_back(self, name: str) -> None:
        """Release a claimed name."""
        with self._guard:
            if name in self._held:
                self._held.remove(name)
                _unlock(self._file, _byte(name))

    @contextmanager
    def manifest(self) -> Iterator[None]:
        """A context with exclusive access to the manifest, across processes and threads; waits for it."""
        with self._one_line:
            _lock(self._file, _MANIFEST, wait=True)
            try:
                yield
            finally:
                _unlock(self._file, _MANIFEST)

    def _is_there(self) -> bool:
        """Whether the open file is still the one in the folder."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        return False

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


_claims = cache(Locks)


@contextmanager
def locks_in(out: Path) -> Iterator[Locks]:
    """A context with the open locks of an output folder; raises `UsageError` if nothing can be written there."""
    with ExitStack() as stack:
        try:
            claims = stack.enter_context(Locks.of(out))
        except OSError as error:
            reason = f"{out}: cannot be written: {error.strerror or error}"
            raise UsageError(f"{reason}: choose another output folder, or allow writing") from None
        yield claims


def _byte(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:7], "big")


if sys.platform == "win32":
    import msvcrt

    _place = Lock()  # locks start at the file position, which all threads share

    def _lock(file: int, byte: int, *, wait: bool = False, whole: bool = False) -> bool:
        while not whole:
            with _place:
                os.lseek(file, byte, os.SEEK_SET)
                try:
                    msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
                except OSError as error:
                    if not wait or error.errno != errno.EACCES:
                        return False
                else:
                    return True
            time.sleep(0.01)  # LK_LOCK retries only once a second, and ten times at most
        return False

    def _unlock(file: int, byte: int) -> None:
        with _place:
            os.lseek(file, byte, os.SEEK_SET)
            with suppress(OSError):
                msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: int, byte: int, *, wait: bool = False, whole: bool = False) -> bool:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, 0 if whole else 1, byte)
            except OSError as error:
                # The system sees processes, not threads: two of them that wait with one thread for `_DOOR` and with
                # another for `_MANIFEST` look like a deadlock. Try again.
                if error.errno != errno.EDEADLK:
                    return error.errno in _NO_LOCKS and not whole  # without locks no process can know it is the last
            else:
                return True
            time.sleep(0.001)

    def _unlock(file: int, byte: int) -> None:
        with suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_UN, 1, byte)
