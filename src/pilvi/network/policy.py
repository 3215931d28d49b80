"""The rights of the network service, by OpenStack's names.

Beside the right to an action there are rights to single attributes: `create_network:shared` is asked of who sets
`shared` to another than its default, `get_port:binding:host_id` of who would see it.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilvi.kernel.policy import Rule

ADMIN = "rule:admin_only"
SERVICE = "rule:service_api"
MEMBER = "role:member and project_id:%(project_id)s"
READER = "role:reader and project_id:%(project_id)s"
ADMIN_OR_SERVICE = f"({ADMIN}) or ({SERVICE})"
ADMIN_OR_MEMBER = f"({ADMIN}) or ({MEMBER})"
ADMIN_OR_READER = f"({ADMIN}) or ({READER})"
SERVICE_TOO_MEMBER = f"{ADMIN_OR_SERVICE} or ({MEMBER})"
SERVICE_TOO_READER = f"{ADMIN_OR_SERVICE} or ({READER})"
NET_MEMBER = "role:member and rule:network_owner"
NET_READER = "role:reader and rule:network_owner"
PARENT_MEMBER = f"({ADMIN}) or (role:member and rule:ext_parent_owner)"
PARENT_READER = f"({ADMIN}) or (role:reader and rule:ext_parent_owner)"
SHARED = "rule:shared"
NET_OWNER = "rule:network_owner"
OWN_NET = f"{ADMIN_OR_SERVICE} or {NET_OWNER}"

_BASE = {
    "context_is_admin": "role:admin",
    "service_api": "role:service",
    "owner": "project_id:%(project_id)s",
    "admin_or_owner": "rule:context_is_admin or rule:owner",
    "admin_only": "rule:context_is_admin",
    "regular_user": "",
    "network_owner": "project_id:%(network:tenant_id)s",
    "admin_or_network_owner": "rule:context_is_admin or rule:network_owner",
    "admin_owner_or_network_owner": "rule:owner or rule:admin_or_network_owner",
    "ext_parent_owner": "project_id:%(ext_parent:tenant_id)s",
    "admin_or_ext_parent_owner": "rule:context_is_admin or rule:ext_parent_owner",
    "sg_owner": "project_id:%(security_group:tenant_id)s",
    "shared": "True:%(shared)s",
    "external": "True:%(router:external)s",
    "network_device": "True:%(network_device)s",
    "admin_or_data_plane_int": "rule:context_is_admin or role:data_plane_integrator",
    "shared_subnetpools": "True:%(shared)s",
    "shared_address_scopes": "True:%(shared)s",
    "shared_address_groups": "True:%(shared)s",
    "shared_security_group": "True:%(shared)s",
    "default": "rule:admin_or_owner",
}


def _verbs(one: str, *, read: str = ADMIN_OR_READER, write: str = ADMIN_OR_MEMBER) -> dict[str, str]:
    return {f"get_{one}": read} | {f"{verb}_{one}": write for verb in ("create", "update", "delete")}


def _each(verbs: Iterable[str], one: str, attributes: Iterable[str], check: str) -> dict[str, str]:
    return {f"{verb}_{one}:{attribute}": check for verb in verbs for attribute in attributes}


_WRITE = ("create", "update")
_PROVIDER = ("provider:network_type", "provider:physical_network", "provider:segmentation_id")
_NETWORKS = (
    _verbs("network", write=ADMIN_OR_MEMBER, read=f"{SERVICE_TOO_READER} or {SHARED} or rule:external")
    | _each(_WRITE, "network", ("shared", "router:external", "is_default", *_PROVIDER), ADMIN)
    | _each(_WRITE, "network", ("port_security_enabled",), ADMIN_OR_MEMBER)
    | _each(("get",), "network", _PROVIDER, ADMIN)
)
_SUBNETS = (
    _verbs("subnet", write=f"{ADMIN_OR_MEMBER} or ({NET_MEMBER})", read=f"{SERVICE_TOO_READER} or ({NET_READER}) or {SHARED} or rule:external")
    | {"create_subnet": f"({ADMIN}) or ({NET_MEMBER})"}
    | _each(_WRITE, "subnet", ("segment_id",), ADMIN)
    | _each(_WRITE, "subnet", ("service_types",), f"({ADMIN}) or ({NET_MEMBER})")
)  # fmt: skip
_PORTS = (
    {
        "create_port": SERVICE_TOO_MEMBER,
        "get_port": f"{SERVICE_TOO_READER} or ({NET_READER})",
        "update_port": SERVICE_TOO_MEMBER,
        "delete_port": f"{SERVICE_TOO_MEMBER} or ({NET_MEMBER})",
        "update_port:mac_address": ADMIN_OR_SERVICE,
        "create_port:mac_address": OWN_NET,
        "create_port:fixed_ips": f"{OWN_NET} or {SHARED}",
        "update_port:fixed_ips": OWN_NET,
        "update_port:data_plane_status": "rule:admin_or_data_plane_int",
    }
    | _each(_WRITE, "port", ("device_owner",), f"not rule:network_device or {OWN_NET}")
    | _each(_WRITE, "port", ("fixed_ips:ip_address", "port_security_enabled"), OWN_NET)
    | _each(_WRITE, "port", ("fixed_ips:subnet_id",), f"{OWN_NET} or {SHARED}")
    | _each(_WRITE, "port", ("binding:host_id", "binding:profile"), ADMIN_OR_SERVICE)
    | _each(_WRITE, "port", ("binding:vnic_type",), SERVICE_TOO_MEMBER)
    | _each(_WRITE, "port", ("hints",), ADMIN)
    | _each(
        _WRITE, "port", ("allowed_address_pairs", "allowed_address_pairs:mac_address", "allowed_address_pairs:ip_address"),
        f"{ADMIN} or {NET_OWNER}",
    )
    | _each(
        ("get",), "port", ("binding:host_id", "binding:vif_type", "binding:vif_details", "binding:profile"), ADMIN_OR_SERVICE
    )
    | _each(("get",), "port", ("hints", "resource_request"), ADMIN)
    | {f"{verb}_port_binding": ADMIN_OR_SERVICE for verb in ("get", "create", "update", "delete", "activate")}
)  # fmt: skip
_GATEWAY = "external_gateway_info"
_ROUTERS = (
    _verbs("router")
    | _each((*_WRITE, "get"), "router", ("distributed", "ha"), ADMIN)
    | _each(_WRITE, "router", (_GATEWAY, f"{_GATEWAY}:network_id"), ADMIN_OR_MEMBER)
    | _each(_WRITE, "router", (f"{_GATEWAY}:enable_snat", f"{_GATEWAY}:external_fixed_ips"), ADMIN)
    | dict.fromkeys(("add_router_interface", "remove_router_interface", "add_extraroutes", "remove_extraroutes"), ADMIN_OR_MEMBER)
)
_FLOATING = (
    _verbs("floatingip")
    | {"create_floatingip:floating_ip_address": ADMIN, "get_floatingip_pool": "role:reader"}
    | _verbs("floatingip_port_forwarding", read=PARENT_READER, write=PARENT_MEMBER)
)  # fmt: skip
_SECURITY = (
    _verbs("security_group", read=f"{SERVICE_TOO_READER} or rule:shared_security_group")
    | {"create_security_group": SERVICE_TOO_MEMBER}
    | _verbs("security_group_rule", read=f"{ADMIN_OR_READER} or rule:sg_owner")
    | _verbs("default_security_group_rule", read="", write=ADMIN)
    | _verbs("address_group", read=f"{ADMIN_OR_READER} or rule:shared_address_groups")
    | dict.fromkeys(("add_addresses_to_address_group", "remove_addresses_from_address_group"), ADMIN_OR_MEMBER)
)
_POOLS = (
    _verbs("address_scope", read=f"{ADMIN_OR_READER} or rule:shared_address_scopes")
    | _each(_WRITE, "address_scope", ("shared",), ADMIN)
    | _verbs("subnetpool", read=f"{ADMIN_OR_READER} or rule:shared_subnetpools")
    | _each(_WRITE, "subnetpool", ("is_default",), ADMIN)
    | {"create_subnetpool:shared": ADMIN}
    | dict.fromkeys(("onboard_network_subnets", "add_prefixes", "remove_prefixes"), ADMIN_OR_MEMBER)
)
_SHARES = _verbs("rbac_policy") | {
    "create_rbac_policy:target_tenant": f"{ADMIN} or (not True:%(for_everyone)s)",
    "update_rbac_policy:target_tenant": f"{ADMIN} or (not True:%(for_everyone)s)",
}
_REST = (
    {
        "get_quota": ADMIN_OR_READER, "update_quota": ADMIN, "delete_quota": ADMIN,
        "get_availability_zone": "role:reader", "get_service_provider": "role:reader",
        "get_agent": ADMIN, "update_agent": ADMIN, "delete_agent": ADMIN,
        "create_dhcp-network": ADMIN, "get_dhcp-networks": ADMIN, "delete_dhcp-network": ADMIN, "get_dhcp-agents": ADMIN,
        "create_l3-router": ADMIN, "get_l3-routers": ADMIN, "delete_l3-router": ADMIN, "get_l3-agents": ADMIN,
        "get_network_ip_availability": ADMIN,
        "get_auto_allocated_topology": ADMIN_OR_READER, "delete_auto_allocated_topology": ADMIN_OR_MEMBER,
    }
    | _verbs("trunk")
    | {"get_subports": ADMIN_OR_READER, "add_subports": ADMIN_OR_MEMBER, "remove_subports": ADMIN_OR_MEMBER}
)  # fmt: skip
TAGGED = ("networks", "subnets", "ports", "routers", "floatingips", "security_groups", "subnetpools", "trunks")
_TAGS = {
    f"{verb}_{many}_tags": ADMIN_OR_READER if verb == "get" else ADMIN_OR_MEMBER
    for many in TAGGED
    for verb in ("get", "create", "update", "delete")
}

_CHECKS = _BASE | _NETWORKS | _SUBNETS | _PORTS | _ROUTERS | _FLOATING | _SECURITY | _POOLS | _SHARES | _REST | _TAGS


def _words(name: str) -> str:
    action, _, attribute = name.partition(":")
    words = action.replace("_", " ").replace("-", " ").capitalize()
    return f"{words}: the attribute {attribute}." if attribute else f"{words}."


RULES: dict[str, Rule] = {
    name: Rule(name, check, "What other rules refer to." if name in _BASE else _words(name)) for name, check in _CHECKS.items()
}


def rule(name: str) -> Rule:
    """The declared rule of that name."""
    return RULES[name]
