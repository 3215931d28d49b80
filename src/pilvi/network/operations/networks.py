"""Networks: made with a segment, shared, made external, deleted with what the cloud itself has on them."""

from __future__ import annotations

import random
from typing import Any

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict
from pilvi.network.errors import (
    DefaultExternalNetworkExists,
    ExternalNetworkInUse,
    FlatNetworkInUse,
    InvalidInput,
    InvalidInputForOperation,
    NetworkInUse,
    NetworkNotFound,
    NoNetworkAvailable,
    TunnelIdInUse,
    VlanIdInUse,
)  # fmt: skip
from pilvi.network.logic.words import NETWORK_OWNED, ROUTER_GATEWAY
from pilvi.network.operations import floating_ips, placing, records, sharing, subnets, wiring
from pilvi.network.operations.ports import delete_row
from pilvi.network.tables import FloatingIp, Network, Port, Share, Subnet

VXLAN_HEADER = 50  # bytes that the tunnel adds to each packet
UNNUMBERED = ("local", "flat")


def create(ctx: Context, body: Any, project_id: str) -> Network:
    """A network of the wished or the usual type."""
    records.claim(ctx, "network", project_id)
    kind, physical, segment = _segment(ctx, body)
    row = Network(
        **records.born(project_id, body), admin_state_up=body.admin_state_up, external=body.external, is_default=body.is_default,
        port_security_enabled=body.port_security_enabled, network_type=kind, physical_network=physical, segmentation_id=segment,
        segment_key=_key(kind, physical, segment), dns_domain=body.dns_domain, availability_zone_hints=body.availability_zone_hints,
        mtu=_mtu(ctx, kind, body.mtu),
    )  # fmt: skip
    if body.is_default:
        _only_default(ctx, row)
    try:
        ctx.db.insert(row)
    except Conflict:
        raise _taken(row) from None
    if body.shared:
        sharing.share(ctx.db, project_id, "network", row.id)
    if body.external:
        sharing.share(ctx.db, project_id, "network", row.id, sharing.EXTERNAL)
    return row


def update(ctx: Context, row: Network, given: dict[str, Any]) -> None:
    """Change a network; what cannot be taken back is refused."""
    if "shared" in given:
        sharing.share_with_everyone(ctx, row, "network", given.pop("shared"))
    for name in ("network_type", "physical_network", "segmentation_id"):
        if name in given and given.pop(name) != getattr(row, name):
            raise InvalidInput("Invalid input for operation: Plugin does not support updating provider attributes.", field=f"provider:{name}")
    if "mtu" in given:
        given["mtu"] = _mtu(ctx, row.network_type, given["mtu"])
        for subnet in ctx.db.all(Subnet, Subnet.c.network_id == row.id):
            subnets.check_mtu(given["mtu"], subnet)
    external = given.get("external", row.external)
    if external != row.external:
        _change_external(ctx, row, external)
    if given.get("is_default") and not row.is_default:
        row.external = external
        _only_default(ctx, row)
    visible = any(given[name] != getattr(row, name) for name in ("admin_state_up", "mtu", "dns_domain", "external") if name in given)
    records.change(ctx.db, row, **given)
    if visible:
        wiring.network_changed(ctx, row.id)


def delete(ctx: Context, row: Network) -> None:
    """Delete a network with its subnets, unused floating IPs and the cloud's own ports; NetworkInUse while others are on it."""
    ctx.db.lock(Network, row.id)
    for floating in ctx.db.all(FloatingIp, FloatingIp.c.floating_network_id == row.id, FloatingIp.c.router_id.is_(None)):
        floating_ips.delete(ctx, floating)
    ports = ctx.db.all(Port, Port.c.network_id == row.id, order=[Port.c.created_at, Port.c.id])
    strangers = [port for port in ports if not port.device_owner.startswith(NETWORK_OWNED) or port.device_owner == ROUTER_GATEWAY]
    strangers += [port for port in ports if port.device_owner in ("network:router_interface", "network:floatingip")]
    if strangers:
        raise NetworkInUse(
            f"Unable to complete operation on network {row.id}. There are one or more ports still in use on the network: "
            + ", ".join(port.id for port in strangers[:10])
        )
    hosts = {port.host_id for port in ports if port.host_id} | {*placing.outside_hosts(ctx, row)}
    for port in ports:
        delete_row(ctx, port, quiet=True)
    for subnet in ctx.db.all(Subnet, Subnet.c.network_id == row.id):
        subnets.forget(ctx, subnet)
    ctx.db.remove(row)
    sharing.forget(ctx.db, "network", row.id)
    wiring.network_left(ctx, row.id, hosts)


def get(ctx: Context, ref: str) -> Network:
    """The network, if the caller may use it: own, shared or external.  Raises NetworkNotFound."""
    row = ctx.db.get(Network, ref)
    if row is None:
        raise NetworkNotFound(ref)
    if row.project_id == ctx.project_id or sharing.sees_all(ctx):
        return row
    if sharing.is_shared(ctx.db, "network", ref, ctx.project_id, sharing.SHARED, sharing.EXTERNAL):
        return row
    raise NetworkNotFound(ref)


