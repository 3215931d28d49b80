"""The file store: one file an image in one folder, visible whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

from pilvi.kernel.errors import HostError, Invalid, NotFound

_STALE = 3600.0  # seconds without a write after which a temporary file is nobody's
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
_TEMPORARY = ".writing-"


class FileStore:
    """Images as files `ROOT/ID`; the folder is made when missing."""

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)
        with _told(self._root):
            self._root.mkdir(parents=True, exist_ok=True)

    def begin(self, image_id: str) -> FileWriter:
        """Open a new object; one that is there already is replaced at commit."""
        final = self._file(image_id)
        return FileWriter(final, self._root / f"{_TEMPORARY}{image_id}-{uuid.uuid4().hex}")

    def read(self, image_id: str, start: int = 0, end: int | None = None, chunk: int = 1 << 20) -> Iterator[bytes]:
        """The bytes from start up to, without, end; the file is opened now, so a later removal does no harm."""
        with _told(self._root):
            try:
                file = self._file(image_id).open("rb", buffering=0)
            except FileNotFoundError:
                raise NotFound(f"The data of image {image_id} is not in the store.", kind="Image", ref=image_id) from None
        return _chunks(file, start, end, chunk)

    def size(self, image_id: str) -> int | None:
        try:
            return self._file(image_id).stat().st_size
        except FileNotFoundError:
            return None

    def path(self, image_id: str) -> str | None:
        return str(self._file(image_id).absolute())

    def remove(self, image_id: str) -> None:
        with _told(self._root):
            self._file(image_id).unlink(missing_ok=True)
            _sync_folder(self._root)

    def observe(self) -> list[str]:
        """Ids of all objects.  Half-written files that nobody has touched for an hour are swept on the way."""
        seen: list[str] = []
        with _told(self._root), os.scandir(self._root) as entries:
            for entry in entries:
                if entry.name.startswith(_TEMPORARY):
                    _sweep(entry)
                elif _ID.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    seen.append(entry.name)
        return sorted(seen)

    def _file(self, image_id: str) -> Path:
        if not _ID.fullmatch(image_id):
            raise Invalid("An image id consists of letters, digits, '-' and '_'.", field="id")
        return self._root / image_id


class FileWriter:
    """A file that is being written under a temporary name."""

    def __init__(self, final: Path, temporary: Path) -> None:
        self._final, self._temporary = final, temporary
        with _told(temporary):
            self._file = temporary.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        with _told(self._final):
            while view:
                view = view[self._file.write(view) :]

    def commit(self) -> int:
        with _told(self._final):
            os.fsync(self._file.fileno())
            size = os.fstat(self._file.fileno()).st_size
            self._file.close()
            self._temporary.rename(self._final)
            _sync_folder(self._final.parent)
        return size

    def abort(self) -> None:
        self._file.close()
        with _told(self._temporary):
            self._temporary.unlink(missing_ok=True)


def _chunks(file: io.FileIO, start: int, end: int | None, chunk: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = None if end is None else end - start
        while left is None or left > 0:
            data = file.read(chunk if left is None else min(chunk, left))
            if not data:
                return
            if left is not None:
                left -= len(data)
            yield data


def _sweep(entry: os.DirEntry[str]) -> None:
    with contextlib.suppress(FileNotFoundError):  # its writer may have ended this moment
        if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE:
            os.unlink(entry.path)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _told(path: Path) -> Generator[None]:
    """Turn the system's refusals into a sentence for the operator."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = f"The image store at {path.parent} is full; free space there or enlarge it."
        else:
            why = f"The image store cannot use {path}: {error.strerror or error}."
        raise HostError(why) from error
