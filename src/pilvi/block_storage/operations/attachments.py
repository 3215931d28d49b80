"""Attachments: a volume is reserved for a server, connected to its host, attached, and given back."""

from __future__ import annotations

from typing import Any

import msgspec

from pilvi.block_storage.drivers import Connection
from pilvi.block_storage.errors import wrong_state
from pilvi.block_storage.events import VolumeChanged
from pilvi.block_storage.operations import hosts
from pilvi.block_storage.tables.volumes import Attachment, Volume
from pilvi.block_storage.workflows.close_export import CloseExport
from pilvi.block_storage.workflows.reach import agent_of
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import HostError, Invalid, NotFound
from pilvi.kernel.ids import new_id
from pilvi.kernel.program import Program

_ORDER = ("attached", "detaching", "attaching", "reserved", "error_attaching", "error_detaching")
_VOLUME_STATUS = {
    "attached": "in-use", "detaching": "detaching", "attaching": "attaching", "reserved": "reserved", "error_attaching": "error_attaching",
    "error_detaching": "in-use",
}  # fmt: skip
_SETTLED = ("available", "reserved", "attaching", "in-use", "detaching", "error_attaching", "error_detaching")


def get(ctx: Context, attachment_id: str, *, rule: str = "") -> Attachment:
    """The attachment, if the caller may act on it."""
    return ctx.see(ctx.db.get(Attachment, attachment_id), "Volume attachment", attachment_id, rule=rule)


def of(tx: Transaction, volume_id: str) -> list[Attachment]:
    """The volume's attachments, oldest first."""
    return tx.all(Attachment, Attachment.c.volume_id == volume_id, order=[Attachment.c.created_at])


def reserve(ctx: Context, volume: Volume, server_id: str | None, *, mode: str | None = None) -> Attachment:
    """Reserve the volume for a server; raises Invalid when it cannot be had."""
    _check_free(ctx, volume, server_id)
    attachment = ctx.db.insert(
        Attachment(
            id=new_id(), volume_id=volume.id, project_id=volume.project_id, server_id=server_id, mode=checked_mode(volume, mode),
            created_at=clock.now(),
        )
    )  # fmt: skip
    settle(ctx, volume)
    return attachment


def _check_free(ctx: Context, volume: Volume, server_id: str | None) -> None:
    if volume.status == "available":
        return
    if volume.status in ("in-use", "reserved", "attaching", "detaching"):
        if volume.multiattach:
            return
        others = of(ctx.db, volume.id)
        if server_id and others and all(one.server_id == server_id for one in others):  # the server is on its way to another host
            return
    raise wrong_state("reserved", "Volume", volume.id, volume.status, "available")


def out_of_reach(program: Program, tx: Transaction, volume_ids: list[str], wanting: list[str]) -> dict[str, str]:
    """Those of the hosts that would not reach one of these volumes, each with a sentence that says why."""
    services = {one.host: one for one in hosts.volume_services(tx)}
    found: dict[str, str] = {}
    for volume in tx.by(Volume, Volume.c.id, volume_ids):
        node, service = hosts.node_of(volume.host), services.get(volume.host.partition("#")[0])
        if service is None or not hosts.is_up(program, service):
            why = f"volume {volume.id} cannot be reached: its back end {volume.host} is down"
            return dict.fromkeys(wanting, why) | found
        if service.capacity is not None and not service.capacity.shared:
            why = f"volume {volume.id} lies in a back end of {node} that no other host reaches (block_storage.address is not set there)"
            found |= {host: why for host in wanting if host != node and host not in found}
    return found


def checked_mode(volume: Volume, mode: str | None) -> str:
    """How the volume is attached: as asked, and read-only when it is."""
    if mode not in (None, "rw", "ro"):
        raise Invalid("Invalid attach mode: it is ro or rw.", field="mode")
    if volume.read_only and mode == "rw":
        raise Invalid(f"Volume {volume.id} is read-only and cannot be attached in mode rw.", field="mode")
    return "ro" if volume.read_only else mode or "rw"


def connect(program: Program, attachment_id: str, host: str, *, connector: dict[str, Any] | None = None, status: str = "attaching") -> Connection:
    """Have the volume reachable for the host; may be said twice.  Outside of a transaction."""
    with program.db.transaction(write=False) as tx:
        attachment = tx.get(Attachment, attachment_id)
        volume = tx.get(Volume, attachment.volume_id) if attachment else None
    if attachment is None or volume is None:
        raise NotFound(kind="Volume attachment", ref=attachment_id)
    if not volume.host:
        raise HostError(f"Volume {volume.id} is in no back end.", elsewhere=False)
    one = agent_of(program, volume.host)
    read_only = attachment.mode == "ro" or bool(volume.read_only)
    connection = one.connect(volume.id, attachment.id, host, read_only)

    def note(tx: Transaction) -> bool:
        ctx = program.system_context(tx)
        now_volume, row = tx.get_to_change(Volume, volume.id), tx.get(Attachment, attachment_id)
        if row is None or now_volume is None:
            return False
        tx.change(
            row, host=host, connector=connector or row.connector or {"host": host}, connection=msgspec.to_builtins(connection),
            status=row.status if row.status == "attached" else status,
        )  # fmt: skip
        settle(ctx, now_volume)
        program.workflows.confirm(tx)
        return True

    if not program.db.run(note):  # it was deleted meanwhile
        one.disconnect(volume.id, attachment_id)
        raise NotFound(kind="Volume attachment", ref=attachment_id)
    return connection


