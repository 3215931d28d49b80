"""What every hypervisor driver must do when a machine moves to another host: disks carried, and machines that run on."""

from __future__ import annotations

import uuid
from typing import Protocol

import msgspec
import pytest

from pilvi.compute.drivers import Arrival, BlankDisk, Disk, Machine
from pilvi.kernel.errors import HostError

from .hypervisor_contract import Rig, changed, finish, here, make, new_machine, seen, wait_for


class MovingRig(Rig, Protocol):
    """A host under test that reaches another."""

    @property
    def neighbour(self) -> MovingRig:
        """The other host: it reaches this one, and has the same image to fetch."""

    def mark(self, machine_id: str) -> str:
        """Something in the memory of the machine's guest: another after each start, the same while it runs."""


def ready(rig: MovingRig, machine: Machine) -> Arrival:
    """Have the host ready for the machine to come while it runs."""
    assert finish(lambda: rig.driver.ensure_image(rig.image_id, rig.checksum)).state == "done"
    rig.driver.ensure_disks(machine)
    return rig.driver.ensure_arrival(machine)


def gone(rig: MovingRig, machine: Machine) -> None:
    """The machine is nowhere."""
    for one in (rig, rig.neighbour):
        one.driver.remove_machine(machine.id)
        assert seen(one, machine.id) is None


class MoveContract:
    """Inherit from this in a test module that has a fixture `rig`, a `MovingRig`, of module scope."""

    def test_disks_are_carried_to_another_host(self, rig: MovingRig) -> None:
        other = rig.neighbour
        machine = new_machine(rig, nics=[rig.nic()])
        blank = Disk(key="eph0", device="vdb", source=BlankDisk(size_mib=64, filesystem="ext4"))
        machine = changed(machine, disks=[*machine.disks, blank])
        make(rig, machine)
        with pytest.raises(HostError, match="off"):
            rig.driver.offer_disks(machine.id)
        off = changed(machine, power="shutoff")
        rig.driver.ensure_machine(off)
        for _ in range(2):
            offers = rig.driver.offer_disks(machine.id)
        assert {"root", "eph0"} <= {offer.key for offer in offers}
        assert all(offer.size > 0 and offer.url for offer in offers)
        for _ in range(2):
            assert finish(lambda: other.driver.fetch_disks(off, offers)).state == "done"
        for _ in range(2):
            rig.driver.withdraw_disks(machine.id)
        other.driver.ensure_disks(machine)
        other.driver.ensure_machine(machine)
        assert here(other, machine.id).power == "running"
        assert here(rig, machine.id).power == "shutoff", "what the machine left behind is untouched"
        other.driver.remove_machine(machine.id)
        rig.driver.ensure_machine(machine)
        assert here(rig, machine.id).power == "running", "it can go back"
        gone(rig, machine)

    def test_what_is_not_offered_is_not_fetched(self, rig: MovingRig) -> None:
        other = rig.neighbour
        machine = changed(new_machine(rig), power="shutoff")
        make(rig, machine)
        offers = rig.driver.offer_disks(machine.id)
        rig.driver.withdraw_disks(machine.id)
        failed = finish(lambda: other.driver.fetch_disks(machine, offers))
        assert (failed.state, bool(failed.why)) == ("failed", True)
        other.restart()
        again = rig.driver.offer_disks(machine.id)
        assert finish(lambda: other.driver.fetch_disks(machine, again)).state == "done"
        rig.driver.withdraw_disks(machine.id)
        gone(rig, machine)

    def test_the_absent_has_no_disks_to_offer(self, rig: MovingRig) -> None:
        nobody = str(uuid.uuid4())
        rig.driver.withdraw_disks(nobody)
        rig.driver.abort_migrate(nobody)
        rig.driver.hurry_migrate(nobody)
        assert rig.driver.move_use(nobody) is None
        with pytest.raises(HostError, match="not on host"):
            rig.driver.offer_disks(nobody)
        assert seen(rig, nobody) is None

    def test_a_running_machine_moves_and_runs_on(self, rig: MovingRig) -> None:
        other = rig.neighbour
        machine = make(rig, new_machine(rig, nics=[rig.nic()]))
        wait_for(lambda: b"login:" in rig.driver.console_log(machine.id), "the guest's login", within=120)
        mark = rig.mark(machine.id)
        for _ in range(2):
            arrival = ready(other, machine)
        assert here(rig, machine.id).power == "running"
        for _ in range(2):
            assert finish(lambda: rig.driver.migrate(machine.id, arrival), within=180).state == "done"
            assert here(other, machine.id).power == "running"
        left = seen(rig, machine.id)
        assert left is None or left.power == "shutoff", "its files may lie there until they are removed"
        for _ in range(2):
            rig.driver.remove_machine(machine.id)
            assert seen(rig, machine.id) is None
        other.restart()
        moved = here(other, machine.id)
        assert sorted(moved.disks) == ["config", "root"]
        assert moved.nics == [machine.nics[0].key]
        other.driver.ensure_machine(machine)
        assert here(other, machine.id) == moved, "nothing is to be done to what has arrived"
        assert other.mark(machine.id) == mark, "it was not restarted"
        assert rig.driver.move_use(machine.id) is None
        gone(rig, machine)

    def test_a_paused_machine_arrives_paused(self, rig: MovingRig) -> None:
        machine = make(rig, new_machine(rig))
        machine = changed(machine, power="paused")
        rig.driver.ensure_machine(machine)
        arrival = ready(rig.neighbour, machine)
        assert finish(lambda: rig.driver.migrate(machine.id, arrival), within=180).state == "done"
        assert here(rig.neighbour, machine.id).power == "paused"
        gone(rig, machine)

    def test_nobody_goes_where_nobody_waits(self, rig: MovingRig) -> None:
        machine = make(rig, new_machine(rig))
        arrival = ready(rig.neighbour, machine)
        rig.neighbour.driver.remove_machine(machine.id)
        nowhere = msgspec.structs.replace(arrival, uri=arrival.uri + "-which-is-not-there")
        failed = finish(lambda: rig.driver.migrate(machine.id, nowhere), within=180)
        assert (failed.state, bool(failed.why)) == ("failed", True)
        assert here(rig, machine.id).power == "running"
        gone(rig, machine)
