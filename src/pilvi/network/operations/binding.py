"""Binding: which host a port is on, and how it is plugged there."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.context import Context
from pilvi.network.events import PortChanged
from pilvi.network.tables import Agent, Port

VIF_TYPE = "bridge"
BOUND: dict[str, Any] = {"vif_type": VIF_TYPE, "vif_details": {"port_filter": True, "connectivity": "l2", "bound_drivers": {"0": "linuxbridge"}}}
UNBOUND: dict[str, Any] = {"vif_type": "unbound", "vif_details": {}}
FAILED: dict[str, Any] = {"vif_type": "binding_failed", "vif_details": {}}


def bound_to(ctx: Context, host: str) -> dict[str, Any]:
    """The columns of a port that is bound to the host ("": to none); a host without an agent cannot plug it."""
    if not host:
        return {"host_id": "", "moving_to": "", "status": "DOWN", **UNBOUND}
    known = ctx.db.get(Agent, host) is not None
    return {"host_id": host, "moving_to": "", "status": "DOWN", **(BOUND if known else FAILED)}


def set_status(ctx: Context, port: Port, status: str) -> None:
    """Write a port's status, and tell it upwards."""
    if port.status == status:
        return
    ctx.db.change(port, status=status)
    if port.device_id:
        ctx.publish(PortChanged(port_id=port.id, device_id=port.device_id, project_id=port.project_id, status=status))
