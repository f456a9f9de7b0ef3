"""Slow work in a thread of its own, so that the page can tell how far it is and stop waiting for it at once."""

import threading
from collections.abc import Callable, Iterator

from bringback.web.pipelines import Stopped

EVERY = 0.2  # seconds between two words to the browser
Tell = Callable[[float, str], None]  # called with the share that is done, 0 to 1, and what is at work


class Work:
    """`work(tell)` in a thread, from now on. After `stop`, the next `tell` raises `Stopped` in the thread."""

    def __init__(self, work: Callable[[Tell], None]) -> None:
        self.complete = False  # whether it went to its end
        self._told: tuple[float, str] | None = None
        self._error: Exception | None = None
        self._stopped, self._over = threading.Event(), threading.Event()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def stop(self) -> None:
        """Stop: `words` ends at once, the thread as soon as it can."""
        self._stopped.set()
        self._over.set()

    def words(self) -> Iterator[tuple[float, str]]:
        """What was told last, as often as that changes, until the work is over or stopped; raises its errors."""
        told = None
        while not self._over.wait(EVERY):
            if self._told and self._told != told:
                told = self._told
                yield told
        if self._error:
            raise self._error

    def _run(self, work: Callable[[Tell], None]) -> None:
        try:
            work(self._tell)
            self.complete = True
        except Stopped:
            pass
        except Exception as error:  # raised in `words`
            self._error = error
        finally:
            self._over.set()

    def _tell(self, share: float, what: str) -> None:
        if self._stopped.is_set():
            raise Stopped
        self._told = share, what
