"""/servers/{id}/action: rebuild, resize, images, shelving, security groups."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import msgspec

from pilvi import network
from pilvi.compute.api import server_views
from pilvi.compute.api.create_shapes import Description, DiskConfig, File, Hostname, IPv4, IPv6, Metadata, Password, ServerName, UserData
from pilvi.compute.logic.names import ipv6
from pilvi.compute.operations import create_checks, rebuild, resize, shelve, snapshot
from pilvi.compute.operations.create import new_password
from pilvi.compute.operations.servers import find, guard
from pilvi.compute.policy import admin, member
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Answer, Body, Given, Resource, since, wire
from pilvi.kernel.http.shape import decode_body
from pilvi.kernel.http.versions import Version

changes = Resource("/v2.1/servers", tag="servers")
OF = "server_id"

REBUILD = member("servers:rebuild", "Rebuild a server.")
RESIZE = member("servers:resize", "Resize a server.")
CONFIRM = member("servers:confirm_resize", "Confirm a resize.")
REVERT = member("servers:revert_resize", "Revert a resize.")
CREATE_IMAGE = member("servers:create_image", "Make an image of a server.")
CREATE_IMAGE_VOLUMES = member("servers:create_image:allow_volume_backed", "Make an image of a server on volumes.")
CREATE_BACKUP = member("os-create-backup", "Make a backup image of a server.")
SHELVE = member("os-shelve:shelve", "Shelve a server.")
OFFLOAD = admin("os-shelve:shelve_offload", "Take a shelved server from its host.")
UNSHELVE = member("os-shelve:unshelve", "Bring a shelved server back.")
UNSHELVE_TO_HOST = admin("os-shelve:unshelve_to_host", "Bring a shelved server back on a host that one names.")
ADD_GROUP = member("os-security-groups:add", "Add a security group to a server.")
REMOVE_GROUP = member("os-security-groups:remove", "Take a security group from a server.")
OTHERS = [CREATE_IMAGE_VOLUMES, UNSHELVE_TO_HOST]

_V2_45, _V2_54, _V2_57, _V2_77 = (Version(2, minor) for minor in (45, 54, 57, 77))


class Rebuild(Body):
    """What a rebuilt server shall be."""

    image: str = wire("imageRef")
    name: ServerName | Given = UNSET
    password: Password | None = wire("adminPass", default=None)
    metadata: Metadata | Given = UNSET
    access_v4: IPv4 | Given = wire("accessIPv4", default=UNSET)
    access_v6: IPv6 | Given = wire("accessIPv6", default=UNSET)
    disk_config: DiskConfig | Given = wire("OS-DCF:diskConfig", default=UNSET)
    preserve_ephemeral: bool | str = False
    personality: list[File] = wire(factory=list, until="2.56")
    description: Description | Given | None = since("2.19")
    key_name: str | Given | None = since("2.54")
    user_data: UserData | Given | None = since("2.57")
    certificates: list[str] | None = since("2.63", name="trusted_image_certificates", default=None)
    hostname: Hostname | Given = since("2.90")


class Resize(Body):
    flavor: str | int = wire("flavorRef")
    disk_config: DiskConfig | None = wire("OS-DCF:diskConfig", default=None)


class CreateImage(Body):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    metadata: Metadata = wire(factory=dict)


class CreateBackup(Body):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    backup_type: str
    rotation: Annotated[int, msgspec.Meta(ge=0)]
    metadata: Metadata = wire(factory=dict)


class Unshelve(Body):
    zone: str | Given | None = wire("availability_zone", default=UNSET, since="2.77")
    host: str | None = since("2.91", default=None)


class Group(Body):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


@changes.action("rebuild", of=OF, rule=REBUILD, answers=202)
def do_rebuild(ctx: Context, server_id: str, body: Rebuild) -> Answer:
    """Give a server a new root disk from an image."""
    server = find(ctx, server_id)
    if body.certificates:
        raise Invalid("Image signature certificate validation is not offered by this cloud.", field="trusted_image_certificates")
    names = ("name", "metadata", "access_v4", "access_v6", "disk_config", "description", "hostname")
    values: dict[str, Any] = {name: getattr(body, name) for name in names if getattr(body, name) is not UNSET}
    if values.get("access_v6"):
        values["access_v6"] = ipv6(values["access_v6"], "rebuild.accessIPv6")
    if body.user_data is not UNSET:
        values["user_data"] = create_checks.user_data(body.user_data)  # type: ignore[arg-type]
    if body.key_name is not UNSET:
        key = create_checks.key_pair(ctx, body.key_name)  # type: ignore[arg-type]
        values |= {"key_name": key.name if key else None, "key_data": key.public_key if key else None, "key_type": key.type if key else "ssh"}
    password = body.password or new_password(ctx)
    rebuild.rebuild(ctx, server, body.image, password, values, _files(body.personality))
    more = frozenset(("key_name",) if ctx.version and ctx.version >= _V2_54 else ())
    shown = server_views.basic(ctx, server, more=more)
    if ctx.version and ctx.version >= _V2_57:
        shown["user_data"] = server.user_data
    return Answer(202, {"server": {**shown, "adminPass": password}})


def _files(sent: list[File]) -> dict[str, bytes]:
    try:
        return {file.path: base64.b64decode(file.contents, validate=True) for file in sent}
    except (binascii.Error, ValueError):
        raise Invalid("Personality content cannot be decoded", field="personality") from None


@changes.action("resize", of=OF, rule=RESIZE, answers=202)
def do_resize(ctx: Context, server_id: str, body: Resize) -> None:
    """Give a server another flavor; it waits in VERIFY_RESIZE for its owner's word."""
    resize.resize(ctx, find(ctx, server_id), str(body.flavor), body.disk_config)


