"""The contract that every volume back end must keep."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from pilvi.block_storage.drivers import Backend, FromImage, FromSnapshot, FromVolume, SeenVolume, VolumeSpec
from pilvi.kernel.errors import HostError
from pilvi.kernel.progress import Progress

Source = FromImage | FromVolume | FromSnapshot
ONE, TWO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
SNAP, OTHER_SNAP = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
ATTACHMENT, OTHER = "cccccccc-cccc-4ccc-8ccc-cccccccccccc", "dddddddd-dddd-4ddd-8ddd-dddddddddddd"
COPY = "eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee"


class Probe(Protocol):
    """How a test writes to and reads from volumes as a guest would: the first byte of the disk."""

    def write(self, volume_id: str, value: int) -> None: ...

    def read(self, volume_id: str) -> int: ...


def until_done(ask: Callable[[], Progress], seconds: float = 30) -> Progress:
    """Ask again until the verb has ended."""
    deadline = time.monotonic() + seconds
    while (progress := ask()).state == "working":
        assert progress.percent is None or 0 <= progress.percent <= 100
        assert time.monotonic() < deadline, "never done"
        time.sleep(0.01)
    return progress


def done(ask: Callable[[], Progress]) -> None:
    progress = until_done(ask)
    assert progress.state == "done", progress.why


def failed(ask: Callable[[], Progress]) -> str:
    progress = until_done(ask)
    assert progress.state == "failed"
    assert progress.why.endswith((".", ")")) or ":" in progress.why
    return progress.why


class BackendContract:
    """Subclass it with fixtures `backend`, `probe` and `again` (makes another back end on the same store)."""

    def make(self, backend: Backend, volume_id: str = ONE, size: int = 1, source: Source | None = None) -> None:
        done(lambda: backend.ensure_volume(VolumeSpec(id=volume_id, size_gib=size, source=source)))

    def test_a_volume_comes_and_goes(self, backend: Backend) -> None:
        assert backend.observe() == []
        self.make(backend)
        self.make(backend)
        assert backend.observe() == [SeenVolume(id=ONE, size_gib=1)]
        backend.remove_volume(ONE)
        backend.remove_volume(ONE)
        assert backend.observe() == []

    def test_a_new_back_end_finds_what_was(self, backend: Backend, again: Callable[[], Backend]) -> None:
        self.make(backend)
        done(lambda: backend.ensure_snapshot(ONE, SNAP))
        backend.ensure_export(ONE, ATTACHMENT, "here", local=True)
        assert again().observe() == backend.observe() == [SeenVolume(id=ONE, size_gib=1, snapshots=[SNAP], exports=[ATTACHMENT])]

    def test_capacity_counts_virtual_sizes(self, backend: Backend) -> None:
        before = backend.capacity()
        assert before.total_gib > 0 and before.provisioned_gib == 0 and before.free_gib <= before.total_gib
        self.make(backend, ONE, 2)
        self.make(backend, TWO, 3)
        assert backend.capacity().provisioned_gib == 5
        assert backend.capacity().backend == before.backend

    def test_volumes_grow_and_never_shrink(self, backend: Backend, probe: Probe) -> None:
        self.make(backend)
        probe.write(ONE, 7)
        for size, seen in ((3, 3), (3, 3), (2, 3)):
            backend.ensure_size(ONE, size)
            assert backend.observe()[0].size_gib == seen
        backend.ensure_export(ONE, ATTACHMENT, "here", local=True)
        backend.ensure_size(ONE, 4)
        assert backend.observe() == [SeenVolume(id=ONE, size_gib=4, exports=[ATTACHMENT])]
        assert probe.read(ONE) == 7
        with pytest.raises(HostError):
            backend.ensure_size(TWO, 2)

    @pytest.mark.parametrize("attached", [False, True])
    def test_snapshots_keep_their_moment(self, backend: Backend, probe: Probe, attached: bool) -> None:
        self.make(backend)
        probe.write(ONE, 1)
        if attached:
            backend.ensure_export(ONE, ATTACHMENT, "here", local=True)
        done(lambda: backend.ensure_snapshot(ONE, SNAP))
        probe.write(ONE, 2)
        done(lambda: backend.ensure_snapshot(ONE, SNAP))
        assert probe.read(ONE) == 2
        self.make(backend, TWO, 2, source=FromSnapshot(volume_id=ONE, snapshot_id=SNAP))
        assert probe.read(TWO) == 1
        assert [(seen.id, seen.size_gib, seen.snapshots) for seen in backend.observe()] == [(ONE, 1, [SNAP]), (TWO, 2, [])]
        backend.remove_snapshot(ONE, SNAP)
        backend.remove_snapshot(ONE, SNAP)
        assert backend.observe()[0].snapshots == []
        assert probe.read(TWO) == 1

    @pytest.mark.parametrize("attached", [False, True])
    def test_clones_are_independent(self, backend: Backend, probe: Probe, attached: bool) -> None:
        self.make(backend)
        probe.write(ONE, 5)
        if attached:
            backend.ensure_export(ONE, ATTACHMENT, "here", local=True)
        self.make(backend, TWO, 2, source=FromVolume(volume_id=ONE))
        probe.write(TWO, 6)
        assert probe.read(ONE) == 5
        backend.remove_export(ONE, ATTACHMENT)
        backend.remove_volume(ONE)
        assert probe.read(TWO) == 6

    def test_reverting_restores_content_and_keeps_the_size(self, backend: Backend, probe: Probe) -> None:
        self.make(backend)
        probe.write(ONE, 1)
        done(lambda: backend.ensure_snapshot(ONE, SNAP))
        probe.write(ONE, 2)
        backend.ensure_size(ONE, 2)
        done(lambda: backend.ensure_reverted(ONE, SNAP))
        assert probe.read(ONE) == 1
        assert backend.observe() == [SeenVolume(id=ONE, size_gib=2, snapshots=[SNAP])]
        backend.ensure_export(ONE, ATTACHMENT, "here", local=True)
        assert "detach" in failed(lambda: backend.ensure_reverted(ONE, SNAP))

    def test_from_an_image(self, backend: Backend, probe: Probe, tmp_path: Path) -> None:
        image = tmp_path / "image"
        image.write_bytes(b"\x09" * 100_000)
        self.make(backend, ONE, 2, source=FromImage(image_id="i", path=str(image), format="raw"))
        image.unlink()
        assert probe.read(ONE) == 9
        assert backend.observe() == [SeenVolume(id=ONE, size_gib=2)]

    def test_failures_are_told_and_leave_no_volume(self, backend: Backend, tmp_path: Path) -> None:
        sources = [
            FromImage(image_id="i", path=str(tmp_path / "nowhere"), format="raw"),
            FromVolume(volume_id=TWO),
            FromSnapshot(volume_id=TWO, snapshot_id=SNAP),
        ]
        for source in sources:
            failed(lambda source=source: backend.ensure_volume(VolumeSpec(id=ONE, size_gib=1, source=source)))
        failed(lambda: backend.ensure_snapshot(ONE, SNAP))
        failed(lambda: backend.ensure_reverted(ONE, SNAP))
        failed(lambda: backend.ensure_copy(ONE, "", COPY, "raw"))
        assert backend.observe() == []
        self.make(backend)
        assert backend.observe() == [SeenVolume(id=ONE, size_gib=1)]

    def test_a_source_larger_than_the_volume_is_refused(self, backend: Backend) -> None:
        self.make(backend, ONE, 3)
        done(lambda: backend.ensure_snapshot(ONE, SNAP))
        for source in (FromSnapshot(volume_id=ONE, snapshot_id=SNAP), FromVolume(volume_id=ONE)):
            assert "3 GiB" in failed(lambda source=source: backend.ensure_volume(VolumeSpec(id=TWO, size_gib=2, source=source)))

    def test_exports(self, backend: Backend) -> None:
        self.make(backend)
        first = backend.ensure_export(ONE, ATTACHMENT, "here", local=True)
        assert backend.ensure_export(ONE, ATTACHMENT, "here", local=True) == first
        assert backend.ensure_export(ONE, OTHER, "here", local=True, read_only=True) != first
        assert backend.observe()[0].exports == [ATTACHMENT, OTHER]
        with pytest.raises(HostError, match="attached"):
            backend.remove_volume(ONE)
        for attachment in (ATTACHMENT, ATTACHMENT, OTHER):
            backend.remove_export(ONE, attachment)
        backend.remove_export(TWO, ATTACHMENT)
        assert backend.observe()[0].exports == []
        backend.remove_volume(ONE)
        with pytest.raises(HostError):
            backend.ensure_export(ONE, ATTACHMENT, "here", local=True)

    @pytest.mark.parametrize("snapshot", ["", SNAP])
    def test_copies(self, backend: Backend, probe: Probe, snapshot: str) -> None:
        self.make(backend)
        probe.write(ONE, 3)
        done(lambda: backend.ensure_snapshot(ONE, SNAP))
        done(lambda: backend.ensure_copy(ONE, snapshot, COPY, "raw"))
        probe.write(ONE, 4)
        done(lambda: backend.ensure_copy(ONE, snapshot, COPY, "raw"))
        with open(backend.copy_path(COPY), "rb") as file:
            assert file.read(1) == b"\x03"
        backend.remove_copy(COPY)
        backend.remove_copy(COPY)
        assert not Path(backend.copy_path(COPY)).exists()

    def test_removing_ends_what_is_being_made(self, backend: Backend, again: Callable[[], Backend], tmp_path: Path) -> None:
        self.make(backend)
        spec = VolumeSpec(id=TWO, size_gib=1, source=FromVolume(volume_id=ONE))
        backend.ensure_volume(spec)
        backend.remove_volume(TWO)
        backend.ensure_snapshot(ONE, SNAP)
        backend.remove_snapshot(ONE, SNAP)
        backend.ensure_copy(ONE, "", COPY, "raw")
        backend.remove_copy(COPY)
        assert backend.observe() == again().observe() == [SeenVolume(id=ONE, size_gib=1)]
        self.make(backend, TWO, 1, source=FromVolume(volume_id=ONE))
        assert [seen.id for seen in backend.observe()] == [ONE, TWO]
