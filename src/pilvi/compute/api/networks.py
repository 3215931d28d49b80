"""Networks as compute's API showed them until 2.35: of what the network service has, little fits into this old form."""

from __future__ import annotations

from typing import Any

from pilvi.compute import policy
from pilvi.kernel.context import Context
from pilvi.kernel.http import Listing, Resource
from pilvi.network import for_compute as network

networks = Resource("/v2.1/os-networks", tag="networks", until="2.35")
tenant_networks = Resource("/v2.1/os-tenant-networks", tag="networks", until="2.35")

LIST = policy.reader("os-networks:list", "List networks.")
SHOW = policy.reader("os-networks:show", "Show a network.")
TENANT_LIST = policy.reader("os-tenant-networks:list", "List a project's networks.")
TENANT_SHOW = policy.reader("os-tenant-networks:show", "Show a project's network.")

_EMPTY = ("cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6")
_EMPTY_FOR_ADMINS = (
    "created_at", "updated_at", "deleted_at", "deleted", "injected", "bridge", "vlan", "vpn_public_address", "vpn_public_port",
    "vpn_private_address", "dhcp_start", "project_id", "host", "bridge_interface", "multi_host", "priority", "rxtx_base", "mtu",
    "dhcp_server", "enable_dhcp", "share_address",
)  # fmt: skip


def view(ctx: Context, one: network.NetworkName) -> dict[str, Any]:
    """A network in the form of networks that compute made by itself long ago."""
    empty = _EMPTY + _EMPTY_FOR_ADMINS if ctx.is_admin else _EMPTY
    return {"id": one.id, "label": one.name, **dict.fromkeys(empty)}


@networks.get("", rule=LIST, out="networks")
def index(ctx: Context) -> Listing:
    """List networks."""
    return Listing([view(ctx, one) for one in network.list_networks(ctx)])


@networks.get("/{network_id}", rule=SHOW, out="network")
def show(ctx: Context, network_id: str) -> dict[str, Any]:
    """Show a network."""
    return view(ctx, network.network(ctx, network_id))


def _short(one: network.NetworkName) -> dict[str, Any]:
    return {"id": one.id, "label": one.name, "cidr": None}


@tenant_networks.get("", rule=TENANT_LIST, out="networks")
def tenant_index(ctx: Context) -> Listing:
    """List the networks that the project may use."""
    return Listing([_short(one) for one in network.list_networks(ctx)])


@tenant_networks.get("/{network_id}", rule=TENANT_SHOW, out="network")
def tenant_show(ctx: Context, network_id: str) -> dict[str, Any]:
    """Show a network."""
    return _short(network.network(ctx, network_id))
