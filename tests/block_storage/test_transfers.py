"""Transfers of an agent: what one fetched is not taken for there once it is gone, and what nobody wants any more is not kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.block_storage.jobs import Jobs
from pilvi.kernel.progress import DONE


class Fetching:
    """An agent that fetches one file, as slowly as it is let."""

    def __init__(self, folder: Path) -> None:
        self.place, self.count, self.go = folder / "v.i", 0, threading.Event()
        self.ended = threading.Event()
        self.jobs = Jobs(lambda subject: self.ended.set())

    def ask(self) -> str:
        return self.jobs.ask("v.i", "v", self._fetch).state

    def drop(self) -> None:
        self.jobs.forget("v.")
        self.place.unlink(missing_ok=True)

    def _fetch(self) -> None:
        self.count += 1
        assert self.go.wait(10)
        self.jobs.keep("v.i", self.place.touch)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Fetching]:
    one = Fetching(tmp_path)
    yield one
    one.go.set()


def test_what_was_fetched_and_dropped_is_fetched_anew(one: Fetching) -> None:
    assert one.ask() == "working"
    one.go.set()
    assert one.ended.wait(10)
    assert one.place.exists()
    one.drop()
    assert one.ask() == DONE.state
    assert (one.count, one.place.exists()) == (2, True)


def test_what_nobody_wants_any_more_is_not_kept(one: Fetching) -> None:
    assert one.ask() == "working"
    one.drop()
    one.go.set()
    assert one.ended.wait(10)
    assert not one.place.exists()


def test_who_asks_while_it_is_forgotten_is_told_to_ask_again(tmp_path: Path) -> None:
    busy, told = threading.Event(), []
    jobs = Jobs(lambda subject: None, threads=1)
    jobs.ask("a", "a", lambda: busy.wait(10))
    asking = threading.Thread(target=lambda: told.append(jobs.ask("b", "b", lambda: None).state))
    asking.start()
    time.sleep(0.05)
    jobs.forget("b")
    asking.join()
    busy.set()
    assert told == ["working"]
