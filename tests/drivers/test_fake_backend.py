"""The fake back end keeps the contract, answers "working" when told to, and has its switches."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pilvi.block_storage.drivers import Backend, FromVolume, VolumeSpec
from pilvi.block_storage.drivers.fake import FakeBackend, VolumeWorld
from pilvi.kernel.errors import HostError
from pilvi.kernel.faults import Faults

from .backend_contract import ONE, SNAP, TWO, BackendContract, Probe


class FakeProbe:
    def __init__(self, world: VolumeWorld) -> None:
        self._world = world

    def write(self, volume_id: str, value: int) -> None:
        self._world.volumes[volume_id].content = bytes([value])

    def read(self, volume_id: str) -> int:
        return self._world.volumes[volume_id].content[0]


class TestFakeBackend(BackendContract):
    @pytest.fixture
    def world(self) -> VolumeWorld:
        return VolumeWorld()

    @pytest.fixture(params=[0, 2])
    def backend(self, world: VolumeWorld, request: pytest.FixtureRequest) -> Backend:
        return FakeBackend("here", world=world, asks=request.param)

    @pytest.fixture
    def probe(self, world: VolumeWorld) -> Probe:
        return FakeProbe(world)

    @pytest.fixture
    def again(self, world: VolumeWorld) -> Callable[[], Backend]:
        return lambda: FakeBackend("here", world=world)


def test_long_verbs_are_asked_again() -> None:
    backend = FakeBackend("here", asks=1)
    assert backend.ensure_volume(VolumeSpec(id=ONE, size_gib=1)).state == "done"
    clone = VolumeSpec(id=TWO, size_gib=1, source=FromVolume(volume_id=ONE))
    assert [backend.ensure_volume(clone).state for _ in range(3)] == ["working", "done", "done"]
    assert [backend.ensure_snapshot(ONE, SNAP).state for _ in range(3)] == ["working", "done", "done"]


def test_switches_and_a_full_store() -> None:
    faults = Faults()
    backend = FakeBackend("here", faults=faults, total_gib=3)
    faults.fail("ensure_volume", "the disk is on fire", subject=ONE, times=1)
    with pytest.raises(HostError, match="on fire"):
        backend.ensure_volume(VolumeSpec(id=ONE, size_gib=1))
    assert backend.ensure_volume(VolumeSpec(id=ONE, size_gib=2)).state == "done"
    full = backend.ensure_volume(VolumeSpec(id=TWO, size_gib=2))
    assert (full.state, full.elsewhere) == ("failed", True)
    with pytest.raises(HostError, match="full"):
        backend.ensure_size(ONE, 4)
    assert faults.told[0] == ("ensure_volume", ONE)