def disconnect(program: Program, attachment_id: str) -> None:
    """Have the volume not reachable by this attachment any more; may be said twice.  Outside of a transaction."""
    with program.db.transaction(write=False) as tx:
        attachment = tx.get(Attachment, attachment_id)
        volume = tx.get(Volume, attachment.volume_id) if attachment else None
    if attachment is None or volume is None:
        return
    if volume.host:
        agent_of(program, volume.host).disconnect(volume.id, attachment_id)
    program.workflows.write(lambda tx: tx.update(Attachment, Attachment.c.id == attachment_id, connection=None))


def complete(ctx: Context, attachment: Attachment, device: str | None = None) -> None:
    """The server has the volume."""
    values: dict[str, Any] = {"status": "attached", "attached_at": attachment.attached_at or clock.now()}
    if device:
        values["device"] = device
    ctx.db.change(attachment, **values)
    volume = ctx.db.get_to_change(Volume, attachment.volume_id)
    if volume is not None:
        settle(ctx, volume)


def remove(ctx: Context, attachment: Attachment) -> None:
    """The attachment is over; the volume is what its other attachments make it.  An export that may still be open is closed."""
    ctx.db.delete(Attachment, Attachment.c.id == attachment.id)
    volume = ctx.db.get_to_change(Volume, attachment.volume_id)
    if volume is not None:
        if volume.host:  # also when it was closed before: an agent that has just started may have opened it once more
            ctx.start(CloseExport(volume_id=volume.id, attachment_id=attachment.id, host=volume.host))
        settle(ctx, volume)


def settle(ctx: Context, volume: Volume) -> None:
    """Have the volume's status say what its attachments say."""
    states = {one.status for one in of(ctx.db, volume.id)}
    state = next((one for one in _ORDER if one in states), "detached")
    attach_status = "attached" if state in ("detaching", "error_detaching") else state
    status = _VOLUME_STATUS.get(state, "available") if volume.status in _SETTLED else volume.status
    if (status, attach_status) == (volume.status, volume.attach_status):
        return
    ctx.db.change(volume, status=status, attach_status=attach_status, updated_at=clock.now())
    ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="attach" if states else "detach", status=status))


def resume(ctx: Context, volume: Volume, **values: Any) -> None:
    """Work on the volume has ended: it is again what it was before, or what its attachments have made of it meanwhile."""
    ctx.db.change(volume, status=volume.previous_status or "available", previous_status=None, updated_at=clock.now(), **values)
    settle(ctx, volume)


def begin_detach(ctx: Context, volume: Volume, server_id: str | None = None) -> None:
    """The volume is about to be taken from a server; from one of several its state stays in-use."""
    if volume.status != "in-use" or volume.attach_status != "attached":
        raise wrong_state("detached", "Volume", volume.id, volume.status, "in-use")
    rows = [one for one in of(ctx.db, volume.id) if server_id is None or one.server_id == server_id]
    if not rows and server_id is not None:
        raise Invalid(f"Volume {volume.id} is not attached to server {server_id}.")
    if volume.multiattach and len(of(ctx.db, volume.id)) > 1:
        return
    for row in rows:
        ctx.db.change(row, status="detaching")
    ctx.db.change(volume, status="detaching", updated_at=clock.now())


def roll_detaching(ctx: Context, volume: Volume) -> None:
    """The volume is not taken away after all."""
    ctx.db.update(Attachment, Attachment.c.volume_id == volume.id, Attachment.c.status == "detaching", status="attached")
    if volume.status == "detaching":
        ctx.db.change(volume, status="in-use", updated_at=clock.now())


def attach(ctx: Context, volume: Volume, *, server_id: str | None, host: str | None, device: str, mode: str | None) -> Attachment:
    """Note that the volume has been attached by older clients' road: reserve, initialize_connection, attach."""
    if volume.status not in ("available", "attaching", "reserved") and not (volume.multiattach and volume.status == "in-use"):
        raise wrong_state("attached", "Volume", volume.id, volume.status, "available or attaching")
    rows = of(ctx.db, volume.id)
    wanted = checked_mode(volume, mode)
    found = next((one for one in rows if one.server_id in (None, server_id) and one.status in ("reserved", "attaching")), None)
    if found is None:
        found = ctx.db.insert(
            Attachment(id=new_id(), volume_id=volume.id, project_id=volume.project_id, server_id=server_id, created_at=clock.now())
        )
    ctx.db.change(found, server_id=server_id or found.server_id, host=host or found.host, mode=wanted)
    complete(ctx, found, device)
    return found


def find(ctx: Context, volume: Volume, attachment_id: str | None, *, host: str | None = None) -> Attachment | None:
    """The attachment that a detach is about: the named one, or the only one."""
    rows = of(ctx.db, volume.id)
    if attachment_id:
        found = next((one for one in rows if one.id == attachment_id), None)
        if found is None:
            raise Invalid(f"Volume {volume.id} has no attachment {attachment_id}.")
        return found
    if host:
        rows = [one for one in rows if one.host == host]
    if len(rows) > 1:
        raise Invalid(f"Detach volume failed: more than one attachment of volume {volume.id}, but no attachment_id provided.")
    return rows[0] if rows else None


def connection_info(volume: Volume, attachment: Attachment) -> dict[str, Any]:
    """How clients are told of a connection."""
    connection = attachment.connection or {}
    return {
        "driver_volume_type": connection.get("kind", ""),
        "data": {key: value for key, value in connection.items() if key not in ("kind", "secret", "pin") and value not in ("", 0)}
        | {"volume_id": volume.id, "access_mode": attachment.mode, "encrypted": False, "qos_specs": None, "discard": True},
    }
