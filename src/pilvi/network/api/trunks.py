"""Trunks in HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from pilvi.kernel.context import Context
from pilvi.kernel.http.request import Answer
from pilvi.kernel.http.shape import Body, wire
from pilvi.network.api.collection import Collection, answer, standard
from pilvi.network.api.shapes import Described, Uuid, changes
from pilvi.network.errors import TrunkNotFound
from pilvi.network.operations import trunks
from pilvi.network.policy import rule
from pilvi.network.tables import SubPort, Trunk


class _SubPortNamed(TypedDict):
    port_id: Uuid


class SubPortGiven(_SubPortNamed, total=False):
    """A port to be carried."""

    segmentation_type: str
    segmentation_id: int


class CreateTrunk(Described):
    """A trunk to be made."""

    port_id: Uuid
    admin_state_up: bool = True
    sub_ports: list[SubPortGiven] = wire(factory=list)


class SubPortsAdded(Body):
    """Ports to be carried."""

    sub_ports: list[SubPortGiven]


class SubPortsRemoved(Body):
    """Ports to be carried no more."""

    sub_ports: list[_SubPortNamed]


def _carried(rows: Sequence[SubPort]) -> list[dict[str, Any]]:
    return [{"port_id": one.port_id, "segmentation_type": one.segmentation_type, "segmentation_id": one.segmentation_id} for one in rows]


def views(ctx: Context, rows: Sequence[Trunk]) -> list[dict[str, Any]]:
    """Trunks as clients see them."""
    held: dict[str, list[SubPort]] = {}
    for one in ctx.db.by(SubPort, SubPort.c.trunk_id, [row.id for row in rows]):
        held.setdefault(one.trunk_id, []).append(one)
    return [
        standard(row) | {
            "port_id": row.port_id, "admin_state_up": row.admin_state_up, "status": row.status, "sub_ports": _carried(held.get(row.id, [])),
        }
        for row in rows
    ]  # fmt: skip


COLLECTION = Collection(
    "trunk", "trunks", Trunk, missing=TrunkNotFound, views=views, create=CreateTrunk, update=changes(CreateTrunk, ["admin_state_up"]),
    make=trunks.create, change=trunks.update, drop=trunks.delete,
    visible=lambda ctx: None if ctx.is_admin else Trunk.c.project_id == ctx.project_id, hidden=("tags",),
)  # fmt: skip


@COLLECTION.resource.get("/{ref}/get_subports", rule=rule("get_subports"), precheck=False)
def subports(ctx: Context, ref: str) -> Answer:
    """List the ports that a trunk carries."""
    return answer({"sub_ports": _carried(trunks.carried(ctx, COLLECTION.find(ctx, ref, "get_subports")))})


@COLLECTION.put("add_subports", "add_subports")
def add(ctx: Context, ref: str, body: SubPortsAdded) -> Answer:
    """Carry more ports."""
    row = COLLECTION.find(ctx, ref, "add_subports")
    trunks.add(ctx, row, body.sub_ports)
    return answer(COLLECTION.told(ctx, [row])[0])


@COLLECTION.put("remove_subports", "remove_subports")
def remove(ctx: Context, ref: str, body: SubPortsRemoved) -> Answer:
    """Carry ports no more."""
    row = COLLECTION.find(ctx, ref, "remove_subports")
    trunks.remove(ctx, row, [one["port_id"] for one in body.sub_ports])
    return answer(COLLECTION.told(ctx, [row])[0])
