"""A cluster of NATS servers as the bus: whichever of them dies, who was connected to it goes on with another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pilvi.kernel.agent import cast_to, remote, serve
from pilvi.kernel.bus import Bus
from pilvi.kernel.bus.connect import connect
from pilvi.kernel.config import BusSettings
from pilvi.kernel.errors import PilviError
from pilvi.kernel.testing.brokers import NatsNode
from tests.kernel.bus_rigs import until
from tests.kernel.test_bus import Observatory


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[NatsNode]]:
    made: list[NatsNode] = []
    with ExitStack() as running:
        for name in ("one", "two", "three"):
            made.append(running.enter_context(NatsNode(tmp_path / name, list(made))))
        yield made


@pytest.fixture
def buses(nodes: list[NatsNode]) -> Iterator[list[Bus]]:
    """Six connections: it is left to chance to which of the servers."""
    url = "nats://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    with ExitStack() as opened:
        made = [connect(BusSettings(url=url, prefix="c"), host=f"host{number}") for number in range(6)]
        for bus in made:
            opened.callback(bus.close)
        yield made


def test_any_server_of_the_cluster_may_die(nodes: list[NatsNode], buses: list[Bus]) -> None:
    served = [Observatory(f"host{number}") for number in range(3)]
    for bus, one in zip(buses, served):
        serve(bus, "sky", one, host=one.host)
        serve(bus, "told", one)

    def answers(bus: Bus, host: str) -> bool:
        try:
            return remote(bus, Observatory, "sky", host=host, timeout=5).where() == host
        except PilviError:
            return False

    def all_well() -> None:
        for bus in buses:
            for one in served:
                until(lambda bus=bus, one=one: answers(bus, one.host), 30)

    all_well()
    for number, node in enumerate(nodes):
        node.kill()
        began = time.monotonic()
        all_well()
        assert time.monotonic() - began < 30
        cast_to(buses[5], Observatory, "told", "note", str(number), everyone=True)
        for one in served:
            until(lambda one=one, number=number: one.told.count(str(number)) == 1, 10)
        node.start_again()
        all_well()
    assert [one.told for one in served] == [["0", "1", "2"]] * 3, "nobody heard anything twice"
