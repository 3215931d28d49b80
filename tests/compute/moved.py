"""What tests of moves look at: a server with all that a server can have, and whether all of it came along."""

from __future__ import annotations

from typing import Any

from pilvi.compute.tables.hosts import ComputeHost
from pilvi.placement.tables import Allocation
from tests.compute.conftest import Nova
from tests.compute.hosts import server_row


def full(nova: Nova, **more: Any) -> tuple[str, str]:
    """A server on node1 with a card and a volume, and the volume."""
    volume, image = nova.volume(), nova.image()
    disks = [
        {"boot_index": 0, "uuid": image, "source_type": "image", "destination_type": "local"},
        {"uuid": volume, "source_type": "volume", "destination_type": "volume"},
    ]
    ref = nova.boot(imageRef=image, networks=[{"uuid": nova.network()}], block_device_mapping_v2=disks, person="admin", host="node1", **more)
    nova.driver.world.written[ref, "root"] = "a letter"
    return ref, volume


def exports(nova: Nova, volume: str) -> list[str]:
    """For which hosts the volume is exported."""
    return sorted(nova.cloud.program.parts["block_storage.driver"].world.volumes[volume].exports.values())


def claims_of(nova: Nova) -> dict[str, set[str]]:
    """Consumer -> hosts of which it has something."""

    def look(tx: Any) -> dict[str, set[str]]:
        names = {one.id: one.host for one in tx.all(ComputeHost)}
        found: dict[str, set[str]] = {}
        for one in tx.all(Allocation):
            found.setdefault(one.consumer, set()).add(names[one.provider])
        return found

    return nova.cloud.program.db.run(look, write=False)


def whole(nova: Nova, ref: str, volume: str, host: str, was: dict[str, Any]) -> None:
    """The server is on this host with all that it had, and nothing of it is anywhere else."""
    nova.idle()
    shown = nova.show(ref)
    assert (shown["OS-EXT-SRV-ATTR:host"], shown["addresses"]) == (host, was["addresses"])
    assert claims_of(nova) == {ref: {host}}
    (port,) = nova.ports()
    assert (port["binding:host_id"], port["status"]) == (host, "ACTIVE")
    nova.wait(lambda: exports(nova, volume) == [host])
    assert nova.volume_status(volume) == "in-use"
    worlds = nova.driver.world.others
    for name, world in worlds.items():
        assert (ref in world.machines) == (ref in world.disks) == (name == host), name
        assert not (world.offered or world.arrivals or world.halves or world.moving), name
    assert worlds[host].written == {(ref, "root"): "a letter"}
    wires = nova.cloud.program.parts["network.world"]
    nova.wait(lambda: {name for name, wiring in wires.items() if port["id"] in wiring.ports} == {host})
    row = server_row(nova, ref)
    assert (row.other_host, row.new_flavor, row.old_flavor, row.task_state) == (None, None, None, None)


def nothing_is_left(nova: Nova, volume: str) -> None:
    nova.idle()
    for name, world in nova.driver.world.others.items():
        assert (world.machines, world.disks) == ({}, {}), name
    assert (nova.ports(), nova.claims(), nova.volume_status(volume)) == ([], 0, "available")
    nova.wait(lambda: exports(nova, volume) == [])
