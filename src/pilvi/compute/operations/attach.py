"""Attaching: volumes and cards of a server that is there already."""

from __future__ import annotations

from typing import Any

from pilvi import network
from pilvi.compute.logic.block_devices import next_name
from pilvi.compute.operations import actions
from pilvi.compute.operations.servers import guard
from pilvi.compute.tables.servers import Device, Server, ServerNic
from pilvi.compute.workflows.attach_interface import AttachInterface, DetachInterface
from pilvi.compute.workflows.attach_volume import AttachVolume, DetachVolume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from pilvi.kernel.ids import new_id


def volumes(ctx: Context, server: Server) -> list[Device]:
    """The volumes of the server, in the order of their names."""
    found = ctx.db.all(Device, Device.c.server_id == server.id, Device.c.destination == "volume", Device.c.volume_id != "")
    return sorted(found, key=lambda one: (len(one.device), one.device))


def volume(ctx: Context, server: Server, volume_id: str) -> Device:
    """The server's hold on one volume; NotFound when it has none."""
    found = ctx.db.one(Device, Device.c.server_id == server.id, Device.c.volume_id == volume_id)
    if found is None:
        raise NotFound(f"Instance {server.id} is not attached to volume {volume_id}.")
    return found


def attach_volume(ctx: Context, server: Server, volume_id: str, device: str, tag: str, delete_on_termination: bool) -> Device:
    """Reserve the volume for the server and begin to attach it."""
    from pilvi import block_storage

    guard(ctx, server, "attach_volume")
    found = block_storage.get(ctx, volume_id)
    mine = ctx.db.all(Device, Device.c.server_id == server.id)
    if any(one.volume_id == volume_id for one in mine):
        raise Conflict(f"Invalid volume: volume {volume_id} is attached to instance {server.id} already.")
    if found.status != "available" and not (found.multiattach and found.status == "in-use"):
        raise Invalid(f"Invalid volume: Volume {volume_id} status must be available or in-use, but is {found.status}.")
    if tag and server.vm_state in ("shelved", "shelved_offloaded"):
        raise Conflict("Tagged volume attachment is not supported for shelved-offloaded instances.")
    bus = server.image.properties.get("hw_disk_bus", "virtio")
    name = device if device.startswith("/dev/") or not device else f"/dev/{device}"
    if name and any(one.device == name for one in mine):
        raise Conflict(f"The supplied device path ({name}) is in use.")
    row = ctx.db.insert(
        Device(
            id=new_id(), server_id=server.id, source="volume", destination="volume", device=name or next_name(mine, bus), bus=bus,
            size=found.size_gib, volume_id=volume_id, delete_on_termination=delete_on_termination, tag=tag, state="reserved",
            attachment_id=block_storage.reserve(ctx, volume_id, server.id), created_at=clock.now(),
        )
    )  # fmt: skip
    actions.begin(ctx, server, "attach_volume")
    ctx.start(AttachVolume(server=server.id, device=row.id))
    return row


def detach_volume(ctx: Context, server: Server, volume_id: str) -> None:
    """Begin to detach the volume."""
    from pilvi import block_storage

    guard(ctx, server, "detach_volume")
    device = volume(ctx, server, volume_id)
    if device.boot_index == 0 and server.vm_state not in ("shelved_offloaded",):
        raise Forbidden("Can't detach root device volume")
    if device.state == "detaching":
        raise Conflict(f"Volume {volume_id} is being detached from instance {server.id} already.")
    block_storage.begin_detach(ctx, volume_id, server.id)
    ctx.db.change(device, state="detaching")
    actions.begin(ctx, server, "detach_volume")
    ctx.start(DetachVolume(server=server.id, device=device.id))


def attach_interface(ctx: Context, server: Server, *, network_id: str, port_id: str, fixed_ip: str, tag: str) -> Any:
    """Give the server a card: on a network, or with a port that exists; answers the network's PortInfo."""
    guard(ctx, server, "attach_interface")
    if port_id:
        wanted: Any = [network.NetworkRequest(port_id=port_id, tag=tag)]
    elif network_id:
        wanted = [network.NetworkRequest(network_id=network_id, fixed_ip=fixed_ip, tag=tag)]
    else:
        wanted = None
    wishes = network.request_networks(ctx, wanted, count=1)
    if not wishes:
        raise Invalid("No valid network was found for the interface.")
    wish = wishes[0]
    if wish.port_id:
        port = network.adopt_port(ctx, wish.port_id, server.id)
    else:
        port = network.create_port(
            ctx, network_id=wish.network_id, server_id=server.id, fixed_ip=wish.fixed_ip or None, security_groups=server.wishes.groups or ["default"]
        )
    nic = ServerNic(port_id=port.id, made=not wish.port_id, tag=tag)
    if server.host:
        network.bind_port(ctx.system(), port.id, server.host)
    actions.begin(ctx, server, "attach_interface")
    ctx.db.change(server, nics=[*server.nics, nic], updated_at=clock.now())
    ctx.start(AttachInterface(server=server.id, port=port.id))
    return port


def detach_interface(ctx: Context, server: Server, port_id: str) -> None:
    """Take a card away."""
    guard(ctx, server, "detach_interface")
    if not any(one.port_id == port_id for one in server.nics):
        raise NotFound(f"Port {port_id} could not be found on instance {server.id}.")
    actions.begin(ctx, server, "detach_interface")
    ctx.start(DetachInterface(server=server.id, port=port_id))
