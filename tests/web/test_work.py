"""Work in a thread: what it tells, how it stops, and what it raises."""

import threading
import time

import pytest

from bringback.web.work import Work


def test_words_are_told_as_they_change_until_the_work_is_complete():
    go = threading.Event()

    def work(tell):
        tell(0.0, "first")
        go.wait(10)
        tell(0.5, "second")
        time.sleep(0.5)

    made, told = Work(work), []
    for share, what in made.words():
        told.append((share, what))
        go.set()
    assert told == [(0.0, "first"), (0.5, "second")] and made.complete


def test_a_stop_does_not_wait_for_the_work():
    asked, go = threading.Event(), threading.Event()
    after = []

    def work(tell):
        tell(0.1, "slow")
        asked.set()
        go.wait(10)
        tell(0.2, "next tile")
        after.append("went on")

    made = Work(work)
    assert asked.wait(10)
    begin = time.perf_counter()
    made.stop()
    assert list(made.words()) == [] or time.perf_counter() - begin < 1
    assert time.perf_counter() - begin < 1 and not made.complete
    go.set()
    time.sleep(0.1)
    assert after == []


def test_what_it_raises_is_raised_to_who_listens():
    def work(tell):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(Work(work).words())
