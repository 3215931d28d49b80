"""Create servers: check the request in the order in which nova does, write the rows and their workflow, in one commit."""

from __future__ import annotations

import base64
import binascii
import secrets
import string
from typing import Any

import msgspec

from pilvi import identity, network
from pilvi.compute.api.create_shapes import CreateServer, Hints
from pilvi.compute.logic import block_devices, names
from pilvi.compute.operations import actions, create_checks, quotas
from pilvi.compute.tables.servers import Device, ImageCopy, NicWish, Server, Wishes
from pilvi.compute.workflows.create_server import CreateServer as Build
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Forbidden, Invalid, NotFound
from pilvi.kernel.http.shape import UNSET
from pilvi.kernel.http.versions import Version
from pilvi.kernel.ids import new_id, new_word

_PASSWORD = string.ascii_letters.replace("l", "").replace("I", "").replace("O", "") + "23456789"
_NEWER_NETWORKS = Version(2, 37)


class Made(msgspec.Struct):
    """What a request for servers led to."""

    servers: list[Server]
    password: str
    groups: list[str]
    reservation_id: str


def create(ctx: Context, wanted: CreateServer, hints: Hints) -> Made:
    """Create one server, or as many as were asked for and the quota gives."""
    started = clock.now()
    least, most = create_checks.counts(wanted)
    flavor = create_checks.flavor(ctx, wanted.flavor)
    image, devices = _disks(ctx, wanted, flavor)
    key = create_checks.key_pair(ctx, wanted.key_name)
    user_data = create_checks.user_data(wanted.user_data)
    create_checks.metadata(ctx, wanted.metadata)
    group = create_checks.server_group(ctx, hints.group)
    wishes = create_checks.place(ctx, wanted, hints)
    nics, groups = _networks(ctx, wanted, most)
    number = quotas.check_servers(ctx, ctx.project_id, instances=most, cores=flavor.vcpus, ram=flavor.ram, least=least)
    if group is not None:
        create_checks.group_room(ctx, group, number)
    if number > 1 and any(one.port_id or one.fixed_ip for one in nics):
        raise Invalid("Unable to launch multiple instances with a single configured port ID or fixed IP. Launch them one by one.")
    if number > 1 and any(one.source == "volume" for one in devices):
        create_checks.many_from_volumes(ctx, devices)
    checked = clock.now()
    wishes = msgspec.structs.replace(wishes, nics=nics, groups=groups, files=_files(ctx, wanted))
    made = Made(servers=[], password=wanted.password or new_password(ctx), groups=groups, reservation_id="r-" + new_word(8))
    for place in range(number):
        made.servers.append(_write(ctx, wanted, place, number, made, flavor, image, devices, key, user_data, group.id if group else "", wishes))
    _note_steps(ctx, made.servers, started, checked)
    return made


def _disks(ctx: Context, wanted: CreateServer, flavor: Any) -> tuple[ImageCopy, list[Device]]:
    """The image (of the server, or of the volume that it boots from) and the disks."""
    if wanted.bdm and wanted.bdm_v2:
        raise Invalid("Using different block_device_mapping syntaxes is not allowed in the same request.", field="block_device_mapping")
    given = [block_devices.from_v2(one) for one in wanted.bdm_v2] if wanted.bdm_v2 else [block_devices.from_v1(one) for one in wanted.bdm]
    boots = next((one for one in given if one.boot_index == 0), None)
    on_volume = boots is not None and boots.destination == "volume"
    ref = wanted.image or (boots.image_id if boots else "")
    found = create_checks.find_image(ctx, ref) if ref else None
    if found is not None and boots is None:
        named = block_devices.from_image(create_checks.image_devices(found.properties), given)
        given += named
        boots = next((one for one in named if one.boot_index == 0), None)
        on_volume = boots is not None
    if not wanted.image and boots is None:
        raise Invalid("Missing imageRef attribute", field="imageRef")
    image = create_checks.fitting(found, flavor, on_volume=on_volume) if found is not None else ImageCopy()
    if on_volume:
        image = msgspec.structs.replace(create_checks.volume_image(ctx, boots, image), id="")  # type: ignore[arg-type]
    if boots is not None and boots.source == "volume" and wanted.bdm and len(given) > 1:
        for one in given:
            if one is not boots:
                one.boot_index = None
    bus = image.properties.get("hw_disk_bus", "virtio")
    devices = block_devices.complete(given, image.id, flavor, bus=bus, root=image.properties.get("root_device_name", ""))
    create_checks.volumes(ctx, devices, flavor)
    return image, devices


