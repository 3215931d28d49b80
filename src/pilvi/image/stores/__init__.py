"""The Store contract: where images' bytes lie, and the table of stores.

`begin` opens a new object that becomes visible whole, by `commit`, or not at all; `remove` may be said of what is
absent.  A store keeps no memory of its own beside its files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Writer(Protocol):
    """An object that is being written."""

    def write(self, data: bytes) -> None: ...

    def commit(self) -> int:
        """Make it durable and visible; answers its size in bytes."""
        ...

    def abort(self) -> None:
        """Forget it; may be said after commit, and then does nothing."""
        ...


class Store(Protocol):
    """The verbs of an image store."""

    def begin(self, image_id: str) -> Writer: ...

    def read(self, image_id: str, start: int = 0, end: int | None = None, chunk: int = 1 << 20) -> Iterator[bytes]:
        """The bytes from start up to, without, end.  NotFound when the object is not there."""
        ...

    def size(self, image_id: str) -> int | None:
        """Size in bytes, None when absent."""
        ...

    def path(self, image_id: str) -> str | None:
        """The file on this host, for readers that share its disk; None where the store has none."""
        ...

    def remove(self, image_id: str) -> None: ...

    def observe(self) -> list[str]:
        """Ids of all objects."""
        ...


# name in the configuration -> where the store is; imported only when chosen
STORES: dict[str, str] = {
    "file": "pilvi.image.stores.file:FileStore",
    "memory": "pilvi.image.stores.memory:MemoryStore",
}
