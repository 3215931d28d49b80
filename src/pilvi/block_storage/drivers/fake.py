"""The fake back end: volumes that are a few bytes in memory, with switches for every fault."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pilvi.block_storage.drivers import Capacity, Connection, FromImage, FromSnapshot, FromVolume, SeenVolume, VolumeSpec
from pilvi.kernel.errors import HostError
from pilvi.kernel.faults import Faults
from pilvi.kernel.progress import DONE, Progress

_REMEMBERED = 64 << 10  # bytes of an image that a fake volume keeps


@dataclass
class FakeVolume:
    """A volume: its size, the first bytes of its content, the content of its snapshots, its exports."""

    size_gib: int
    content: bytes = b""
    snapshots: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    exports: dict[str, str] = field(default_factory=dict)  # attachment id -> host


@dataclass
class VolumeWorld:
    """What lies in a fake back end; given to a new FakeBackend, it is what a restart finds."""

    volumes: dict[str, FakeVolume] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)  # long verbs under way, and how often they were asked
    folder: tempfile.TemporaryDirectory[str] | None = None  # of copies; made when first needed, gone with the world
    lock: threading.RLock = field(default_factory=threading.RLock)

    def has_room(self, size_gib: int, total_gib: float) -> bool:
        return sum(volume.size_gib for volume in self.volumes.values()) + size_gib <= total_gib


class FakeBackend:
    """A back end without disks.  Long verbs answer "working" `asks` times before they are done."""

    def __init__(
        self,
        host: str,
        *,
        faults: Faults | None = None,
        world: VolumeWorld | None = None,
        total_gib: float = 1000.0,
        asks: int = 0,
        name: str = "fake",
        shared: bool = True,
    ) -> None:
        self.host, self.name, self.shared = host, name, shared
        self.faults = faults if faults is not None else Faults()
        self.world = world if world is not None else VolumeWorld()
        self._total, self._asks = total_gib, asks

    def capacity(self) -> Capacity:
        with self._verb("capacity"):
            used = sum(volume.size_gib for volume in self.world.volumes.values())
            return Capacity(
                backend=self.name,
                total_gib=self._total,
                free_gib=max(0.0, self._total - used),
                provisioned_gib=used,
                thin=False,
                max_over_subscription=1.0,
                protocol="fake",
                shared=self.shared,
            )

    def observe(self) -> list[SeenVolume]:
        with self._verb("observe"):
            return [
                SeenVolume(id=name, size_gib=volume.size_gib, snapshots=sorted(volume.snapshots), exports=sorted(volume.exports))
                for name, volume in sorted(self.world.volumes.items())
            ]

    def ensure_volume(self, spec: VolumeSpec) -> Progress:
        with self._verb("ensure_volume", spec.id):
            if spec.id in self.world.volumes:
                return DONE
            if not self.world.has_room(spec.size_gib, self._total):
                return Progress(state="failed", why="The volume back end is full; free space or enlarge it.")
            try:
                content = self._content(spec)
            except HostError as error:
                return Progress(state="failed", why=error.message, elsewhere=error.elsewhere)
            if self._working(f"volume {spec.id}", at_once=spec.source is None):
                return Progress(state="working", percent=50)
            self.world.volumes[spec.id] = FakeVolume(spec.size_gib, content)
            return DONE

    def remove_volume(self, volume_id: str) -> None:
        with self._verb("remove_volume", volume_id):
            volume = self.world.volumes.get(volume_id)
            if volume and volume.exports:
                raise HostError(f"Volume {volume_id} is still attached; detach it first.", elsewhere=False)
            self.world.volumes.pop(volume_id, None)
            self.world.asked.pop(f"volume {volume_id}", None)

    def ensure_size(self, volume_id: str, size_gib: int) -> None:
        with self._verb("ensure_size", volume_id):
            volume = self._volume(volume_id)
            if not self.world.has_room(size_gib - volume.size_gib, self._total):
                raise HostError("The volume back end is full; free space or enlarge it.")
            volume.size_gib = max(volume.size_gib, size_gib)

    def ensure_snapshot(self, volume_id: str, snapshot_id: str) -> Progress:
        with self._verb("ensure_snapshot", snapshot_id):
            if volume_id not in self.world.volumes:
                return Progress(state="failed", why=f"Volume {volume_id} is not in this back end.", elsewhere=False)
            volume = self._volume(volume_id)
            if snapshot_id in volume.snapshots:
                return DONE
            if self._working(f"snapshot {snapshot_id}"):
                return Progress(state="working", percent=50)
            volume.snapshots[snapshot_id] = volume.size_gib, volume.content
            return DONE

    def remove_snapshot(self, volume_id: str, snapshot_id: str) -> None:
        with self._verb("remove_snapshot", snapshot_id):
            if volume_id in self.world.volumes:
                self.world.volumes[volume_id].snapshots.pop(snapshot_id, None)

    def ensure_reverted(self, volume_id: str, snapshot_id: str) -> Progress:
        with self._verb("ensure_reverted", volume_id):
            volume = self.world.volumes.get(volume_id)
            if volume is None or snapshot_id not in volume.snapshots:
                return Progress(state="failed", why=f"Snapshot {snapshot_id} is not in this back end.", elsewhere=False)
            if volume.exports:
                why = f"Volume {volume_id} is in use; detach it before it is reverted."
                return Progress(state="failed", why=why, elsewhere=False)
            if self._working(f"revert {volume_id}"):
                return Progress(state="working", percent=50)
            volume.content = volume.snapshots[snapshot_id][1]
            return DONE

    def ensure_export(self, volume_id: str, attachment_id: str, host: str, *, local: bool, read_only: bool = False) -> Connection:
        with self._verb("ensure_export", volume_id):
            if not local and not self.shared:
                raise HostError(f"Volume {volume_id} can only be attached on {self.host}.", elsewhere=False)
            self._volume(volume_id).exports[attachment_id] = host
            if local:
                return Connection(kind="nbd", path=f"/nonexistent/{self.host}.sock", export=attachment_id)
            return Connection(kind="nbd", host=self.host, port=10809, export=attachment_id)

    def remove_export(self, volume_id: str, attachment_id: str) -> None:
        with self._verb("remove_export", volume_id):
            if volume_id in self.world.volumes:
                self.world.volumes[volume_id].exports.pop(attachment_id, None)

    def ensure_copy(self, volume_id: str, snapshot_id: str, copy_id: str, disk_format: str) -> Progress:
        """A copy is a small file with the content, whatever the format."""
        with self._verb("ensure_copy", copy_id):
            path = Path(self.copy_path(copy_id))
            if path.exists():
                return DONE
            volume = self.world.volumes.get(volume_id)
            if volume is None or (snapshot_id and snapshot_id not in volume.snapshots):
                return Progress(state="failed", why=f"The source {snapshot_id or volume_id} is not there.", elsewhere=False)
            if self._working(f"copy {copy_id}"):
                return Progress(state="working", percent=50)
            path.write_bytes((volume.snapshots[snapshot_id][1] if snapshot_id else volume.content) or bytes(512))
            return DONE

    def copy_path(self, copy_id: str) -> str:
        with self.world.lock:
            if self.world.folder is None:
                self.world.folder = tempfile.TemporaryDirectory(prefix="pilvi-fake-copies-")
            return f"{self.world.folder.name}/{copy_id}"

    def remove_copy(self, copy_id: str) -> None:
        with self._verb("remove_copy", copy_id):
            if self.world.folder:
                Path(self.copy_path(copy_id)).unlink(missing_ok=True)

    # -- inside ------------------------------------------------------------------------------------

    @contextmanager
    def _verb(self, verb: str, subject: str = "") -> Generator[None]:
        self.faults.strike(verb, subject)
        with self.world.lock:
            yield

    def _volume(self, volume_id: str) -> FakeVolume:
        if volume_id not in self.world.volumes:
            raise HostError(f"Volume {volume_id} is not in this back end.", elsewhere=False)
        return self.world.volumes[volume_id]

    def _working(self, what: str, *, at_once: bool = False) -> bool:
        """Whether a long verb has not been asked often enough yet."""
        asked = self.world.asked.get(what, 0)
        if at_once or asked >= self._asks:
            self.world.asked.pop(what, None)
            return False
        self.world.asked[what] = asked + 1
        return True

    def _content(self, spec: VolumeSpec) -> bytes:
        """The content of a new volume, by its source."""
        match spec.source:
            case None:
                return b""
            case FromVolume(volume_id=source):
                volume = self._volume(source)
                size, content = volume.size_gib, volume.content
            case FromSnapshot(volume_id=source, snapshot_id=snapshot):
                found = self._volume(source).snapshots.get(snapshot)
                if found is None:
                    raise HostError(f"The source {snapshot} is not in this back end.", elsewhere=False)
                size, content = found
            case FromImage(path=path):
                try:
                    with open(path, "rb") as file:
                        return file.read(_REMEMBERED)
                except OSError as error:
                    raise HostError(f"The image at {path} cannot be read: {error.strerror}.", elsewhere=False) from error
        if size > spec.size_gib:
            raise HostError(f"The source needs {size} GiB; the volume has {spec.size_gib} GiB.", elsewhere=False)
        return content
