"""The checks that a request for servers must pass, each with nova's status and words."""

from __future__ import annotations

import base64
import binascii

import msgspec

from pilvi import image as images
from pilvi.compute.api.create_shapes import BlockDevice, CreateServer, Hints
from pilvi.compute.operations import quotas
from pilvi.compute.operations.zones import zone_names
from pilvi.compute.tables.flavors import Flavor, FlavorAccess
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.keypairs import KeyPair
from pilvi.compute.tables.server_groups import ServerGroup
from pilvi.compute.tables.servers import Device, FlavorCopy, ImageCopy, Server, Wishes
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Forbidden, Invalid, NotFound
from pilvi.kernel.http.shape import UNSET
from pilvi.kernel.ids import is_uuid

GIB = 1 << 30
FORCED = "os_compute_api:servers:create:forced_host"
REQUESTED = "compute:servers:create:requested_destination"
NOT_FOR_SERVERS = ("cinder_encryption_key_id", "cinder_encryption_key_deletion_policy")


def counts(wanted: CreateServer) -> tuple[int, int]:
    """The least and the most servers that were asked for."""
    least = _positive(wanted.min_count, "min_count", 1)
    most = _positive(wanted.max_count, "max_count", least)
    if least > most:
        raise Invalid("min_count must be <= max_count", field="min_count")
    return least, most


def _positive(value: object, field: str, default: int) -> int:
    if value is UNSET or value is None:
        return default
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise Invalid(f"Invalid input for field {field}: {value} is not a whole number of at least 1.", field=field)
    return number


def find_flavor(ctx: Context, ref: str) -> FlavorCopy | None:
    """A copy of the flavor of that id, if the caller may use it."""
    found = ctx.db.one(Flavor, Flavor.c.flavorid == ref)
    if found is None or found.disabled:
        return None
    if not found.is_public and not ctx.is_admin and ctx.db.get(FlavorAccess, found.flavorid, ctx.project_id) is None:
        return None
    return FlavorCopy(
        flavorid=found.flavorid, name=found.name, vcpus=found.vcpus, ram=found.ram, disk=found.disk, ephemeral=found.ephemeral,
        swap=found.swap, rxtx_factor=found.rxtx_factor, extra_specs=found.extra_specs,
    )  # fmt: skip


def flavor(ctx: Context, ref: object) -> FlavorCopy:
    """The flavor that a body names, by its id or by the URL that ends in it."""
    name = str(ref)
    found = find_flavor(ctx, name) or find_flavor(ctx, name.rstrip("/").rsplit("/", 1)[-1])
    if found is None:
        raise Invalid("Invalid flavorRef provided.", field="flavorRef")
    return found


def find_image(ctx: Context, ref: str, *, field: str = "imageRef") -> images.ImageInfo:
    """The image that a body names, by its id or by the URL that ends in it."""
    image_id = ref.rstrip("/").rsplit("/", 1)[-1]
    if not is_uuid(image_id):
        raise Invalid(f"Invalid {field} provided.", field=field)
    try:
        return images.get(ctx, image_id)
    except (NotFound, Forbidden):
        raise Invalid(f"Image {image_id} could not be found.", field=field) from None


def image(ctx: Context, ref: str, flavor: FlavorCopy, *, on_volume: bool = False, field: str = "imageRef") -> ImageCopy:
    """A copy of the image, which must be usable and fit the flavor; the empty one for ""."""
    return fitting(find_image(ctx, ref, field=field), flavor, on_volume=on_volume, field=field) if ref else ImageCopy()


def fitting(found: images.ImageInfo, flavor: FlavorCopy, *, on_volume: bool = False, field: str = "imageRef") -> ImageCopy:
    """As `image`, of an image that was found already."""
    if found.status != "active":
        raise Invalid(f"Image {found.id} is not active.", field=field)
    if flavor.ram < (found.min_ram or 0):
        raise Invalid("Flavor's memory is too small for requested image.", field="flavorRef")
    if not on_volume and flavor.disk:
        if found.min_disk > flavor.disk:
            raise Invalid(
                f"The created instance's disk would be too small: flavor disk is {flavor.disk} GiB, minimum is {found.min_disk} GiB.",
                field="flavorRef",
            )  # fmt: skip
        size = max(found.size or 0, found.virtual_size or 0)
        if size > flavor.disk * GIB:
            raise Invalid(
                f"Flavor's disk is too small for requested image. Flavor disk is {flavor.disk * GIB} bytes, image is {size} bytes.",
                field="flavorRef",
            )  # fmt: skip
    return ImageCopy(
        id=found.id, checksum=found.os_hash_value or found.checksum or "", disk_format=found.disk_format or "",
        container_format=found.container_format or "", min_disk=found.min_disk, min_ram=found.min_ram,
        properties={name: str(value) for name, value in found.properties.items() if name not in NOT_FOR_SERVERS},
    )  # fmt: skip


def image_devices(properties: dict[str, str]) -> list[BlockDevice]:
    """The disks that an image of a server on volumes names."""
    if properties.get("bdm_v2", "").lower() != "true":
        return []
    try:
        return msgspec.json.decode(properties.get("block_device_mapping", "[]"), type=list[BlockDevice])
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise Invalid("The image's own block device mapping is not valid.", field="imageRef") from None


