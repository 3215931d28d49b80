"""What an operator may set of compute."""

from __future__ import annotations

from typing import Literal

import msgspec


class QuotaSettings(msgspec.Struct, forbid_unknown_fields=True):
    """Default limits of a project; -1 is no limit."""

    instances: int = 10
    cores: int = 20
    ram: int = 51200  # MiB
    metadata_items: int = 128
    injected_files: int = 5
    injected_file_content_bytes: int = 10240
    injected_file_path_bytes: int = 255
    key_pairs: int = 100
    server_groups: int = 10
    server_group_members: int = 10


class LibvirtSettings(msgspec.Struct, forbid_unknown_fields=True):
    """The libvirt driver."""

    uri: str = ""  # "": a private libvirtd of this cloud
    virt_type: Literal["auto", "kvm", "qemu"] = "auto"
    tb_cache_mib: int = 64  # translation cache of a machine without KVM
    move_port: int = 0  # TCP port on which machines arrive from other hosts; 0: any that is free
    shared_disks: str = ""  # folder that all hosts have under this path: machines' disks lie there, and migrate without being copied


class FakeSettings(msgspec.Struct, forbid_unknown_fields=True):
    """The fake driver: the size of the host that it pretends, or of each of many."""

    vcpus: int = 64
    memory_mib: int = 262_144
    disk_gib: int = 4096
    hosts: int = 0  # instead of this host: so many, fake-0001 and so on, with agents for compute and network
    first: int = 1  # the number of the first of them


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """The section `compute`."""

    driver: str = "libvirt"
    address: str = "127.0.0.1"  # of this host, as others reach it (migration, consoles)
    cpu_ratio: float = 16.0  # virtual CPUs per real one
    ram_ratio: float = 1.5
    disk_ratio: float = 1.0
    reserved_memory_mib: int = 512  # kept for the host itself
    reserved_disk_gib: int = 0
    heartbeat: float = 10.0  # seconds between two reports of a host
    down_after: float = 60.0  # seconds without a report until a host is down
    default_zone: str = "nova"
    internal_zone: str = "internal"
    default_schedule_zone: str = ""
    resize_confirm_window: float = 0.0  # seconds until a resize is confirmed by itself; 0: never
    allow_resize_to_same_host: bool = True
    reclaim_instance_interval: float = 0.0  # seconds that a deleted server can be restored; 0: not at all
    shelved_offload_time: float = 0.0  # seconds until a shelved server leaves its host; -1: never
    max_page: int = 1000  # servers in one answer
    build_timeout: float = 3600.0  # seconds for making a server's disks
    stop_timeout: float = 60.0  # seconds that a guest has to shut down by itself
    reboot_timeout: float = 60.0  # seconds that a guest has for a soft reboot before it is reset
    block_device_wait: float = 1800.0  # seconds that a volume may take to be made for a server
    drain_at_once: int = 2  # servers that leave a host at the same time while it is drained
    scheduler_tries: int = 3  # hosts tried for one server
    console_token_ttl: float = 600.0
    novnc: str = ""  # folder of noVNC's files; "": /usr/share/novnc, or what the demo fetched
    console_url: str = ""  # where noVNC's page lies; "": <public url>/console/vnc.html
    purge_deleted_after: float = 30 * 86400.0  # seconds that rows of deleted servers are kept; 0: for ever
    password_length: int = 12
    config_drive_always: bool = False
    metadata_vendor_data: dict[str, str] = {}  # what every guest finds in vendor_data.json
    dhcp_domain: str = "novalocal"
    quota: QuotaSettings = msgspec.field(default_factory=QuotaSettings)
    libvirt: LibvirtSettings = msgspec.field(default_factory=LibvirtSettings)
    fake: FakeSettings = msgspec.field(default_factory=FakeSettings)
