"""The file back end keeps the contract, with the real qemu-img and qemu-storage-daemon."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilvi.block_storage.drivers import Backend, Connection
from pilvi.block_storage.drivers.file import FileBackend

from .backend_contract import BackendContract, Probe

PROBING = "99999999-9999-4999-8999-999999999999"


def url(connection: Connection) -> str:
    if connection.path:
        return f"nbd+unix:///{connection.export}?socket={connection.path}"
    return f"nbd://{connection.host}:{connection.port}/{connection.export}"


def qemu_io(connection: Connection, *commands: str) -> str:
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(["qemu-io", "-f", "raw", *words, url(connection)], check=True, capture_output=True, text=True)
    assert "error" not in done.stdout.lower() and "failed" not in done.stdout.lower(), done.stdout
    return done.stdout


class FileProbe:
    """Writes and reads through an export of its own, as a second guest of a shared volume does."""

    def __init__(self, backend: FileBackend) -> None:
        self._backend = backend

    def write(self, volume_id: str, value: int) -> None:
        self._io(volume_id, f"write -q -P {value} 0 64k")

    def read(self, volume_id: str) -> int:
        said = self._io(volume_id, "read -v 0 512")
        return int(said.split()[1], 16)

    def _io(self, volume_id: str, command: str) -> str:
        connection = self._backend.ensure_export(volume_id, PROBING, "here", local=True)
        try:
            return qemu_io(connection, command)
        finally:
            self._backend.remove_export(volume_id, PROBING)


class TestFileBackend(BackendContract):
    @pytest.fixture
    def run_dir(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix="pilvi-fb-"))
        yield folder
        shutil.rmtree(folder)

    @pytest.fixture
    def backend(self, tmp_path: Path, run_dir: Path) -> Iterator[FileBackend]:
        backend = FileBackend("here", tmp_path / "state", run_dir=run_dir)
        yield backend
        backend.stop()
        left = list((tmp_path / "state").rglob(".*-*"))
        backend.observe()
        backend.stop()
        assert list((tmp_path / "state").rglob(".*-*")) == [], left

    @pytest.fixture
    def probe(self, backend: FileBackend) -> Probe:
        return FileProbe(backend)

    @pytest.fixture
    def again(self, tmp_path: Path, run_dir: Path, backend: FileBackend) -> Callable[[], Backend]:
        return lambda: FileBackend("here", tmp_path / "state", run_dir=run_dir)
