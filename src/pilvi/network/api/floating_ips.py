"""Floating IPs and their port forwardings in HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import page
from pilvi.kernel.http.request import Answer, Request
from pilvi.kernel.http.resource import Resource
from pilvi.kernel.http.shape import Body
from pilvi.network.api import listing
from pilvi.network.api.collection import Collection, answer, given, standard
from pilvi.network.api.rights import Target
from pilvi.network.api.shapes import Described, DnsName, Ip, PortNumber, Text, Uuid, changes
from pilvi.network.errors import FloatingIPNotFound, PolicyNotAuthorized, PortForwardingNotFound
from pilvi.network.operations import floating_ips, port_forwardings, sharing
from pilvi.network.policy import rule
from pilvi.network.tables import FloatingIp, Network, Port, PortForwarding, Subnet


class CreateFloatingIp(Described):
    """A floating IP to be made."""

    floating_network_id: Uuid
    port_id: Uuid | None = None
    fixed_ip_address: Ip | None = None
    floating_ip_address: Ip | None = None
    subnet_id: Uuid | None = None
    dns_name: DnsName = ""
    dns_domain: DnsName = ""


class CreateForwarding(Body):
    """A port forwarding to be made."""

    internal_port_id: Uuid
    internal_port: PortNumber
    external_port: PortNumber
    protocol: Literal["tcp", "udp", "icmp", "icmp6", "sctp", "dccp"]
    internal_ip_address: Ip | None = None
    description: Text = ""


ChangeForwarding = changes(CreateForwarding, ["internal_port_id", "internal_port", "external_port", "protocol", "internal_ip_address"])


def views(ctx: Context, rows: Sequence[FloatingIp]) -> list[dict[str, Any]]:
    """Floating IPs as clients see them."""
    inner = {port.id: port for port in ctx.db.by(Port, Port.c.id, [row.fixed_port_id for row in rows if row.fixed_port_id])}
    forwardings: dict[str, list[dict[str, Any]]] = {}
    for one in ctx.db.by(PortForwarding, PortForwarding.c.floatingip_id, [row.id for row in rows]):
        forwardings.setdefault(one.floatingip_id, []).append(
            {
                "id": one.id, "internal_port_id": one.internal_port_id, "internal_port": one.internal_port,
                "external_port": one.external_port, "protocol": one.protocol,
                "internal_ip_address": one.internal_ip_address,
            }
        )  # fmt: skip
    found = []
    for row in rows:
        port = inner.get(row.fixed_port_id or "")
        view = standard(row)
        del view["name"]
        found.append(
            view | {
                "floating_network_id": row.floating_network_id, "floating_ip_address": row.floating_ip_address, "port_id": row.fixed_port_id,
                "fixed_ip_address": row.fixed_ip_address, "router_id": row.router_id, "status": row.status, "dns_name": row.dns_name,
                "dns_domain": row.dns_domain, "qos_policy_id": None, "port_forwardings": forwardings.get(row.id, []),
                "port_details": None if port is None else {
                    "name": port.name, "network_id": port.network_id, "mac_address": port.mac_address, "admin_state_up": port.admin_state_up,
                    "status": port.status, "device_id": port.device_id, "device_owner": port.device_owner,
                },
            }
        )  # fmt: skip
    return found


COLLECTION = Collection(
    "floatingip", "floatingips", FloatingIp, missing=FloatingIPNotFound, views=views, create=CreateFloatingIp,
    update=changes(CreateFloatingIp, ["port_id", "fixed_ip_address", "dns_name", "dns_domain"]), make=floating_ips.create,
    change=floating_ips.update, drop=floating_ips.delete,
    visible=lambda ctx: None if ctx.is_admin else FloatingIp.c.project_id == ctx.project_id,
    hidden=("tags", "name", "floating_port_id", "fixed_port_id"), columns={"port_id": "fixed_port_id"},
)  # fmt: skip

# -- port forwardings -----------------------------------------------------------------------------

forwardings = Resource("/v2.0/floatingips/{floatingip_id}/port_forwardings", tag="port_forwardings")
_KIND = "floatingip_port_forwarding"
_COLUMNS = ("id", "protocol", "external_port", "internal_port", "internal_ip_address", "internal_port_id", "description")
_FILTERS = {name: listing.column_filter(PortForwarding.c[name], name) for name in _COLUMNS}


def _floating(ctx: Context, ref: str, verb: str) -> FloatingIp:
    """The floating IP, if the caller may do this to its port forwardings."""
    row = ctx.db.get(FloatingIp, ref)
    if row is None:
        raise FloatingIPNotFound(ref)
    target = Target(row.project_id).with_known(**{"ext_parent:tenant_id": row.project_id})
    if not ctx.allowed(f"get_{_KIND}", target):
        raise FloatingIPNotFound(ref)
    if not ctx.allowed(f"{verb}_{_KIND}", target):
        raise PolicyNotAuthorized(f"{verb}_{_KIND}")
    return row


def _forwarding(ctx: Context, floating: FloatingIp, ref: str) -> PortForwarding:
    row = ctx.db.get(PortForwarding, ref)
    if row is None or row.floatingip_id != floating.id:
        raise PortForwardingNotFound(ref)
    return row


def forwarding_view(row: PortForwarding) -> dict[str, Any]:
    """A port forwarding as clients see it."""
    return {name: getattr(row, name) for name in _COLUMNS}


@forwardings.get("", rule=rule(f"get_{_KIND}"), precheck=False)
def index(ctx: Context, floatingip_id: str, request: Request) -> Answer:
    """List a floating IP's port forwardings."""
    floating = _floating(ctx, floatingip_id, "get")
    asked = listing.read(ctx, request.query, _FILTERS, PortForwarding, {name: name for name in _COLUMNS})
    rows = page(ctx.db, PortForwarding, PortForwarding.c.floatingip_id == floating.id, *asked.where, window=asked.window)
    told = [forwarding_view(row) for row in rows]
    if asked.fields:
        told = [{name: value for name, value in view.items() if name in asked.fields} for view in told]
    return answer({"port_forwardings": told})


