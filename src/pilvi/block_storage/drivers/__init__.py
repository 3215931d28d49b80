"""The Backend contract: what block storage asks of a back end, and the table of drivers that can do it.

Every verb may be said twice: `ensure_*` makes it so and is silent when it is so already, `remove_*` may be said of
what is absent, `observe` only looks.  A driver keeps no memory of its own beside what lies in its store.  Verbs
raise `HostError` with a sentence for the user.  Verbs block; the agent calls them from threads, never two at once
for one volume.  Sizes are GiB unless named otherwise.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from pilvi.kernel.progress import Progress


class FromImage(msgspec.Struct, tag="image", frozen=True, kw_only=True):
    """Made from an image's data; the agent has put a flat, inspected copy at `path`."""

    image_id: str
    path: str
    format: str  # as inspected: raw, qcow2, ...


class FromVolume(msgspec.Struct, tag="volume", frozen=True, kw_only=True):
    volume_id: str


class FromSnapshot(msgspec.Struct, tag="snapshot", frozen=True, kw_only=True):
    volume_id: str
    snapshot_id: str


class VolumeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as it should be."""

    id: str
    size_gib: int
    source: FromImage | FromVolume | FromSnapshot | None = None
    type_specs: dict[str, str] = {}


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """How a host reaches an exported volume: the same words as compute.drivers.VolumeDisk.

    With a `host`, what answers there is a gate (nbd_gate): it shows the certificate of which `pin` is the SHA-256, and lets in who
    has the secret.
    """

    kind: Literal["file", "nbd"]
    path: str = ""
    format: str = "raw"
    host: str = ""
    port: int = 0
    export: str = ""
    secret: str = ""
    pin: str = ""

    def __repr__(self) -> str:
        return f"Connection({self.kind} {self.path or self.host} {self.export})"


class SeenVolume(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    size_gib: int
    snapshots: list[str] = []
    exports: list[str] = []  # attachment ids


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What the back end has.  `provisioned_gib` counts the virtual sizes."""

    backend: str  # volume_backend_name
    total_gib: float
    free_gib: float
    provisioned_gib: float
    thin: bool = True
    max_over_subscription: float = 20.0
    protocol: str = "file"
    vendor: str = "Pilvi"
    version: str = "1.0"
    multiattach: bool = True
    shared: bool = True  # other hosts can reach its exports


class Backend(Protocol):
    """The verbs of a volume driver."""

    def capacity(self) -> Capacity: ...

    def observe(self) -> list[SeenVolume]:
        """Every volume of this cloud in this back end."""
        ...

    def ensure_volume(self, spec: VolumeSpec) -> Progress:
        """Have the volume, filled from its source.  Long: begun, then asked again.  Half-made files are never volumes."""
        ...

    def remove_volume(self, volume_id: str) -> None:
        """Have the volume gone.  Snapshots of it are gone before; volumes made from it live on."""
        ...

    def ensure_size(self, volume_id: str, size_gib: int) -> None:
        """Have the volume at least so large, attached or not; never shrinks."""
        ...

    def ensure_snapshot(self, volume_id: str, snapshot_id: str) -> Progress:
        """Have a point-in-time copy; the volume may be attached and running."""
        ...

    def remove_snapshot(self, volume_id: str, snapshot_id: str) -> None: ...

    def ensure_reverted(self, volume_id: str, snapshot_id: str) -> Progress:
        """Have the volume's content as the snapshot has it.  The volume is not attached."""
        ...

    def ensure_export(self, volume_id: str, attachment_id: str, host: str, *, local: bool, read_only: bool = False) -> Connection:
        """Have the volume reachable for `host`; `local` when the host shares this back end's files."""
        ...

    def remove_export(self, volume_id: str, attachment_id: str) -> None: ...

    def ensure_copy(self, volume_id: str, snapshot_id: str, copy_id: str, disk_format: str) -> Progress:
        """Have a flat file of the volume (or of the snapshot, when named) at `copy_path`, for images and backups.  Long."""
        ...

    def copy_path(self, copy_id: str) -> str: ...

    def remove_copy(self, copy_id: str) -> None: ...


# name in the configuration -> where the driver is; imported only when chosen
DRIVERS: dict[str, str] = {
    "file": "pilvi.block_storage.drivers.file:FileBackend",
    "fake": "pilvi.block_storage.drivers.fake:FakeBackend",
}
