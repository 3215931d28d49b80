"""A cloud with compute and all that stands below it, on fake drivers; images travel without a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilvi import identity, image
from pilvi.block_storage.service import SERVICE as BLOCK_STORAGE
from pilvi.block_storage.settings import Settings as BlockStorageSettings
from pilvi.compute.service import SERVICE as COMPUTE
from pilvi.compute.settings import Settings as ComputeSettings
from pilvi.compute.tables.flavors import Flavor
from pilvi.image.service import SERVICE as IMAGE
from pilvi.image.settings import Settings as ImageSettings
from pilvi.kernel.config import KernelSettings
from pilvi.kernel.testing.cloud import Cloud, Told
from pilvi.network.service import SERVICE as NETWORK
from pilvi.network.settings import Settings as NetworkSettings
from pilvi.placement.service import SERVICE as PLACEMENT
from pilvi.placement.settings import Settings as PlacementSettings

VERSION = "compute 2.96"
SERVERS = "/compute/v2.1/servers"
SERVICES = [PLACEMENT, IMAGE, NETWORK, BLOCK_STORAGE, COMPUTE]
SECTIONS: dict[str, type] = {
    "placement": PlacementSettings, "image": ImageSettings, "network": NetworkSettings, "block_storage": BlockStorageSettings,
    "compute": ComputeSettings,
}  # fmt: skip
AllSettings = msgspec.defstruct(
    "AllSettings", [(name, kind, msgspec.field(default_factory=kind)) for name, kind in SECTIONS.items()], bases=(KernelSettings,), kw_only=True
)


class Nova:
    """A cloud as a user of compute sees it."""

    def __init__(self, state: Path, **settings: Any) -> None:
        given: dict[str, Any] = {
            "compute": {"driver": "fake", "heartbeat": 0.2, "stop_timeout": 2.0},
            "network": {"driver": "fake"},
            "block_storage": {"driver": "fake"},
            "image": {"store": "memory"},
        }
        for name, more in settings.items():
            given[name] = {**given.get(name, {}), **more} if isinstance(more, dict) else more
        self.state = state
        self.cloud = Cloud(state, SERVICES, AllSettings, **given)

    def start(self) -> Nova:
        self.cloud.start()
        self.cloud.program.db.run(_flavors)
        self.wait(lambda: _hosts(self))
        return self

    def stop(self) -> None:
        self.cloud.stop()

    @property
    def driver(self) -> Any:
        return self.cloud.program.parts["compute.driver"]

    @property
    def machines(self) -> dict[str, Any]:
        return self.driver.world.machines

    def wait(self, condition: Callable[[], Any], *, within: float = 10.0) -> Any:
        return self.cloud.wait(condition, within=within)

    def get(self, path: str, **options: Any) -> Told:
        return self.cloud.get(path, **{"version": VERSION, **options})

    def post(self, path: str, body: Any = None, **options: Any) -> Told:
        return self.cloud.post(path, body, **{"version": VERSION, **options})

    def put(self, path: str, body: Any = None, **options: Any) -> Told:
        return self.cloud.put(path, body, **{"version": VERSION, **options})

    def delete(self, path: str, **options: Any) -> Told:
        return self.cloud.delete(path, **{"version": VERSION, **options})

    # -- things ----------------------------------------------------------------------------------------

    def image(self, **fields: Any) -> str:
        """An image of 1 MiB that everyone may use."""
        body = {"name": "small", "disk_format": "raw", "container_format": "bare", "visibility": "public", **fields}
        made = self.cloud.post("/image/v2/images", body, person="admin")
        assert made.status == 201, made
        put = self.cloud.put(
            f"/image/v2/images/{made.json()['id']}/file", data=bytes(1 << 20), person="admin",
            headers={"content-type": "application/octet-stream"},
        )  # fmt: skip
        assert put.status == 204, put
        return made.json()["id"]

    def network(self, cidr: str = "10.0.0.0/24", name: str = "private") -> str:
        made = self.cloud.post("/network/v2.0/networks", {"network": {"name": name}})
        assert made.status == 201, made
        ref = made.json()["network"]["id"]
        subnet = self.cloud.post("/network/v2.0/subnets", {"subnet": {"network_id": ref, "cidr": cidr, "ip_version": 4}})
        assert subnet.status == 201, subnet
        return ref

    def volume(self, **fields: Any) -> str:
        made = self.cloud.post("/volume/v3/volumes", {"volume": {"size": 1, **fields}})
        assert made.status == 202, made
        ref = made.json()["volume"]["id"]
        self.wait(lambda: self.volume_status(ref) == "available")
        return ref

    def volume_status(self, ref: str) -> str:
        told = self.cloud.get(f"/volume/v3/volumes/{ref}", person="admin")
        return told.json()["volume"]["status"] if told.status == 200 else "gone"

    def body(self, **fields: Any) -> dict[str, Any]:
        return {"name": "one", "flavorRef": "tiny", "networks": "none", **fields}

    def boot(self, status: str = "ACTIVE", *, person: str = "member", **fields: Any) -> str:
        """A server, once it has this status."""
        if "imageRef" not in fields:
            fields["imageRef"] = self.image()
        made = self.post(SERVERS, {"server": self.body(**fields)}, person=person)
        assert made.status == 202, made
        ref = made.json()["server"]["id"]
        if status:
            self.until(ref, status)
        return ref

    def show(self, ref: str, **options: Any) -> dict[str, Any]:
        told = self.get(f"{SERVERS}/{ref}", **{"person": "admin", **options})
        assert told.status == 200, told
        return told.json()["server"]

    def until(self, ref: str, status: str, *, within: float = 10.0) -> dict[str, Any]:
        """The server, once it has this status and nothing is being done to it."""
        seen: dict[str, Any] = {}

        def look() -> dict[str, Any] | None:
            seen.update(self.show(ref))
            return seen if seen["status"] == status and seen["OS-EXT-STS:task_state"] is None else None

        try:
            return self.wait(look, within=within)
        except AssertionError:
            raise AssertionError(f"{ref} is {seen.get('status')} ({seen.get('fault')}), not {status}") from None

    def act(self, ref: str, action: str, value: Any = None, *, answers: int = 202, **options: Any) -> Told:
        told = self.post(f"{SERVERS}/{ref}/action", {action: value}, **options)
        assert told.status == answers, told
        return told

    def gone(self, ref: str) -> None:
        """Wait until the server is not there any more."""
        self.wait(lambda: self.get(f"{SERVERS}/{ref}", person="admin").status == 404)

    def idle(self) -> None:
        """Wait until no workflow is left."""
        from pilvi.kernel.workflows.store import Work

        self.wait(lambda: self.cloud.program.db.run(lambda tx: tx.count(Work), write=False) == 0)

    def claims(self) -> int:
        """What is claimed in placement, in all."""
        from pilvi.placement.tables import Allocation

        return self.cloud.program.db.run(lambda tx: tx.count(Allocation), write=False)

    def ports(self) -> list[dict[str, Any]]:
        """The ports of servers."""
        found = self.cloud.get("/network/v2.0/ports", person="admin").json()["ports"]
        return [port for port in found if port["device_owner"].startswith("compute")]


def _flavors(tx: Any) -> None:
    sizes = (("tiny", 1, 512, 1), ("small", 2, 2048, 10), ("huge", 64, 1 << 20, 10), ("diskless", 1, 512, 0))
    for ref, vcpus, ram, disk in sizes:
        if tx.one(Flavor, Flavor.c.flavorid == ref) is None:
            tx.insert(Flavor(flavorid=ref, name=f"test.{ref}", vcpus=vcpus, ram=ram, disk=disk))


def _hosts(nova: Nova) -> int:
    from pilvi.compute.tables.hosts import ComputeHost

    return nova.cloud.program.db.run(lambda tx: tx.count(ComputeHost), write=False)


@pytest.fixture
def make_nova(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Nova]]:
    """Make clouds: each stands on the same state folder as the one before."""
    made: list[Nova] = []

    def upload(url: str, token: str, image_id: str, path: str) -> None:
        with open(path, "rb") as file:
            data = file.read()
        told = made[-1].cloud.put(
            f"/image/v2/images/{image_id}/file", data=data, person="admin", headers={"content-type": "application/octet-stream"}
        )
        assert told.status == 204, told

    def download(url: str, token: str, image_id: str, path: str | os.PathLike[str]) -> None:
        with open(path, "wb") as file:
            file.write(made[-1].cloud.get(f"/image/v2/images/{image_id}/file", person="admin").content)

    monkeypatch.setattr(image, "upload_file", upload)
    monkeypatch.setattr(image, "download_file", download)
    monkeypatch.setattr(identity, "endpoint", lambda *_, **__: "http://cloud.test/image")
    monkeypatch.setattr(identity, "agents_token", lambda *_, **__: "admin")

    def make(*, before: Callable[[Any], None] | None = None, **settings: Any) -> Nova:
        nova = Nova(tmp_path, **settings)
        if before is not None:
            before(nova.cloud.program)
        made.append(nova)
        return nova.start()

    yield make
    for nova in made:
        nova.stop()


@pytest.fixture
def nova(make_nova: Callable[..., Nova]) -> Nova:
    return make_nova()


@pytest.fixture
def other(nova: Nova) -> Iterator[Any]:
    """A second host beside node1: node2."""
    from tests.compute.hosts import add_host

    host = add_host(nova, "node2")
    yield host
    host.stop()
