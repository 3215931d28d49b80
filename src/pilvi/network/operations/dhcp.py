"""The DHCP port of a network: there when a subnet wants DHCP, on a host that is alive."""

from __future__ import annotations

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.ids import new_id
from pilvi.network.logic.addresses import new_mac
from pilvi.network.logic.words import DHCP, dhcp_device_id
from pilvi.network.operations import addresses, placing, ports, records
from pilvi.network.operations.binding import BOUND
from pilvi.network.tables import Network, Port, Subnet


def place(ctx: Context, network_id: str) -> None:
    """Have the network's DHCP port as it should be: its subnets' addresses, on a living host; or none."""
    network = ctx.db.get(Network, network_id)
    if network is None:
        return
    held = ctx.db.all(Port, Port.c.network_id == network_id, Port.c.device_owner == DHCP, order=[Port.c.created_at])
    subnets = [row for row in addresses.subnets_of(ctx.db, network_id) if row.enable_dhcp and addresses.serves(row, DHCP)]
    if not subnets or not network.admin_state_up:
        for port in held:
            ports.delete_row(ctx, port, quiet=True)
        return
    if held:
        _refresh(ctx, network, held[0], subnets)
        return
    host = placing.choose(ctx, "dhcp", placing.dhcp_load(ctx.db), network.physical_network)
    if host is not None:
        _make(ctx, network, subnets, host)


def _make(ctx: Context, network: Network, subnets: list[Subnet], host: str) -> None:
    now = clock.now()
    port = Port(
        id=new_id(), project_id=network.project_id, created_at=now, updated_at=now, network_id=network.id, mac_address=new_mac(),
        device_id=dhcp_device_id(host, network.id), device_owner=DHCP, port_security_enabled=False, host_id=host, **BOUND,
    )  # fmt: skip
    port.fixed_ips = addresses.for_port(ctx, port, [{"subnet_id": row.id} for row in subnets if _has_room(ctx, row)])
    ctx.db.insert(port)


def _refresh(ctx: Context, network: Network, port: Port, subnets: list[Subnet]) -> None:
    """Move it when its host is dead and another lives; give it an address in each subnet with DHCP."""
    if not placing.may_stay(ctx, port.host_id, "dhcp"):
        host = placing.choose(ctx, "dhcp", placing.dhcp_load(ctx.db), network.physical_network)
        if host is not None:
            ctx.db.change(port, host_id=host, device_id=dhcp_device_id(host, network.id), status="DOWN")
    have, wanted = {one.subnet_id for one in port.fixed_ips}, {row.id for row in subnets}
    if have != wanted:
        gone = [one for one in port.fixed_ips if one.subnet_id not in wanted]
        addresses.release(ctx.db, port.id, gone)
        kept = [one for one in port.fixed_ips if one.subnet_id in wanted]
        new = [{"subnet_id": row.id} for row in subnets if row.id not in have and _has_room(ctx, row)]
        fixed = addresses.for_port(ctx, port, new, kept=kept) if new else kept
        records.change(ctx.db, port, fixed_ips=fixed)


def _has_room(ctx: Context, subnet: Subnet) -> bool:
    """A subnet that is full is served without an address of its own, by the network's others."""
    return subnet.automatic or addresses.next_free(ctx, subnet, peek=True) is not None
