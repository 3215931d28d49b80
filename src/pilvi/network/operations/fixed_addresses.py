"""Further fixed addresses for a server's ports, as compute's older API asks for them."""

from __future__ import annotations

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.network.operations import ports
from pilvi.network.tables import Port, Subnet


def add(ctx: Context, server_id: str, network_id: str) -> None:
    """Give the server's first port on the network one more address; raises Invalid when it has no port there."""
    for port in _ports(ctx, server_id):
        if port.network_id != network_id:
            continue
        subnet = ctx.db.one(Subnet, Subnet.c.network_id == network_id)
        if subnet is not None:
            kept = [{"subnet_id": one.subnet_id, "ip_address": one.ip_address} for one in port.fixed_ips]
            ports.update(ctx, port, {"fixed_ips": [*kept, {"subnet_id": subnet.id}]})
            return
    raise Invalid(f"Network {network_id} could not be found for instance {server_id}.", field="addFixedIp.networkId")


def remove(ctx: Context, server_id: str, address: str) -> None:
    """Take an address from the server; raises Invalid when it has none such."""
    for port in _ports(ctx, server_id):
        if any(one.ip_address == address for one in port.fixed_ips):
            kept = [{"subnet_id": one.subnet_id, "ip_address": one.ip_address} for one in port.fixed_ips if one.ip_address != address]
            ports.update(ctx, port, {"fixed_ips": kept})
            return
    raise Invalid(f"Fixed IP {address} could not be found for instance {server_id}.", field="removeFixedIp.address")


def _ports(ctx: Context, server_id: str) -> list[Port]:
    return ctx.db.all(Port, Port.c.device_id == server_id, order=[Port.c.id])
