"""Routers in HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from pilvi.kernel.context import Context
from pilvi.kernel.http.request import Answer
from pilvi.kernel.http.shape import Body, wire
from pilvi.network.api.collection import Collection, answer, standard
from pilvi.network.api.shapes import Described, FixedIpGiven, RouteGiven, Uuid, changes
from pilvi.network.errors import RouterNotFound
from pilvi.network.operations import interfaces, routers
from pilvi.network.tables import Port, Router


class GatewayGiven(TypedDict, total=False):
    """The gateway that a router is to have; an empty one is none."""

    network_id: Uuid
    enable_snat: bool
    external_fixed_ips: list[FixedIpGiven]


class CreateRouter(Described):
    """A router to be made."""

    admin_state_up: bool = True
    external_gateway_info: GatewayGiven | None = None
    availability_zone_hints: list[str] = wire(factory=list)


class ChangedRouter(CreateRouter):
    """As `CreateRouter`, and what only a change may say."""

    routes: list[RouteGiven] | None = None


class InterfaceGiven(Body):
    """A subnet, or a port on it."""

    subnet_id: Uuid | None = None
    port_id: Uuid | None = None


class RoutesGiven(Body):
    """Routes to be added or removed."""

    routes: list[RouteGiven]


def views(ctx: Context, rows: Sequence[Router]) -> list[dict[str, Any]]:
    """Routers as clients see them."""
    outer = {row.id: row for row in ctx.db.by(Port, Port.c.id, [row.gateway_port_id for row in rows if row.gateway_port_id])}
    zones = [ctx.program.settings.network.availability_zone]
    found = []
    for row in rows:
        port = outer.get(row.gateway_port_id or "")
        gateway = None
        if port is not None:
            gateway = {"network_id": port.network_id, "enable_snat": row.enable_snat, "external_fixed_ips": port.fixed_ips}
        found.append(
            standard(row) | {
                "admin_state_up": row.admin_state_up, "status": row.status, "external_gateway_info": gateway, "routes": row.routes,
                "availability_zone_hints": row.availability_zone_hints, "availability_zones": zones if row.host else [], "flavor_id": None,
            }
        )  # fmt: skip
    return found


COLLECTION = Collection(
    "router", "routers", Router, missing=RouterNotFound, views=views, create=CreateRouter,
    update=changes(ChangedRouter, ["admin_state_up", "external_gateway_info", "routes"]),
    make=routers.create, change=routers.update, drop=routers.delete,
    visible=lambda ctx: None if ctx.is_admin else Router.c.project_id == ctx.project_id,
    hidden=("tags", "gateway_port_id", "gateway_network_id", "routes", "availability_zone_hints", "host"),
)  # fmt: skip


@COLLECTION.put("add_router_interface", "add_router_interface")
def add_interface(ctx: Context, ref: str, body: InterfaceGiven) -> Answer:
    """Join a subnet with the router."""
    row = COLLECTION.find(ctx, ref, "add_router_interface")
    return answer(interfaces.add(ctx, row, body.subnet_id, body.port_id))


@COLLECTION.put("remove_router_interface", "remove_router_interface")
def remove_interface(ctx: Context, ref: str, body: InterfaceGiven) -> Answer:
    """Take a subnet apart from the router."""
    row = COLLECTION.find(ctx, ref, "remove_router_interface")
    return answer(interfaces.remove(ctx, row, body.subnet_id, body.port_id))


@COLLECTION.put("add_extraroutes", "add_extraroutes")
def add_routes(ctx: Context, ref: str, router: RoutesGiven) -> Answer:
    """Add static routes."""
    row = COLLECTION.find(ctx, ref, "add_extraroutes")
    routers.add_routes(ctx, row, router.routes)
    return answer({"router": COLLECTION.told(ctx, [row])[0]})


@COLLECTION.put("remove_extraroutes", "remove_extraroutes")
def remove_routes(ctx: Context, ref: str, router: RoutesGiven) -> Answer:
    """Remove static routes."""
    row = COLLECTION.find(ctx, ref, "remove_extraroutes")
    routers.remove_routes(ctx, row, router.routes)
    return answer({"router": COLLECTION.told(ctx, [row])[0]})
