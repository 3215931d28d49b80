"""The memory store: images in this process, for tests and trials; a restart forgets them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from pilvi.kernel.errors import NotFound


class MemoryStore:
    """Images as bytes.  Stores given the same `objects` share them."""

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self._objects: dict[str, bytes] = {} if objects is None else objects
        self._lock = threading.Lock()

    def begin(self, image_id: str) -> MemoryWriter:
        return MemoryWriter(self._objects, image_id, self._lock)

    def read(self, image_id: str, start: int = 0, end: int | None = None, chunk: int = 1 << 20) -> Iterator[bytes]:
        data = self._objects.get(image_id)
        if data is None:
            raise NotFound(f"The data of image {image_id} is not in the store.", kind="Image", ref=image_id)
        stop = len(data) if end is None else min(end, len(data))
        return (data[at : min(at + chunk, stop)] for at in range(start, stop, chunk))

    def size(self, image_id: str) -> int | None:
        data = self._objects.get(image_id)
        return None if data is None else len(data)

    def path(self, image_id: str) -> str | None:
        return None

    def remove(self, image_id: str) -> None:
        with self._lock:
            self._objects.pop(image_id, None)

    def observe(self) -> list[str]:
        with self._lock:
            return sorted(self._objects)


class MemoryWriter:
    """An object that is being gathered."""

    def __init__(self, objects: dict[str, bytes], image_id: str, lock: threading.Lock) -> None:
        self._objects, self._id, self._lock = objects, image_id, lock
        self._parts = bytearray()

    def write(self, data: bytes) -> None:
        self._parts += data

    def commit(self) -> int:
        with self._lock:
            self._objects[self._id] = bytes(self._parts)
        return len(self._parts)

    def abort(self) -> None:
        self._parts.clear()