@forwardings.get("/{ref}", rule=rule(f"get_{_KIND}"), precheck=False)
def show(ctx: Context, floatingip_id: str, ref: str) -> Answer:
    """Show a port forwarding."""
    return answer({"port_forwarding": forwarding_view(_forwarding(ctx, _floating(ctx, floatingip_id, "get"), ref))})


@forwardings.post("", rule=rule(f"create_{_KIND}"), precheck=False, answers=201)
def create(ctx: Context, floatingip_id: str, port_forwarding: CreateForwarding) -> Answer:
    """Have one port of the floating IP lead inside."""
    row = port_forwardings.create(ctx, _floating(ctx, floatingip_id, "create"), port_forwarding)
    return answer({"port_forwarding": forwarding_view(row)}, 201)


@forwardings.put("/{ref}", rule=rule(f"update_{_KIND}"), precheck=False)
def update(ctx: Context, floatingip_id: str, ref: str, port_forwarding: ChangeForwarding) -> Answer:  # type: ignore[valid-type]
    """Have it lead elsewhere."""
    floating = _floating(ctx, floatingip_id, "update")
    row = _forwarding(ctx, floating, ref)
    port_forwardings.update(ctx, floating, row, given(port_forwarding))
    return answer({"port_forwarding": forwarding_view(row)})


@forwardings.delete("/{ref}", rule=rule(f"delete_{_KIND}"), precheck=False, answers=204)
def delete(ctx: Context, floatingip_id: str, ref: str) -> None:
    """Have it lead nowhere."""
    floating = _floating(ctx, floatingip_id, "delete")
    port_forwardings.delete(ctx, _forwarding(ctx, floating, ref))


# -- pools ----------------------------------------------------------------------------------------

pools = Resource("/v2.0/floatingip-pools", tag="floatingip_pools")


@pools.get("", rule=rule("get_floatingip_pool"))
def list_pools(ctx: Context) -> Answer:
    """The subnets from which floating IPs come."""
    narrowed = sharing.visible(ctx, "network", sharing.SHARED, sharing.EXTERNAL)
    networks = {row.id: row for row in ctx.db.all(Network, Network.c.external == sa.true(), *([] if narrowed is None else [narrowed]))}
    told = [
        {
            "subnet_id": row.id, "subnet_name": row.name, "network_id": row.network_id, "network_name": networks[row.network_id].name,
            "cidr": row.cidr, "project_id": row.project_id, "tenant_id": row.project_id,
        }
        for row in ctx.db.by(Subnet, Subnet.c.network_id, list(networks), Subnet.c.ip_version == 4)
    ]  # fmt: skip
    return answer({"floatingip_pools": told})
