"""Servers: what people asked for, what was decided for them, and what their machines were last seen to be."""

from __future__ import annotations

import msgspec

from pilvi.compute.drivers import Power
from pilvi.kernel.db import Key, Ref, Row, Text, Word

# what nova says of a machine's power
NOSTATE, RUNNING, PAUSED, SHUTDOWN, CRASHED, SUSPENDED = 0, 1, 3, 4, 6, 7
POWER_STATES: dict[str, int] = {"running": RUNNING, "paused": PAUSED, "shutoff": SHUTDOWN, "crashed": CRASHED, "suspended": SHUTDOWN}


class FlavorCopy(msgspec.Struct, frozen=True, kw_only=True):
    """The flavor as it was when the server took it; later changes of the flavor do not touch the server."""

    flavorid: str
    name: str
    vcpus: int
    ram: int
    disk: int = 0
    ephemeral: int = 0
    swap: int = 0
    rxtx_factor: float = 1.0
    extra_specs: dict[str, str] = {}


class ImageCopy(msgspec.Struct, frozen=True, kw_only=True):
    """The image as it was when the server was made or rebuilt.  `id` is "" for a server on a volume."""

    id: str = ""
    checksum: str = ""
    disk_format: str = ""
    container_format: str = ""
    min_disk: int = 0
    min_ram: int = 0
    properties: dict[str, str] = {}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Why a server is in ERROR: a sentence for its owner, and details for administrators."""

    code: int
    message: str
    details: str = ""
    created: float


class Rescue(msgspec.Struct, frozen=True, kw_only=True):
    """A server is in rescue: it runs from this image, its own disks behind."""

    image: ImageCopy
    since: float


class ServerNic(msgspec.Struct, frozen=True, kw_only=True):
    """A card of a server.  `made`: compute made the port and deletes it with the server."""

    port_id: str
    made: bool = True
    tag: str = ""


class NicWish(msgspec.Struct, frozen=True, kw_only=True):
    """A card that a server shall get when its host is known."""

    network_id: str = ""
    port_id: str = ""
    fixed_ip: str = ""
    tag: str = ""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the request said of where and how: kept for later moves of the server as well."""

    zone: str = ""
    host: str = ""  # the only host that will do
    node: str = ""
    group: str = ""
    same_host: list[str] = []
    different_host: list[str] = []
    ignore_hosts: list[str] = []
    hints: dict[str, object] = {}  # as they were sent
    nics: list[NicWish] = []
    groups: list[str] = []  # security groups
    files: dict[str, bytes] = {}  # personality


class Server(
    Row, table="compute_servers",
    indexes=[
        ("project_id", "deleted_at", "created_at", "id"), ("host",), ("other_host",), ("vm_state", "host"), ("updated_at",), ("group_id",),
        ("reservation_id",), ("created_at",),
    ],
):  # fmt: skip
    """A server.  `vm_state` is what it is, `task_state` what is being done to it, `power` what its machine shall be."""

    id: Key
    project_id: Ref
    user_id: Ref
    name: str
    hostname: str
    created_at: float
    updated_at: float
    description: Text | None = None
    vm_state: Word = "building"
    task_state: Word | None = None
    power_state: int = NOSTATE
    power: Power = "running"
    reboots: int = 0  # hard reboots wished so far
    generation: int = 0  # of the local disks: grows with each rebuild
    host: str | None = None
    node: str | None = None
    zone: str | None = None
    # a second host that has a part in it: before the switch the one it goes to, after it (until confirmed) the one it has left
    other_host: str | None = None
    other_power: Word = ""  # what its machine shall be on the host it goes to; "": the same
    flavor: FlavorCopy
    flavor_id: str
    vcpus: int
    memory_mib: int
    old_flavor: FlavorCopy | None = None  # while a resize may be reverted
    new_flavor: FlavorCopy | None = None  # on the host it goes to, until the switch
    image: ImageCopy
    image_id: Ref = ""
    base: ImageCopy | None = None  # on which the root disk stands, when that is not `image` (after unshelving)
    shelved_image: ImageCopy | None = None
    shelved_at: float | None = None
    rescue: Rescue | None = None
    key_name: str | None = None
    key_type: Word = "ssh"
    key_data: Text | None = None
    user_data: Text | None = None
    config_drive: bool = False
    metadata: dict[str, str] = {}
    tags: list[str] = []
    locked_by: Word | None = None  # owner or admin
    locked_reason: Text | None = None
    progress: int = 0
    disk_config: Word = "MANUAL"
    root_device: str = "/dev/vda"
    access_v4: Word = ""
    access_v6: Word = ""
    reservation_id: Word = ""
    launch_index: int = 0
    launched_at: float | None = None
    terminated_at: float | None = None
    deleted_at: float | None = None
    fault: Fault | None = None
    group_id: Ref = ""
    nics: list[ServerNic] = []
    wishes: Wishes = Wishes()
    secrets: dict[str, str] = {}  # admin_password (for the guest's first boot), password (what the guest posted, encrypted)

    @property
    def machine_name(self) -> str:
        """instance-XXXXXXXX: the machine's name on its host."""
        return f"instance-{self.id[:8]}"


class Device(Row, table="compute_devices", indexes=[("server_id",), ("volume_id",)]):
    """A disk of a server: the block device mapping.  Sizes in GiB, swap in MiB."""

    id: Key
    server_id: Ref
    source: Word  # image, volume, snapshot, blank
    destination: Word  # local, volume
    boot_index: int | None = None
    device: str = ""  # /dev/vdb
    bus: Word = "virtio"
    kind: Word = "disk"
    filesystem: Word = ""  # of a blank one; "swap"
    size: int = 0
    image_id: Ref = ""
    snapshot_id: Ref = ""
    volume_id: Ref = ""
    volume_type: str = ""
    attachment_id: Ref = ""
    connection: dict[str, object] | None = None  # how the host reaches the volume, once it is connected
    other_attachment_id: Ref = ""  # of the host that the server goes to
    other_connection: dict[str, object] | None = None
    delete_on_termination: bool = False
    tag: str = ""
    state: Word = "wished"  # wished, reserved, attached, detaching
    created_at: float = 0.0
