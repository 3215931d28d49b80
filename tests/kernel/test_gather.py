"""Gathering: what is said one by one is done together, the last of each; one failure does not end it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from pilvi.kernel.errors import Unavailable
from pilvi.kernel.gather import Gather


class Deeds:
    """What was handed over, call by call."""

    def __init__(self, *, failing: int = 0) -> None:
        self.done: list[dict[str, int]] = []
        self.some = threading.Event()
        self._failing = failing

    def work(self, waiting: Mapping[str, int]) -> None:
        self.done.append(dict(waiting))
        self.some.set()
        if len(self.done) <= self._failing:
            raise Unavailable("not yet")


def test_all_that_came_within_a_moment_is_handed_over_once() -> None:
    deeds = Deeds()
    gather = Gather("test", 0.2, deeds.work)
    for number in range(100):
        gather.add(f"host-{number % 10}", number)
    gather.drop("host-3")
    assert deeds.some.wait(5)
    gather.stop()
    assert deeds.done == [{f"host-{number}": 90 + number for number in range(10) if number != 3}]


def test_a_failure_does_not_keep_the_next_from_being_done() -> None:
    deeds = Deeds(failing=1)
    gather = Gather("test", 0.01, deeds.work)
    gather.add("one", 1)
    assert deeds.some.wait(5)
    deeds.some.clear()
    gather.add("two", 2)
    assert deeds.some.wait(5)
    gather.stop()
    assert deeds.done == [{"one": 1}, {"two": 2}]


def test_nothing_is_done_once_it_was_stopped() -> None:
    deeds = Deeds()
    gather = Gather("test", 0.01, deeds.work)
    gather.stop()
    gather.add("one", 1)
    assert not deeds.some.wait(0.1)
