"""The file and memory stores keep the store contract; the file store survives crashes and full disks."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.image.stores import Store
from pilvi.image.stores.file import FileStore
from pilvi.image.stores.memory import MemoryStore
from pilvi.kernel.errors import HostError, Invalid

from .store_contract import ONE, StoreContract, put


class TestFileStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FileStore(tmp_path / "images")

    def test_a_new_store_on_the_folder_finds_all(self, store: Store, tmp_path: Path) -> None:
        put(store, ONE, b"x")
        assert FileStore(tmp_path / "images").observe() == [ONE]

    def test_stale_temporaries_are_swept_fresh_ones_kept(self, store: Store, tmp_path: Path) -> None:
        fresh = store.begin(ONE)
        fresh.write(b"fresh")
        store.begin(ONE).write(b"left by a crash")
        old = max((tmp_path / "images").iterdir(), key=lambda path: path.stat().st_size)
        os.utime(old, (time.time() - 3700, time.time() - 3700))
        assert store.observe() == []
        assert not old.exists()
        fresh.commit()
        assert store.observe() == [ONE]
        assert len(list((tmp_path / "images").iterdir())) == 1

    @pytest.mark.parametrize("hostile", ["../x", "a/b", "", ".", "..", ".writing-x", "a\0b", "x" * 65])
    def test_ids_stay_in_the_folder(self, store: Store, hostile: str) -> None:
        for verb in (store.begin, store.read, store.size, store.path, store.remove):
            with pytest.raises(Invalid):
                verb(hostile)

    def test_a_link_is_no_object(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "images" / ONE).symlink_to("/etc/passwd")
        assert store.observe() == []


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_in_a_sentence_and_leaves_nothing(small_disk: Path) -> None:
    store = FileStore(small_disk)
    writer = store.begin(ONE)
    with pytest.raises(HostError, match=r"full; free space there") as told:
        for _ in range(3):
            writer.write(bytes(1 << 20))
    assert str(small_disk) in told.value.message
    writer.abort()
    assert list(small_disk.iterdir()) == [] and store.observe() == []
    assert put(store, ONE, b"fits again") == 10
