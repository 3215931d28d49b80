"""Routers: what they are, their routes, their end.  Gateways and interfaces have files of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilvi.kernel.context import Context
from pilvi.network.errors import InvalidRoutes, RouterInUse, RouterNotFound, RoutesExhausted
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.logic.words import ROUTER_GATEWAY, ROUTER_INTERFACE, ROUTER_OWNERS
from pilvi.network.operations import gateways, records, sharing, wiring
from pilvi.network.tables import FloatingIp, Port, Route, Router, Subnet


def create(ctx: Context, body: Any, project_id: str) -> Router:
    """A router, perhaps with a gateway."""
    records.claim(ctx, "router", project_id)
    row = Router(**records.born(project_id, body), admin_state_up=body.admin_state_up, availability_zone_hints=body.availability_zone_hints)
    ctx.db.insert(row)
    if body.external_gateway_info:
        gateways.set_gateway(ctx, row, body.external_gateway_info)
    return row


def update(ctx: Context, row: Router, given: dict[str, Any]) -> None:
    """Change a router."""
    if "external_gateway_info" in given:
        gateways.set_gateway(ctx, row, given.pop("external_gateway_info") or None)
    if "routes" in given:
        given["routes"] = checked_routes(ctx, row, given["routes"] or [])
    if given:
        records.change(ctx.db, row, **given)
    wiring.router_changed(ctx, row.id)


def delete(ctx: Context, row: Router) -> None:
    """Delete a router that has no interfaces."""
    ctx.db.lock(Router, row.id)
    if ctx.db.count(Port, Port.c.device_id == row.id, Port.c.device_owner == ROUTER_INTERFACE):
        raise RouterInUse(f"Router {row.id} still has ports")
    if ctx.db.count(FloatingIp, FloatingIp.c.router_id == row.id):
        raise RouterInUse(f"Router {row.id} still has floating IPs")
    host = row.host
    gateways.clear(ctx, row)
    ctx.db.remove(row)
    wiring.router_gone(ctx, row.id, host)


def add_routes(ctx: Context, row: Router, routes: Sequence[Mapping[str, Any]]) -> None:
    """Have these routes as well."""
    _write(ctx, row, list(dict.fromkeys([*row.routes, *_parsed(routes)])))


def remove_routes(ctx: Context, row: Router, routes: Sequence[Mapping[str, Any]]) -> None:
    """Have these routes no more."""
    gone = set(_parsed(routes))
    _write(ctx, row, [one for one in row.routes if one not in gone])


def _write(ctx: Context, row: Router, routes: list[Route]) -> None:
    _check(ctx, row, routes)
    if routes != row.routes:
        records.change(ctx.db, row, routes=routes)
        wiring.router_changed(ctx, row.id)


def checked_routes(ctx: Context, row: Router, routes: Sequence[Mapping[str, Any]]) -> list[Route]:
    """The routes, if the router can have them."""
    parsed = _parsed(routes)
    if len(set(parsed)) < len(parsed):
        raise InvalidRoutes("Invalid format for routes: a route is named twice.", field="routes")
    _check(ctx, row, parsed)
    return parsed


def _parsed(routes: Sequence[Mapping[str, Any]]) -> list[Route]:
    found = []
    for one in routes:
        net, hop = arithmetic.parse_cidr(one["destination"], "routes"), arithmetic.parse_address(one["nexthop"], "routes")
        if net.version != hop.version:
            raise InvalidRoutes(f"Invalid format for routes: {net} and {hop} are of different IP versions.", field="routes")
        found.append(Route(str(net), str(hop)))
    return found


def _check(ctx: Context, row: Router, routes: Sequence[Route]) -> None:
    """Each next hop is in a subnet that the router is in, and is not the router itself."""
    most = ctx.program.settings.network.max_routes
    if len(routes) > most:
        raise RoutesExhausted(f"Unable to complete operation for {row.id}. The number of routes exceeds the maximum {most}.", field="routes")
    if not routes:
        return
    held = ctx.db.all(Port, Port.c.device_id == row.id, Port.c.device_owner.in_(ROUTER_OWNERS))
    own = {one.ip_address for port in held for one in port.fixed_ips}
    subnets = ctx.db.by(Subnet, Subnet.c.id, [one.subnet_id for port in held for one in port.fixed_ips])
    ranges = [arithmetic.cidr_range(subnet.cidr) for subnet in subnets]
    for route in routes:
        hop = arithmetic.parse_address(route.nexthop, "routes")
        if not any(hop in net for net in ranges):
            raise InvalidRoutes(f"Invalid format for routes: the nexthop {hop} is not connected with router.", field="routes")
        if str(hop) in own:
            raise InvalidRoutes(f"Invalid format for routes: the nexthop {hop} is used by router.", field="routes")


def get(ctx: Context, ref: str) -> Router:
    """The router, if the caller may use it.  Raises RouterNotFound."""
    row = ctx.db.get(Router, ref)
    if row is None or not (row.project_id == ctx.project_id or sharing.sees_all(ctx)):
        raise RouterNotFound(ref)
    return row


def joining(ctx: Context, subnets: Iterable[Subnet], external_network_id: str) -> str | None:
    """The router that joins one of the subnets with the external network; the subnet's own gateway goes first."""
    wanted = {row.id: row for row in subnets}
    if not wanted:
        return None
    networks = {row.network_id for row in wanted.values()}
    legs = ctx.db.all(Port, Port.c.network_id.in_(networks), Port.c.device_owner == ROUTER_INTERFACE)
    outer = ctx.db.all(Port, Port.c.network_id == external_network_id, Port.c.device_owner == ROUTER_GATEWAY)
    with_gateway = {row.device_id for row in outer}
    found: list[tuple[bool, str]] = []
    for leg in legs:
        for one in leg.fixed_ips:
            if one.subnet_id in wanted and leg.device_id in with_gateway:
                found.append((one.ip_address != wanted[one.subnet_id].gateway_ip, leg.device_id))
    return min(found)[1] if found else None
