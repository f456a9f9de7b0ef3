"""Which photo is whose, where several processes work on one output folder: locks that die with their owner."""

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

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)  # file systems that have none
_MANIFEST, _DOOR = 1 << 61, 1 << 60  # bytes that no name has: those lie below
_ONE = Lock()


class Locks:
    """Claims on names within a folder, each a lock on one byte of `.bringback.lock` in it.

    The system lets go of them when a process ends, however it ends, so that nothing is ever claimed by the dead; on
    file systems of several machines as well, where these have POSIX locks. Where there are no locks at all, every
    claim is granted. A process has one object a folder (`of`), as its locks are the process's and not an object's.
    Used as a context; the last to leave clears away the file, and passing files that a killed process left behind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / ".bringback.lock"
        self._held: set[str] = set()
        self._users, self._file = 0, -1
        self._guard, self._one_line = Lock(), Lock()

    @staticmethod
    def of(folder: Path) -> "Locks":
        """The claims of this process in a folder."""
        with _ONE:  # threads that come at once would be given two
            return _claims(folder.resolve())

    def __enter__(self) -> Self:
        """Make the folder, if need be, and open the file; raises OSError."""
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
                # Nobody else holds anything (Windows cannot tell), nor has another run cleared away and begun anew.
                if _lock(self._file, 0, whole=True) and self._is_there():
                    for left in self.folder.rglob(f"{PASSING}*.part"):
                        left.unlink()
                    self.path.unlink()
            os.close(self._file)

    def take(self, name: str) -> bool:
        """Claim a name; False when another process, or another thread of this one, has it."""
        with self._guard:
            if name in self._held:
                return False
            while True:
                _lock(self._file, _DOOR, wait=True)  # while another run clears away, it holds everything, nobody's name
                taken = _lock(self._file, _byte(name))
                _unlock(self._file, _DOOR)
                if not taken:
                    return False
                if self._is_there():
                    break
                if self._held:  # somebody took the file away by hand: those that are held are held no longer
                    break
                os.close(self._file)  # the last one of another run cleared it away
                self._open()
            self._held.add(name)
            return True

    def give_back(self, name: str) -> None:
        """Let others have a name that was taken."""
        with self._guard:
            if name in self._held:
                self._held.remove(name)
                _unlock(self._file, _byte(name))

    @contextmanager
    def manifest(self) -> Iterator[None]:
        """Within it no other process writes into the manifest; waits for it."""
        with self._one_line:
            _lock(self._file, _MANIFEST, wait=True)
            try:
                yield
            finally:
                _unlock(self._file, _MANIFEST)

    def _is_there(self) -> bool:
        """Whether the open file is the one that others find in the folder."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        return False

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


_claims = cache(Locks)


@contextmanager
def locks_in(out: Path) -> Iterator[Locks]:
    """The claims in an output folder, ready to be taken; raises `UsageError` when nothing can be written there."""
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

    _place = Lock()  # a file has one position, from which it is locked, for all threads

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
            time.sleep(0.01)  # LK_LOCK would wait by seconds, and for ten of them at most
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
                # The system knows processes, not threads: two, each with one thread at the door and one at the
                # manifest, look to it as if they waited for each other for ever.
                if error.errno != errno.EDEADLK:
                    return error.errno in _NO_LOCKS and not whole  # without locks nobody knows to be the last
            else:
                return True
            time.sleep(0.001)

    def _unlock(file: int, byte: int) -> None:
        with suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_UN, 1, byte)
