"""The fake hypervisor keeps the contract, and its switches work."""

from __future__ import annotations

import time
import uuid

import pytest

from pilvi.compute.drivers import Disk, ImageDisk, Machine, Nic, VolumeDisk
from pilvi.compute.drivers.fake import FakeHypervisor
from pilvi.compute.drivers.fake_world import FakeWorld, small_disk
from pilvi.kernel.errors import HostError
from pilvi.kernel.faults import Faults

from .hypervisor_contract import HypervisorContract, finish
from .move_contract import MoveContract, SharingContract


class FakeRig:
    image_id, checksum = "image-1", "0123456789abcdef"

    def __init__(self, name: str = "fake-host", neighbour: FakeRig | None = None, storage: str = "") -> None:
        self.name, self.world = name, FakeWorld(others=neighbour.world.others if neighbour else {}, storage=storage)
        self.changes: list[str] = []
        self.restart()
        self.neighbour = neighbour or FakeRig("fake-neighbour", self, storage)

    def restart(self) -> None:
        self.driver = FakeHypervisor(self.name, world=self.world, instant=False, on_change=self.changes.append)

    def nic(self) -> Nic:
        return Nic(key=str(uuid.uuid4()), mac="02:00:00:00:00:01", tap="tap0")

    def volume(self) -> Disk:
        volume_id = str(uuid.uuid4())
        return Disk(key=volume_id, device="vdc", source=VolumeDisk(volume_id=volume_id, kind="nbd", path="/run/nbd", export="v"))

    def kill(self, machine_id: str) -> None:
        self.driver.lose(machine_id)

    def mark(self, machine_id: str) -> str:
        return self.world.machines[machine_id].memory


@pytest.fixture(scope="module")
def rig() -> FakeRig:
    return FakeRig()


@pytest.fixture(scope="module")
def sharing() -> FakeRig:
    return FakeRig(storage="a storage")


class TestFakeHypervisor(HypervisorContract):
    """Every test of the contract."""


class TestFakeMoves(MoveContract):
    """Every test of the contract of moves."""


class TestFakeSharing(SharingContract):
    """Every test of the contract of disks that are shared."""


@pytest.fixture
def machine() -> Machine:
    root = Disk(key="root", device="vda", source=ImageDisk(image_id="image-1", size_gib=1))
    return Machine(id=str(uuid.uuid4()), name="vm", vcpus=1, memory_mib=64, disks=[root])


def test_a_switched_verb_fails_and_leaves_no_trace(machine: Machine) -> None:
    faults = Faults()
    driver = FakeHypervisor("host", faults=faults)
    faults.fail("ensure_machine", "no more room", times=1)
    driver.ensure_image("image-1", "")
    with pytest.raises(HostError, match="no more room"):
        driver.ensure_machine(machine)
    assert driver.observe() == []
    driver.ensure_machine(machine)
    assert [(seen.id, seen.power) for seen in driver.observe()] == [(machine.id, "running")]
    assert ("ensure_machine", machine.id) in faults.told


def test_a_vanished_machine_is_gone_with_its_disks(machine: Machine) -> None:
    told: list[str] = []
    driver = FakeHypervisor("host", on_change=told.append)
    driver.ensure_image("image-1", "")
    driver.ensure_machine(machine)
    driver.vanish(machine.id)
    assert driver.observe() == []
    assert told == [machine.id]
    driver.remove_image("image-1")
    assert driver.cached_images() == []


def test_a_guest_may_stop_by_itself(machine: Machine) -> None:
    driver = FakeHypervisor("host")
    driver.ensure_image("image-1", "")
    driver.ensure_machine(machine)
    driver.stop_by_itself(machine.id)
    assert [seen.power for seen in driver.observe()] == ["shutoff"]


def test_a_password_reaches_a_guest_with_an_agent(machine: Machine) -> None:
    import msgspec

    driver = FakeHypervisor("host")
    driver.ensure_image("image-1", "")
    driver.ensure_machine(msgspec.structs.replace(machine, properties={"hw_qemu_guest_agent": "yes"}))
    driver.set_password(machine.id, "root", "secret")
    assert driver.world.passwords == {(machine.id, "root"): "secret"}


def test_a_thousand_machines_are_cheap() -> None:
    driver = FakeHypervisor("host")
    driver.ensure_image("image-1", "")
    began = time.process_time()
    for _ in range(1000):
        root = Disk(key="root", device="vda", source=ImageDisk(image_id="image-1", size_gib=1))
        driver.ensure_machine(Machine(id=str(uuid.uuid4()), name="vm", vcpus=1, memory_mib=64, disks=[root]))
    assert len(driver.observe()) == 1000
    assert time.process_time() - began < 1


def test_its_snapshot_is_a_disk_that_inspection_accepts(machine: Machine) -> None:
    from pilvi.image.inspect import inspect_file

    driver = FakeHypervisor("host")
    driver.ensure_image("image-1", "")
    driver.ensure_machine(machine)
    for form in ("qcow2", "raw"):
        assert finish(lambda form=form: driver.ensure_snapshot(machine.id, f"snap-{form}", form)).state == "done"
        found = inspect_file(driver.snapshot_path(f"snap-{form}"))
        assert (found.format, found.virtual_size) == (form, 1 << 20)
    assert len(small_disk("qcow2")) < 1 << 20


def pair(machine: Machine) -> tuple[FakeHypervisor, FakeHypervisor]:
    """Two hosts that reach each other, the machine on the first."""
    world = FakeWorld()
    here, there = FakeHypervisor("here", world=world), FakeHypervisor("there", world=FakeWorld(others=world.others))
    for driver in (here, there):
        driver.ensure_image("image-1", "")
    here.ensure_machine(machine)
    return here, there


def test_what_a_guest_wrote_goes_with_it(machine: Machine) -> None:
    here, there = pair(machine)
    here.world.written[machine.id, "root"] = "a letter"
    there.ensure_disks(machine)
    assert here.migrate(machine.id, there.ensure_arrival(machine, "here")).state == "done"
    assert there.world.written == {(machine.id, "root"): "a letter"}
    here.remove_machine(machine.id)
    assert (here.world.written, here.observe()) == ({}, [])


def test_a_migration_is_watched_and_aborted(machine: Machine) -> None:
    here, there = pair(machine)
    here.world.hold_moves = True
    there.ensure_disks(machine)
    arrival = there.ensure_arrival(machine, "here")
    assert here.migrate(machine.id, arrival).state == "working"
    use = here.move_use(machine.id)
    assert use is not None
    assert (use.memory_total, use.memory_done, use.memory_left) == (64 << 20, 32 << 20, 32 << 20)
    here.abort_migrate(machine.id)
    assert "aborted" in here.migrate(machine.id, arrival).why
    assert here.move_use(machine.id) is None
    assert [one.power for one in here.observe()] == ["running"]


def test_a_host_may_refuse_who_comes(machine: Machine) -> None:
    _, there = pair(machine)
    there.world.refuses = "no room at the inn"
    there.ensure_disks(machine)
    with pytest.raises(HostError, match="no room at the inn"):
        there.ensure_arrival(machine, "here")


def test_a_disk_fetched_halfway_is_swept(machine: Machine) -> None:
    import msgspec

    here, there = pair(machine)
    here.ensure_machine(msgspec.structs.replace(machine, power="shutoff"))
    there.instant = False
    assert there.fetch_disks(machine, here.offer_disks(machine.id)).state == "working"
    assert [one.id for one in there.observe()] == [machine.id]
    there.remove_machine(machine.id)
    assert there.observe() == []
