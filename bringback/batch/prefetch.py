"""Reads ahead and writes behind in threads while photos are processed, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any, Protocol, TypeVar


class Work(Protocol):
    """An item to process; it goes on to the next step only while `entry["status"]` is "done"."""

    entry: dict[str, Any]


W = TypeVar("W", bound=Work)


def overlapped(
    works: Sequence[W],
    read: Callable[[W], None],
    work: Callable[[Sequence[W]], None],
    write: Callable[[W], None],
    *,
    together: int,
    alone: Callable[[W], bool],
) -> Generator[W, None, None]:
    """Yield the items in order, each after it was read, processed and written.

    `read` and `write` run in one thread each while `work` processes up to `together` items; as many are read ahead, and
    as many may wait to be written. While an item with `alone(item)` is in memory, no other is read or written. Failures
    must be recorded in the entry; an exception ends the loop after pending writes are finished.
    """
    reading, writing = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(1, "write")
    waiting = deque(works)
    ahead: deque[tuple[W, Future[None]]] = deque()
    behind: deque[tuple[W, Future[None] | None]] = deque()

    gate = Event()  # closed while an item that must be alone has been read and not yet written
    gate.set()

    def read_one(one: W) -> None:
        gate.wait()
        read(one)
        if one.entry["status"] == "done" and alone(one):
            gate.clear()

    def fetch() -> None:
        while waiting and len(ahead) < together:
            one = waiting.popleft()
            ahead.append((one, reading.submit(read_one, one)))

    def finished(most: int) -> Iterator[W]:
        """Yield written items; waits until at most `most` others are still to be written."""
        while behind and (len(behind) > most or behind[0][1] is None or behind[0][1].done()):
            one, future = behind.popleft()
            if future is not None:
                future.result()
            yield one

    try:
        while waiting or ahead:
            group: list[W] = []
            large = False
            while len(group) < together and not large:
                fetch()
                if not ahead:
                    break
                one, future = ahead[0]
                future.result()
                if one.entry["status"] != "done":
                    if group:
                        break  # keep the order: process the group before it first
                    ahead.popleft()
                    behind.append((one, None))
                    yield from finished(together)
                    continue
                if group and alone(one):
                    break
                large = alone(one)
                ahead.popleft()
                group.append(one)
            if not group:
                continue
            yield from finished(0 if large else together)
            fetch()
            work(group)
            for one in group:
                going_on = one.entry["status"] == "done"
                behind.append((one, writing.submit(write, one) if going_on else None))
            yield from finished(0 if large else together)
            if large:
                gate.set()
        yield from finished(0)
    finally:
        gate.set()
        reading.shutdown(cancel_futures=True)
        writing.shutdown()  # waits: processed items are still written, and they are few
