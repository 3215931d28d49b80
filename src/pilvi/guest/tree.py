"""A tree of files in memory, with owners and modes that do not depend on who builds it."""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """A folder (no content), a file (bytes) or a symbolic link (where it leads)."""

    mode: int
    content: bytes | str | None = None
    uid: int = 0
    gid: int = 0


class Tree:
    """Paths without a leading slash, and what is there."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def folder(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """A folder, and those above it."""
        self._above(path)
        self._entries[path] = Entry(stat.S_IFDIR | mode, None, uid, gid)

    def file(self, path: str, content: bytes | str, mode: int | None = None, uid: int = 0, gid: int = 0) -> None:
        """A file, and the folders above it; scripts and programs can be executed unless `mode` says otherwise."""
        data = content.encode() if isinstance(content, str) else content
        if mode is None:
            mode = 0o755 if data[:2] == b"#!" or (data[:4] == b"\x7fELF" and not path.endswith(".ko")) else 0o644
        self._above(path)
        self._entries[path] = Entry(stat.S_IFREG | mode, data, uid, gid)

    def link(self, path: str, target: str) -> None:
        """A symbolic link, and the folders above it."""
        self._above(path)
        self._entries[path] = Entry(stat.S_IFLNK | 0o777, target)

    def overlay(self, folder: Path) -> None:
        """Everything below a folder of the host, owned by root."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.file(path.relative_to(folder).as_posix(), path.read_bytes())

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """Paths in an order in which each folder comes before what it holds."""
        return iter(sorted(self._entries.items()))

    def size(self) -> int:
        """Bytes that the files need on a file system with blocks of 4 KiB."""
        return sum(4096 + (len(entry.content) + 4095) // 4096 * 4096 for _, entry in self if isinstance(entry.content, bytes))

    def _above(self, path: str) -> None:
        parts = path.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            self._entries.setdefault("/".join(parts[:count]), Entry(stat.S_IFDIR | 0o755))

    def write(self, folder: Path) -> None:
        """Lay the tree into an empty folder of the host; owners are those of the caller."""
        for path, entry in self:
            place = folder / path
            if stat.S_ISDIR(entry.mode):
                place.mkdir()
            elif isinstance(entry.content, str):
                place.symlink_to(entry.content)
            else:
                place.write_bytes(entry.content or b"")
        for path, entry in reversed(list(self)):
            if not stat.S_ISLNK(entry.mode):
                os.chmod(folder / path, stat.S_IMODE(entry.mode))

    def cpio(self, *, squeeze: bool = False) -> bytes:
        """The tree as the archive that a kernel takes for its first file system ("newc")."""
        parts: list[bytes] = []
        entries = [*self, ("TRAILER!!!", Entry(0))]
        for number, (path, entry) in enumerate(entries, 1):
            content = entry.content or b""
            data = content.encode() if isinstance(content, str) else content
            name = path.encode() + b"\0"
            links = 2 if stat.S_ISDIR(entry.mode) else 1
            fields = (number, entry.mode, entry.uid, entry.gid, links, 0, len(data), 0, 0, 0, 0, len(name), 0)
            head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
            parts += [_to_four(head), _to_four(data)]
        archive = b"".join(parts)
        return gzip.compress(archive, 9, mtime=0) if squeeze else archive


def _to_four(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
