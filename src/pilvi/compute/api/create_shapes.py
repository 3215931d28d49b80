"""What a client sends to create servers, over all microversions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pilvi.compute.logic import names
from pilvi.kernel.http import UNSET, Body, Given, since, wire

Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=60, pattern=r"^[^,/]+$")]
ServerName = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^\S(.*\S)?$")]
MetadataKey = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9\-_:. ]{1,255}$")]
MetadataValue = Annotated[str, msgspec.Meta(max_length=255)]
Metadata = dict[MetadataKey, MetadataValue]
UserData = Annotated[str, msgspec.Meta(max_length=65535)]
IPv4 = Annotated[str, msgspec.Meta(pattern=r"^(|((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d))$")]
IPv6 = Annotated[str, msgspec.Meta(pattern=r"^(|[0-9a-fA-F:.]{2,45})$")]
DiskConfig = Literal["AUTO", "MANUAL"]
Description = Annotated[str, msgspec.Meta(max_length=255)]
Password = Annotated[str, msgspec.Meta(max_length=255)]
Hostname = Annotated[str, msgspec.Meta(min_length=2, max_length=255, pattern=names.FQDN)]


class NetworkWish(Body):
    """One card: on a network, with a fixed address there, or an existing port."""

    uuid: str | None = None
    port: str | None = None
    fixed_ip: str | None = None
    tag: Tag | None = since("2.32", default=None)


class GroupName(Body):
    """A security group, by name or id."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "default"


class File(Body):
    """A file to put into the guest."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    contents: str


class BlockDevice(Body):
    """One disk, in the second form."""

    uuid: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    source_type: Literal["volume", "image", "snapshot", "blank"] | None = None
    destination_type: Literal["local", "volume"] | None = None
    volume_size: int | str | None = None
    boot_index: int | str | None = None
    delete_on_termination: bool | str | None = None
    device_name: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    device_type: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    disk_bus: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    guest_format: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    no_device: Any = None
    volume_id: str | None = None
    snapshot_id: str | None = None
    image_id: str | None = None
    tag: Tag | None = since("2.32", default=None)
    volume_type: Annotated[str, msgspec.Meta(max_length=255)] | None = since("2.67", default=None)


class OldBlockDevice(Body, extra=True):
    """One disk, in the first form."""

    device_name: str | None = None
    volume_id: str | None = None
    snapshot_id: str | None = None
    volume_size: int | str | None = None
    delete_on_termination: bool | str | None = None
    no_device: Any = None


class CreateServer(Body):
    """A server to be."""

    name: ServerName
    flavor: str | int = wire("flavorRef")
    image: str | None = wire("imageRef", default=None)
    password: Password | None = wire("adminPass", default=None)
    metadata: Metadata = wire(factory=dict)
    networks: list[NetworkWish] | Literal["auto", "none"] | Given | None = UNSET
    disk_config: DiskConfig | None = wire("OS-DCF:diskConfig", default=None)
    access_v4: IPv4 | None = wire("accessIPv4", default=None)
    access_v6: IPv6 | None = wire("accessIPv6", default=None)
    personality: list[File] = wire(factory=list, until="2.56")
    zone: Annotated[str, msgspec.Meta(max_length=255)] | None = wire("availability_zone", default=None)
    bdm: list[OldBlockDevice] = wire("block_device_mapping", factory=list)
    bdm_v2: list[BlockDevice] = wire("block_device_mapping_v2", factory=list)
    config_drive: bool | str | None = None
    key_name: str | None = None
    min_count: int | str | Given = UNSET
    max_count: int | str | Given = UNSET
    return_reservation_id: bool | str = False
    security_groups: list[GroupName] = wire(factory=list)
    user_data: UserData | None = None
    description: Description | None = since("2.19", default=None)
    tags: Annotated[list[Tag], msgspec.Meta(max_length=50)] = wire(factory=list, since="2.52")
    certificates: list[str] | None = since("2.63", name="trusted_image_certificates", default=None)
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = since("2.74", default=None)
    node: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = since("2.74", name="hypervisor_hostname", default=None)
    hostname: Hostname | Given = since("2.90")


class Hints(Body, extra=True):
    """What the scheduler should heed."""

    group: str = ""
    same_host: str | list[str] = ""
    different_host: str | list[str] = ""
    query: Any = None


class CreateRequest(Body):
    """The whole body: the server, and beside it the hints."""

    server: CreateServer
    hints: Hints = wire("os:scheduler_hints", factory=Hints)
    old_hints: Hints | Given = wire("OS-SCH-HNT:scheduler_hints", default=UNSET)
