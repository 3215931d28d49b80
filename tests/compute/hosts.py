"""More hosts in one process: each with its compute and network agents, in a world that reaches the others'."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pilvi.compute import agent as compute_agent
from pilvi.compute.drivers.fake import FakeHypervisor
from pilvi.compute.drivers.fake_world import FakeWorld
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import Server
from pilvi.network.drivers.fake import FakeWiring
from pilvi.network.roles import serve_network
from tests.compute.conftest import Nova


@dataclass
class Host:
    """A host beside the one that the program itself is."""

    nova: Nova
    name: str
    driver: FakeHypervisor
    stops: list[Callable[[], None]] = field(default_factory=list)

    @property
    def world(self) -> FakeWorld:
        return self.driver.world

    @property
    def machines(self) -> dict[str, Any]:
        return self.driver.world.machines

    @property
    def wires(self) -> FakeWiring:
        """What lies on it of networks."""
        return self.nova.cloud.program.parts["network.world"][self.name]

    def start(self) -> Host:
        """Serve its agents."""
        self.stops = [serve_network(self.nova.cloud.program, host=self.name)]
        self.stops.append(compute_agent.serve(self.nova.cloud.program, host=self.name, driver=self.driver))
        return self

    def stop(self) -> None:
        """Its agents die; what ran there runs on."""
        while self.stops:
            self.stops.pop()()


def add_host(nova: Nova, name: str, **size: Any) -> Host:
    """One more host, once the cloud knows it."""
    world = FakeWorld(others=nova.driver.world.others)
    host = Host(nova, name, FakeHypervisor(name, world=world, **size)).start()
    nova.wait(lambda: row(nova, name) is not None)
    return host


def row(nova: Nova, host: str) -> ComputeHost | None:
    """A host as the database has it."""
    return nova.cloud.program.db.run(lambda tx: tx.get(ComputeHost, host), write=False)


def server_row(nova: Nova, ref: str) -> Server:
    found = nova.cloud.program.db.run(lambda tx: tx.get(Server, ref), write=False)
    assert found is not None
    return found


def force_down(nova: Nova, host: str, down: bool = True) -> None:
    """Say by the API that the host is down, or that it is not."""
    (service,) = nova.get("/compute/v2.1/os-services", person="admin", binary="nova-compute", host=host).json()["services"]
    told = nova.put(f"/compute/v2.1/os-services/{service['id']}", {"forced_down": down}, person="admin")
    assert told.status == 200, told


def migrations(nova: Nova, ref: str) -> list[tuple[str, str]]:
    """Kind and status of the server's migrations, the newest first."""
    told = nova.get("/compute/v2.1/os-migrations", person="admin", instance_uuid=ref).json()["migrations"]
    return [(one["migration_type"], one["status"]) for one in told]


def last_action(nova: Nova, ref: str, action: str) -> dict[str, Any]:
    """The newest action of that name, with its events."""
    told = nova.get(f"/compute/v2.1/servers/{ref}/os-instance-actions", person="admin").json()["instanceActions"]
    found = next(one for one in told if one["action"] == action)
    shown = nova.get(f"/compute/v2.1/servers/{ref}/os-instance-actions/{found['request_id']}", person="admin")
    return shown.json()["instanceAction"]


def host_of(nova: Nova, ref: str) -> str:
    return nova.show(ref)["OS-EXT-SRV-ATTR:host"]


def settle(nova: Nova) -> None:
    """Wait until no workflow is left, and the next heartbeats have been heard."""
    nova.idle()
    time.sleep(0.01)
