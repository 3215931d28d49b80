"""/servers/{id}/os-volume_attachments and /os-interface: what is plugged into a server."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi import network
from pilvi.compute.api.create_shapes import Tag
from pilvi.compute.operations import attach
from pilvi.compute.operations.create_checks import flag
from pilvi.compute.operations.servers import find
from pilvi.compute.policy import admin, member, reader
from pilvi.compute.tables.servers import Device, Server
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Answer, Body, Query, Resource, View, since, until, wire
from pilvi.kernel.http.shape import decode_body
from pilvi.kernel.http.versions import Version

volumes = Resource("/v2.1/servers/{server_id}/os-volume_attachments", tag="volume attachments")
interfaces = Resource("/v2.1/servers/{server_id}/os-interface", tag="interfaces")

V_INDEX = reader("os-volumes-attachments:index", "List a server's volumes.")
V_SHOW = reader("os-volumes-attachments:show", "Show a server's hold on a volume.")
V_CREATE = member("os-volumes-attachments:create", "Attach a volume.")
V_UPDATE = member("os-volumes-attachments:update", "Say whether a volume goes with its server.")
V_SWAP = admin("os-volumes-attachments:swap", "Put another volume in the place of one.")
V_DELETE = member("os-volumes-attachments:delete", "Detach a volume.")
I_LIST = reader("os-attach-interfaces:list", "List a server's interfaces.")
I_SHOW = reader("os-attach-interfaces:show", "Show a server's interface.")
I_CREATE = member("os-attach-interfaces:create", "Attach an interface.")
I_DELETE = member("os-attach-interfaces:delete", "Detach an interface.")
OTHERS = [V_SWAP]
_V2_85, _V2_101 = Version(2, 85), Version(2, 101)


class NewAttachment(Body):
    volume_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F-]{32,36}$")] = wire("volumeId")
    device: Annotated[str, msgspec.Meta(max_length=255, pattern=r"^(/dev/)?x?[a-z]{0,1}d{0,1}([a-z0-9]+)$")] | None = None
    tag: Tag | None = since("2.49", default=None)
    delete_on_termination: bool | str = since("2.79", default=False)


class ChangedAttachment(Body):
    volume_id: str = wire("volumeId")
    device: str | None = since("2.85", default=None)
    id: str | None = since("2.85", default=None)
    server_id: str | None = since("2.85", name="serverId", default=None)
    tag: str | None = since("2.85", default=None)
    delete_on_termination: bool | str | None = since("2.85", default=None)
    attachment_id: str | None = since("2.89", default=None)
    bdm_uuid: str | None = since("2.89", default=None)


class AttachmentView(View):
    """A server's hold on a volume."""

    id: str = until("2.88")
    volume_id: str = wire("volumeId")
    server_id: str = wire("serverId")
    device: str | None
    tag: str | None = since("2.70")
    delete_on_termination: bool = since("2.79")
    attachment_id: str | None = since("2.89")
    bdm_uuid: str = since("2.89")


class AttachmentsQuery(Query, extra=True):
    limit: str | None = None
    offset: str | None = None


def _view(device: Device) -> AttachmentView:
    return AttachmentView(
        id=device.volume_id, volume_id=device.volume_id, server_id=device.server_id, device=device.device, tag=device.tag or None,
        delete_on_termination=device.delete_on_termination, attachment_id=device.attachment_id or None, bdm_uuid=device.id,
    )  # fmt: skip


@volumes.get("", rule=V_INDEX, out="volumeAttachments")
def v_index(ctx: Context, server_id: str, query: AttachmentsQuery) -> list[AttachmentView]:
    """List a server's volumes."""
    found = attach.volumes(ctx, find(ctx, server_id))
    first, most = _number(query.offset, "offset", 0), _number(query.limit, "limit", len(found))
    return [_view(one) for one in found[first : first + most]]


def _number(text: str | None, field: str, default: int) -> int:
    if text is None:
        return default
    if not text.isdigit():
        raise Invalid(f"Invalid input for field {field}: it must be a whole number, not below 0.", field=field)
    return int(text)


@volumes.get("/{volume_id}", rule=V_SHOW, out="volumeAttachment")
def v_show(ctx: Context, server_id: str, volume_id: str) -> AttachmentView:
    """Show a server's hold on a volume."""
    return _view(attach.volume(ctx, find(ctx, server_id), volume_id))


@volumes.post("", rule=V_CREATE, envelope="volumeAttachment")
def v_create(ctx: Context, server_id: str, attachment: NewAttachment) -> Answer:
    """Attach a volume."""
    wish = attachment
    keep = flag(wish.delete_on_termination, "delete_on_termination")
    device = attach.attach_volume(ctx, find(ctx, server_id), wish.volume_id, wish.device or "", wish.tag or "", keep)
    view = AttachmentCreated(
        id=device.volume_id, server_id=server_id, volume_id=device.volume_id, device=device.device, tag=device.tag or None,
        delete_on_termination=device.delete_on_termination,
    )  # fmt: skip
    if ctx.version is not None and ctx.version >= _V2_101:
        return Answer(202, None)
    return Answer(200, {"volumeAttachment": view})


