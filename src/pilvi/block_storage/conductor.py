"""The conductor's ear for volume agents: they have no database, and ask what should be on their host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from pilvi.block_storage.drivers import Capacity
from pilvi.block_storage.operations.hosts import register
from pilvi.block_storage.tables.types import VolumeType
from pilvi.block_storage.tables.volumes import Attachment, Backup, Snapshot, Volume
from pilvi.kernel import agent
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import HostError
from pilvi.kernel.program import Program

TOPIC = "block_storage-conductor"


class VolumeWish(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as it should be, and what it is made from."""

    id: str
    size_gib: int
    source: Literal["", "image", "volume", "snapshot", "backup"] = ""
    source_id: str = ""  # of image, volume, or backup; of a snapshot, its volume
    snapshot_id: str = ""
    specs: dict[str, str] = {}


class ImageAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent reaches image data."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"ImageAccess({self.url})"


class WishedExport(msgspec.Struct, frozen=True, kw_only=True):
    """An attachment that a host should be able to reach."""

    volume_id: str
    attachment_id: str
    host: str
    read_only: bool


class Conductor:
    """What agents may ask and tell."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def describe_volume(self, volume_id: str) -> VolumeWish:
        """The volume as it should be; HostError when nobody wants it any more."""
        with self._program.db.transaction(write=False) as tx:
            volume = tx.get(Volume, volume_id)
            if volume is None:
                raise HostError(f"Volume {volume_id} is not wanted any more.", elsewhere=False)
            kind = tx.get(VolumeType, volume.volume_type_id) if volume.volume_type_id else None
            source: Literal["", "image", "volume", "snapshot", "backup"] = ""
            source_id = snapshot_id = ""
            if volume.refill_image_id:
                source, source_id = "image", volume.refill_image_id
            elif volume.restored_from or volume.backup_id:
                backup = tx.get(Backup, volume.restored_from or volume.backup_id)
                source, source_id = "backup", backup.copy_id if backup else ""
            elif volume.snapshot_id:
                snapshot = tx.get(Snapshot, volume.snapshot_id)
                if snapshot is None:
                    raise HostError(f"Snapshot {volume.snapshot_id} is gone.", elsewhere=False)
                source, source_id, snapshot_id = "snapshot", snapshot.volume_id, snapshot.id
            elif volume.source_volid:
                source, source_id = "volume", volume.source_volid
            elif volume.image_id:
                source, source_id = "image", volume.image_id
        return VolumeWish(
            id=volume.id, size_gib=volume.size, source=source, source_id=source_id, snapshot_id=snapshot_id,
            specs=kind.extra_specs if kind else {},
        )  # fmt: skip

    def image_access(self) -> ImageAccess:
        """Where image data is fetched and brought, and a token of the cloud's own for it."""
        from pilvi import identity

        with self._program.db.transaction(write=False) as tx:
            url = identity.endpoint(self._program.system_context(tx), "image")
        return ImageAccess(url=url, token=identity.agents_token(self._program))

    def exports(self, host: str) -> list[WishedExport]:
        """The attachments whose volumes lie in the back end host@name and that some host uses or is about to."""
        with self._program.db.transaction(write=False) as tx:
            here = (Volume.c.host.startswith(f"{host}#", autoescape=True), Volume.c.attach_status != "detached")
            volumes = {one.id: one for one in tx.all(Volume, *here)}
            found = [one for one in tx.by(Attachment, Attachment.c.volume_id, volumes) if one.connection is not None]
        return [
            WishedExport(
                volume_id=one.volume_id, attachment_id=one.id, host=one.host or "",
                read_only=one.mode == "ro" or bool(volumes[one.volume_id].read_only),
            )
            for one in found
        ]  # fmt: skip

    def heartbeat(self, host: str, zone: str, capacity: Capacity | None, trouble: str) -> None:
        """A back end tells that it lives and what it has; its host keeps backups, too."""

        def work(tx: Transaction) -> None:
            register(tx, "cinder-volume", host, zone, capacity, trouble)
            register(tx, "cinder-backup", host.rpartition("@")[0], zone, None, trouble)

        self._program.db.run(work)

    def finished(self, subject: str) -> None:
        """Long work for this volume, snapshot or backup has ended: look at once."""
        self._program.db.run(lambda tx: self._program.workflows.wake(tx, subject))


def serve(program: Program) -> Callable[[], None]:
    """The conductor role's part for block storage."""
    return agent.serve(program.bus, TOPIC, Conductor(program), host=program.host)
