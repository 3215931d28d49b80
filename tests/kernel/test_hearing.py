"""Hearing: silence counts only while others could be heard."""

from __future__ import annotations

import pytest

from pilvi.kernel import clock
from pilvi.kernel.hearing import Hearing


class Time:
    now = 1000.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "now", lambda: time.now)
    return time


def beat(hearing: Hearing, time: Time, until: float) -> None:
    while time.now < until:
        time.now += 10
        hearing.heard()


def test_who_always_hears_counts_every_second(time: Time) -> None:
    hearing = Hearing(10)
    beat(hearing, time, 1200)
    time.now += 5
    assert hearing.since(60) == 1145


def test_the_time_of_an_outage_does_not_count(time: Time) -> None:
    hearing = Hearing(10)
    beat(hearing, time, 1100)
    time.now = 1165
    assert hearing.since(60) == 1165 - 60 - 65, "it lasts still"
    hearing.heard()
    assert hearing.since(60) == 1165 - 60 - 65
    beat(hearing, time, 1215)
    assert hearing.since(60) == 1215 - 60 - 65, "of the sixty seconds some were before it"
    beat(hearing, time, 1225)
    assert hearing.since(60) == 1165, "it is long over"


def test_several_outages(time: Time) -> None:
    hearing = Hearing(10)
    for start in (1100, 1200, 1300):
        beat(hearing, time, start)
        time.now = start + 60
        hearing.heard()
    assert hearing.since(60) == 1360 - 60 - 60 - 60, "the last two, and what lies between"


def test_short_gaps_are_nothing(time: Time) -> None:
    hearing = Hearing(10)
    beat(hearing, time, 1100)
    time.now = 1129
    hearing.heard()
    assert hearing.since(60) == 1069


def test_the_time_in_which_the_cloud_did_not_run_does_not_count(time: Time) -> None:
    hearing = Hearing(10)
    hearing.resumed(400)
    assert hearing.since(60) == 340
    beat(hearing, time, 1030)
    assert hearing.since(60) == 370, "who was heard of in the last half minute before it"
    beat(hearing, time, 1070)
    assert hearing.since(60) == 1010
    hearing = Hearing(10)
    hearing.resumed(1065)
    assert hearing.since(60) == 1010, "others were there, and heard"
