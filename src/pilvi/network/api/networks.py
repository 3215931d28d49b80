"""Networks in HTTP."""

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
from pilvi.network.api.shapes import Described, DnsName, changes
from pilvi.network.errors import NetworkNotFound
from pilvi.network.operations import networks, sharing
from pilvi.network.tables import Network, Subnet, SubnetPool


class CreateNetwork(Described):
    """A network to be made."""

    admin_state_up: bool = True
    shared: bool = False
    external: bool = wire("router:external", default=False)
    is_default: bool = False
    mtu: Annotated[int, Meta(ge=0, le=65535)] | None = None
    port_security_enabled: bool = True
    network_type: Literal["local", "flat", "vlan", "vxlan"] | None = wire("provider:network_type", default=None)
    physical_network: Annotated[str, Meta(max_length=64)] | None = wire("provider:physical_network", default=None)
    segmentation_id: int | None = wire("provider:segmentation_id", default=None)
    dns_domain: DnsName = ""
    availability_zone_hints: list[str] = wire(factory=list)


ChangeNetwork = changes(
    CreateNetwork,
    [
        "admin_state_up", "shared", "external", "is_default", "mtu", "port_security_enabled", "dns_domain", "network_type",
        "physical_network", "segmentation_id",
    ],
)  # fmt: skip


def views(ctx: Context, rows: Sequence[Network]) -> list[dict[str, Any]]:
    """Networks as clients see them."""
    ids = [row.id for row in rows]
    subnets: dict[str, list[str]] = {}
    shared = sharing.shared_among(ctx, "network", ids)
    if ids:
        query = sa.select(Subnet.c.network_id, Subnet.c.id).order_by(Subnet.c.created_at, Subnet.c.id)
        for start in range(0, len(ids), 500):
            for network_id, subnet_id in ctx.db.rows(query.where(Subnet.c.network_id.in_(ids[start : start + 500]))):
                subnets.setdefault(network_id, []).append(subnet_id)
    zones = [ctx.program.settings.network.availability_zone]
    found = []
    for row in rows:
        view = standard(row)
        view |= {
            "admin_state_up": row.admin_state_up, "status": row.status, "subnets": subnets.get(row.id, []), "shared": row.id in shared,
            "router:external": row.external, "mtu": row.mtu, "port_security_enabled": row.port_security_enabled,
            "provider:network_type": row.network_type, "provider:physical_network": row.physical_network,
            "provider:segmentation_id": row.segmentation_id, "availability_zone_hints": row.availability_zone_hints,
            "availability_zones": zones if row.id in subnets else [], "ipv4_address_scope": None, "ipv6_address_scope": None,
            "dns_domain": row.dns_domain, "l2_adjacency": True,
        }  # fmt: skip
        if row.external:
            view["is_default"] = row.is_default
        found.append(view)
    _with_scopes(ctx, found, subnets)
    return found


def _with_scopes(ctx: Context, found: list[dict[str, Any]], subnets: dict[str, list[str]]) -> None:
    """Name the address scopes of networks whose subnets are cut from scoped pools."""
    if not subnets:
        return
    scoped = {row.id: row for row in ctx.db.all(SubnetPool, SubnetPool.c.address_scope_id.is_not(None))}
    if not scoped:
        return
    by_network = {view["id"]: view for view in found}
    for subnet in ctx.db.by(Subnet, Subnet.c.network_id, list(subnets), Subnet.c.subnetpool_id.in_(list(scoped))):
        by_network[subnet.network_id][f"ipv{subnet.ip_version}_address_scope"] = scoped[subnet.subnetpool_id or ""].address_scope_id


def target(ctx: Context, row: Network) -> Target:
    """What policy sees of a network."""
    return Target(
        row.project_id,
        {
            "shared": lambda: sharing.is_shared(ctx.db, "network", row.id, ctx.project_id),
            "router:external": lambda: row.external and sharing.is_shared(ctx.db, "network", row.id, ctx.project_id, sharing.EXTERNAL),
        },
    )


def _shared_filter(ctx: Context, values: list[str]) -> Any:
    ids = sharing.shared_ids(ctx.project_id, "network")
    wanted = {listing.truth(text, "shared") for text in values}
    return sa.true() if len(wanted) > 1 else Network.c.id.in_(ids) if True in wanted else Network.c.id.not_in(ids)


COLLECTION = Collection(
    "network", "networks", Network, missing=NetworkNotFound, views=views, create=CreateNetwork, update=ChangeNetwork,
    make=networks.create, change=networks.update, drop=networks.delete, target=target,
    visible=lambda ctx: sharing.visible(ctx, "network", sharing.SHARED, sharing.EXTERNAL),
    hidden=("network_type", "physical_network", "segmentation_id", "segment_key", "external", "tags", "availability_zone_hints", "vlan_transparent"),
    columns={
        "router:external": "external", "provider:network_type": "network_type", "provider:physical_network": "physical_network",
        "provider:segmentation_id": "segmentation_id",
    },
    filters={"shared": _shared_filter},
)  # fmt: skip

