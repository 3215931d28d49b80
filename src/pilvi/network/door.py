"""The door's functions: what compute and those above it may do with networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
import sqlalchemy as sa

from pilvi.kernel import ids
from pilvi.kernel.agent import remote
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Forbidden, HostError, Invalid, NotFound
from pilvi.network.agent import TOPIC, NetworkAgent
from pilvi.network.api.ports import CreatePort
from pilvi.network.door_structs import NetworkRequest, PortInfo
from pilvi.network.errors import PortInUse, PortNotFound
from pilvi.network.logic.words import COMPUTE, DHCP
from pilvi.network.operations import addresses, binding, default_groups, networks, placing, ports, records, sharing, wiring
from pilvi.network.tables import Network, Port, PortGroup, SecurityGroup
from pilvi.network.views_for_servers import infos

if TYPE_CHECKING:
    from pilvi.kernel.db import Transaction
    from pilvi.kernel.program import Program
    from pilvi.network.metadata import MetadataHandler

PLUG_SECONDS = 60.0


# -- before a server is made ---------------------------------------------------------------------------


def request_networks(
    ctx: Context, wanted: Sequence[NetworkRequest] | Literal["auto", "none"] | None, *, count: int = 1
) -> list[NetworkRequest]:
    """What a server asks of networks, checked, with "auto" and None resolved.

    Raises Invalid, NotFound, Forbidden and Conflict in words for the person who makes the server.
    """
    if wanted == "none":
        return []
    if wanted == "auto":
        from pilvi.network.operations import topology

        return [NetworkRequest(network_id=topology.ensure(ctx, ctx.project_id).network_id)]
    resolved = list(wanted) if wanted else _only_network(ctx)
    asked = 0
    for one in resolved:
        if one.port_id:
            _check_port(ctx, one.port_id, count)
        else:
            _check_network(ctx, one, count)
            asked += count
    if len({one.port_id for one in resolved if one.port_id}) < len([one for one in resolved if one.port_id]):
        raise Invalid("A port is named twice.", field="networks")
    if asked:
        records.claim(ctx, "port", ctx.project_id, asked)
    return [msgspec.structs.replace(one, network_id=_port_network(ctx, one)) if one.port_id else one for one in resolved]


def _only_network(ctx: Context) -> list[NetworkRequest]:
    """Nothing said: the one network that the project can use."""
    inside = Network.c.external == sa.false()
    own = ctx.db.all(Network, Network.c.project_id == ctx.project_id, inside)
    own = own or ctx.db.all(Network, Network.c.id.in_(sharing.shared_ids(ctx.project_id, "network")), inside)
    if len(own) > 1:
        raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")
    return [NetworkRequest(network_id=row.id) for row in own]


def _check_port(ctx: Context, port_id: str, count: int) -> None:
    port = _port(ctx, port_id)
    if count > 1:
        raise Invalid("Unable to launch multiple instances with a single configured port ID.", field="networks")
    if port.device_id:
        raise PortInUse(f"Port {port_id} is still in use.")
    if not port.fixed_ips and addresses.subnets_of(ctx.db, port.network_id):
        raise Invalid(f"Port {port_id} requires a FixedIP in order to be used.", field="networks")


def _check_network(ctx: Context, one: NetworkRequest, count: int) -> None:
    if not ids.is_uuid(one.network_id):
        raise Invalid(f"Bad networks format: network uuid is not in proper format ({one.network_id[:64]})", field="networks")
    network = networks.get(ctx, one.network_id)
    if network.external and not ctx.is_admin and not sharing.is_shared(ctx.db, "network", network.id, ctx.project_id):
        raise Forbidden(f"It is not allowed to create an interface on external network {network.id}")
    if not addresses.subnets_of(ctx.db, network.id):
        raise Invalid(f"Network {network.id} requires a subnet in order to boot instances on.", field="networks")
    if one.fixed_ip and count > 1:
        raise Invalid("Invalid fixed IP: several servers cannot have the same one.", field="networks")


def _port(ctx: Context, port_id: str, *, to_change: bool = False) -> Port:
    port = ctx.db.get_to_change(Port, port_id) if to_change else ctx.db.get(Port, port_id)
    if port is None or not (port.project_id == ctx.project_id or sharing.sees_all(ctx)):
        raise PortNotFound(port_id)
    return port


def _port_network(ctx: Context, one: NetworkRequest) -> str:
    return _port(ctx, one.port_id).network_id


# -- ports of servers ----------------------------------------------------------------------------------


def create_port(
    ctx: Context, *, network_id: str, server_id: str, fixed_ip: str | None = None, security_groups: Sequence[str] = (), name: str = "",
    tag: str = "", dns_name: str = "", zone: str = "",
) -> PortInfo:  # fmt: skip
    """A port for a server, as the caller and with the caller's quota; `security_groups` are names or ids, none is the default one."""
    network = networks.get(ctx, network_id)
    body = CreatePort(
        network_id=network_id, name=name, device_id=server_id, device_owner=COMPUTE + (zone or ctx.program.settings.network.availability_zone),
        fixed_ips=[{"ip_address": fixed_ip}] if fixed_ip else None, dns_name=dns_name,
        security_groups=_groups(ctx, security_groups) if security_groups and network.port_security_enabled else None,
    )  # fmt: skip
    port = ports.create(ctx, body, ctx.project_id, network)
    if tag:
        ctx.db.change(port, tag=tag)
    return infos(ctx.db, [port])[0]


