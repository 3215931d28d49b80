"""Settings of image."""

from __future__ import annotations

import msgspec

DISK_FORMATS = ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"]
CONTAINER_FORMATS = ["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"]


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """`[image]`.  Limits: -1 is no limit."""

    store: str = "file"
    store_path: str = ""  # of the file store; "": in the state folder
    staging_path: str = ""  # where data lies between staging and import; shared by hosts that import; "": in the state folder
    disk_formats: list[str] = msgspec.field(default_factory=lambda: list(DISK_FORMATS))
    container_formats: list[str] = msgspec.field(default_factory=lambda: list(CONTAINER_FORMATS))
    require_format_match: bool = True  # data must be what the image says it is
    largest_image: int = 1 << 40  # bytes
    image_size_total: int = -1  # bytes a project may keep
    image_count_total: int = 1000  # images a project may have
    image_property_quota: int = 128
    image_tag_quota: int = 128
    image_member_quota: int = 128
    web_download: bool = True
    web_download_allow: list[str] = msgspec.field(default_factory=list)  # private addresses that may be fetched from all the same: hosts or networks
    web_download_seconds: float = 3600
    limit_default: int = 25
    limit_most: int = 1000
