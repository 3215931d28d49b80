"""The bus contract: call, cast, fanout, hosts, errors, time-outs; the same for every bus driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from pilvi.kernel.agent import cast_to, remote, serve
from pilvi.kernel.bus import Bus
from pilvi.kernel.bus.local import LocalBus
from pilvi.kernel.errors import Conflict, HostError, Invalid, PilviError, Unavailable

BUSES: dict[str, Callable[[], Bus]] = {"local": LocalBus}


class Star(msgspec.Struct):
    name: str
    planets: dict[str, float] = {}


class Observatory:
    """What is served: it notes what it was told."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.told: list[str] = []
        self.hold = threading.Event()

    def where(self) -> str:
        return self.host

    def rename(self, star: Star, name: str, *, loud: bool = False) -> Star:
        return Star(name=name.upper() if loud else name, planets=star.planets)

    def note(self, word: str) -> None:
        self.told.append(word)

    def fail(self, kind: str) -> None:
        raise {"conflict": Conflict("in use"), "host": HostError("no disk", elsewhere=False), "defect": ZeroDivisionError("secret")}[kind]

    def wait(self) -> None:
        self.hold.wait(5)


@pytest.fixture(params=sorted(BUSES))
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    made = BUSES[request.param]()
    yield made
    made.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_call_carries_types_both_ways(bus: Bus) -> None:
    serve(bus, "sky", Observatory("north"), host="north")
    stub = remote(bus, Observatory, "sky")
    assert stub.rename(Star("vega", {"b": 1.5}), "lyrae", loud=True) == Star("LYRAE", {"b": 1.5})


def test_hosts_are_told_apart(bus: Bus) -> None:
    for host in ("north", "south"):
        serve(bus, "sky", Observatory(host), host=host)
    assert [remote(bus, Observatory, "sky", host=host).where() for host in ("south", "north", "south")] == ["south", "north", "south"]


def test_a_cast_goes_to_one_and_a_fanout_to_all(bus: Bus) -> None:
    north, south = Observatory("north"), Observatory("south")
    for one in (north, south):
        serve(bus, "sky", one, host=one.host)
    cast_to(bus, Observatory, "sky", "note", "to the south", host="south")
    cast_to(bus, Observatory, "sky", "note", "to all", everyone=True)
    until(lambda: len(south.told) == 2 and len(north.told) == 1)
    assert north.told == ["to all"]


def test_errors_come_back_as_themselves(bus: Bus) -> None:
    serve(bus, "sky", Observatory("north"))
    stub = remote(bus, Observatory, "sky")
    with pytest.raises(Conflict, match="in use"):
        stub.fail("conflict")
    with pytest.raises(HostError, match="no disk") as failed:
        stub.fail("host")
    assert failed.value.elsewhere is False


def test_a_defect_over_there_tells_nothing_of_itself(bus: Bus) -> None:
    serve(bus, "sky", Observatory("north"))
    with pytest.raises(PilviError) as failed:
        remote(bus, Observatory, "sky").fail("defect")
    assert "secret" not in failed.value.message


def test_nobody_there_and_no_answer_in_time_are_unavailable(bus: Bus) -> None:
    with pytest.raises(Unavailable):
        remote(bus, Observatory, "sky", timeout=0.2).where()
    slow = Observatory("north")
    serve(bus, "sky", slow)
    with pytest.raises(Unavailable):
        remote(bus, Observatory, "sky", timeout=0.05).wait()
    slow.hold.set()


def test_a_stopped_server_is_not_asked_any_more(bus: Bus) -> None:
    stop = serve(bus, "sky", Observatory("north"), host="north")
    stop()
    with pytest.raises(Unavailable):
        remote(bus, Observatory, "sky", host="north", timeout=0.2).where()


def test_wrong_methods_and_arguments_are_refused(bus: Bus) -> None:
    class Other:
        def where(self, much: int) -> str:
            return ""

        def vanish(self) -> None: ...

    serve(bus, "sky", Observatory("north"))
    with pytest.raises(Invalid, match="where"):
        remote(bus, Other, "sky").where(1)
    with pytest.raises(Invalid, match="vanish"):
        remote(bus, Other, "sky").vanish()
