"""Floating IPs as compute's API showed them until 2.35 (for servers until 2.43); they are the network service's."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi.compute import policy
from pilvi.compute.operations.servers import find
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Body, Listing, Resource
from pilvi.kernel.ids import is_uuid
from pilvi.network import for_compute as network

floating_ips = Resource("/v2.1/os-floating-ips", tag="floating IPs", until="2.35")
pools = Resource("/v2.1/os-floating-ip-pools", tag="floating IPs", until="2.35")
actions = Resource("/v2.1/servers", tag="floating IPs", until="2.43")

LIST = policy.reader("os-floating-ips:list", "List floating IPs.")
SHOW = policy.reader("os-floating-ips:show", "Show a floating IP.")
CREATE = policy.member("os-floating-ips:create", "Create a floating IP.")
DELETE = policy.member("os-floating-ips:delete", "Delete a floating IP.")
ADD = policy.member("os-floating-ips:add", "Have a floating IP lead to a server.")
REMOVE = policy.member("os-floating-ips:remove", "Have a floating IP lead to a server no more.")
POOLS = policy.everyone("os-floating-ip-pools", "List the pools of floating IPs.")

Address = Annotated[str, msgspec.Meta(min_length=2, max_length=45, pattern=r"^[0-9a-fA-F:.]+$")]


class Add(Body):
    """Which floating IP shall lead to which address of the server."""

    address: Address
    fixed_address: Address | None = None


class Remove(Body):
    """Which floating IP shall lead to the server no more."""

    address: Address


def view(one: network.Floating) -> dict[str, Any]:
    """A floating IP as old clients see it."""
    return {"id": one.id, "ip": one.address, "pool": one.pool, "fixed_ip": one.fixed, "instance_id": one.server_id}


def _id(ref: str) -> str:
    if not is_uuid(ref):
        raise NotFound(f"Floating IP not found for ID {ref[:100]}")
    return ref


@floating_ips.get("", rule=LIST, out="floating_ips")
def index(ctx: Context) -> Listing:
    """List floating IPs."""
    return Listing([view(one) for one in network.list_floating(ctx)])


@floating_ips.get("/{floating_ip_id}", rule=SHOW, out="floating_ip")
def show(ctx: Context, floating_ip_id: str) -> dict[str, Any]:
    """Show a floating IP."""
    return view(network.floating(ctx, _id(floating_ip_id)))


@floating_ips.post("", rule=CREATE, out="floating_ip")
def create(ctx: Context, body: Any) -> dict[str, Any]:
    """Take a floating IP from the pool that the body names; without one, from the first."""
    pool = body.get("pool") if isinstance(body, dict) else None
    if pool is not None and not isinstance(pool, str):
        raise Invalid("Invalid input for field pool: the name of a pool is expected.", field="pool")
    return view(network.create_floating(ctx, pool))


@floating_ips.delete("/{floating_ip_id}", rule=DELETE, answers=202)
def delete(ctx: Context, floating_ip_id: str) -> None:
    """Give a floating IP back."""
    network.delete_floating(ctx, _id(floating_ip_id))


@pools.get("", rule=POOLS, out="floating_ip_pools")
def list_pools(ctx: Context) -> Listing:
    """List the pools of floating IPs."""
    return Listing([{"name": one.name} for one in network.pools(ctx)])


@actions.action("addFloatingIp", of="server_id", rule=ADD, answers=202)
def add(ctx: Context, server_id: str, change: Add) -> None:
    """Have a floating IP lead to a server."""
    server = find(ctx, server_id)
    network.lead_floating(ctx, change.address, server.id, change.fixed_address)


@actions.action("removeFloatingIp", of="server_id", rule=REMOVE, answers=202)
def remove(ctx: Context, server_id: str, change: Remove) -> None:
    """Have a floating IP lead to a server no more."""
    server = find(ctx, server_id)
    network.part_floating(ctx, change.address, server.id)
