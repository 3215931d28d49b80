"""Where the libvirt driver keeps things: machines, disks, images, snapshots and sockets below the state directory.

With a folder on storage that hosts share, disks and images lie there, below the host's name.  A disk that two hosts share
is one file with a name in the folder of each: each removes its own name.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from pilvi.compute.drivers import BlankDisk, ConfigDisk, Disk, ImageDisk
from pilvi.kernel.errors import Invalid

RUN_DIR = Path("/run/pilvi")
PARTIAL = ".part-"  # begins the name of a file that is being made
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHECKSUM = re.compile(r"[A-Za-z0-9]{8,128}")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


def short_path(state_dir: Path) -> Path:
    """A short link to the state directory: the path of a unix socket may have 107 bytes at most."""
    state_dir = state_dir.absolute()
    link = RUN_DIR / hashlib.sha256(bytes(state_dir)).hexdigest()[:12]
    RUN_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not link.is_symlink() or os.readlink(link) != str(state_dir):
        new = RUN_DIR / f"{PARTIAL}{link.name}.{os.getpid()}"
        new.unlink(missing_ok=True)
        new.symlink_to(state_dir)
        new.replace(link)
    return link


def checked_key(key: str, what: str = "key") -> str:
    """The key itself, when it can safely be part of a path and of a device's name; raises Invalid."""
    if not _KEY.fullmatch(key):
        raise Invalid(f"{key!r} is not a usable {what}: letters, digits, - and _ only, at most 64.")
    return key


def checked_id(machine_id: str) -> str:
    """The machine's id in its one spelling; raises Invalid."""
    try:
        return str(uuid.UUID(machine_id))
    except ValueError:
        raise Invalid(f"{machine_id!r} is not the id of a machine.") from None


def sync_dir(path: Path) -> None:
    """Have the names in a directory on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def settle(part: Path, final: Path) -> None:
    """Give a finished file its name: its data are on disk before the name is."""
    handle = os.open(part, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    part.replace(final)
    sync_dir(final.parent)


def write_whole(path: Path, text: str) -> None:
    """Write a small file that only Pilvi may read, whole or not at all."""
    part = path.with_name(f"{PARTIAL}{path.name}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    settle(part, path)


class Places:
    """The paths of one host.  `shared`: a folder that other hosts have too, under the same path.

    All files of a machine lie in its folder and in that of its disks.  Raises Invalid when machines have disks elsewhere.
    """

    def __init__(self, state_dir: Path, host: str = "", shared: str = "") -> None:
        self.state_dir = state_dir.absolute()
        self.shared = Path(shared).absolute() if shared else None
        self.host = host
        self.machines = self.state_dir / "machines"
        self.images = (self._on_shared(host) if self.shared else self.state_dir) / "images"
        self.snapshots = self.state_dir / "snapshots"
        for folder in (self.machines, self.images, self.snapshots):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stay_where_disks_are()
        self.storage = self._storage()
        self.short = short_path(self.state_dir)

    def machine(self, machine_id: str) -> Path:
        return self.machines / checked_id(machine_id)

    def disks(self, machine_id: str) -> Path:
        return self._on_shared(self.host) / "disks" / checked_id(machine_id) if self.shared else self.machine(machine_id) / "disks"

    def disks_on(self, host: str, machine_id: str) -> Path | None:
        """Where the disks lie that the machine has on another host; None when nothing is shared with others."""
        return self._on_shared(host) / "disks" / checked_id(machine_id) if self.shared else None

    def ensure_disks_folder(self, machine_id: str) -> Path:
        """Have the folder for the machine's disks; the machine's own comes first, as what is left behind is found by it."""
        for folder in (self.machine(machine_id), self.disks(machine_id)):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        return self.disks(machine_id)

    def remove(self, machine_id: str) -> None:
        """Have no file of the machine; its own folder goes last."""
        for folder in (self.disks(machine_id), self.machine(machine_id)):
            with suppress(FileNotFoundError):
                shutil.rmtree(folder)

    def console_log(self, machine_id: str) -> Path:
        return self.machine(machine_id) / "console.log"

    def socket(self, machine_id: str, kind: str) -> Path:
        """The short path of a machine's console socket."""
        return self.short / "machines" / checked_id(machine_id) / f"{kind}.sock"

    def disk(self, machine_id: str, disk: Disk) -> Path | None:
        """The file of a local disk; None for a volume."""
        stem = checked_key(disk.key)
        folder = self.disks(machine_id)
        match disk.source:
            case ImageDisk(generation=generation):
                return folder / f"{stem}.{generation}.qcow2"
            case BlankDisk(generation=generation):
                return folder / f"{stem}.{generation}.raw"
            case ConfigDisk():
                return folder / f"{stem}.iso"
            case _:
                return None

    def backing(self, overlay: Path) -> Path:
        """The machine's own hard link to the cached image below an overlay: the cache may let go, the machine need not."""
        return overlay.with_suffix(".base")

    def image_stem(self, image_id: str, checksum: str) -> str:
        """How the name of a cached image begins: another checksum is another file."""
        if checksum and not _CHECKSUM.fullmatch(checksum):
            raise Invalid(f"{checksum!r} is not a checksum.")
        return f"{checked_key(image_id, 'image id')}.{checksum[:32].lower() or 'any'}."

    def image(self, image_id: str, checksum: str) -> tuple[Path, str] | None:
        """The cached image and its format, if it is there."""
        stem = self.image_stem(image_id, checksum)
        for form in ("qcow2", "raw"):
            path = self.images / f"{stem}{form}"
            if path.exists():
                return path, form
        return None

    def caches(self) -> list[Path]:
        """The folders of images: this host's, and those of the hosts that it shares storage with."""
        return [self.images, *(folder for folder in self.shared.glob("*/images") if folder != self.images)] if self.shared else [self.images]

    def _on_shared(self, host: str) -> Path:
        """The folder of a host on the shared storage."""
        if not _HOST.fullmatch(host):
            raise Invalid(f"{host!r} is not the name of a host.")
        assert self.shared is not None
        return self.shared / host

    def _stay_where_disks_are(self) -> None:
        """Note where disks lie; another place can be chosen only while no machine is here, whose disks would not be found."""
        note, wanted = self.state_dir / "disks-lie-in", str(self.shared or "")
        known = note.read_text(encoding="utf-8") if note.exists() else ""
        if known == wanted:
            return
        if any(self.machines.iterdir()):
            raise Invalid(
                f"The disks of this host's machines lie in {known or self.machines}, not in {wanted or self.machines}: set "
                f"compute.libvirt.shared_disks back to '{known}', or move the machines away first.",
                field="compute.libvirt.shared_disks",
            )
        write_whole(note, wanted)

    def _storage(self) -> str:
        """The name that all hosts give to the shared storage: the first of them wrote it there; "" without one."""
        if self.shared is None:
            return ""
        name = self.shared / "storage-id"
        if not name.exists():
            part = self.shared / f"{PARTIAL}storage-id.{uuid.uuid4()}"
            part.write_text(str(uuid.uuid4()), encoding="ascii")
            with suppress(FileExistsError):  # another host was first
                os.link(part, name)
            part.unlink()
        return name.read_text(encoding="ascii")

    def snapshot(self, snapshot_id: str) -> Path:
        return self.snapshots / checked_key(snapshot_id, "snapshot id")

    def snapshot_part(self, snapshot_id: str) -> Path:
        return self.snapshots / f"{PARTIAL}{checked_key(snapshot_id, 'snapshot id')}"
