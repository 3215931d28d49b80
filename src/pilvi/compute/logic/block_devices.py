"""Block devices: from what a request says of disks to the list of disks that the server shall have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilvi.compute.tables.servers import Device, FlavorCopy
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http.shape import UNSET
from pilvi.kernel.ids import new_id

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PREFIX = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd"}
_WAYS = {("image", "local"), ("image", "volume"), ("volume", "volume"), ("snapshot", "volume"), ("blank", "local"), ("blank", "volume")}


def invalid(why: str) -> Invalid:
    return Invalid(f"Block Device Mapping is Invalid: {why}", field="block_device_mapping_v2")


def from_v2(entry: object) -> Device:
    """The disk that one entry of `block_device_mapping_v2` describes; raises Invalid."""
    said = _given(entry)
    source = said.get("source_type") or ""
    if not source:
        raise invalid("Invalid source_type field.")
    destination = said.get("destination_type") or ("volume" if source in ("volume", "snapshot") else "local")
    if (source, destination) not in _WAYS:
        raise invalid(f"Mapping {source} to {destination} is not supported.")
    ref = said.get("uuid") or said.get(f"{source}_id") or ""
    if source != "blank" and not ref:
        raise invalid(f"Missing uuid of the {source}.")
    size = _whole(said.get("volume_size"), "volume_size")
    if source == "blank" and destination == "volume" and not size:
        raise invalid("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
    if source == "image" and destination == "volume" and not size:
        raise invalid("Images with destination_type 'volume' need to have a non-zero size specified")
    volume_type = said.get("volume_type") or ""
    if volume_type and destination != "volume":
        raise invalid("Specifying volume type to existing local device is not supported.")
    return Device(
        id=new_id(), server_id="", source=source, destination=destination, boot_index=_boot_index(said.get("boot_index")),
        device=_path(said.get("device_name") or ""), bus=said.get("disk_bus") or "", kind=said.get("device_type") or "disk",
        filesystem=said.get("guest_format") or "", size=size, volume_type=volume_type,
        image_id=ref if source == "image" else "", snapshot_id=ref if source == "snapshot" else "",
        volume_id=ref if source == "volume" else "", tag=said.get("tag") or "",
        delete_on_termination=_flag(said.get("delete_on_termination"), destination == "local"),
    )  # fmt: skip


def from_v1(entry: object) -> Device:
    """The disk that one entry of the old `block_device_mapping` describes: a volume, or a snapshot of one."""
    said = _given(entry)
    name = said.get("device_name") or ""
    volume, snapshot = said.get("volume_id") or "", said.get("snapshot_id") or ""
    if not volume and not snapshot:
        raise invalid("Each entry must name a volume_id or a snapshot_id.")
    return Device(
        id=new_id(), server_id="", source="volume" if volume else "snapshot", destination="volume", device=_path(name),
        boot_index=0 if name.endswith("vda") or name == "" else None, size=_whole(said.get("volume_size"), "volume_size"),
        volume_id=volume, snapshot_id="" if volume else snapshot, bus="", delete_on_termination=_flag(said.get("delete_on_termination"), False),
    )  # fmt: skip


def from_image(entries: Sequence[object], given: list[Device]) -> list[Device]:
    """The disks that an image of a server on volumes names; those of the request go before them."""
    found = [from_v2(entry) for entry in entries]
    taken = {one.device for one in given if one.device}
    return [one for one in found if one.boot_index == 0 or one.device not in taken]


def complete(devices: list[Device], image_id: str, flavor: FlavorCopy, *, bus: str = "virtio", root: str = "") -> list[Device]:
    """All disks: those of the request, the image's, the flavor's ephemeral and swap, each with bus and name.

    Raises Invalid unless exactly one is booted from.
    """
    found = list(devices)
    if image_id and not any(one.boot_index == 0 for one in found):
        found.insert(0, _local("image", 0, flavor.disk, image_id=image_id))
    first = [one for one in found if one.boot_index == 0]
    if len(first) != 1:
        raise invalid("Boot sequence for the instance and image/block device mapping combination is not valid.")
    orders = [one.boot_index for one in found if one.boot_index is not None]
    if sorted(orders) != list(range(len(orders))):
        raise invalid("Boot sequence for the instance and image/block device mapping combination is not valid.")
    if image_id and first[0].source == "image" and first[0].image_id != image_id:
        raise invalid("The image of boot index 0 is not the one that imageRef names.")
    _add_flavors(found, flavor)
    tags = [one.tag for one in found if one.tag]
    if len(tags) != len(set(tags)):
        raise invalid("Two devices have the same tag.")
    volumes = [one.volume_id for one in found if one.volume_id]
    if len(volumes) != len(set(volumes)):
        raise invalid("The same volume is named twice.")
    for one in found:
        one.bus = one.bus or bus
    if root and not first[0].device:
        first[0].device = _path(root)
    _name(found)
    return found


def _add_flavors(found: list[Device], flavor: FlavorCopy) -> None:
    """The flavor's ephemeral and swap disks, unless the request divides them itself."""
    blanks = [one for one in found if one.source == "blank" and one.destination == "local" and one.filesystem != "swap"]
    for one in blanks:
        one.size = one.size or flavor.ephemeral
    if sum(one.size for one in blanks) > flavor.ephemeral:
        raise invalid("Ephemeral disks are larger than the instance type allows.")
    if flavor.ephemeral and not blanks:
        found.append(_local("blank", None, flavor.ephemeral))
    swaps = [one for one in found if one.source == "blank" and one.filesystem == "swap"]
    if len(swaps) > 1:
        raise invalid("More than one swap drive requested.")
    for one in swaps:
        one.size = one.size or flavor.swap
        if one.size > flavor.swap:
            raise invalid("Swap drive requested is larger than instance type allows.")
    if flavor.swap and not swaps:
        found.append(_local("blank", None, flavor.swap, filesystem="swap"))


