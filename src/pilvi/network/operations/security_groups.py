"""Security groups and what they let pass."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.context import Context
from pilvi.network.errors import AddressGroupNotFound, InvalidInput, SecurityGroupNotFound
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.logic.protocols import ONLY_IPV6, PORTED, is_icmp, known_protocol, same_protocol
from pilvi.network.operations import default_groups, records, sharing, wiring
from pilvi.network.security_errors import (
    SecurityGroupCannotRemoveDefault,
    SecurityGroupCannotUpdateDefault,
    SecurityGroupDefaultAlreadyExists,
    SecurityGroupInUse,
    SecurityGroupInvalidPortRange,
    SecurityGroupMultipleRemoteEntites,
    SecurityGroupRuleExists,
    SecurityGroupRuleParameterConflict,
    SecurityGroupRulesNotSingleGroup,
)  # fmt: skip
from pilvi.network.tables import AddressGroup, PortGroup, SecurityGroup, SecurityRule

_ALIKE = ("direction", "ethertype", "port_range_min", "port_range_max", "normalized_cidr", "remote_group_id", "remote_address_group_id")


def create(ctx: Context, body: Any, project_id: str) -> SecurityGroup:
    """A group with the template's rules; the project's default group comes with its first."""
    default_groups.ensure(ctx, project_id)
    if body.name == "default":
        raise SecurityGroupDefaultAlreadyExists(field="name")
    records.claim(ctx, "security_group", project_id)
    group = SecurityGroup(**records.born(project_id, body), stateful=body.stateful)
    ctx.db.insert(group)
    rules = default_groups.born_rules(ctx, group)
    records.claim(ctx, "security_group_rule", project_id, len(rules))
    ctx.db.insert_all(rules)
    return group


def update(ctx: Context, group: SecurityGroup, given: dict[str, Any]) -> None:
    """Change a group; a default group keeps its name."""
    if group.default_of is not None and "name" in given and given["name"] != group.name:
        raise SecurityGroupCannotUpdateDefault("Updating the default security group's name is not allowed.")
    if group.default_of is None and given.get("name") == "default":
        raise SecurityGroupDefaultAlreadyExists(field="name")
    turned = "stateful" in given and given["stateful"] != group.stateful
    if turned and ctx.db.count(PortGroup, PortGroup.c.group_id == group.id):
        raise SecurityGroupInUse(f"Security Group {group.id} in use.")
    records.change(ctx.db, group, **given)


def delete(ctx: Context, group: SecurityGroup) -> None:
    """Delete a group that no port is in and that no rule of another names."""
    if group.default_of is not None and not ctx.is_admin:
        raise SecurityGroupCannotRemoveDefault("Insufficient rights for removing default security group.")
    ctx.db.lock(SecurityGroup, group.id)
    if ctx.db.count(PortGroup, PortGroup.c.group_id == group.id):
        raise SecurityGroupInUse(f"Security Group {group.id} in use.")
    naming = ctx.db.all(SecurityRule, SecurityRule.c.remote_group_id == group.id, SecurityRule.c.security_group_id != group.id)
    ctx.db.delete(SecurityRule, SecurityRule.c.security_group_id == group.id)
    ctx.db.delete(SecurityRule, SecurityRule.c.remote_group_id == group.id)
    for other in {rule.security_group_id for rule in naming}:
        wiring.group_changed(ctx, other)
    sharing.forget(ctx.db, "security_group", group.id)
    ctx.db.remove(group)


# -- rules -----------------------------------------------------------------------------------------


def create_rule(ctx: Context, body: Any, project_id: str) -> SecurityRule:
    """A rule in a group that the caller may change; one that says the same is SecurityGroupRuleExists."""
    group = ctx.db.get(SecurityGroup, body.security_group_id)
    if group is None or not (group.project_id == project_id or sharing.sees_all(ctx)):
        raise SecurityGroupNotFound(body.security_group_id)
    values = rule_values(ctx, body, project_id)
    records.claim(ctx, "security_group_rule", project_id)
    rule = SecurityRule(**records.born(project_id, body), security_group_id=group.id, **values)
    for other in ctx.db.all(SecurityRule, SecurityRule.c.security_group_id == group.id):
        if same_rule(rule, other):
            raise SecurityGroupRuleExists(f"Security group rule already exists. Rule id is {other.id}.")
    ctx.db.insert(rule)
    records.bump(ctx.db, SecurityGroup, group.id)
    wiring.group_changed(ctx, group.id)
    return rule


def one_group(ctx: Context, bodies: list[Any]) -> None:
    """Rules that are made together belong to one group."""
    if len({body.security_group_id for body in bodies}) > 1:
        raise SecurityGroupRulesNotSingleGroup("Only allowed to update rules for one security profile at a time")


def delete_rule(ctx: Context, rule: SecurityRule) -> None:
    """Have the rule gone."""
    ctx.db.remove(rule)
    records.bump(ctx.db, SecurityGroup, rule.security_group_id)
    wiring.group_changed(ctx, rule.security_group_id)


def same_rule(one: Any, other: Any) -> bool:
    """Whether two rules let the same pass."""
    alike = all(getattr(one, name, None) == getattr(other, name, None) for name in _ALIKE)
    return alike and same_protocol(one.protocol, other.protocol, one.ethertype)


def rule_values(ctx: Context, body: Any, project_id: str) -> dict[str, Any]:
    """The columns of a rule that the body describes; raises the API's errors for what contradicts itself."""
    protocol = known_protocol(None if body.protocol is None else str(body.protocol))
    if len([one for one in (body.remote_ip_prefix, body.remote_group_id, body.remote_address_group_id) if one]) > 1:
        raise SecurityGroupMultipleRemoteEntites("Only one of remote_ip_prefix, remote_group_id and remote_address_group_id may be provided.")
    normal = _prefix(body)
    _check_ports(body, protocol)
    if protocol in ONLY_IPV6 and body.ethertype == "IPv4":
        raise SecurityGroupRuleParameterConflict(f"Conflicting value ethertype IPv4 for protocol {protocol}.", field="ethertype")
    if body.remote_group_id and body.remote_group_id != default_groups.PARENT:
        known = ctx.db.get(SecurityGroup, body.remote_group_id)
        allowed = known is not None and (
            known.project_id == project_id or sharing.sees_all(ctx) or sharing.is_shared(ctx.db, "security_group", known.id, project_id)
        )
        if not allowed:
            raise SecurityGroupNotFound(body.remote_group_id)
    if body.remote_address_group_id:
        named = ctx.db.get(AddressGroup, body.remote_address_group_id)
        allowed = named is not None and (
            named.project_id == project_id or sharing.sees_all(ctx) or sharing.is_shared(ctx.db, "address_group", named.id, project_id)
        )
        if not allowed:
            raise AddressGroupNotFound(body.remote_address_group_id)
    return {
        "direction": body.direction, "ethertype": body.ethertype, "protocol": protocol, "port_range_min": body.port_range_min,
        "port_range_max": body.port_range_max, "remote_ip_prefix": body.remote_ip_prefix or None, "normalized_cidr": normal,
        "remote_group_id": body.remote_group_id or None, "remote_address_group_id": body.remote_address_group_id or None,
    }  # fmt: skip


