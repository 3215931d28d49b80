"""addFixedIp and removeFixedIp over HTTP: how old clients give a server one more address (until 2.43)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pilvi import network
from pilvi.compute import policy
from pilvi.compute.operations.servers import find
from pilvi.kernel.context import Context
from pilvi.kernel.http import Body, Resource, wire

actions = Resource("/v2.1/servers", tag="fixed addresses", until="2.43")

ADD = policy.member("os-multinic:add", "Give a server one more address on a network.")
REMOVE = policy.member("os-multinic:remove", "Take an address from a server.")


class Add(Body):
    """The network from which the address shall be."""

    network_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | int = wire("networkId")


class Remove(Body):
    """The address that shall go."""

    address: Annotated[str, msgspec.Meta(min_length=2, max_length=45, pattern=r"^[0-9a-fA-F:.]+$")]


@actions.action("addFixedIp", of="server_id", rule=ADD, answers=202)
def add(ctx: Context, server_id: str, body: Add) -> None:
    """Give a server one more address on a network."""
    network.fixed_addresses.add(ctx, find(ctx, server_id).id, str(body.network_id))


@actions.action("removeFixedIp", of="server_id", rule=REMOVE, answers=202)
def remove(ctx: Context, server_id: str, body: Remove) -> None:
    """Take an address from a server."""
    network.fixed_addresses.remove(ctx, find(ctx, server_id).id, body.address)
