"""Reading the next and writing the last while the present one is worked on, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
) -> Iterator[W]:
    """Each of the works, in order, after it was read, worked on and written.

    `read` and `write` run in a thread each, beside `work`, which takes up to `together` of them. One that is to be
    `alone`, once it is read, has nothing read or written beside it. What fails must say so in its entry; an exception
    ends everything, after what is being written is whole.
    """
    reading, writing = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(1, "write")
    waiting = deque(works)
    ahead: deque[tuple[W, Future[None]]] = deque()
    behind: deque[tuple[W, Future[None] | None]] = deque()

    def fetch(count: int) -> None:
        while waiting and len(ahead) < count:
            one = waiting.popleft()
            ahead.append((one, reading.submit(read, one)))

    def finished(*, wait: bool) -> Iterator[W]:
        while behind and (wait or behind[0][1] is None or behind[0][1].done()):
            one, future = behind.popleft()
            if future is not None:
                future.result()
            yield one

    try:
        while waiting or ahead:
            fetch(together)
            group: list[W] = []
            large = False
            while ahead and len(group) < together and not large:
                one, future = ahead[0]
                future.result()
                if one.entry["status"] != "done":
                    if group:
                        break  # in order: those before it come first
                    ahead.popleft()
                    behind.append((one, None))
                    yield from finished(wait=False)
                    fetch(together)
                    continue
                large = alone(one)
                if large and group:
                    break
                ahead.popleft()
                group.append(one)
            if not group:
                continue
            if large:
                yield from finished(wait=True)
            else:
                fetch(together)
            work(group)
            for one in group:
                going_on = one.entry["status"] == "done"
                behind.append((one, writing.submit(write, one) if going_on else None))
            yield from finished(wait=large)
        yield from finished(wait=True)
    finally:
        reading.shutdown(cancel_futures=True)
        writing.shutdown(cancel_futures=True)