@changes.action("confirmResize", of=OF, rule=CONFIRM, answers=204)
def confirm_resize(ctx: Context, server_id: str, body: Any) -> None:
    """Keep the new flavor."""
    resize.confirm(ctx, find(ctx, server_id))


@changes.action("revertResize", of=OF, rule=REVERT, answers=202)
def revert_resize(ctx: Context, server_id: str, body: Any) -> None:
    """Go back to the old flavor."""
    resize.revert(ctx, find(ctx, server_id))


@changes.action("createImage", of=OF, rule=CREATE_IMAGE, answers=202)
def create_image(ctx: Context, server_id: str, body: CreateImage) -> Answer:
    """Make an image of a server as it is now."""
    server = find(ctx, server_id)
    if not server.image_id:
        ctx.allow(CREATE_IMAGE_VOLUMES.name, {"project_id": server.project_id, "user_id": server.user_id})
    return _image_answer(ctx, snapshot.create_image(ctx, server, body.name, body.metadata))


@changes.action("createBackup", of=OF, rule=CREATE_BACKUP, answers=202)
def create_backup(ctx: Context, server_id: str, body: CreateBackup) -> Answer:
    """Make a backup image of a server, and delete the oldest of its kind."""
    server = find(ctx, server_id)
    return _image_answer(ctx, snapshot.create_backup(ctx, server, body.name, body.backup_type, body.rotation, body.metadata))


def _image_answer(ctx: Context, image_id: str) -> Answer:
    """Until 2.44 a Location, then a body."""
    if ctx.version is not None and ctx.version >= _V2_45:
        return Answer(202, {"image_id": image_id})
    return Answer(202, None, {"Location": f"{ctx.base_url}/image/v2/images/{image_id}"})


@changes.action("shelve", of=OF, rule=SHELVE, answers=202)
def do_shelve(ctx: Context, server_id: str, body: Any) -> None:
    """Put a server away: off, its disk in an image."""
    shelve.shelve(ctx, find(ctx, server_id))


@changes.action("shelveOffload", of=OF, rule=OFFLOAD, answers=202)
def shelve_offload(ctx: Context, server_id: str, body: Any) -> None:
    """Take a shelved server from its host."""
    shelve.offload(ctx, find(ctx, server_id))


@changes.action("unshelve", of=OF, rule=UNSHELVE, answers=202)
def unshelve(ctx: Context, server_id: str, body: Any) -> None:
    """Bring a shelved server back."""
    wish: Any = Unshelve()
    if body and ctx.version is not None and ctx.version >= _V2_77:
        wish = decode_body(Unshelve, body, ctx.version, at_path="unshelve", lax=True)
    if wish.host:
        ctx.allow(UNSHELVE_TO_HOST.name)
    zone = wish.zone if isinstance(wish.zone, str) else None
    shelve.unshelve(ctx, find(ctx, server_id), zone, wish.host, unpin=wish.zone is None)


@changes.action("addSecurityGroup", of=OF, rule=ADD_GROUP, answers=202)
def add_security_group(ctx: Context, server_id: str, body: Group) -> None:
    """Guard all of a server's ports by one more group."""
    server = find(ctx, server_id)
    guard(ctx, server, "security_group")
    network.add_group(ctx, server.id, body.name)


@changes.action("removeSecurityGroup", of=OF, rule=REMOVE_GROUP, answers=202)
def remove_security_group(ctx: Context, server_id: str, body: Group) -> None:
    """Guard a server's ports by one group less."""
    server = find(ctx, server_id)
    guard(ctx, server, "security_group")
    network.remove_group(ctx, server.id, body.name)

