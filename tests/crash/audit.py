"""The audit: whether rows, machines, wires and disks agree, and nothing is held that nobody has."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pilvi import findings
from pilvi.block_storage.tables.volumes import Attachment, Backup, Snapshot, Volume
from pilvi.compute.drivers import VolumeDisk
from pilvi.compute.drivers.fake_world import FakeWorld
from pilvi.compute.logic import flavor_specs
from pilvi.compute.tables.migrations import ENDED, Migration
from pilvi.compute.tables.servers import Device, Server
from pilvi.image.tables import Image
from pilvi.kernel.db import Transaction
from pilvi.network.drivers.fake import FakeWiring
from pilvi.network.tables import Allocation as Address
from pilvi.network.tables import Port, PortGroup, Router
from pilvi.placement.tables import Allocation as Room
from pilvi.placement.tables import Consumer, Stock
from tests.crash.lives import Watched

RESTING = ("active", "stopped", "paused", "suspended", "rescued", "resized", "shelved", "shelved_offloaded", "soft-delete", "error")
ON_HOST = ("active", "stopped", "paused", "suspended", "rescued", "resized", "shelved", "soft-delete")
VOLUME_RESTING = ("available", "in-use", "error", "error_extending", "error_deleting", "error_restoring", "error_attaching")


def settled(life: Watched, *, within: float = 15.0) -> None:
    """Wait until no workflow is left and the audit finds nothing; AssertionError with what it finds else."""
    life.idle(within)
    defects = life.defects()
    assert not defects, "\n".join(defects)
    try:
        life.wait(lambda: not life.works() and not list(troubles(life)), within=4.0)
    except AssertionError:
        found = list(troubles(life))
        assert not found, "\n".join(found)
        life.idle(within)


def troubles(life: Watched) -> list[str]:
    """All that is wrong, in sentences."""
    told = findings.check(life.program)["findings"]
    found = [f"pilvi check: {one['sentence']}" for one in told]
    with life.program.db.transaction(write=False) as tx:
        found += itertools.chain(
            _servers(tx), _rooms(tx), _ports(tx), _volumes(tx), _devices(tx), _images(tx), _machines(tx, life), _wires(tx, life), _disks(tx, life)
        )
    return found


def _living(tx: Transaction) -> dict[str, Server]:
    return {one.id: one for one in tx.all(Server, Server.c.deleted_at.is_(None))}


def _servers(tx: Transaction) -> Iterator[str]:
    for one in _living(tx).values():
        if one.task_state or one.vm_state not in RESTING:
            yield f"server {one.name} is stuck: {one.vm_state}/{one.task_state}"
        if one.vm_state == "error" and not (one.fault and one.fault.message):
            yield f"server {one.name} is in error without a reason"
        if one.vm_state in ON_HOST and not one.host:
            yield f"server {one.name} is {one.vm_state} on no host"
        if one.other_host and one.old_flavor is None:
            yield f"server {one.name} is still said to go to {one.other_host}"
        if one.vm_state == "shelved_offloaded" and one.host:
            yield f"server {one.name} is offloaded, yet on {one.host}"


def _rooms(tx: Transaction) -> Iterator[str]:
    """What each server and each unspoken resize holds in placement, and the sums."""
    held: dict[str, dict[str, int]] = {}
    sums: Counter[tuple[str, str]] = Counter()
    for row in tx.all(Room):
        held.setdefault(row.consumer, {})[row.resource_class] = row.used
        sums[row.provider, row.resource_class] += row.used
    wanted: dict[str, dict[str, int]] = {}
    for one in _living(tx).values():
        if one.host:
            wanted[one.id] = flavor_specs.resources(one.flavor, on_volume=not one.image_id)
        if one.old_flavor is not None:
            migration = tx.one(Migration, Migration.c.server_id == one.id, Migration.c.status == "finished")
            if migration is not None:
                wanted[migration.uuid] = flavor_specs.resources(one.old_flavor, on_volume=not one.image_id)
    for consumer in held.keys() | wanted.keys():
        if held.get(consumer) != wanted.get(consumer):
            yield f"claim of {consumer} ({_who(tx, consumer)}): holds {held.get(consumer)}, shall hold {wanted.get(consumer)}"
    for stock in tx.all(Stock):
        if stock.used != sums[stock.provider, stock.resource_class]:
            yield f"{stock.resource_class}: {stock.used} are noted as used, {sums[stock.provider, stock.resource_class]} are"
    for consumer in tx.all(Consumer):
        if consumer.uuid not in held:
            yield f"consumer {consumer.uuid} holds nothing"
    for migration in tx.all(Migration):
        if migration.status not in ("finished", *ENDED):
            server = _living(tx).get(migration.server_id)
            if server is not None:
                yield f"migration of {server.name} is stuck: {migration.status}"


def _who(tx: Transaction, consumer: str) -> str:
    """What a consumer of room is."""
    server, migration = tx.get(Server, consumer), tx.one(Migration, Migration.c.uuid == consumer)
    if server is not None:
        return f"{server.name}, {'deleted' if server.deleted_at else server.vm_state}, on {server.host}"
    return f"{migration.status} migration of {migration.server_id}" if migration is not None else "nobody that is known"


def _ports(tx: Transaction) -> Iterator[str]:
    servers = _living(tx)
    ports = {one.id: one for one in tx.all(Port)}
    for port in ports.values():
        if not port.device_owner.startswith("compute:"):
            continue
        server = servers.get(port.device_id)
        if server is None:
            yield f"port {port.id} is of the server {port.device_id}, which is not there"
        elif port.id not in {nic.port_id for nic in server.nics}:
            yield f"port {port.id} is noted as of {server.name}, which does not know it"
    for server in servers.values():
        for nic in server.nics:
            port = ports.get(nic.port_id)
            if port is None or port.device_id != server.id:
                yield f"{server.name} has the port {nic.port_id}, which is not its own"
            elif port.host_id != (server.host or ""):
                yield f"port {port.id} is bound to '{port.host_id}', {server.name} is on {server.host}"
            elif server.vm_state == "active" and port.status != ("ACTIVE" if port.admin_state_up else "DOWN"):
                yield f"port {port.id} of {server.name} is {port.status}"
    for address in tx.all(Address):
        if address.port_id not in ports:
            yield f"address {address.address} is held by the port {address.port_id}, which is not there"
    for group in tx.all(PortGroup):
        if group.port_id not in ports:
            yield f"a security group holds the port {group.port_id}, which is not there"


def _volumes(tx: Transaction) -> Iterator[str]:
    servers = _living(tx)
    volumes = {one.id: one for one in tx.all(Volume)}
    devices = {one.attachment_id: one for one in tx.all(Device) if one.attachment_id}
    by_volume: dict[str, list[Attachment]] = {}
    for row in tx.all(Attachment):
        by_volume.setdefault(row.volume_id, []).append(row)
        device = devices.get(row.id)
        if row.server_id not in servers:
            yield f"attachment {row.id} is for the server {row.server_id}, which is not there"
        elif device is None:
            yield f"attachment {row.id} is not known to its server, or is one too many"
        if row.volume_id not in volumes:
            yield f"attachment {row.id} is of the volume {row.volume_id}, which is not there"
    for one in volumes.values():
        offloaded = any(
            row.server_id in servers and servers[row.server_id].vm_state in ("shelved_offloaded", "error") for row in by_volume.get(one.id, [])
        )
        if one.status not in VOLUME_RESTING and not (one.status in ("reserved", "attaching") and offloaded):
            yield f"volume {one.name or one.id} is stuck: {one.status}"
        if one.status == "in-use" and one.id not in by_volume:
            yield f"volume {one.name or one.id} is in use by nobody"
        if one.status == "available" and one.id in by_volume:
            yield f"volume {one.name or one.id} is available, but attached"
        if one.copy_id or one.refill_image_id or one.restored_from:
            yield f"volume {one.name or one.id} still says that it is being copied or filled"
    for snapshot in tx.all(Snapshot):
        if snapshot.status not in ("available", "error", "error_deleting"):
            yield f"snapshot {snapshot.id} is stuck: {snapshot.status}"
    for backup in tx.all(Backup):
        if backup.status not in ("available", "error", "error_deleting"):
            yield f"backup {backup.id} is stuck: {backup.status}"


def _devices(tx: Transaction) -> Iterator[str]:
    servers = _living(tx)
    attachments = {one.id for one in tx.all(Attachment)}
    volumes = {one.id for one in tx.all(Volume)}
    for device in tx.all(Device, Device.c.destination == "volume"):
        server = servers.get(device.server_id)
        if server is None:
            yield f"a disk of the deleted server {device.server_id} is still noted"
        elif device.attachment_id and device.attachment_id not in attachments:
            yield f"{server.name} has the attachment {device.attachment_id}, which is not there"
        elif server.vm_state in ON_HOST and (device.state != "attached" or device.volume_id not in volumes or not device.connection):
            yield f"{server.name} has the disk {device.device} as {device.state}, connection {device.connection}"


def _images(tx: Transaction) -> Iterator[str]:
    shelved = {one.shelved_image.id for one in _living(tx).values() if one.shelved_image is not None}
    for image in tx.all(Image):
        if (image.name or "").endswith("-shelved") and image.id not in shelved:
            yield f"image {image.name} keeps the disk of no server"
        if image.status not in ("active", "deactivated", "queued") or image.importing or image.writer:
            yield f"image {image.name} is stuck: {image.status}"
        if image.status == "queued" and not image.failed_import:
            yield f"image {image.name} waits for data that will not come"


def _machines(tx: Transaction, life: Watched) -> Iterator[str]:
    for host, world in life.world.hosts().items():
        yield from _machines_on(tx, host, world)


def _machines_on(tx: Transaction, host: str, world: FakeWorld) -> Iterator[str]:
    servers = _living(tx)
    rows = tx.all(Device)
    with world.lock:
        for machine_id in world.machines.keys() | world.disks.keys():
            server = servers.get(machine_id)
            if server is None or host not in (server.host, server.other_host):
                yield f"machine {machine_id} is on {host} for {'no server' if server is None else server.name + ', which is not there'}"
        for machine_id in world.halves.keys() | world.arrivals.keys() | world.moving.keys() | world.aborted | world.hurried:
            yield f"a move of {machine_id} is under way on {host}, and nobody works on it"
        for machine_id in world.offered:
            machine = world.machines.get(machine_id)
            if machine is None or machine.since:  # a host that could not withdraw them does so when the machine starts, or goes
                yield f"the disks of machine {machine_id} are offered by {host}"
        for machine_id, key in world.written:
            if machine_id not in world.machines and machine_id not in world.disks:
                yield f"what {machine_id} wrote on {key} is on {host}"
        for server in servers.values():
            if server.vm_state not in ON_HOST or server.host != host:
                continue
            machine = world.machines.get(server.id)
            if machine is None:
                yield f"{server.name} is {server.vm_state} and has no machine"
                continue
            if machine.power != server.power:
                yield f"{server.name} shall be {server.power}, its machine is {machine.power}"
            if set(machine.nics) != {nic.port_id for nic in server.nics}:
                yield f"the machine of {server.name} has the cards {sorted(machine.nics)}, not {[nic.port_id for nic in server.nics]}"
            plugged = {disk.key for disk in machine.disks.values() if isinstance(disk.source, VolumeDisk)}
            volumes = {one.volume_id for one in rows if one.server_id == server.id and one.destination == "volume"}
            if {key for key in plugged if key != "root"} - volumes or len(plugged) != len(volumes):
                yield f"the machine of {server.name} has the volumes {sorted(plugged)}, not {sorted(volumes)}"
            if (machine.wish.vcpus, machine.wish.memory_mib) != (server.vcpus, server.memory_mib):
                yield f"the machine of {server.name} has another size than its server"
            generations = {name.rpartition(".")[2] for name in world.disks.get(server.id, {}) if name.startswith("root")}
            if generations - {str(server.generation)}:
                yield f"the root disks of {server.name} on {host} are {generations}, its generation is {server.generation}"
        if world.snapshots:
            yield f"snapshots lie about on {host}: {sorted(world.snapshots)}"


def _wires(tx: Transaction, life: Watched) -> Iterator[str]:
    for host, wiring in life.world.wires.items():
        yield from _wires_on(tx, host, wiring)


def _wires_on(tx: Transaction, host: str, wiring: FakeWiring) -> Iterator[str]:
    rows = tx.all(Port, Port.c.host_id == host)
    bound = {one.id for one in rows if not one.device_owner.startswith("network:")}
    if set(wiring.ports) - bound:
        yield f"ports are plugged on {host} that should not be: {sorted(set(wiring.ports) - bound)}"
    there = [one for one in _living(tx).values() if one.host == host]
    running = {nic.port_id for one in there if one.vm_state in ("active", "rescued", "resized") for nic in one.nics}
    if running - set(wiring.ports):
        yield f"ports of running servers are not plugged on {host}: {sorted(running - set(wiring.ports))}"
    for port in rows:
        plugged = wiring.ports.get(port.id)
        if plugged is not None and {one.address for one in plugged.fixed_ips} != {one.ip_address for one in port.fixed_ips}:
            yield f"port {port.id} is plugged with other addresses than it has"
    dhcp = {one.network_id for one in rows if one.device_owner == "network:dhcp"}
    if set(wiring.dhcp) != dhcp:
        yield f"DHCP is served on {host} for {sorted(wiring.dhcp)}, not for {sorted(dhcp)}"
    networks = {one.network_id for one in rows}
    if set(wiring.segments) != networks:
        yield f"{host} has the networks {sorted(wiring.segments)}, not {sorted(networks)}"
    routers = {one.id for one in tx.all(Router, Router.c.host == host)}
    if set(wiring.routers) != routers:
        yield f"{host} has the routers {sorted(wiring.routers)}, not {sorted(routers)}"


def _disks(tx: Transaction, life: Watched) -> Iterator[str]:
    world = life.world.volumes
    rows = {one.id: one for one in tx.all(Volume)}
    attachments = {one.id: one for one in tx.all(Attachment)}
    snapshots = {one.id: one for one in tx.all(Snapshot)}
    with world.lock:
        for name, volume in world.volumes.items():
            row = rows.get(name)
            if row is None or not row.host:
                yield f"volume {name} lies in the back end, but nobody has it"
                continue
            if volume.size_gib != row.size and row.status in ("available", "in-use"):
                yield f"volume {name} has {volume.size_gib} GiB, not {row.size}"
            for attachment in volume.exports:
                if attachment not in attachments:
                    yield f"volume {name} is exported for {attachment}, which is not there"
            for snapshot in volume.snapshots:
                if snapshot not in snapshots:
                    yield f"snapshot {snapshot} lies in the back end, but nobody has it"
        for row in rows.values():
            if row.status in ("available", "in-use") and row.id not in world.volumes:
                yield f"volume {row.id} is {row.status}, but not in the back end"
        for row in snapshots.values():
            if row.status == "available" and row.id not in world.volumes[row.volume_id].snapshots:
                yield f"snapshot {row.id} is available, but not in the back end"
        for row in attachments.values():
            if row.status == "attached" and row.connection and row.id not in world.volumes[row.volume_id].exports:
                yield f"attachment {row.id} is attached, but not exported"
        copies = {one.name for one in Path(world.folder.name).iterdir()} if world.folder else set()
    kept = {one.copy_id for one in tx.all(Backup)}
    wanted = {one.copy_id for one in tx.all(Backup) if one.status == "available"}
    if copies - kept or wanted - copies:
        yield f"copies in the back end: {sorted(copies)}; backups: {sorted(wanted)}"
