"""Reading, working and writing side by side: order, bounds, failures, interruptions."""

import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from bringback.overlap import overlapped


def works(count: int, failing: str = "", large: tuple[int, ...] = ()) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(number=number, entry={"status": "done"}, failing=failing, large=number in large)
        for number in range(count)
    ]


class Steps:
    """Notes what happens, and how many are read and not yet given back."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.threads: dict[str, set[str]] = {"read": set(), "work": set(), "write": set()}
        self.alive, self.most, self.groups = 0, 0, []

    def _note(self, step, one):
        self.threads[step].add(threading.current_thread().name)
        self.events.append((step, one.number))
        if one.failing == step:
            one.entry["status"] = "failed"

    def read(self, one):
        self.alive += 1
        self.most = max(self.most, self.alive)
        self._note("read", one)

    def work(self, group):
        self.groups.append([one.number for one in group])
        for one in group:
            self._note("work", one)

    def write(self, one):
        time.sleep(0.002)
        self._note("write", one)

    def run(self, all_of_them, together=1):
        numbers = []
        for one in overlapped(
            all_of_them, self.read, self.work, self.write, together=together, alone=lambda one: one.large
        ):
            self.alive -= 1
            numbers.append(one.number)
        return numbers


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("failing", ["", "read", "work", "write"])
def test_the_order_is_kept_whatever_fails(failing, together):
    steps, given = Steps(), works(20)
    for one in given[::3]:
        one.failing = failing
    assert steps.run(given, together) == list(range(20))
    written = [number for step, number in steps.events if step == "write"]
    assert written == [one.number for one in given if one.failing not in ("read", "work") or not failing]
    assert max(map(len, steps.groups)) <= together and (failing or max(map(len, steps.groups)) == together)
    assert steps.threads["read"].isdisjoint(steps.threads["work"]) and len(steps.threads["write"]) == 1


@pytest.mark.parametrize("together", [1, 4])
def test_few_are_in_memory_however_slow_the_writing(together):
    steps = Steps()
    steps.run(works(60), together)
    assert steps.most <= 3 * together + 1


@pytest.mark.parametrize("together", [1, 4])
def test_a_large_one_is_alone(together):
    steps = Steps()
    steps.run(works(12, large=(3, 4, 9)), together)
    for number in (3, 4, 9):
        assert [number] in steps.groups
        begin, end = (steps.events.index((step, number)) for step in ("work", "write"))
        assert steps.events[begin + 1 : end] == []
        assert not [event for event in steps.events[:begin] if event[0] == "read" and event[1] > number]


def test_an_interruption_lets_the_writing_end_and_begins_nothing_more():
    steps, given = Steps(), works(10)

    def work(group):
        if group[0].number == 3:
            raise KeyboardInterrupt
        steps.work(group)

    with pytest.raises(KeyboardInterrupt):
        list(overlapped(given, steps.read, work, steps.write, together=1, alone=lambda one: False))
    written = [number for step, number in steps.events if step == "write"]
    told = list(steps.events)
    time.sleep(0.02)
    assert steps.events == told and written == [0, 1, 2][: len(written)] and max(n for _, n in told) <= 5


def test_who_stops_listening_ends_it():
    steps, given = Steps(), works(50)
    with closing(overlapped(given, steps.read, steps.work, steps.write, together=1, alone=lambda one: False)) as some:
        next(some)
    told = len(steps.events)
    time.sleep(0.02)
    assert len(steps.events) == told < 30