def volume_image(ctx: Context, boots: Device, image: ImageCopy) -> ImageCopy:
    """What the volume that a server boots from says of its image."""
    if boots.source != "volume":
        return image
    from pilvi import block_storage

    try:
        volume = block_storage.get(ctx, boots.volume_id)
    except NotFound as error:
        raise Invalid(f"Block Device Mapping is Invalid: failed to get volume {boots.volume_id}. {error.message}") from None
    if not volume.bootable:
        raise Invalid(f"Block Device {boots.volume_id} is not bootable.", field="block_device_mapping_v2")
    said = {name: str(value) for name, value in volume.image_metadata.items()}
    return ImageCopy(
        min_disk=_number(said.get("min_disk")), min_ram=_number(said.get("min_ram")), disk_format=said.get("disk_format", ""),
        container_format=said.get("container_format", ""),
        properties={k: v for k, v in said.items() if k not in ("min_disk", "min_ram", "disk_format", "container_format", "size", "checksum")},
    )  # fmt: skip


def volumes(ctx: Context, devices: list[Device], flavor: FlavorCopy) -> None:
    """The volumes and snapshots that are named must be there and free."""
    for device in devices:
        if device.destination != "volume" or device.source not in ("volume", "snapshot"):
            continue
        from pilvi import block_storage

        try:
            if device.source == "snapshot":
                block_storage.get_snapshot(ctx, device.snapshot_id)
                continue
            volume = block_storage.get(ctx, device.volume_id)
        except NotFound as error:
            raise Invalid(f"Block Device Mapping is Invalid: failed to get {device.source}. {error.message}") from None
        if volume.status != "available" and not (volume.multiattach and volume.status == "in-use"):
            raise Invalid(f"Block Device Mapping is Invalid: failed to get volume {volume.id}: its status is {volume.status}, not available.")


def many_from_volumes(ctx: Context, devices: list[Device]) -> None:
    """Several servers share only volumes that may be attached more than once."""
    from pilvi import block_storage

    for device in devices:
        if device.source == "volume" and not block_storage.get(ctx, device.volume_id).multiattach:
            raise Invalid("Cannot attach one or more volumes to multiple instances")


def key_pair(ctx: Context, name: str | None) -> KeyPair | None:
    if not name:
        return None
    found = ctx.db.get(KeyPair, ctx.user_id, name)
    if found is None:
        raise Invalid("Invalid key_name provided.", field="key_name")
    return found


def user_data(text: str | None) -> str | None:
    """The user data, which must be base64 and at most 65535 characters."""
    if text is None:
        return None
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("Userdata content cannot be decoded", field="user_data") from None
    return text


def metadata(ctx: Context, items: dict[str, str]) -> None:
    """As many items as the quota allows."""
    quotas.check_count(ctx, ctx.project_id, "metadata_items", len(items))


def server_group(ctx: Context, ref: str) -> ServerGroup | None:
    if not ref:
        return None
    found = ctx.db.get_to_build_on(ServerGroup, ref)
    if found is None or (found.project_id != ctx.project_id and not ctx.is_admin):
        raise Invalid(f"Instance group {ref} could not be found.", field="group")
    return found


def group_room(ctx: Context, group: ServerGroup, more: int) -> None:
    members = ctx.db.count(Server, Server.c.group_id == group.id, Server.c.deleted_at.is_(None))
    limit = quotas.quotas(ctx.program).limits(ctx.db, ctx.project_id)["server_group_members"]
    if 0 <= limit < members + more:
        raise Forbidden("Quota exceeded, too many servers in group")


def place(ctx: Context, wanted: CreateServer, hints: Hints) -> Wishes:
    """Where the servers shall be: the zone, `zone:host:node` for administrators, a named host, and the hints."""
    zone, host, node = "", "", ""
    if wanted.zone:
        zone, host, node = (wanted.zone.split(":") + ["", ""])[:3]
        if wanted.zone.count(":") > 2 or (not zone and not host and not node):
            raise Invalid("Unable to parse availability_zone", field="availability_zone")
        if host or node:
            ctx.allow(FORCED)
    zone = zone or ctx.program.settings.compute.default_schedule_zone
    if zone and zone not in zone_names(ctx.db, ctx.program.settings.compute.default_zone):
        raise Invalid("The requested availability zone is not available", field="availability_zone")
    if wanted.host or wanted.node:
        if host or node:
            raise Invalid("Unable to parse availability_zone: it names a host, and so does the request.", field="host")
        ctx.allow(REQUESTED)
        host, node = wanted.host or "", wanted.node or ""
        _known_host(ctx, host, node)
    return Wishes(
        zone=zone, host=host, node=node, group=hints.group, same_host=_ids(hints.same_host), different_host=_ids(hints.different_host),
        hints={name: value for name, value in msgspec.to_builtins(hints).items() if value},
    )  # fmt: skip


def _known_host(ctx: Context, host: str, node: str) -> None:
    if host and ctx.db.get(ComputeHost, host) is None:
        raise Invalid(f"Compute host {host} could not be found.", field="host")
    if node and not any(node in (one.host, one.id, one.facts.hostname) for one in ctx.db.all(ComputeHost)):
        raise Invalid(f"Compute host {node} could not be found.", field="hypervisor_hostname")


def _ids(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) and value else list(value or [])


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def flag(value: object, field: str) -> bool:
    """A boolean however it was written; raises Invalid."""
    if isinstance(value, bool):
        return value
    text = "" if value is None or value is UNSET else str(value).strip().lower()
    if text in ("1", "t", "true", "on", "y", "yes"):
        return True
    if text in ("", "0", "f", "false", "off", "n", "no", "none"):
        return False
    raise Invalid(f"Invalid input for field {field}: '{value}' is not a boolean.", field=field)

