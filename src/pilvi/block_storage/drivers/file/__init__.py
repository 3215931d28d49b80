"""The file back end: volumes are qcow2 files in one folder, reached over NBD.

    STATE/volumes/ID.qcow2            a volume
    STATE/snapshots/VOLUME/ID.qcow2   a snapshot: a full copy, independent of its volume
    STATE/copies/ID                   a flat copy for an image or a backup
    STATE/exports/ATTACHMENT.json     an export that should be
    .making-KEY anywhere              being made by the copy or conversion KEY; swept when there is none

One program has an attached volume open: this back end's qemu-storage-daemon, for guests of this host (by unix socket)
and for those of others (through the gate) alike.  Only so are all of these exact while guests write: a snapshot or clone is a backup
job in the daemon, of the volume as it was at one moment, and carries on when this program dies; a volume grows where
its data is; one volume serves several guests; and a guest may start or stop meanwhile.  Were a guest's QEMU to open
the file itself, its qcow2 tables would lie in that process's memory: a copy made from outside (`qemu-img convert -U`)
mixes moments and may read stale tables, and a copy made under QEMU's file locks keeps the guest from starting.

Guests reconnect (give their NBD disks a reconnect-delay): the daemon may be restarted, `observe` starts it and exports
again what should be exported.  With an `address` a gate (nbd_gate) listens there: over TLS it brings other hosts' guests
to the one export whose secret they have.
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

import msgspec

from pilvi.block_storage.drivers import Capacity, Connection, FromImage, FromSnapshot, FromVolume, SeenVolume, VolumeSpec
from pilvi.block_storage.drivers.file import images
from pilvi.block_storage.drivers.file.daemon import Daemon
from pilvi.block_storage.drivers.file.images import GIB, Conversions, failed
from pilvi.block_storage.drivers.file.places import Export, Places, making
from pilvi.block_storage.drivers.file.qmp import Refused
from pilvi.block_storage.drivers.gates import Gate, pin
from pilvi.kernel.errors import HostError
from pilvi.kernel.progress import DONE, Progress

_log = logging.getLogger(__name__)
_SPARE = 64 << 20  # bytes that shall stay free beyond a copy's size
P = ParamSpec("P")
R = TypeVar("R")


def _verb(verb: Callable[Concatenate[FileBackend, P], R]) -> Callable[Concatenate[FileBackend, P], R]:
    """One verb at a time; the system's refusals become sentences."""

    @functools.wraps(verb)
    def locked(self: FileBackend, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            try:
                return verb(self, *args, **kwargs)
            except OSError as error:
                raise images.told(f"{error.filename or self._places.state}: {error.strerror or error}") from error

    return locked


class FileBackend:
    """Volumes in `state_dir`; sockets in `run_dir`, a short path.

    `address` and `port`: where a gate listens for guests of other hosts, and `certificate` (its file and its key's) what
    it shows; without an address only guests of this host are served.  `name` is the volume_backend_name.
    """

    def __init__(
        self, host: str, state_dir: Path, *, run_dir: Path, address: str = "", port: int = 10809, certificate: tuple[Path, Path] | None = None,
        name: str = "file",
    ) -> None:  # fmt: skip
        self.host, self.name = host, name
        if address in ("0.0.0.0", "::", "*"):
            raise HostError("The address at which volumes are served must be one address of the storage network, not a wildcard.")
        if address and certificate is None:
            raise HostError("Volumes are served to other hosts with a certificate only.")
        self._address, self._port, self._certificate = address, port, certificate if address else None
        self._places = Places(Path(state_dir))
        self._lock = threading.RLock()
        self._gate = Gate(Path(run_dir).absolute() / "gate")
        self._conversions = Conversions()
        try:
            self._places.make_folders()
            self._daemon = Daemon(Path(run_dir).absolute())
        except OSError as error:
            raise images.told(f"{error.filename or state_dir}: {error.strerror or error}") from error

    # -- looking -----------------------------------------------------------------------------------

    @_verb
    def capacity(self) -> Capacity:
        """What the file system has; virtual sizes are read from the volumes' headers."""
        space = os.statvfs(self._places.state)
        return Capacity(
            backend=self.name,
            total_gib=round(space.f_blocks * space.f_frsize / GIB, 2),
            free_gib=round(space.f_bavail * space.f_frsize / GIB, 2),
            provisioned_gib=round(sum(_readable_size(path) for path in self._places.volumes()) / GIB, 2),
            protocol="nbd",
            shared=bool(self._address),
        )

    @_verb
    def observe(self) -> list[SeenVolume]:
        """Every volume.  Exports that should be are served again if the daemon has died; what nobody makes is swept."""
        wished = self._places.exports()
        if wished or self._daemon.running():
            self._serve()
        self._sweep()
        seen: list[SeenVolume] = []
        for path in self._places.volumes():
            snapshots = self._places.snapshots(path.stem)
            exports = sorted(attachment for attachment, export in wished.items() if export.volume_id == path.stem)
            seen.append(SeenVolume(id=path.stem, size_gib=-(-_readable_size(path) // GIB), snapshots=snapshots, exports=exports))
        return seen

    # -- volumes -----------------------------------------------------------------------------------

    @_verb
    def ensure_volume(self, spec: VolumeSpec) -> Progress:
        final, key, size = self._places.volume(spec.id), f"volume-{spec.id}", spec.size_gib * GIB
        if (known := self._conversions.ask(key)) or final.exists():
            return known or DONE
        try:
            match spec.source:
                case None:
                    temporary = making(final, key)
                    images.create(temporary, size)
                    images.publish(temporary, final)
                    return DONE
                case FromVolume(volume_id=source):
                    _fits(images.virtual_size(self._places.present(source)), size)
                    return self._copy(key, source, final, "qcow2", size)
                case FromSnapshot(volume_id=source, snapshot_id=snapshot):
                    return self._convert(key, self._places.snapshot(source, snapshot), "qcow2", final, "qcow2", size)
                case FromImage(path=path, format=format):
                    if format not in images.QEMU_FORMATS:
                        raise HostError(f"Images of the format {format} cannot become volumes.", elsewhere=False)
                    return self._convert(key, Path(path), images.QEMU_FORMATS[format], final, "qcow2", size)
        except HostError as error:
            return failed(error)

    @_verb
    def remove_volume(self, volume_id: str) -> None:
        final, key = self._places.volume(volume_id), f"volume-{volume_id}"
        if any(export.volume_id == volume_id for export in self._places.exports().values()):
            raise HostError(f"Volume {volume_id} is still attached; detach it first.", elsewhere=False)
        for unfinished in (key, f"revert-{volume_id}"):
            self._abandon(unfinished, making(final, unfinished))
        if self._daemon.running() and not self._daemon.close_unused(volume_id):
            raise HostError(f"Volume {volume_id} is being copied; it can be removed when that has ended.", elsewhere=False)
        final.unlink(missing_ok=True)
        self._places.drop_if_empty(volume_id)

    @_verb
    def ensure_size(self, volume_id: str, size_gib: int) -> None:
        path, size = self._places.present(volume_id), size_gib * GIB
        if images.virtual_size(path) >= size:
            return
        if self._daemon.is_open(volume_id):
            exports = {name: export.read_only for name, export in self._places.exports().items() if export.volume_id == volume_id}
            self._daemon.resize(volume_id, size, exports)
        else:
            images.grow(path, size)

    # -- snapshots ---------------------------------------------------------------------------------

    @_verb
    def ensure_snapshot(self, volume_id: str, snapshot_id: str) -> Progress:
        final = self._places.snapshot(volume_id, snapshot_id)
        if final.exists():
            return DONE
        try:
            self._places.present(volume_id)
            final.parent.mkdir(exist_ok=True, mode=0o700)
            return self._copy(f"snapshot-{snapshot_id}", volume_id, final, "qcow2")
        except HostError as error:
            return failed(error)

    @_verb
    def remove_snapshot(self, volume_id: str, snapshot_id: str) -> None:
        final, key = self._places.snapshot(volume_id, snapshot_id), f"snapshot-{snapshot_id}"
        self._abandon(key, making(final, key))
        final.unlink(missing_ok=True)
        self._places.drop_if_empty(volume_id)

    @_verb
    def ensure_reverted(self, volume_id: str, snapshot_id: str) -> Progress:
        final, snapshot, key = self._places.volume(volume_id), self._places.snapshot(volume_id, snapshot_id), f"revert-{volume_id}"
        if known := self._conversions.ask(key):
            return known
        try:
            size = images.virtual_size(self._places.present(volume_id))
            if self._daemon.running() and not self._daemon.close_unused(volume_id):
                raise HostError(f"Volume {volume_id} is in use; detach it before it is reverted.", elsewhere=False)
            return self._convert(key, snapshot, "qcow2", final, "qcow2", size)
        except HostError as error:
            return failed(error)

    # -- exports -----------------------------------------------------------------------------------

    @_verb
    def ensure_export(self, volume_id: str, attachment_id: str, host: str, *, local: bool, read_only: bool = False) -> Connection:
        """Have the volume served; guests of this host and of others reach it alike when there is an address."""
        path, daemon = self._places.present(volume_id), self._daemon
        if not local and not self._address:
            raise HostError(
                f"Volume {volume_id} can only be attached on {self.host}: its back end has no address for other hosts; "
                f"set one to attach it on {host}.",
                elsewhere=False,
            )
        record = self._places.record(attachment_id)
        temporary = making(record, f"export-{attachment_id}")
        known = self._places.exports().get(attachment_id)
        export = Export(volume_id, read_only, (known and known.secret) or secrets.token_hex(32))
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(export))
        images.publish(temporary, record)
        self._serve()
        daemon.ensure_export(volume_id, path, attachment_id, read_only=read_only)
        if local or self._certificate is None:
            return Connection(kind="nbd", path=daemon.socket_path, export=attachment_id)
        return Connection(
            kind="nbd", host=self._address, port=self._port, export=attachment_id, secret=export.secret, pin=pin(self._certificate[0])
        )

    @_verb
    def remove_export(self, volume_id: str, attachment_id: str) -> None:
        self._places.record(attachment_id).unlink(missing_ok=True)
        if self._daemon.running():
            self._daemon.remove_export(attachment_id)

    # -- copies ------------------------------------------------------------------------------------

    @_verb
    def ensure_copy(self, volume_id: str, snapshot_id: str, copy_id: str, disk_format: str) -> Progress:
        final, key = self._places.copy(copy_id), f"copy-{copy_id}"
        if (known := self._conversions.ask(key)) or final.exists():
            return known or DONE
        try:
            qemu_format = images.QEMU_FORMATS.get(disk_format)
            if qemu_format is None:
                raise HostError(f"Volumes cannot be copied as {disk_format}.", elsewhere=False)
            if snapshot_id:
                return self._convert(key, self._places.snapshot(volume_id, snapshot_id), "qcow2", final, qemu_format)
            self._places.present(volume_id)
            if qemu_format == "qcow2" or qemu_format == "raw":
                return self._copy(key, volume_id, final, qemu_format)
            point = self._places.point(key)
            copied = self._copy(key, volume_id, point, "qcow2")
            if copied != DONE:
                return copied
            return self._convert(key, point, "qcow2", final, qemu_format, after=point.unlink)
        except HostError as error:
            return failed(error)

    def copy_path(self, copy_id: str) -> str:
        return str(self._places.copy(copy_id))

    @_verb
    def remove_copy(self, copy_id: str) -> None:
        final, key = self._places.copy(copy_id), f"copy-{copy_id}"
        self._abandon(key, making(final, key))
        self._places.point(key).unlink(missing_ok=True)
        final.unlink(missing_ok=True)

    @_verb
    def stop(self) -> None:
        """End the daemon, for a host that is taken out of service; attached guests lose their disks until `observe`."""
        for key in self._conversions.running():
            self._conversions.cancel(key)
        self._gate.stop()
        self._daemon.stop()

    # -- making files ------------------------------------------------------------------------------

    def _copy(self, key: str, volume_id: str, final: Path, format: Literal["qcow2", "raw"], size: int = 0) -> Progress:
        """Copy a volume, attached or not, as it is at the first asking: a job of the daemon named `key`."""
        temporary = making(final, key)
        state = self._daemon.copy_state(key) if self._daemon.running() else None
        if state is None:
            source = self._places.present(volume_id)
            room = os.statvfs(self._places.state)
            if source.stat().st_blocks * 512 + _SPARE > room.f_bavail * room.f_frsize:
                raise HostError(f"The volume back end has no room for a copy of volume {volume_id}; free space or enlarge it.")
            self._serve()
            self._abandon(key, temporary)
            images.create(temporary, images.virtual_size(source), format)
            self._daemon.start_copy(key, volume_id, source, temporary, format)
            return Progress(state="working", percent=0)
        ended, percent, error = state
        if not ended:
            return Progress(state="working", percent=percent)
        if error:
            self._abandon(key, temporary)
            raise images.told(error)
        self._daemon.close_copy(key)
        if size:
            images.grow(temporary, size)
        images.publish(temporary, final)
        self._daemon.end_copy(key)
        return DONE

    def _convert(
        self,
        key: str,
        source: Path,
        format: str,
        final: Path,
        target_format: str,
        size: int | None = None,
        after: Callable[[], None] | None = None,
    ) -> Progress:
        """Convert a file that nobody writes, in the background; the result grows to `size` and must not be larger."""
        temporary = making(final, key)
        if not source.exists():
            raise HostError(f"The source {source.name} is not in this back end.", elsewhere=False)
        if size is not None:
            _fits(images.image_size(source, format), size)

        def finish() -> None:
            if size is not None:
                images.grow(temporary, size)
            images.publish(temporary, final)
            if after:
                after()

        temporary.unlink(missing_ok=True)
        return self._conversions.start(key, images.convert_command(source, format, temporary, target_format), finish)

    def _abandon(self, key: str, temporary: Path) -> None:
        """Have no copy or conversion `key`, nor what it was making."""
        self._conversions.cancel(key)
        if self._daemon.running():
            self._daemon.end_copy(key)
        temporary.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what is half made and being made by nobody."""
        jobs = self._daemon.jobs() if self._daemon.running() else set()
        unfinished = self._places.unfinished()
        for key, path in unfinished:
            if key not in jobs | self._conversions.running():
                path.unlink(missing_ok=True)
        for key in jobs - {key for key, _ in unfinished}:  # published, but its maker died before forgetting it
            self._daemon.end_copy(key)

    # -- serving -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Have the daemon running, with the exports that should be and no others; and the gate, if there is an address."""
        self._daemon.ensure_running()
        if self._certificate is not None:
            certificate, key = self._certificate
            self._gate.ensure(
                {
                    "address": self._address, "port": self._port, "certificate": str(certificate), "key": str(key),
                    "exports": str(self._places.records), "nbd": self._daemon.socket_path,
                }
            )  # fmt: skip
        wished, served = self._places.exports(), self._daemon.exports()
        for attachment, export in wished.items():
            path = self._places.volume(export.volume_id)
            if attachment not in served and path.exists():
                try:
                    self._daemon.ensure_export(export.volume_id, path, attachment, read_only=export.read_only)
                except Refused as refused:  # one damaged volume shall not keep the others from their guests
                    _log.warning("volume %s cannot be exported: %s", export.volume_id, refused.why)
        for attachment in served - wished.keys():
            self._daemon.remove_export(attachment)


def _fits(needed: int, size: int) -> None:
    if needed > size:
        raise HostError(f"The source needs {-(-needed // GIB)} GiB; the volume has {size // GIB} GiB.", elsewhere=False)


def _readable_size(path: Path) -> int:
    """The virtual size in bytes, 0 for a damaged file: the others are looked at all the same."""
    try:
        return images.virtual_size(path)
    except HostError as damaged:
        _log.warning("%s", damaged.message)
        return 0
