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
    def name(self) -> str:
        """The host's."""

    @property
    def neighbour(self) -> MovingRig:
        """The other host: it reaches this one, and has the same image to fetch."""

    def mark(self, machine_id: str) -> str:
        """Something in the memory of the machine's guest: another after each start, the same while it runs."""


def ready(rig: MovingRig, machine: Machine) -> Arrival:
    """Have the host ready for the machine to come from its neighbour while it runs."""
    assert finish(lambda: rig.driver.ensure_image(rig.image_id, rig.checksum)).state == "done"
    rig.driver.ensure_disks(machine)
    return rig.driver.ensure_arrival(machine, rig.neighbour.name)


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

    def test_hosts_that_share_nothing_say_so(self, rig: MovingRig) -> None:
        machine = make(rig, new_machine(rig))
        assert not rig.driver.facts().storage
        assert not rig.neighbour.driver.share_disks(machine, rig.name)
        assert seen(rig.neighbour, machine.id) is None, "and nothing was done"
        gone(rig, machine)


class SharingContract:
    """As `MoveContract`, of a `MovingRig` whose hosts keep the disks of machines on one storage."""

    def test_disks_that_are_shared_are_not_copied(self, sharing: MovingRig) -> None:
        other = sharing.neighbour
        assert sharing.driver.facts().storage == other.driver.facts().storage != ""
        blank = Disk(key="eph0", device="vdb", source=BlankDisk(size_mib=64, filesystem="ext4"))
        machine = new_machine(sharing, nics=[sharing.nic()])
        machine = make(sharing, changed(machine, disks=[*machine.disks, blank]))
        wait_for(lambda: b"login:" in sharing.driver.console_log(machine.id), "the guest's login", within=120)
        mark = sharing.mark(machine.id)

        def go(left: MovingRig, there: MovingRig) -> None:
            for _ in range(2):
                assert there.driver.share_disks(machine, left.name)
            for _ in range(2):
                arrival = there.driver.ensure_arrival(machine, left.name)
            assert arrival.disks == []
            for _ in range(2):
                assert finish(lambda: left.driver.migrate(machine.id, arrival), within=180).state == "done"
            for _ in range(2):
                left.driver.remove_machine(machine.id)
            there.driver.ensure_machine(machine)
            assert here(there, machine.id).power == "running"
            assert there.mark(machine.id) == mark, "it was not restarted"

        go(sharing, other)
        go(other, sharing)
        gone(sharing, machine)

    def test_who_gives_up_a_shared_disk_leaves_it_to_the_other(self, sharing: MovingRig) -> None:
        machine = make(sharing, new_machine(sharing))
        assert sharing.neighbour.driver.share_disks(machine, sharing.name)
        sharing.neighbour.driver.ensure_arrival(machine, sharing.name)
        sharing.neighbour.restart()
        sharing.neighbour.driver.remove_machine(machine.id)
        assert seen(sharing.neighbour, machine.id) is None
        sharing.driver.ensure_machine(changed(machine, power="shutoff"))
        sharing.driver.ensure_machine(machine)
        assert here(sharing, machine.id).power == "running"
        gone(sharing, machine)

    def test_what_is_not_there_is_not_shared(self, sharing: MovingRig) -> None:
        machine = new_machine(sharing)
        assert not sharing.neighbour.driver.share_disks(machine, sharing.name)
        assert not sharing.neighbour.driver.share_disks(machine, "nobody")
        gone(sharing, machine)

    def test_who_moves_while_it_is_off_takes_a_copy(self, sharing: MovingRig) -> None:
        """The host that it left keeps its disk as it was, until its owner has spoken."""
        other = sharing.neighbour
        machine = make(sharing, changed(new_machine(sharing), power="shutoff"))
        offers = sharing.driver.offer_disks(machine.id)
        assert finish(lambda: other.driver.fetch_disks(machine, offers)).state == "done"
        sharing.driver.withdraw_disks(machine.id)
        sharing.driver.remove_machine(machine.id)
        other.driver.ensure_disks(machine)
        other.driver.ensure_machine(changed(machine, power="running"))
        assert here(other, machine.id).power == "running"
        gone(sharing, machine)
