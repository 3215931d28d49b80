"""Ports: made with addresses and security groups, changed, deleted in one commit with all that is theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict
from pilvi.network.errors import (
    AddressPairAndPortSecurityRequired,
    AddressPairsExhausted,
    DuplicateAddressPairInRequest,
    InvalidInput,
    MacAddressInUse,
    NetworkNotFound,
    PortInUse,
    PortNotFound,
    PortSecurityPortHasSecurityGroup,
    SecurityGroupNotFound,
    ServicePortInUse,
)  # fmt: skip
from pilvi.network.events import PortDeleted
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.logic.words import FLOATING_IP, NETWORK_OWNED, ROUTER_GATEWAY, ROUTER_INTERFACE
from pilvi.network.operations import addresses, binding, default_groups, floating_links, records, wiring
from pilvi.network.security_errors import SecurityGroupConflict
from pilvi.network.tables import Allocation, Network, Pair, Port, PortGroup, SecurityGroup, SubPort, Trunk
from pilvi.network.tables.ports import DhcpOption

_MAC_TRIES = 16  # at the most, for one that is free
SERVICE_OWNERS = {ROUTER_INTERFACE: "router", ROUTER_GATEWAY: "router", FLOATING_IP: "floating IP"}


def create(ctx: Context, body: Any, project_id: str, network: Network | None = None) -> Port:
    """A port as the body wishes.  `network` is that of the body, when the caller has read it."""
    from pilvi.network.operations import networks

    network = network or networks.get(ctx, body.network_id)
    if network.id != body.network_id:
        raise NetworkNotFound(body.network_id)
    if not ctx.db.hold(Network, network.id):
        raise NetworkNotFound(network.id)
    records.claim(ctx, "port", project_id)
    secure = network.port_security_enabled if body.port_security_enabled is None else body.port_security_enabled
    port = Port(
        **records.born(project_id, body), network_id=network.id, admin_state_up=body.admin_state_up, device_id=body.device_id,
        device_owner=body.device_owner, mac_address=_free_mac(ctx, network.id, body.mac_address), port_security_enabled=secure,
        vnic_type=body.vnic_type, profile=body.profile or {}, dns_name=body.dns_name.lower(), dns_domain=body.dns_domain,
        hints=body.hints, propagate_uplink_status=body.propagate_uplink_status, tag=getattr(body, "tag", ""),
    )  # fmt: skip
    if body.host_id:
        for name, value in binding.bound_to(ctx, body.host_id).items():
            setattr(port, name, value)
    port.fixed_ips = addresses.for_port(ctx, port, body.fixed_ips)
    port.security_groups = _groups_for_new(ctx, port, body.security_groups, project_id)
    port.allowed_address_pairs = _pairs(ctx, port, body.allowed_address_pairs)
    port.extra_dhcp_opts = _merged_options(port, body.extra_dhcp_opts)
    return insert(ctx, port)


def insert(ctx: Context, port: Port) -> Port:
    """Write a new port that has its addresses; what is bound is plugged."""
    try:
        ctx.db.insert(port)
    except Conflict:
        raise MacAddressInUse(
            f"Unable to complete operation for network {port.network_id}. The mac address {port.mac_address} is in use."
        ) from None
    if port.security_groups:
        _hold_groups(ctx, port.security_groups)
        ctx.db.insert_all([PortGroup(port_id=port.id, group_id=group) for group in port.security_groups])
    if port.host_id and port.vif_type == binding.VIF_TYPE and not port.device_owner.startswith(NETWORK_OWNED):
        wiring.port_changed(ctx, port, members=True)
        wiring.network_changed(ctx, port.network_id)
    return port


def _hold_groups(ctx: Context, groups: Sequence[str]) -> None:
    """See that nobody deletes the groups before the port is in them."""
    for group in sorted(groups):
        if not ctx.db.hold(SecurityGroup, group):
            raise SecurityGroupNotFound(group)


def update(ctx: Context, port: Port, given: dict[str, Any]) -> None:
    """Change a port; its host is told when it is bound."""
    new: dict[str, Any] = {}
    if "mac_address" in given and (wanted := given.pop("mac_address") or arithmetic.new_mac()).lower() != port.mac_address:
        if port.host_id and port.vif_type == binding.VIF_TYPE:
            raise PortInUse(f"Unable to complete operation on port {port.id}: its MAC address cannot be changed while it is bound.")
        new["mac_address"] = _free_mac(ctx, port.network_id, wanted)
    if "fixed_ips" in given:
        wanted_ips = given.pop("fixed_ips")
        _keep_router_addresses(port, wanted_ips)
        fixed = addresses.replace(ctx, port, wanted_ips or [])
        if fixed != port.fixed_ips:
            floating_links.addresses_changed(ctx, port, fixed)
            new["fixed_ips"] = fixed
    secure = given.get("port_security_enabled", port.port_security_enabled)
    new |= _changed_groups(ctx, port, given, secure)
    if "allowed_address_pairs" in given:
        port_like = port if secure == port.port_security_enabled else _with_security(port, secure)
        given["allowed_address_pairs"] = _pairs(ctx, port_like, given["allowed_address_pairs"])
    elif not secure and port.allowed_address_pairs:
        raise AddressPairAndPortSecurityRequired("Port Security must be enabled in order to have allowed address pairs on a port.")
    if "extra_dhcp_opts" in given:
        given["extra_dhcp_opts"] = _merged_options(port, given["extra_dhcp_opts"] or [])
    if "dns_name" in given:
        given["dns_name"] = given["dns_name"].lower()
    host_before = port.host_id
    if "host_id" in given:
        host = given.pop("host_id") or ""
        if host != port.host_id:
            new |= binding.bound_to(ctx, host)
    if "profile" in given:
        given["profile"] = given["profile"] or {}
    before = Port(**port.values())
    records.change(ctx.db, port, **given, **new)
    _tell(ctx, before, port, host_before)


def _tell(ctx: Context, before: Port, port: Port, host_before: str) -> None:
    """Have hosts follow the change, those that it concerns."""
    if host_before and host_before != port.host_id:
        wiring.port_gone(ctx, before)
    if not port.host_id:
        return
    members = before.fixed_ips != port.fixed_ips or before.security_groups != port.security_groups or before.host_id != port.host_id
    if members and before.security_groups != port.security_groups:
        wiring.group_members_changed(ctx, set(before.security_groups) - set(port.security_groups))
    if port.device_owner.startswith(NETWORK_OWNED):
        if port.device_owner in (ROUTER_INTERFACE, ROUTER_GATEWAY):
            wiring.router_changed(ctx, port.device_id)
        else:
            wiring.network_changed(ctx, port.network_id)
        return
    wiring.port_changed(ctx, port, members=members)
    leased = ("fixed_ips", "mac_address", "extra_dhcp_opts", "dns_name", "host_id")
    if any(getattr(before, name) != getattr(port, name) for name in leased):
        wiring.network_changed(ctx, port.network_id)


def add_pairs(ctx: Context, port: Port, wanted: Sequence[Mapping[str, Any]]) -> None:
    """Let the port send from these addresses as well."""
    held = [{"ip_address": one.ip_address, "mac_address": one.mac_address} for one in port.allowed_address_pairs]
    known = {(one["ip_address"], one["mac_address"]) for one in held}
    new = [{"ip_address": one.ip_address, "mac_address": one.mac_address} for one in _pairs(ctx, port, wanted)]
    update(ctx, port, {"allowed_address_pairs": held + [one for one in new if (one["ip_address"], one["mac_address"]) not in known]})


def remove_pairs(ctx: Context, port: Port, wanted: Sequence[Mapping[str, Any]]) -> None:
    """Let the port send from these addresses no more."""
    gone = set(_pairs(ctx, port, wanted))
    kept = [{"ip_address": one.ip_address, "mac_address": one.mac_address} for one in port.allowed_address_pairs if one not in gone]
    update(ctx, port, {"allowed_address_pairs": kept})


def delete(ctx: Context, port: Port) -> None:
    """Delete a port that the cloud itself does not need; whose it is now, not whose it was when it was found, is told."""
    now = ctx.db.lock(Port, port.id)
    if now is None:
        raise PortNotFound(port.id)
    port = now
    if port.device_owner in SERVICE_OWNERS:
        raise ServicePortInUse(
            f"Port {port.id} cannot be deleted directly via the port API: has device owner {port.device_owner}; "
            f"remove it from its {SERVICE_OWNERS[port.device_owner]}."
        )
    trunk = ctx.db.one(Trunk, Trunk.c.port_id == port.id)
    carried = ctx.db.get(SubPort, port.id)
    if trunk is not None or carried is not None:
        ref = trunk.id if trunk is not None else carried.trunk_id if carried is not None else ""
        raise PortInUse(f"Unable to complete operation on port {port.id}: it is part of the trunk {ref}.")
    delete_row(ctx, port)


def delete_row(ctx: Context, port: Port, *, quiet: bool = False) -> None:
    """Have the port gone with its addresses, groups and links; `quiet` tells no host, because more is going."""
    floating_links.unlink_port(ctx, port)
    ctx.db.delete(Allocation, Allocation.c.port_id == port.id)
    if port.security_groups:
        ctx.db.delete(PortGroup, PortGroup.c.port_id == port.id)
    ctx.db.remove(port)
    if port.device_id:
        ctx.publish(PortDeleted(port_id=port.id, device_id=port.device_id, project_id=port.project_id))
    if not quiet:
        if port.device_owner.startswith(NETWORK_OWNED) and port.host_id:
            wiring.network_left(ctx, port.network_id, [port.host_id])
        else:
            wiring.port_gone(ctx, port)


# -- parts -------------------------------------------------------------------------------------------


def _free_mac(ctx: Context, network_id: str, wanted: str | None) -> str:
    """The wanted address, or a random one, that no port of the network has: of some thousands two are alike ere long."""
    mac = (wanted or arithmetic.new_mac()).lower()
    for _ in range(_MAC_TRIES):
        if ctx.db.one(Port, Port.c.network_id == network_id, Port.c.mac_address == mac) is None:
            return mac
        if wanted:
            break
        mac = arithmetic.new_mac()
    raise MacAddressInUse(f"Unable to complete operation for network {network_id}. The mac address {mac} is in use.")


def _groups_for_new(ctx: Context, port: Port, wanted: list[str] | None, project_id: str) -> list[str]:
    if not port.port_security_enabled:
        if wanted:
            raise PortSecurityPortHasSecurityGroup("Port security must be enabled to use security groups.")
        return []
    if wanted is not None:
        return known_groups(ctx, wanted, project_id)
    if port.device_owner.startswith(NETWORK_OWNED) or not project_id:
        return []
    return [default_groups.ensure(ctx, project_id).id]


def known_groups(ctx: Context, wanted: list[str], project_id: str) -> list[str]:
    """The ids, each once, if all are groups that the project may use.  Raises SecurityGroupNotFound."""
    from pilvi.network.operations import sharing

    ids = list(dict.fromkeys(wanted))
    if len(ids) < len(wanted):
        raise InvalidInput("Invalid input for security_groups. Reason: a group is named twice.", field="security_groups")
    found = {row.id: row for row in ctx.db.by(SecurityGroup, SecurityGroup.c.id, ids)}
    for ref in ids:
        group = found.get(ref)
        if group is None:
            raise SecurityGroupNotFound(ref)
        if group.project_id == project_id or sharing.sees_all(ctx):
            continue
        if not sharing.is_shared(ctx.db, "security_group", ref, project_id):
            raise SecurityGroupNotFound(ref)
    if len({group.stateful for group in found.values()}) > 1:
        raise SecurityGroupConflict("Error: Stateful and stateless security groups cannot be used together on one port.")
    return ids


def _changed_groups(ctx: Context, port: Port, given: dict[str, Any], secure: bool) -> dict[str, Any]:
    if "security_groups" not in given:
        if not secure and port.security_groups:
            raise PortSecurityPortHasSecurityGroup("Port has security group associated. Cannot disable port security until it is removed.")
        return {}
    wanted = given.pop("security_groups") or []
    if wanted and not secure:
        raise PortSecurityPortHasSecurityGroup("Port security must be enabled to use security groups.")
    groups = known_groups(ctx, wanted, port.project_id)
    ctx.db.delete(PortGroup, PortGroup.c.port_id == port.id)
    if groups:
        _hold_groups(ctx, groups)
        ctx.db.insert_all([PortGroup(port_id=port.id, group_id=group) for group in groups])
    return {"security_groups": groups}


def _pairs(ctx: Context, port: Port, wanted: Sequence[Mapping[str, Any]] | None) -> list[Pair]:
    if not wanted:
        return []
    if not port.port_security_enabled:
        raise AddressPairAndPortSecurityRequired("Port Security must be enabled in order to have allowed address pairs on a port.")
    most = ctx.program.settings.network.max_allowed_address_pairs
    if len(wanted) > most:
        raise AddressPairsExhausted(f"The number of allowed address pair exceeds the maximum {most}.", field="allowed_address_pairs")
    pairs: list[Pair] = []
    for one in wanted:
        text = one["ip_address"]
        net = arithmetic.parse_cidr(text, "allowed_address_pairs") if "/" in text else arithmetic.parse_address(text, "allowed_address_pairs")
        pair = Pair(str(net), (one.get("mac_address") or port.mac_address).lower())
        if pair in pairs:
            raise DuplicateAddressPairInRequest(
                f"Request contains duplicate address pair: mac_address {pair.mac_address} ip_address {pair.ip_address}.",
                field="allowed_address_pairs",
            )
        pairs.append(pair)
    return pairs


def _with_security(port: Port, secure: bool) -> Port:
    other = Port(**port.values())
    other.port_security_enabled = secure
    return other


def _merged_options(port: Port, wanted: list[dict[str, Any]]) -> list[DhcpOption]:
    """The port's options with those given in the place of their likes; a value of None takes one away."""
    merged = {(one.opt_name, one.ip_version): one for one in port.extra_dhcp_opts}
    for one in wanted:
        key = (one["opt_name"], one.get("ip_version", 4))
        if one["opt_value"] is None:
            merged.pop(key, None)
        else:
            merged[key] = DhcpOption(one["opt_name"], one["opt_value"], one.get("ip_version", 4))
    return list(merged.values())


def _keep_router_addresses(port: Port, wanted: Any) -> None:
    if port.device_owner in (ROUTER_INTERFACE, ROUTER_GATEWAY) and not wanted:
        raise InvalidInput("Invalid input for operation: a router's port keeps an address.", field="fixed_ips")