def _networks(ctx: Context, wanted: CreateServer, count: int) -> tuple[list[NicWish], list[str]]:
    """The cards, checked by the network service as the user, and the security groups."""
    groups = list(dict.fromkeys(one.name for one in wanted.security_groups)) or ["default"]
    said: Any = wanted.networks
    if said is UNSET or said is None:
        if ctx.version and ctx.version >= _NEWER_NETWORKS:
            raise Invalid("Invalid input for field networks: it is required.", field="networks")
        said = None
    if isinstance(said, list):
        requests = [
            network.NetworkRequest(network_id=one.uuid or "", port_id=one.port or "", fixed_ip=str(one.fixed_ip or ""), tag=one.tag or "")
            for one in said
        ]
        said = requests or None
    try:
        resolved = network.request_networks(ctx, said, count=count)
    except NotFound as error:
        raise Invalid(error.message, field="networks") from None
    return [NicWish(network_id=one.network_id, port_id=one.port_id, fixed_ip=one.fixed_ip, tag=one.tag) for one in resolved], groups


def _write(
    ctx: Context, wanted: CreateServer, place: int, number: int, made: Made, flavor: Any, image: ImageCopy, devices: list[Device],
    key: Any, user_data: str | None, group_id: str, wishes: Wishes,
) -> Server:  # fmt: skip
    """One server's rows, its action and its workflow."""
    server_id = new_id()
    now = clock.now()
    name = names.numbered(wanted.name, place, number)
    hostname = wanted.hostname if wanted.hostname is not UNSET else names.hostname(name, server_id)
    config_drive = create_checks.flag(wanted.config_drive, "config_drive") or image.properties.get("img_config_drive") == "mandatory"
    server = ctx.db.insert(
        Server(
            id=server_id, project_id=ctx.project_id, user_id=ctx.user_id, name=name, hostname=str(hostname), created_at=now, updated_at=now,
            description=wanted.description if isinstance(wanted.description, str) else None, task_state="scheduling", flavor=flavor,
            flavor_id=flavor.flavorid, vcpus=flavor.vcpus, memory_mib=flavor.ram, image=image, image_id=image.id,
            key_name=key.name if key else None, key_type=key.type if key else "ssh", key_data=key.public_key if key else None,
            user_data=user_data, config_drive=config_drive or ctx.program.settings.compute.config_drive_always,
            metadata=wanted.metadata, tags=list(dict.fromkeys(wanted.tags)), disk_config=wanted.disk_config or "MANUAL",
            root_device=next(one.device for one in devices if one.boot_index == 0), access_v4=wanted.access_v4 or "",
            access_v6=names.ipv6(wanted.access_v6 or "", "server.accessIPv6"),
            reservation_id=made.reservation_id, launch_index=place, group_id=group_id, wishes=wishes,
            zone=None, secrets={"admin_password": made.password, "seed": secrets.token_hex(32)},
        )
    )  # fmt: skip
    ctx.db.insert_all([msgspec.structs.replace(one, id=new_id(), server_id=server_id, created_at=now) for one in devices])
    actions.begin(ctx, server, "create")
    ctx.start(Build(server=server_id))
    return server


def _files(ctx: Context, wanted: CreateServer) -> dict[str, bytes]:
    """The files to put into the guest (until 2.56), held against the quota."""
    files: dict[str, bytes] = {}
    limits = quotas.quotas(ctx.program).limits(ctx.db, ctx.project_id) if wanted.personality else {}
    for file in wanted.personality:
        try:
            content = base64.b64decode(file.contents, validate=True)
        except (binascii.Error, ValueError):
            raise Invalid(f"Personality content for {file.path} cannot be decoded", field="personality") from None
        if 0 <= limits["injected_file_content_bytes"] < len(content) or 0 <= limits["injected_file_path_bytes"] < len(file.path.encode()):
            raise Forbidden("Quota exceeded, too large a file to inject.")
        files[file.path] = content
    if files and 0 <= limits["injected_files"] < len(files):
        raise Forbidden("Quota exceeded, too many injected files.")
    return files


def new_password(ctx: Context) -> str:
    """A password that one can read aloud."""
    return "".join(secrets.choice(_PASSWORD) for _ in range(ctx.program.settings.compute.password_length))


def _note_steps(ctx: Context, servers: list[Server], started: float, checked: float) -> None:
    """The request's own steps, in the trace of each server that it made."""
    if ctx.trace is None:
        return
    asked = ctx.trace.spans[0].started_at if ctx.trace.spans else started
    host = ctx.program.host
    ctx.trace.add("3", "the client sends the boot request with the token to the compute API", started=asked - 1e-6, seconds=0.0, host=host)
    login = identity.login_of(ctx.program, ctx.caller.token_id) if "identity" in ctx.program.services else None
    if login is not None:
        words = "the client sends user name and password; identity checks the hash and answers with a token and the catalog"
        ctx.trace.add("1-2", words, started=login[0], seconds=login[1])
    ctx.trace.add("6", "compute checks the request: name, flavor, image, networks, key pair, quotas", started=started, seconds=checked - started)
    ctx.trace.add("7", "compute writes the server and its workflow, and answers 202", started=checked, seconds=clock.now() - checked)
    for server in servers[1:]:
        ctx.db.insert_all([msgspec.structs.replace(span, subject=server.id) for span in ctx.trace.spans])
    ctx.trace.write(ctx.db, servers[0].id)