def _mtu(ctx: Context, kind: str, wished: int | None) -> int:
    settings = ctx.program.settings.network
    most = settings.mtu - VXLAN_HEADER if kind == "vxlan" else settings.mtu
    if not wished:
        return most
    if wished > most:
        raise InvalidInput(f"Invalid input for operation: Requested MTU is too big, maximum is {most}.", field="mtu")
    return wished


def _segment(ctx: Context, body: Any) -> tuple[str, str | None, int | None]:
    """Type, physical network and id: as wished, and what is not said is chosen."""
    settings = ctx.program.settings.network
    kind, physical, segment = body.network_type, body.physical_network, body.segmentation_id
    if kind is None:
        if physical is not None or segment is not None:
            raise InvalidInput("Invalid input for operation: network_type required.", field="provider:network_type")
        if body.external:
            return _outside_segment(ctx)
        kind = settings.project_network_type
    if kind in UNNUMBERED and segment is not None:
        raise InvalidInput(
            f"Invalid input for operation: segmentation_id prohibited for {kind} provider network.", field="provider:segmentation_id"
        )
    if kind in ("flat", "vlan"):
        if not physical:
            raise InvalidInput(
                f"Invalid input for operation: physical_network required for {kind} provider network.", field="provider:physical_network"
            )
        if physical not in settings.bridge_mappings:
            raise InvalidInput(
                f"Invalid input for operation: physical_network '{physical[:64]}' unknown for {kind} provider network.",
                field="provider:physical_network",
            )
    elif physical is not None:
        raise InvalidInput(
            f"Invalid input for operation: provider:physical_network specified for {kind} network.", field="provider:physical_network"
        )
    if kind == "vlan":
        if segment is not None and not 1 <= segment <= 4094:
            raise InvalidInput("Invalid input for operation: segmentation_id out of range (1 through 4094).", field="provider:segmentation_id")
        return kind, physical, segment if segment is not None else _free(ctx, "vlan", physical, *settings.vlan_ranges.get(physical, (1, 0)))
    if kind == "vxlan":
        if segment is not None and not 1 <= segment < 1 << 24:
            raise InvalidInput("Invalid input for operation: segmentation_id out of range (1 through 16777215).", field="provider:segmentation_id")
        return kind, None, segment if segment is not None else _free(ctx, "vxlan", None, *settings.vxlan_range)
    return kind, physical, None


def _outside_segment(ctx: Context) -> tuple[str, str | None, int | None]:
    """An external network of which nothing more is said: the first free wire, else one that stays within the cloud."""
    taken = {row[0] for row in ctx.db.rows(sa.select(Network.c.physical_network).where(Network.c.network_type == "flat"))}
    free = next((name for name in ctx.program.settings.network.bridge_mappings if name not in taken), None)
    if free is not None:
        return "flat", free, None
    return "vxlan", None, _free(ctx, "vxlan", None, *ctx.program.settings.network.vxlan_range)


def _key(kind: str, physical: str | None, segment: int | None) -> str | None:
    return None if kind == "local" else f"{physical or ''}:{'' if segment is None else segment}"


def _free(ctx: Context, kind: str, physical: str | None, low: int, high: int) -> int:
    """An id that no other network has; random, so that two at once seldom meet."""
    if high >= low:
        for _ in range(4):
            tries = {random.randint(low, high) for _ in range(8)}
            keys = {_key(kind, physical, number): number for number in tries}
            held = ctx.db.rows(sa.select(Network.c.segment_key).where(Network.c.network_type == kind, Network.c.segment_key.in_(list(keys))))
            for key in keys.keys() - {row[0] for row in held}:
                return keys[key]
        held = {row[0] for row in ctx.db.rows(sa.select(Network.c.segment_key).where(Network.c.network_type == kind))}
        for number in range(low, high + 1):
            if _key(kind, physical, number) not in held:
                return number
    raise NoNetworkAvailable("Unable to create the network. No tenant network is available for allocation.")


def _taken(row: Network) -> Conflict:
    if row.network_type == "flat":
        return FlatNetworkInUse(f"Unable to create the flat network. Physical network {row.physical_network} is in use.")
    if row.network_type == "vlan":
        return VlanIdInUse(
            f"Unable to create the network. The VLAN {row.segmentation_id} on physical network {row.physical_network} is in use."
        )
    return TunnelIdInUse(f"Unable to create the network. The tunnel ID {row.segmentation_id} is in use.")


def _only_default(ctx: Context, row: Network) -> None:
    if not row.external:
        raise InvalidInputForOperation("is_default is for external networks: set router:external as well.", field="is_default")
    other = ctx.db.one(Network, Network.c.is_default == sa.true(), Network.c.id != row.id)
    if other is not None:
        raise DefaultExternalNetworkExists(f"A default external network already exists: {other.id}.")


def _change_external(ctx: Context, row: Network, external: bool) -> None:
    if external:
        sharing.share(ctx.db, row.project_id, "network", row.id, sharing.EXTERNAL)
        return
    used = ctx.db.count(Port, Port.c.network_id == row.id, Port.c.device_owner == ROUTER_GATEWAY)
    if used or ctx.db.count(FloatingIp, FloatingIp.c.floating_network_id == row.id):
        raise ExternalNetworkInUse(f"External network {row.id} cannot be updated to be made non-external, since it has existing gateway ports.")
    ctx.db.delete(Share, Share.c.object_type == "network", Share.c.object_id == row.id, Share.c.action == sharing.EXTERNAL)
