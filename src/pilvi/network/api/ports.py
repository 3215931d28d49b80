"""Ports in HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypedDict

import sqlalchemy as sa
from msgspec import Meta

from pilvi.kernel.context import Context
from pilvi.kernel.http.request import Answer
from pilvi.kernel.http.shape import Body, wire
from pilvi.network.api.collection import Collection, answer, standard
from pilvi.network.api.rights import Target
from pilvi.network.api.shapes import Described, DnsName, FixedIpGiven, Ip, Mac, Uuid, changes
from pilvi.network.api.subnets import network_rights
from pilvi.network.errors import BadRequest, PortNotFound
from pilvi.network.logic.words import NETWORK_OWNED
from pilvi.network.operations import ports, sharing
from pilvi.network.tables import Allocation, Network, Port, PortGroup, SubPort, Trunk

VnicType = Literal["normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic", "vdpa", "remote-managed"]


class _PairGiven(TypedDict):
    ip_address: Ip


class PairGiven(_PairGiven, total=False):
    """Another address that a port may send from."""

    mac_address: Mac | None


class _OptionGiven(TypedDict):
    opt_name: Annotated[str, Meta(min_length=1, max_length=64)]
    opt_value: Annotated[str, Meta(max_length=255)] | None


class OptionGiven(_OptionGiven, total=False):
    """What DHCP is to tell this port."""

    ip_version: Literal[4, 6]


class CreatePort(Described):
    """A port to be made; `fixed_ips` left out is one of each IP version."""

    network_id: Uuid
    admin_state_up: bool = True
    mac_address: Mac | None = None
    fixed_ips: list[FixedIpGiven] | None = None
    device_id: Annotated[str, Meta(max_length=255)] = ""
    device_owner: Annotated[str, Meta(max_length=255)] = ""
    security_groups: list[Uuid] | None = None
    allowed_address_pairs: list[PairGiven] | None = None
    port_security_enabled: bool | None = None
    host_id: Annotated[str, Meta(max_length=255)] | None = wire("binding:host_id", default="")
    vnic_type: VnicType = wire("binding:vnic_type", default="normal")
    profile: dict[str, Any] | None = wire("binding:profile", default=None)
    dns_name: DnsName = ""
    dns_domain: DnsName = ""
    extra_dhcp_opts: list[OptionGiven] = wire(factory=list)
    hints: dict[str, Any] | None = None
    propagate_uplink_status: bool = True


ChangePort = changes(
    CreatePort,
    [
        "admin_state_up", "mac_address", "fixed_ips", "device_id", "device_owner", "security_groups", "allowed_address_pairs",
        "port_security_enabled", "host_id", "vnic_type", "profile", "dns_name", "dns_domain", "extra_dhcp_opts", "hints",
        "propagate_uplink_status",
    ],
)  # fmt: skip


def views(ctx: Context, rows: Sequence[Port]) -> list[dict[str, Any]]:
    """Ports as clients see them."""
    domain = ctx.program.settings.network.dns_domain
    found = []
    for row in rows:
        view = standard(row)
        view |= {
            "network_id": row.network_id, "admin_state_up": row.admin_state_up, "status": row.status, "mac_address": row.mac_address,
            "device_id": row.device_id, "device_owner": row.device_owner, "fixed_ips": row.fixed_ips,
            "allowed_address_pairs": row.allowed_address_pairs, "security_groups": row.security_groups,
            "port_security_enabled": row.port_security_enabled, "binding:host_id": row.host_id, "binding:vif_type": row.vif_type,
            "binding:vif_details": row.vif_details, "binding:vnic_type": row.vnic_type, "binding:profile": row.profile,
            "extra_dhcp_opts": row.extra_dhcp_opts, "dns_name": row.dns_name, "dns_domain": row.dns_domain, "hints": row.hints,
            "propagate_uplink_status": row.propagate_uplink_status, "ip_allocation": "immediate", "qos_policy_id": None,
            "qos_network_policy_id": None,
            "dns_assignment": [_dns(row.dns_name, one.ip_address, domain) for one in row.fixed_ips],
        }  # fmt: skip
        found.append(view)
    return found


def with_trunks(ctx: Context, rows: Sequence[Port]) -> list[dict[str, Any]]:
    """The views, with the trunk of each parent port."""
    found = views(ctx, rows)
    if len(rows) > 1 and not ctx.db.count(Trunk):  # most clouds have none, and to ask by a thousand ids costs more
        return found
    trunks = ctx.db.by(Trunk, Trunk.c.port_id, [row.id for row in rows])
    if trunks:
        by_port = {trunk.port_id: trunk for trunk in trunks}
        carried = ctx.db.by(SubPort, SubPort.c.trunk_id, [trunk.id for trunk in trunks])
        macs = {port.id: port.mac_address for port in ctx.db.by(Port, Port.c.id, [one.port_id for one in carried])}
        for view in found:
            trunk = by_port.get(view["id"])
            if trunk is not None:
                view["trunk_details"] = {
                    "trunk_id": trunk.id,
                    "sub_ports": [
                        {
                            "port_id": one.port_id, "segmentation_type": one.segmentation_type, "segmentation_id": one.segmentation_id,
                            "mac_address": macs.get(one.port_id, ""),
                        }
                        for one in carried if one.trunk_id == trunk.id
                    ],
                }  # fmt: skip
    return found


def _dns(name: str, address: str, domain: str) -> dict[str, str]:
    host = name or "host-" + address.replace(".", "-").replace(":", "-")
    return {"ip_address": address, "hostname": host, "fqdn": f"{host}.{domain}"}


def _wish(ctx: Context, data: dict[str, Any], project_id: str) -> Target:
    owner = data.get("device_owner")
    return network_rights(
        ctx, str(data.get("network_id", "")), project_id, network_device=isinstance(owner, str) and owner.startswith(NETWORK_OWNED)
    )


def target(ctx: Context, row: Port) -> Target:
    """What policy sees of a port."""
    return network_rights(ctx, row.network_id, row.project_id, network_device=row.device_owner.startswith(NETWORK_OWNED))


def _retarget(known: Target, data: dict[str, Any]) -> Target:
    owner = data.get("device_owner")
    return known.with_known(network_device=isinstance(owner, str) and owner.startswith(NETWORK_OWNED))


def visible(ctx: Context) -> Any:
    """Own ports, and those on own networks."""
    if sharing.sees_all(ctx):
        return None
    own = sa.select(Network.c.id).where(Network.c.project_id == ctx.project_id)
    return sa.or_(Port.c.project_id == ctx.project_id, Port.c.network_id.in_(own))


def _by_address(ctx: Context, values: list[str]) -> Any:
    """fixed_ips=ip_address=A, subnet_id=S or ip_address_substr=T: alternatives of one word, all words together."""
    words: dict[str, list[str]] = {}
    for text in values:
        for part in text.split(",") if "," in text else [text]:
            word, equals, value = part.partition("=")
            if not equals or word not in ("ip_address", "subnet_id", "ip_address_substr"):
                raise BadRequest(f"'{part[:100]}' is invalid attribute for filtering fixed_ips", field="fixed_ips")
            words.setdefault(word, []).append(value)
    where = []
    for word, wanted in words.items():
        if word == "subnet_id":
            where.append(Allocation.c.subnet_id.in_(wanted))
        elif word == "ip_address":
            where.append(Allocation.c.address.in_(wanted))
        else:
            where.append(sa.or_(*(Allocation.c.address.contains(one, autoescape=True) for one in wanted)))
    return Port.c.id.in_(sa.select(Allocation.c.port_id).where(*where))


def _by_group(ctx: Context, values: list[str]) -> Any:
    return Port.c.id.in_(sa.select(PortGroup.c.port_id).where(PortGroup.c.group_id.in_(values)))


def _by_network_owner(ctx: Context, values: list[str]) -> Any:
    return Port.c.network_id.in_(sa.select(Network.c.id).where(Network.c.project_id.in_(values)))


COLLECTION = Collection(
    "port", "ports", Port, missing=PortNotFound, views=with_trunks, create=CreatePort, update=ChangePort,
    make=ports.create, change=ports.update, drop=ports.delete, target=target, wish=_wish, retarget=_retarget, visible=visible,
    hidden=(
        "tags", "fixed_ips", "allowed_address_pairs", "security_groups", "host_id", "vif_type", "vif_details", "vnic_type", "profile",
        "extra_dhcp_opts", "hints", "tag",
    ),
    columns={"binding:host_id": "host_id", "binding:vif_type": "vif_type", "binding:vnic_type": "vnic_type"},
    filters={"fixed_ips": _by_address, "security_groups": _by_group, "security_group_id": _by_group, "network:tenant_id": _by_network_owner},
)  # fmt: skip


class PairsGiven(Body):
    """Address pairs to be added or removed."""

    allowed_address_pairs: list[PairGiven]


@COLLECTION.put("add_allowed_address_pairs", "update_port:allowed_address_pairs")
def add_pairs(ctx: Context, ref: str, port: PairsGiven) -> Answer:
    """Let the port send from more addresses."""
    row = COLLECTION.find(ctx, ref, "update_port:allowed_address_pairs")
    ports.add_pairs(ctx, row, port.allowed_address_pairs)
    return answer({"port": COLLECTION.told(ctx, [row])[0]})


@COLLECTION.put("remove_allowed_address_pairs", "update_port:allowed_address_pairs")
def remove_pairs(ctx: Context, ref: str, port: PairsGiven) -> Answer:
    """Let the port send from fewer addresses."""
    row = COLLECTION.find(ctx, ref, "update_port:allowed_address_pairs")
    ports.remove_pairs(ctx, row, port.allowed_address_pairs)
    return answer({"port": COLLECTION.told(ctx, [row])[0]})
