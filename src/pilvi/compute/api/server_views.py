"""Servers as the API shows them: from rows, addresses and groups to views, many at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

from pilvi import network
from pilvi.compute.api.server_shapes import FlavorView, ServerBrief, ServerView
from pilvi.compute.dialect import bookmark, links
from pilvi.compute.logic import states
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import Device, FlavorCopy, Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.http.shape import UNSET, render
from pilvi.kernel.http.versions import Version

ATTRIBUTES = "os_compute_api:os-extended-server-attributes"
HOST_STATUS = "os_compute_api:servers:show:host_status"
HOST_STATUS_UNKNOWN = "os_compute_api:servers:show:host_status:unknown-only"
_IN_PROGRESS = frozenset(("ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"))
V2_3, V2_16, V2_47, V2_75, V2_90, V2_98 = (Version(2, minor) for minor in (3, 16, 47, 75, 90, 98))
# what PUT and rebuild showed before 2.75
_BASIC = frozenset((
    "id", "name", "status", "tenant_id", "user_id", "metadata", "hostId", "image", "flavor", "created", "updated", "addresses",
    "accessIPv4", "accessIPv6", "links", "OS-DCF:diskConfig", "progress", "fault", "locked", "description", "tags",
    "trusted_image_certificates", "server_groups",
))  # fmt: skip


def brief(ctx: Context, servers: Sequence[Server]) -> list[ServerBrief]:
    """Id, name and links."""
    base = ctx.base_url
    return [ServerBrief(id=server.id, name=server.name, links=links(base, "servers", server.id)) for server in servers]


def full(ctx: Context, servers: Sequence[Server], *, listed: bool = False) -> list[ServerView]:
    """Everything that the caller may see, of all of them; two or three queries in all."""
    if not servers:
        return []
    ids = [server.id for server in servers if server.nics]
    addresses = network.addresses_of(ctx.db, ids) if ids else {}
    groups = network.groups_of(ctx.db, ids) if ids else {}
    attached: dict[str, list[Device]] = {}
    for device in ctx.db.by(Device, Device.c.server_id, [server.id for server in servers], Device.c.destination == "volume"):
        if device.volume_id:
            attached.setdefault(device.server_id, []).append(device)
    version = ctx.version or Version(2, 1)
    insider = ctx.allowed(ATTRIBUTES)
    hosts = _host_statuses(ctx, servers) if version >= V2_16 and insider else {}
    return [
        _full(ctx, server, addresses.get(server.id, ()), groups.get(server.id, ()), attached.get(server.id, ()), version, insider, hosts, listed)
        for server in servers
    ]


def basic(ctx: Context, server: Server, *, more: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The answer to PUT and rebuild: until 2.74 without what extensions added."""
    version = ctx.version or Version(2, 1)
    shown: dict[str, Any] = msgspec.to_builtins(render(full(ctx, [server])[0], version))
    if version >= V2_75:
        return shown
    told = {name: value for name, value in shown.items() if name in _BASIC or name in more}
    told["addresses"] = {
        name: [{"version": one["version"], "addr": one["addr"]} for one in listed] for name, listed in told.get("addresses", {}).items()
    }
    return told