class AttachmentCreated(View):
    """What one is told of a volume that is being attached."""

    id: str
    server_id: str = wire("serverId")
    volume_id: str = wire("volumeId")
    device: str
    tag: str | None = since("2.70")
    delete_on_termination: bool = since("2.79")


@volumes.put("/{volume_id}", rule=V_UPDATE, answers=202, envelope="volumeAttachment")
def v_update(ctx: Context, server_id: str, volume_id: str, attachment: ChangedAttachment) -> None:
    """Say (since 2.85) whether the volume goes with its server."""
    server = find(ctx, server_id)
    wish = attachment
    if wish.volume_id != volume_id:
        ctx.allow(V_SWAP.name)
        attach.volume(ctx, server, volume_id)
        raise Invalid("Volumes cannot be swapped in this cloud; migrate the volume in block storage instead.", field="volumeId")
    if ctx.version is None or ctx.version < _V2_85:
        raise Invalid(f"The new volume {volume_id} is the one that is attached already.", field="volumeId")
    device = attach.volume(ctx, server, volume_id)
    for name, value in (("server_id", server.id), ("device", device.device), ("tag", device.tag), ("attachment_id", device.attachment_id)):
        said = getattr(wish, name)
        if said is not None and said != value:
            raise Invalid(f"The {name} is not the attachment's own, and cannot be changed.", field=name)
    if wish.delete_on_termination is not None:
        ctx.db.change(device, delete_on_termination=flag(wish.delete_on_termination, "delete_on_termination"))


@volumes.delete("/{volume_id}", rule=V_DELETE, answers=202)
def v_delete(ctx: Context, server_id: str, volume_id: str) -> None:
    """Detach a volume."""
    attach.detach_volume(ctx, find(ctx, server_id), volume_id)


# -- interfaces --------------------------------------------------------------------------------------


class FixedIp(Body):
    ip_address: str


class NewInterface(Body):
    net_id: str | None = None
    port_id: str | None = None
    fixed_ips: list[FixedIp] | None = None
    tag: Tag | None = since("2.49", default=None)


class InterfaceView(View):
    """A server's card and its port."""

    net_id: str
    port_id: str
    mac_addr: str
    port_state: str
    fixed_ips: list[dict[str, str]]
    tag: str | None = since("2.70")


def _interface(port: Any, tag: str) -> InterfaceView:
    return InterfaceView(
        net_id=port.network_id, port_id=port.id, mac_addr=port.mac, port_state=port.status, tag=tag or None,
        fixed_ips=[{"subnet_id": subnet, "ip_address": address} for subnet, address, _ in port.fixed_ips],
    )  # fmt: skip


def _ports(ctx: Context, server: Server) -> list[tuple[Any, str]]:
    known = {port.id: port for port in network.ports_of(ctx.db, [server.id]).get(server.id, [])}
    return [(known[nic.port_id], nic.tag) for nic in server.nics if nic.port_id in known]


@interfaces.get("", rule=I_LIST, out="interfaceAttachments")
def i_list(ctx: Context, server_id: str) -> list[InterfaceView]:
    """List a server's interfaces."""
    return [_interface(port, tag) for port, tag in _ports(ctx, find(ctx, server_id))]


@interfaces.get("/{port_id}", rule=I_SHOW, out="interfaceAttachment")
def i_show(ctx: Context, server_id: str, port_id: str) -> InterfaceView:
    """Show one interface."""
    for port, tag in _ports(ctx, find(ctx, server_id)):
        if port.id == port_id:
            return _interface(port, tag)
    raise NotFound(f"Instance {server_id} does not have a port with id {port_id}.")


@interfaces.post("", rule=I_CREATE, out="interfaceAttachment")
def i_create(ctx: Context, server_id: str, body: dict[str, Any] | None) -> InterfaceView:
    """Attach an interface; with an empty body, to the project's one network."""
    said = (body or {}).get("interfaceAttachment") or {}
    stranger = next((key for key in body or {} if key != "interfaceAttachment"), None)
    if stranger is not None:
        raise Invalid(f"Invalid input for field {stranger}: it is not known.", field=stranger)
    wish = decode_body(NewInterface, said, ctx.version or Version(2, 1), at_path="interfaceAttachment", lax=True)
    if wish.net_id and wish.port_id:
        raise Invalid("Must not input both network_id and port_id", field="port_id")
    if wish.fixed_ips and not wish.net_id:
        raise Invalid("Must input network_id when request IP address", field="fixed_ips")
    if wish.fixed_ips and len(wish.fixed_ips) > 1:
        raise Invalid("Only one fixed address can be named.", field="fixed_ips")
    address = wish.fixed_ips[0].ip_address if wish.fixed_ips else ""
    server = find(ctx, server_id)
    port = attach.attach_interface(ctx, server, network_id=wish.net_id or "", port_id=wish.port_id or "", fixed_ip=address, tag=wish.tag or "")
    return _interface(port, wish.tag or "")


@interfaces.delete("/{port_id}", rule=I_DELETE, answers=202)
def i_delete(ctx: Context, server_id: str, port_id: str) -> None:
    """Detach an interface."""
    attach.detach_interface(ctx, find(ctx, server_id), port_id)