def _prefix(body: Any) -> str | None:
    if not body.remote_ip_prefix:
        return None
    text = body.remote_ip_prefix
    if "/" not in text:
        text = f"{arithmetic.parse_address(text, 'remote_ip_prefix')}/{128 if ':' in text else 32}"
    net = arithmetic.parse_cidr(text, "remote_ip_prefix")
    if f"IPv{net.version}" != body.ethertype:
        raise SecurityGroupRuleParameterConflict(f"Conflicting value ethertype {body.ethertype} for CIDR {text}.", field="ethertype")
    return str(net)


def _check_ports(body: Any, protocol: str | None) -> None:
    low, high = body.port_range_min, body.port_range_max
    if low is None and high is None:
        return
    if protocol is None:
        raise SecurityGroupRuleParameterConflict("Must also specify protocol if port range is given.", field="protocol")
    if is_icmp(protocol):
        if low is None:
            raise InvalidInput(f"ICMP code (port-range-max) {high} is provided but ICMP type (port-range-min) is missing.", field="port_range_min")
        for field, value in (("type", low), ("code", high)):
            if value is not None and not 0 <= value <= 255:
                raise InvalidInput(f"Invalid value for ICMP {field}: {value}; it must be from 0 to 255.", field="port_range_min")
        return
    if protocol not in PORTED:
        raise SecurityGroupRuleParameterConflict(f"Port range cannot be specified for protocol {protocol}.", field="port_range_min")
    for port in (low, high):
        if port is not None and not 0 <= port <= 65535:
            raise SecurityGroupInvalidPortRange(f"Invalid value for port {port}; it must be from 0 to 65535.", field="port_range_min")
    if low is None or high is None or low > high:
        raise SecurityGroupInvalidPortRange("For TCP/UDP protocols, port_range_min must be <= port_range_max", field="port_range_min")
