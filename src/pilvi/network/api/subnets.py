"""Subnets in HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from msgspec import Meta

from pilvi.kernel.context import Context
from pilvi.kernel.http.shape import wire
from pilvi.network.api import listing
from pilvi.network.api.collection import Collection, standard
from pilvi.network.api.rights import Target
from pilvi.network.api.shapes import Described, Ip, PoolGiven, RouteGiven, Uuid, changes
from pilvi.network.errors import SubnetNotFound
from pilvi.network.operations import sharing, subnets
from pilvi.network.tables import Network, Subnet

Mode = Literal["slaac", "dhcpv6-stateful", "dhcpv6-stateless"]


class CreateSubnet(Described):
    """A subnet to be made; `gateway_ip` left out is the first address, null is none."""

    network_id: Uuid
    ip_version: Literal[4, 6] | None = None
    cidr: Ip | None = None
    gateway_ip: Ip | None = ""
    allocation_pools: list[PoolGiven] | None = None
    dns_nameservers: list[Ip] | None = None
    host_routes: list[RouteGiven] | None = None
    enable_dhcp: bool = True
    ipv6_ra_mode: Mode | None = None
    ipv6_address_mode: Mode | None = None
    subnetpool_id: Uuid | None = None
    use_default_subnetpool: bool = False
    prefixlen: Annotated[int, Meta(ge=0, le=128)] | None = None
    service_types: list[Annotated[str, Meta(max_length=255)]] = wire(factory=list)
    dns_publish_fixed_ip: bool = False


ChangeSubnet = changes(
    CreateSubnet,
    ["gateway_ip", "allocation_pools", "dns_nameservers", "host_routes", "enable_dhcp", "service_types", "dns_publish_fixed_ip"],
)  # fmt: skip


def views(ctx: Context, rows: Sequence[Subnet]) -> list[dict[str, Any]]:
    """Subnets as clients see them."""
    return [
        standard(row) | {
            "network_id": row.network_id, "ip_version": row.ip_version, "cidr": row.cidr, "gateway_ip": row.gateway_ip,
            "enable_dhcp": row.enable_dhcp, "allocation_pools": row.allocation_pools, "dns_nameservers": row.dns_nameservers,
            "host_routes": row.host_routes, "ipv6_ra_mode": row.ipv6_ra_mode, "ipv6_address_mode": row.ipv6_address_mode,
            "subnetpool_id": row.subnetpool_id, "service_types": row.service_types, "segment_id": None,
            "dns_publish_fixed_ip": row.dns_publish_fixed_ip, "router:external": False,
        }
        for row in rows
    ]  # fmt: skip


def told(ctx: Context, rows: Sequence[Subnet]) -> list[dict[str, Any]]:
    """The views, with what belongs to their networks."""
    found = views(ctx, rows)
    ids = {row.network_id for row in rows}
    external = {row.id for row in ctx.db.by(Network, Network.c.id, ids, Network.c.external == sa.true())} if ids else set()
    for view in found:
        view["router:external"] = view["network_id"] in external
    return found


def network_rights(ctx: Context, network_id: str, project_id: str, **known: object) -> Target:
    """What policy sees of something on a network: the network's owner, and whether it is shared, looked up when asked for."""

    def owner() -> str:
        network = ctx.db.get(Network, network_id)
        return network.project_id if network else ""

    def shared(action: str) -> bool:
        return sharing.is_shared(ctx.db, "network", network_id, ctx.project_id, action)

    looked_up = {
        "network:tenant_id": owner, "shared": lambda: shared(sharing.SHARED), "router:external": lambda: shared(sharing.EXTERNAL),
    }  # fmt: skip
    return Target(project_id, looked_up, **known)


def visible(ctx: Context) -> Any:
    """Own subnets, those on own networks and those on networks that are shared or external."""
    if sharing.sees_all(ctx):
        return None
    own = sa.select(Network.c.id).where(Network.c.project_id == ctx.project_id)
    shared = sharing.shared_ids(ctx.project_id, "network", sharing.SHARED, sharing.EXTERNAL)
    return sa.or_(Subnet.c.project_id == ctx.project_id, Subnet.c.network_id.in_(own), Subnet.c.network_id.in_(shared))


def _shared_filter(ctx: Context, values: list[str]) -> Any:
    ids = sharing.shared_ids(ctx.project_id, "network")
    wanted = {listing.truth(text, "shared") for text in values}
    return sa.true() if len(wanted) > 1 else Subnet.c.network_id.in_(ids) if True in wanted else Subnet.c.network_id.not_in(ids)


def _external_filter(ctx: Context, values: list[str]) -> Any:
    wanted = [listing.truth(text, "router:external") for text in values]
    return Subnet.c.network_id.in_(sa.select(Network.c.id).where(Network.c.external.in_(wanted)))


COLLECTION = Collection(
    "subnet", "subnets", Subnet, missing=SubnetNotFound, views=told, create=CreateSubnet, update=ChangeSubnet,
    make=subnets.create, change=subnets.update, drop=subnets.delete, visible=visible,
    target=lambda ctx, row: network_rights(ctx, row.network_id, row.project_id),
    wish=lambda ctx, data, project_id: network_rights(ctx, str(data.get("network_id", "")), project_id),
    hidden=("tags", "allocation_pools", "dns_nameservers", "host_routes", "service_types", "router_advertises"),
    filters={"shared": _shared_filter, "router:external": _external_filter},
)  # fmt: skip