def _full(
    ctx: Context, server: Server, addresses: Sequence[Any], groups: Sequence[str], devices: Sequence[Device], version: Version,
    insider: bool, hosts: dict[str, str], listed: bool,
) -> ServerView:  # fmt: skip
    status = states.status(server.vm_state, server.task_state)
    base, image = ctx.base_url, server.image
    view = ServerView(
        id=server.id, name=server.name, status=status, tenant_id=server.project_id, user_id=server.user_id, metadata=server.metadata,
        host_id=host_id(server.project_id, server.host) if server.host else "",
        image=_image(base, server, version) if server.image_id else "",
        flavor=_flavor(server.flavor) if version >= V2_47 else _flavor_link(base, server.flavor.flavorid),
        created=clock.iso(server.created_at), updated=clock.iso(server.updated_at), addresses=by_network(addresses),
        access_v4=server.access_v4, access_v6=server.access_v6, links=links(base, "servers", server.id), disk_config=server.disk_config,
        progress=server.progress if status in _IN_PROGRESS else UNSET, zone=server.zone or "",
        pinned_zone=server.wishes.zone or None, config_drive="True" if server.config_drive else "", key_name=server.key_name,
        launched_at=_moment(server.launched_at), terminated_at=_moment(server.terminated_at),
        security_groups=[{"name": name} for name in groups] if groups else UNSET,
        volumes=[{"id": one.volume_id, "delete_on_termination": one.delete_on_termination} for one in devices]
        if version >= V2_3
        else [{"id": one.volume_id} for one in devices],
        fault=_fault(ctx, server) if server.fault and status in ("ERROR", "DELETED") else UNSET,
        vm_state=server.vm_state, task_state=server.task_state, power_state=server.power_state, locked=server.locked_by is not None,
        description=server.description, tags=server.tags, certificates=None, locked_reason=server.locked_reason, hints=server.wishes.hints,
        server_groups=UNSET if listed else ([server.group_id] if server.group_id else []),
    )  # fmt: skip
    if version >= V2_90:
        view.hostname = server.hostname
    if insider:
        view.host, view.node, view.instance_name = server.host, server.node, server.machine_name
        view.reservation_id, view.launch_index, view.hostname = server.reservation_id, server.launch_index, server.hostname
        view.kernel_id, view.ramdisk_id = image.properties.get("kernel_id", ""), image.properties.get("ramdisk_id", "")
        view.root_device, view.user_data = server.root_device, server.user_data
        view.host_status = hosts.get(server.host or "", "")
    return view


def _moment(moment: float | None) -> str | None:
    """2026-11-20T09:30:00.000000: the form that usage times have."""
    return None if moment is None else clock.iso_micro(moment)


@lru_cache(maxsize=65536)
def host_id(project_id: str, host: str) -> str:
    """What a project may know of a host: whether two servers are on the same one."""
    return hashlib.sha224((project_id + host).encode()).hexdigest()


def by_network(addresses: Sequence[Any]) -> dict[str, list[dict[str, Any]]]:
    """The addresses under the names of their networks."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in addresses:
        found.setdefault(one.network_name, []).append(
            {"version": one.version, "addr": one.address, "OS-EXT-IPS:type": one.type, "OS-EXT-IPS-MAC:mac_addr": one.mac}
        )
    return found


def _image(base: str, server: Server, version: Version) -> dict[str, Any]:
    """The image; since 2.98 with its properties."""
    link = _image_link(base, server.image_id)
    return link | {"properties": server.image.properties} if version >= V2_98 else link


@lru_cache(maxsize=4096)
def _image_link(base: str, image_id: str) -> dict[str, Any]:
    return {"id": image_id, "links": bookmark(base, "images", image_id)}


@lru_cache(maxsize=4096)
def _flavor_link(base: str, flavor_id: str) -> dict[str, Any]:
    return {"id": flavor_id, "links": bookmark(base, "flavors", flavor_id)}


def _flavor(flavor: FlavorCopy) -> FlavorView:
    return FlavorView(
        vcpus=flavor.vcpus, ram=flavor.ram, disk=flavor.disk, ephemeral=flavor.ephemeral, swap=flavor.swap, original_name=flavor.name,
        extra_specs=flavor.extra_specs,
    )  # fmt: skip


def _fault(ctx: Context, server: Server) -> dict[str, Any]:
    fault = server.fault
    assert fault is not None
    told: dict[str, Any] = {"code": fault.code, "created": clock.iso(fault.created), "message": fault.message}
    if fault.details and (ctx.is_admin or fault.code != 500):
        told["details"] = fault.details
    return told


def _host_statuses(ctx: Context, servers: Sequence[Server]) -> dict[str, str]:
    """UP, DOWN, UNKNOWN, MAINTENANCE of the servers' hosts."""
    found = {}
    since, c = ctx.program.hearing.since(ctx.program.settings.compute.down_after), ComputeHost.c
    hosts = sorted({server.host for server in servers if server.host})
    for start in range(0, len(hosts), 500):
        some = sa.select(c.host, c.forced_down, c.disabled, c.heartbeat_at).where(c.host.in_(hosts[start : start + 500]))
        for host, forced_down, disabled, heartbeat_at in ctx.db.rows(some):
            found[host] = "DOWN" if forced_down else "MAINTENANCE" if disabled else "UP" if heartbeat_at >= since else "UNKNOWN"
    return found