def next_name(devices: Sequence[Device], bus: str) -> str:
    """The next free device name on a bus: /dev/vdb."""
    used = {one.device for one in devices}
    prefix = _PREFIX.get(bus, "vd")
    for first in ("", *_LETTERS):
        for letter in _LETTERS:
            name = f"/dev/{prefix}{first}{letter}"
            if name not in used:
                return name
    raise Invalid("The server has no free device name left.")


def _name(found: list[Device]) -> None:
    """Names for those that have none, root first; two with one name are refused."""
    names = [one.device for one in found if one.device]
    if len(names) != len(set(names)):
        raise invalid("Two devices have the same device_name.")
    for one in sorted(found, key=lambda one: (one.boot_index is None, one.boot_index or 0)):
        if not one.device:
            one.device = next_name(found, one.bus)


def _local(source: str, boot_index: int | None, size: int, *, image_id: str = "", filesystem: str = "") -> Device:
    return Device(
        id=new_id(), server_id="", source=source, destination="local", boot_index=boot_index, size=size, image_id=image_id,
        filesystem=filesystem, bus="", delete_on_termination=True,
    )  # fmt: skip


def _given(entry: object) -> dict[str, Any]:
    """The entry's fields that were sent, by their names on the wire."""
    fields = getattr(entry, "__struct_fields__", ())
    return {name: getattr(entry, name) for name in fields if getattr(entry, name) is not UNSET}


def _whole(value: object, field: str) -> int:
    if value in (None, ""):
        return 0
    try:
        number = int(str(value))
    except ValueError:
        raise invalid(f"{field} is not a number.") from None
    if number < 0:
        raise invalid(f"{field} is negative.")
    return number


def _boot_index(value: object) -> int | None:
    if value is None or value == "" or str(value).lower() == "none":
        return None
    try:
        number = int(str(value))
    except ValueError:
        raise invalid("boot_index is not a number.") from None
    return None if number < 0 else number


def _flag(value: object, default: bool) -> bool:
    if value is None or value == "":
        return default
    return value if isinstance(value, bool) else str(value).lower() in ("1", "true", "yes", "on", "t", "y")


def _path(name: object) -> str:
    text = str(name)
    return text if not text or text.startswith("/dev/") else f"/dev/{text}"