def _groups(ctx: Context, wanted: Sequence[str]) -> list[str]:
    """Ids of groups named by name or id.  Raises NotFound, and Conflict for a name that two groups have."""
    found = []
    for one in dict.fromkeys(wanted):
        if one == "default":
            found.append(default_groups.ensure(ctx, ctx.project_id).id)
            continue
        visible = sharing.visible(ctx, "security_group")
        where = [] if visible is None else [visible]
        own_name = (SecurityGroup.c.name == one) & (SecurityGroup.c.project_id == ctx.project_id)
        named = ctx.db.all(SecurityGroup, (SecurityGroup.c.id == one) | own_name, *where)
        if not named:
            raise NotFound(f"Security group {one} not found.")
        if len(named) > 1 and not any(row.id == one for row in named):
            raise Conflict(f"Multiple security groups found matching '{one}'. Use an ID to be more specific.")
        found.append(next((row.id for row in named if row.id == one), named[0].id))
    return found


def adopt_port(ctx: Context, port_id: str, server_id: str, *, tag: str = "", zone: str = "") -> PortInfo:
    """Make a port that the user made a server's own; PortInUse when it has a device already."""
    port = _port(ctx, port_id, to_change=True)  # who deletes it meanwhile tells its server, or finds none
    if port.device_id not in ("", server_id):
        raise PortInUse(f"Port {port_id} is still in use.")
    owner = COMPUTE + (zone or ctx.program.settings.network.availability_zone)
    records.change(ctx.db, port, device_id=server_id, device_owner=owner, tag=tag)
    return infos(ctx.db, [port])[0]


def release_port(ctx: Context, port_id: str) -> None:
    """Give a port back to the user who made it: without a server and without a host."""
    port = ctx.db.get(Port, port_id)
    if port is not None:
        before = Port(**port.values())
        records.change(ctx.db, port, device_id="", device_owner="", tag="", **binding.bound_to(ctx, ""))
        wiring.port_gone(ctx, before)


def bind_port(ctx: Context, port_id: str, host: str) -> None:
    """Say on which host a port is to be plugged; `plug` then does it."""
    port = ctx.db.get(Port, port_id)
    if port is None:
        raise PortNotFound(port_id)
    if port.host_id == host and port.vif_type == binding.VIF_TYPE:
        return
    before = Port(**port.values())
    records.change(ctx.db, port, **binding.bound_to(ctx, host))
    if before.host_id:
        wiring.port_gone(ctx, before)


def unbind_port(ctx: Context, port_id: str) -> None:
    """The port is on no host any more."""
    port = ctx.db.get(Port, port_id)
    if port is not None and port.host_id:
        before = Port(**port.values())
        records.change(ctx.db, port, **binding.bound_to(ctx, ""))
        wiring.port_gone(ctx, before)


