"""Where the file back end keeps what: the names of its files, and the records of its exports."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from pilvi.kernel.errors import HostError

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


class Export(msgspec.Struct, frozen=True):
    """An export that should be, as written in its file."""

    volume_id: str
    read_only: bool = False
    secret: str = ""  # by which another host's gate is let in


class Places:
    """The folders below `state` and the files in them; ids are checked before they become names."""

    def __init__(self, state: Path) -> None:
        self.state = state.absolute()
        self._volumes, self._snapshots = self.state / "volumes", self.state / "snapshots"
        self._copies, self._exports = self.state / "copies", self.state / "exports"

    def make_folders(self) -> None:
        for folder in (self._volumes, self._snapshots, self._copies, self._exports):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def volume(self, volume_id: str) -> Path:
        return self._volumes / f"{_checked(volume_id)}.qcow2"

    def present(self, volume_id: str) -> Path:
        """The file of a volume that must be there."""
        path = self.volume(volume_id)
        if not path.exists():
            raise HostError(f"Volume {volume_id} is not in this back end.", elsewhere=False)
        return path

    def volumes(self) -> list[Path]:
        return sorted(self._volumes.glob("*.qcow2"))

    def snapshot(self, volume_id: str, snapshot_id: str) -> Path:
        return self._snapshots / _checked(volume_id) / f"{_checked(snapshot_id)}.qcow2"

    def snapshots(self, volume_id: str) -> list[str]:
        return sorted(path.stem for path in (self._snapshots / volume_id).glob("*.qcow2"))

    def drop_if_empty(self, volume_id: str) -> None:
        """Have no empty folder of snapshots for the volume."""
        folder = self._snapshots / _checked(volume_id)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def copy(self, copy_id: str) -> Path:
        return self._copies / _checked(copy_id)

    def point(self, key: str) -> Path:
        """A private point-in-time copy from which the copy `key` is converted."""
        return self._copies / f".point-{key}"

    def record(self, attachment_id: str) -> Path:
        return self._exports / f"{_checked(attachment_id)}.json"

    @property
    def records(self) -> Path:
        """The folder of the exports that should be."""
        return self._exports

    def exports(self) -> dict[str, Export]:
        """Attachment id to export, of all that should be."""
        exports = {}
        for path in self._exports.glob("*.json"):
            try:
                exports[path.stem] = msgspec.json.decode(path.read_bytes(), type=Export)
            except msgspec.MsgspecError:
                raise HostError(f"{path} is damaged; remove it and attach the volume again.", elsewhere=False) from None
        return exports

    def unfinished(self) -> list[tuple[str, Path]]:
        """Key and file of all that is being made, or was when its maker died."""
        folders = (self._volumes, self._copies, self._exports, *self._snapshots.iterdir())
        return [(path.name.split("-", 1)[1], path) for folder in folders for path in folder.glob(".*-*")]


def making(final: Path, key: str) -> Path:
    """Where the file `final` is while `key` makes it."""
    return final.with_name(f".making-{key}")


def _checked(name: str) -> str:
    """An id that is safe as a file name."""
    if not _ID.fullmatch(name):
        raise HostError(f"{name!r} is no id: ids consist of letters, digits, '-' and '_'.", elsewhere=False)
    return name
