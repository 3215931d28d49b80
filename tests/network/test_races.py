"""Ports that servers take while they are being deleted, or that two servers take at once: each knows what it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilvi import network as door
from pilvi.kernel.errors import NotFound
from pilvi.kernel.ids import new_id
from pilvi.kernel.testing import databases
from pilvi.kernel.testing.cloud import Cloud
from pilvi.network import PortDeleted
from pilvi.network.errors import PortInUse
from pilvi.network.service import SERVICE
from pilvi.network.settings import Settings
from pilvi.network.tables import Port
from tests.kernel.races import ROUNDS, Two, at_once, programs

PORTS = "/network/v2.0/ports"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with programs(tmp_path, [SERVICE], {"network": Settings}, network={"driver": "fake"}) as made:
        yield made


def make_port(cloud: Cloud) -> str:
    network = cloud.post("/network/v2.0/networks", {"network": {}}).json()["network"]["id"]
    return cloud.post(PORTS, {"port": {"network_id": network}}).json()["port"]["id"]


def adopt(cloud: Cloud, port: str) -> str:
    """The server that has the port now; "" when it could not have it."""
    server = new_id()
    try:
        cloud.program.db.run(lambda tx: door.adopt_port(cloud.program.system_context(tx), port, server))
    except (NotFound, PortInUse):
        return ""
    return server


def test_a_server_hears_of_its_port_that_is_deleted_in_the_moment_in_which_it_takes_it(two: Two) -> None:
    told: list[str] = []
    for cloud in two:
        cloud.program.events.hear(PortDeleted, lambda ctx, event: told.append(event.device_id))
    for _ in range(1 if databases.kind() == "sqlite" else 4 * ROUNDS):
        port = make_port(two[0])

        def act(cloud: Cloud, number: int, port: str = port) -> Any:
            return cloud.delete(f"{PORTS}/{port}").status if number % 2 else adopt(cloud, port)

        answers = at_once(two, act, times=1)
        assert {one for one in answers if isinstance(one, int)} <= {204, 404}
        servers = [one for one in answers if isinstance(one, str) and one]
        assert len(servers) <= 1, "one server has it"
        assert two[0].get(f"{PORTS}/{port}").status == 404
        assert set(servers) <= set(told), "the server whose port is gone was told"


def test_one_server_takes_a_port(two: Two) -> None:
    for _ in range(1 if databases.kind() == "sqlite" else ROUNDS):
        port = make_port(two[0])
        servers = [one for one in at_once(two, lambda cloud, _, port=port: adopt(cloud, port), times=1) if one]
        with two[1].program.db.transaction(write=False) as tx:
            row = tx.get(Port, port)
        assert row is not None
        assert servers == [row.device_id]
