"""Reading, working and writing side by side: order, bounds, failures, interruptions."""

import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from bringback.batch.prefetch import overlapped


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


def no(one):
    return False


def test_reading_and_writing_are_beside_the_caller_and_work_is_not():
    steps, caller = Steps(), threading.current_thread().name
    steps.run(works(6), 2)
    assert steps.threads["work"] == {caller}
    assert len(steps.threads["read"]) == len(steps.threads["write"]) == 1
    assert len(set().union(*steps.threads.values())) == 3


def test_the_next_is_read_and_the_last_is_written_while_one_is_worked_on():
    given, met = works(3), []
    read, worked, written = ([threading.Event() for _ in given] for _ in range(3))

    def work(group):
        (one,) = group
        if one.number == 1:  # waits for both of them, who do not wait for it
            met.extend([read[2].wait(5), written[0].wait(5)])
        worked[one.number].set()

    def write(one):
        if one.number == 1:
            met.append(worked[2].wait(5))
        written[one.number].set()

    list(overlapped(given, lambda one: read[one.number].set(), work, write, together=1, alone=no))
    assert met == [True, True, True]


def test_one_is_read_ahead_and_no_more():
    given, seen = works(6), []
    read = [threading.Event() for _ in given]

    def work(group):
        (one,) = group
        assert all(event.wait(5) for event in read[: one.number + 2])
        time.sleep(0.01)  # for more to be read, if they would
        seen.append((one.number, sum(event.is_set() for event in read)))

    list(overlapped(given, lambda one: read[one.number].set(), work, lambda one: None, together=1, alone=no))
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6)]


def test_failures_and_skips_keep_their_place_and_groups_stay_full():
    steps, given = Steps(), works(12)
    for number, failing in {0: "read", 3: "write", 4: "read", 5: "read", 9: "work", 11: "read"}.items():
        given[number].failing = failing
    assert steps.run(given, 3) == list(range(12))
    assert steps.groups == [[1, 2, 3], [6, 7, 8], [9, 10]]
    assert [number for step, number in steps.events if step == "write"] == [1, 2, 3, 6, 7, 8, 10]


@pytest.mark.parametrize("failing", ["read", "work", "write"])
@pytest.mark.parametrize("together", [1, 2])
def test_a_large_one_that_fails_does_not_keep_the_others_waiting(failing, together):
    steps, given = Steps(), works(6, large=(0, 2, 3))
    for number in (0, 2):
        given[number].failing = failing
    assert steps.run(given, together) == list(range(6))
    assert [number for step, number in steps.events if step == "read"] == list(range(6))


def test_nothing_is_read_or_written_beside_a_large_one():
    given, busy, met = works(8, large=(2, 5)), [], []

    def beside(one):
        busy.append(one)
        time.sleep(0.002)
        busy.remove(one)

    def work(group):
        if group[0].large:
            begin = len(busy)
            time.sleep(0.01)  # for others to begin, if they would
            met.append((begin, len(busy), len(group)))

    for together in (1, 3):
        list(overlapped(given, beside, work, beside, together=together, alone=lambda one: one.large))
    assert met == [(0, 0, 1)] * 4


def test_an_interruption_waits_for_what_is_being_written_and_writes_nothing_else():
    given, events = works(6), []
    begun, go_on = threading.Event(), threading.Event()

    def work(group):
        if group[0].number == 2:
            assert begun.wait(5)
            threading.Timer(0.02, go_on.set).start()
            raise KeyboardInterrupt
        events.append(("work", group[0].number))

    def write(one):
        if one.number == 1:
            begun.set()
            go_on.wait(5)
        events.append(("write", one.number))

    with pytest.raises(KeyboardInterrupt):
        list(overlapped(given, lambda one: None, work, write, together=1, alone=no))
    assert go_on.is_set() and [event for event in events if event[0] == "write"] == [("write", 0), ("write", 1)]
    assert [event for event in events if event[0] == "work"] == [("work", 0), ("work", 1)]


@pytest.mark.parametrize("step", ["read", "write"])
def test_an_exception_in_a_thread_reaches_the_caller(step):
    given, worked = works(30), []

    def raises(one):
        if one.number == 1:
            raise KeyboardInterrupt

    steps = {"read": lambda one: None, "write": lambda one: None, step: raises}
    with pytest.raises(KeyboardInterrupt):
        list(overlapped(given, steps["read"], worked.extend, steps["write"], together=1, alone=no))
    assert len(worked) == 1 if step == "read" else len(worked) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith((step, "read_", "write_"))]


@pytest.mark.parametrize("together", [1, 4])
def test_nothing_to_do_is_done_at_once(together):
    assert Steps().run([], together) == []
