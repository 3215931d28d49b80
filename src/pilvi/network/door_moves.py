"""The door's functions for servers that move: their ports are plugged on two hosts, until one of them is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilvi.kernel import clock
from pilvi.network.errors import PortNotFound
from pilvi.network.operations import records, wiring
from pilvi.network.operations.binding import VIF_TYPE, bound_to
from pilvi.network.tables import Agent, Network, Port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pilvi.kernel.context import Context
    from pilvi.kernel.db import Transaction
    from pilvi.kernel.program import Program


def out_of_reach(program: Program, tx: Transaction, port_ids: Sequence[str]) -> dict[str, str]:
    """Hosts that cannot plug all of these ports, each with a sentence that says why; "" tells of all hosts that are not named.

    A host is named when its network agent is known; those without one are what "" speaks of.
    """
    if not port_ids:
        return {}
    ports = tx.by(Port, Port.c.id, port_ids)
    networks = tx.by(Network, Network.c.id, {one.network_id for one in ports})
    wires = sorted({one.physical_network for one in networks if one.physical_network and one.network_type in ("flat", "vlan")})
    tunnels = any(one.network_type == "vxlan" for one in networks)
    found = {"": "no network agent is known there"}
    since = program.hearing.since(program.settings.network.agent_down_after)
    for agent in tx.all(Agent):
        mapped = agent.facts.get("bridge_mappings", {})
        missing = [wire for wire in wires if wire not in mapped]
        if agent.heartbeat_at < since:
            found[agent.host] = f"its network agent has not reported for {clock.now() - agent.heartbeat_at:.0f} s"
        elif missing:
            found[agent.host] = f"it does not reach the physical network {', '.join(missing)}"
        elif tunnels and "vxlan" not in agent.facts.get("tunnel_types", ["vxlan"]):
            found[agent.host] = "its network agent makes no VXLAN tunnels"
        else:
            found[agent.host] = ""
    return found


def prepare_move(ctx: Context, port_id: str, host: str) -> None:
    """Have the port plugged on a second host as well, to which its server is about to move; `plug` does it there."""
    port = ctx.db.get(Port, port_id)
    if port is None:
        raise PortNotFound(port_id)
    if host in port.hosts:
        return
    before = port.moving_to
    records.change(ctx.db, port, moving_to=host)
    if before:
        _leave(ctx, port, before)


def finish_move(ctx: Context, port_id: str) -> None:
    """The server is on the second host: the port is bound there, as it is plugged, and leaves the first."""
    port = ctx.db.get(Port, port_id)
    if port is None or not port.moving_to:
        return
    before = Port(**port.values())
    bound = bound_to(ctx, port.moving_to)
    if bound["vif_type"] == VIF_TYPE and port.vif_type == VIF_TYPE:
        bound["status"] = port.status  # it is plugged there already
    records.change(ctx.db, port, **bound)
    _leave(ctx, before, before.host_id)


def swap_hosts(ctx: Context, port_id: str) -> None:
    """The second host is the one on which the port is bound, and the first is the second; it stays plugged on both."""
    port = ctx.db.get(Port, port_id)
    if port is not None and port.moving_to:
        bound = bound_to(ctx, port.moving_to)
        records.change(ctx.db, port, **(bound | {"status": port.status, "moving_to": port.host_id}))
        wiring.port_changed(ctx, port)


def abandon_move(ctx: Context, port_id: str) -> None:
    """The server stays on the first host: the port leaves the second."""
    port = ctx.db.get(Port, port_id)
    if port is None or not port.moving_to:
        return
    second = port.moving_to
    records.change(ctx.db, port, moving_to="")
    _leave(ctx, port, second)


def _leave(ctx: Context, port: Port, host: str) -> None:
    """Have the port gone from a host that it was plugged on."""
    if host:
        wiring.port_left(ctx, port, host)
