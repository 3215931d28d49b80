"""A port's bindings in HTTP: the active one, and a second, inactive one on the host to which its server is about to move."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound
from pilvi.kernel.http.request import Answer
from pilvi.kernel.http.resource import Resource
from pilvi.kernel.http.shape import UNSET, Body, Given
from pilvi.network.api.collection import answer
from pilvi.network.api.ports import COLLECTION, VnicType
from pilvi.network.door_moves import abandon_move, prepare_move, swap_hosts
from pilvi.network.errors import PortInUse
from pilvi.network.operations import binding, ports, wiring
from pilvi.network.policy import rule
from pilvi.network.tables import Agent, Port

bindings = Resource("/v2.0/ports/{ref}/bindings", tag="ports")
READ, MAKE, CHANGE, DROP, ACTIVATE = (rule(f"{verb}_port_binding") for verb in ("get", "create", "update", "delete", "activate"))


class CreateBinding(Body):
    """A binding on one more host."""

    host: Annotated[str, Meta(min_length=1, max_length=255)]
    vnic_type: VnicType = "normal"
    profile: dict[str, Any] | None = None


class ChangeBinding(Body):
    """How the port is to be plugged."""

    vnic_type: VnicType | Given = UNSET
    profile: dict[str, Any] | Given | None = UNSET


def _view(ctx: Context, port: Port, host: str) -> dict[str, Any]:
    active = host == port.host_id
    known = ctx.db.get(Agent, host) is not None
    how = {"vif_type": port.vif_type, "vif_details": port.vif_details} if active else binding.BOUND if known else binding.FAILED
    return {
        "host": host, "vif_type": how["vif_type"], "vif_details": how["vif_details"], "vnic_type": port.vnic_type, "profile": port.profile,
        "status": "ACTIVE" if active else "INACTIVE", "project_id": port.project_id,
    }  # fmt: skip


def _at(port: Port, host: str) -> str:
    if host not in port.hosts:
        raise NotFound(f"Binding for port {port.id} on host {host[:255]} could not be found.")
    return host


@bindings.get("", rule=READ, precheck=False)
def index(ctx: Context, ref: str) -> Answer:
    """List the port's bindings."""
    port = COLLECTION.find(ctx, ref, READ.name)
    return answer({"bindings": [_view(ctx, port, host) for host in port.hosts]})


@bindings.get("/{host}", rule=READ, precheck=False)
def show(ctx: Context, ref: str, host: str) -> Answer:
    """Show the binding on a host."""
    port = COLLECTION.find(ctx, ref, READ.name)
    return answer({"binding": _view(ctx, port, _at(port, host))})


@bindings.post("", rule=MAKE, precheck=False, out=None)
def create(ctx: Context, ref: str, binding: CreateBinding) -> Answer:
    """Bind the port to one more host, inactively."""
    port = COLLECTION.find(ctx, ref, MAKE.name)
    if binding.host in port.hosts:
        raise PortInUse(f"Binding for port {port.id} with host {binding.host} already exists.")
    if not port.host_id or port.moving_to:
        raise PortInUse(f"Port {port.id} is bound to {'two hosts' if port.moving_to else 'no host yet'}; it has one active and one inactive binding.")
    prepare_move(ctx, port.id, binding.host)
    port = COLLECTION.find(ctx, ref, MAKE.name)
    wiring.port_changed(ctx, port)
    wiring.network_changed(ctx, port.network_id)
    return answer({"binding": _view(ctx, port, binding.host)}, 201)


@bindings.put("/{host}", rule=CHANGE, precheck=False)
def update(ctx: Context, ref: str, host: str, binding: ChangeBinding) -> Answer:
    """Change how the port is plugged."""
    port = COLLECTION.find(ctx, ref, CHANGE.name)
    _at(port, host)
    given = {name: value for name in ("vnic_type", "profile") if (value := getattr(binding, name)) is not UNSET}
    if given:
        ports.update(ctx, port, given)
    return answer({"binding": _view(ctx, port, host)})


@bindings.put("/{host}/activate", rule=ACTIVATE, precheck=False)
def activate(ctx: Context, ref: str, host: str) -> Answer:
    """Have the inactive binding be the active one, and the other way round."""
    port = COLLECTION.find(ctx, ref, ACTIVATE.name)
    if _at(port, host) == port.host_id:
        raise PortInUse(f"Binding for port {port.id} on host {host} is already active.")
    swap_hosts(ctx, port.id)
    return answer({"binding": _view(ctx, COLLECTION.find(ctx, ref, ACTIVATE.name), host)})


@bindings.delete("/{host}", rule=DROP, precheck=False, answers=204)
def delete(ctx: Context, ref: str, host: str) -> None:
    """Have the port unbound from a host."""
    port = COLLECTION.find(ctx, ref, DROP.name)
    if _at(port, host) == port.moving_to:
        abandon_move(ctx, port.id)
    else:
        ports.update(ctx, port, {"host_id": ""})