def delete_port(ctx: Context, port_id: str) -> None:
    """Have the port gone; one that is gone is no error."""
    port = ctx.db.get(Port, port_id)
    if port is not None:
        ports.delete_row(ctx, port)


# -- effects -------------------------------------------------------------------------------------------


def plug(program: Program, server_id: str, host: str) -> None:
    """Return when the host's agent has plugged the server's ports bound to it, and DHCP knows them.

    Raises HostError when the host cannot, Unavailable when its agent does not answer.
    """

    def wanted(tx: Transaction) -> tuple[list[str], list[str], dict[str, list[str]], list[str]]:
        rows = tx.all(Port, Port.c.device_id == server_id, sa.or_(Port.c.host_id == host, Port.c.moving_to == host))
        failed = [row for row in rows if row.vif_type != binding.VIF_TYPE]
        if failed:
            raise HostError(f"The port {failed[0].id} cannot be bound to the host {host}: no network agent is known there.")
        dhcp: dict[str, list[str]] = {}
        for network_id in dict.fromkeys(row.network_id for row in rows):
            server = tx.one(Port, Port.c.network_id == network_id, Port.c.device_owner == DHCP)
            for one in {server.host_id} if server else set():
                dhcp.setdefault(one, []).append(network_id)
        groups = tx.by(PortGroup, PortGroup.c.port_id, [row.id for row in rows])
        new = [row.id for row in rows if row.status != "ACTIVE" or row.moving_to == host]
        return [row.id for row in rows], new, dhcp, sorted({one.group_id for one in groups if one.port_id in new})

    with program.db.transaction(write=False) as tx:
        ports_here, new, dhcp, groups = wanted(tx)
    if not ports_here:
        return
    remote(program.bus, NetworkAgent, TOPIC, host=host, timeout=PLUG_SECONDS).refresh_ports(ports_here)
    for dhcp_host, ids_there in dhcp.items():
        for network_id in ids_there:
            remote(program.bus, NetworkAgent, TOPIC, host=dhcp_host, timeout=PLUG_SECONDS).refresh_network(network_id)
    if new:
        program.db.run(lambda tx: _tell_others(program, tx, groups, new, host))


def _tell_others(program: Program, tx: Transaction, groups: Sequence[str], new: Sequence[str], host: str) -> None:
    """Ports on a host are news for rules that name their groups, and for hosts that have their networks."""
    ctx = program.system_context(tx)
    wiring.group_members_changed(ctx, groups)
    for network_id in {row.network_id for row in tx.by(Port, Port.c.id, new)}:
        if len(placing.network_hosts(tx, network_id)) > 1:
            wiring.network_changed(ctx, network_id, at_leisure=True)


def unplug(program: Program, port_ids: Sequence[str], host: str) -> None:
    """Have ports that are not bound to the host any more gone from it.  Raises as `plug`."""
    if port_ids:
        remote(program.bus, NetworkAgent, TOPIC, host=host, timeout=PLUG_SECONDS).refresh_ports(list(port_ids))


def set_metadata_handler(program: Program, handler: MetadataHandler) -> None:
    """Who answers what guests ask of 169.254.169.254."""
    program.parts["network.metadata"] = handler


# -- security groups of servers ------------------------------------------------------------------------


def add_group(ctx: Context, server_id: str, name: str) -> None:
    """Put all ports of the server that may have groups into one more."""
    (group,) = _groups(ctx, [name])
    held = ctx.db.all(Port, Port.c.device_id == server_id)
    if not held:
        raise Conflict(f"Server {server_id} has no ports to which a security group could be added.")
    for port in held:
        if port.port_security_enabled and group not in port.security_groups:
            ports.update(ctx, port, {"security_groups": [*port.security_groups, group]})


def remove_group(ctx: Context, server_id: str, name: str) -> None:
    """Take all ports of the server out of a group.  Raises NotFound when none is in it."""
    (group,) = _groups(ctx, [name])
    held = [port for port in ctx.db.all(Port, Port.c.device_id == server_id) if group in port.security_groups]
    if not held:
        raise NotFound(f"Security group {name} is not associated with the server {server_id}.")
    for port in held:
        ports.update(ctx, port, {"security_groups": [one for one in port.security_groups if one != group]})


