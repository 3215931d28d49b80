"""Trunks: a parent port, and the ports that it carries as VLANs.  Hosts here do not carry them yet, so trunks stay DOWN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict
from pilvi.network.errors import DuplicateSubPort, InvalidInput, ParentPortInUse, PortNotFound, SubPortNotFound, TrunkDisabled, TrunkPortInUse
from pilvi.network.logic.words import TRUNK_SUBPORT
from pilvi.network.operations import records, sharing
from pilvi.network.tables import Port, SubPort, Trunk


def create(ctx: Context, body: Any, project_id: str) -> Trunk:
    """A trunk on a port that is no other's."""
    records.claim(ctx, "trunk", project_id)
    ids = [_segmentation(one) for one in body.sub_ports]
    if len(set(ids)) < len(ids):
        raise InvalidInput("Invalid input for operation: a segmentation_id is named twice.", field="sub_ports")
    parent = _port(ctx, body.port_id)
    if ctx.db.one(Trunk, Trunk.c.port_id == parent.id) is not None:
        raise TrunkPortInUse(f"Port {parent.id} is in use by another trunk.")
    if parent.host_id or ctx.db.get(SubPort, parent.id) is not None:
        raise ParentPortInUse(f"Port {parent.id} is currently in use and is not eligible for use as a parent port.")
    row = ctx.db.insert(Trunk(**records.born(project_id, body), port_id=parent.id, admin_state_up=body.admin_state_up))
    if body.sub_ports:
        add(ctx, row, body.sub_ports)
    return row


def update(ctx: Context, row: Trunk, given: dict[str, Any]) -> None:
    """Rename a trunk, or switch it."""
    records.change(ctx.db, row, **given)


def delete(ctx: Context, row: Trunk) -> None:
    """Have the trunk gone; its ports stay."""
    _check_enabled(row)
    remove(ctx, row, [one.port_id for one in carried(ctx, row)])
    ctx.db.remove(row)


def _check_enabled(row: Trunk) -> None:
    if not row.admin_state_up:
        raise TrunkDisabled(f"Trunk {row.id} is currently disabled.")


def carried(ctx: Context, row: Trunk) -> list[SubPort]:
    """The ports that the trunk carries."""
    return ctx.db.all(SubPort, SubPort.c.trunk_id == row.id, order=[SubPort.c.segmentation_id])


def add(ctx: Context, row: Trunk, wanted: Sequence[Mapping[str, Any]]) -> None:
    """Carry more ports."""
    _check_enabled(row)
    for one in wanted:
        kind, number = _segmentation(one)
        port = _port(ctx, one["port_id"])
        if port.id == row.port_id or port.device_id or ctx.db.get(SubPort, port.id) or ctx.db.one(Trunk, Trunk.c.port_id == port.id):
            raise TrunkPortInUse(f"Port {port.id} is in use by another trunk.")
        try:
            ctx.db.insert(SubPort(port_id=port.id, trunk_id=row.id, segmentation_type=kind, segmentation_id=number))
        except Conflict:
            raise DuplicateSubPort(f"segmentation_type {kind} and segmentation_id {number} already in use on trunk {row.id}.") from None
        records.change(ctx.db, port, device_owner=TRUNK_SUBPORT, device_id=row.id)
    records.change(ctx.db, row)


def _segmentation(one: Mapping[str, Any]) -> tuple[str, int]:
    """Type and id of a port to be carried.  Raises InvalidInput."""
    kind, number = one.get("segmentation_type"), one.get("segmentation_id")
    if kind != "vlan":
        raise InvalidInput(f"Invalid input for operation: segmentation_type '{kind}' is not supported; vlan is.", field="segmentation_type")
    if number is None or not 1 <= number <= 4094:
        raise InvalidInput("Invalid input for operation: segmentation_id must be from 1 to 4094.", field="segmentation_id")
    return kind, number


def remove(ctx: Context, row: Trunk, port_ids: Sequence[str]) -> None:
    """Carry ports no more.  Raises SubPortNotFound."""
    _check_enabled(row)
    held = {one.port_id for one in carried(ctx, row)}
    for ref in port_ids:
        if ref not in held:
            raise SubPortNotFound(f"Port {ref} is not a subport of the trunk {row.id}.")
        ctx.db.delete(SubPort, SubPort.c.port_id == ref)
        port = ctx.db.get(Port, ref)
        if port is not None:
            records.change(ctx.db, port, device_owner="", device_id="")
    records.change(ctx.db, row)


def _port(ctx: Context, ref: str) -> Port:
    port = ctx.db.get(Port, ref)
    if port is None or not (port.project_id == ctx.project_id or sharing.sees_all(ctx)):
        raise PortNotFound(ref)
    return port
