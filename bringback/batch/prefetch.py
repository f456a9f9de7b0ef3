"""Reading the next and writing the last while the present one is worked on, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any, Protocol, TypeVar


class Work(Protocol):
    """What goes through the steps. `entry["status"]` is "done" as long as it is to go on."""

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
    """Each of the works, in order, after it was read, worked on and written.

    `read` and `write` run in a thread each, beside `work`, which takes up to `together` of them; as many are read ahead
    and as many may wait to be written. One that is to be `alone`, once it is read, has nothing read or written beside
    it. What fails must say so in its entry; an exception ends everything, after what is being written is whole.
    """
    reading, writing = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(1, "write")
    waiting = deque(works)
    ahead: deque[tuple[W, Future[None]]] = deque()
    behind: deque[tuple[W, Future[None] | None]] = deque()

    gate = Event()  # open unless one that is to be alone has been read and is not yet written
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
        """Those that are written, and as many more as it takes to have at most `most` waiting for that."""
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
                        break  # in order: those before it come first
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
        writing.shutdown()  # what has been worked on is not lost; there are few
