"""What every hypervisor driver must do: each verb said twice, and looked at after each."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from pilvi.compute.drivers import (
    BlankDisk,
    ConfigDisk,
    Disk,
    Hypervisor,
    ImageDisk,
    Machine,
    Nic,
    SeenMachine,
)
from pilvi.kernel.errors import HostError, Invalid
from pilvi.kernel.progress import Progress

changed = msgspec.structs.replace
SIZE_GIB = 1  # of a root disk


class Rig(Protocol):
    """A host under test."""

    driver: Hypervisor
    image_id: str
    checksum: str
    changes: list[str]  # ids that the driver told of by itself

    def restart(self) -> None:
        """The agent dies and comes back: `driver` is a new one on the same host."""

    def nic(self) -> Nic:
        """A card whose tap is there."""

    def volume(self) -> Disk:
        """A disk on a volume that can be reached."""

    def kill(self, machine_id: str) -> None:
        """The machine's process dies."""


def wait_for(condition: Callable[[], object], what: str, *, within: float = 60) -> None:
    """Wait until a condition holds; fail with `what` when it does not."""
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, f"{what} did not happen within {within:.0f} s"
        time.sleep(0.05)


def finish(ask: Callable[[], Progress], *, within: float = 60) -> Progress:
    """Ask after a long verb until it has ended."""
    until = time.monotonic() + within
    while (progress := ask()).state == "working":
        assert time.monotonic() < until, "the verb did not end"
        time.sleep(0.02)
    return progress


def seen(rig: Rig, machine_id: str) -> SeenMachine | None:
    return {machine.id: machine for machine in rig.driver.observe()}.get(machine_id)


def here(rig: Rig, machine_id: str) -> SeenMachine:
    found = seen(rig, machine_id)
    assert found is not None, "the machine is not there"
    return found


def new_machine(rig: Rig, *, nics: list[Nic] | None = None) -> Machine:
    """A wish for a machine with the image of the rig and a config drive."""
    machine_id = str(uuid.uuid4())
    meta = b'{"uuid": "%s", "hostname": "contract"}' % machine_id.encode()
    return Machine(
        id=machine_id,
        name='a "name" of <any> kind & \x07 more',
        vcpus=1,
        memory_mib=128,
        disks=[
            Disk(key="root", device="vda", boot_index=0, source=ImageDisk(image_id=rig.image_id, checksum=rig.checksum, size_gib=SIZE_GIB)),
            Disk(
                key="config", device="hda", bus="ide", kind="cdrom",
                source=ConfigDisk(files={"openstack/latest/meta_data.json": meta}),
            ),
        ],
        nics=nics or [],
        created_at="2026-01-01T00:00:00Z",
    )  # fmt: skip


def make(rig: Rig, machine: Machine) -> Machine:
    assert finish(lambda: rig.driver.ensure_image(rig.image_id, rig.checksum)).state == "done"
    rig.driver.ensure_disks(machine)
    rig.driver.ensure_machine(machine)
    return machine


class HypervisorContract:
    """Inherit from this in a test module that has a fixture `rig` of module scope."""

    @pytest.fixture(scope="class")
    @classmethod
    def booted(cls, rig: Rig) -> Machine:
        """A machine whose guest has started and listens to what is plugged."""
        machine = make(rig, new_machine(rig, nics=[rig.nic()]))
        wait_for(lambda: b"login:" in rig.driver.console_log(machine.id), "the guest's login", within=120)
        return machine

    def test_the_host_tells_what_it_has(self, rig: Rig) -> None:
        facts = rig.driver.facts()
        assert facts.vcpus > 0
        assert 0 < facts.free_memory_mib <= facts.memory_mib
        assert 0 < facts.free_disk_gib <= facts.disk_gib
        assert {"COMPUTE_NODE", "COMPUTE_VOLUME_ATTACH"} <= set(facts.traits)
        assert facts.cpu["arch"] == "x86_64"

    def test_an_image_is_cached_once_and_forgotten(self, rig: Rig) -> None:
        for _ in range(2):
            assert finish(lambda: rig.driver.ensure_image(rig.image_id, rig.checksum)).state == "done"
            assert rig.driver.cached_images() == [rig.image_id]
        for _ in range(2):
            rig.driver.remove_image(rig.image_id)
            assert rig.driver.cached_images() == []

    def test_no_disk_without_its_image(self, rig: Rig) -> None:
        machine = new_machine(rig)
        machine = changed(machine, disks=[changed(machine.disks[0], source=ImageDisk(image_id="not-there", size_gib=1))])
        with pytest.raises(HostError, match="cache"):
            rig.driver.ensure_disks(machine)
        rig.driver.remove_machine(machine.id)
        assert seen(rig, machine.id) is None

    def test_a_machine_is_made_and_removed(self, rig: Rig) -> None:
        machine = new_machine(rig, nics=[rig.nic()])
        assert finish(lambda: rig.driver.ensure_image(rig.image_id, rig.checksum)).state == "done"
        for _ in range(2):
            rig.driver.ensure_disks(machine)
        # a machine half made can be found, so that it can be swept
        assert here(rig, machine.id) == SeenMachine(id=machine.id, power="shutoff")

        rig.driver.ensure_machine(machine)
        first = here(rig, machine.id)
        assert first.power == "running"
        assert sorted(first.disks) == ["config", "root"]
        assert first.nics == [machine.nics[0].key]
        assert abs(first.since - time.time()) < 30
        rig.driver.ensure_machine(machine)
        assert here(rig, machine.id) == first
        rig.restart()
        assert here(rig, machine.id) == first
        rig.driver.ensure_machine(machine)
        assert here(rig, machine.id) == first

        use = rig.driver.use(machine.id)
        assert (use.power, use.memory_mib, len(use.cpu_ns)) == ("running", 128, 1)
        assert {disk.key for disk in use.disks} == {"root", "config"}
        assert {nic.key for nic in use.nics} == {machine.nics[0].key}
        assert rig.driver.facts().running >= 1
        for kind in ("vnc", "serial"):
            address = rig.driver.console(machine.id, kind)
            assert address.kind == kind
            assert len(address.path) < 108, "a unix socket's path has room for 107 bytes"

        rig.driver.remove_image(rig.image_id)
        assert rig.driver.cached_images() == [rig.image_id], "an image in use is kept"
        for _ in range(2):
            rig.driver.remove_machine(machine.id)
            assert seen(rig, machine.id) is None
        assert rig.driver.console_log(machine.id) == b""

    def test_power_goes_everywhere_and_stays(self, rig: Rig) -> None:
        machine = new_machine(rig)
        with pytest.raises(HostError, match="cannot be suspended"):
            make(rig, changed(machine, power="suspended"))
        for power in ("paused", "running", "shutoff", "running", "suspended", "paused", "suspended", "running", "suspended"):
            wish = changed(machine, power=power)
            rig.driver.ensure_machine(wish)
            first = here(rig, machine.id)
            assert first.power == power
            assert bool(first.since) == (power in ("running", "paused"))
            rig.driver.ensure_machine(wish)
            assert here(rig, machine.id) == first
        for _ in range(2):
            rig.driver.remove_machine(machine.id)
        assert seen(rig, machine.id) is None, "no saved state keeps a machine here"

    def test_what_needs_a_restart_gets_one_and_the_rest_does_not(self, rig: Rig) -> None:
        machine = make(rig, new_machine(rig))
        before = here(rig, machine.id)

        renamed = changed(machine, name="another name", flavor="m1.other", properties={"description": "free"})
        rig.driver.ensure_machine(renamed)
        assert here(rig, machine.id) == before

        rebooted = changed(machine, reboots=1)
        for _ in range(2):
            rig.driver.ensure_machine(rebooted)
        after = here(rig, machine.id)
        assert (after.power, after.reboots) == ("running", 1)
        assert after.since > before.since

        larger = changed(rebooted, vcpus=2, memory_mib=160)
        for _ in range(2):
            rig.driver.ensure_machine(larger)
        resized = here(rig, machine.id)
        assert resized.since > after.since
        assert len(rig.driver.use(machine.id).cpu_ns) == 2
        assert rig.driver.use(machine.id).memory_mib == 160

        root = changed(larger.disks[0], source=changed(larger.disks[0].source, generation=1))
        rebuilt = changed(larger, disks=[root, larger.disks[1]])
        rig.driver.ensure_disks(rebuilt)
        for _ in range(2):
            rig.driver.ensure_machine(rebuilt)
            rig.driver.remove_disks_except(rebuilt)
        assert here(rig, machine.id).since > resized.since
        rig.driver.remove_machine(machine.id)

    def test_a_lost_machine_is_seen_and_started_again(self, rig: Rig) -> None:
        machine = make(rig, new_machine(rig))
        before = here(rig, machine.id)
        rig.changes.clear()
        rig.kill(machine.id)
        wait_for(lambda: here(rig, machine.id).power in ("crashed", "shutoff"), "the end of the machine")
        wait_for(lambda: machine.id in rig.changes, "word of the change")
        rig.driver.ensure_machine(machine)
        after = here(rig, machine.id)
        assert after.power == "running"
        assert after.since > before.since
        rig.driver.remove_machine(machine.id)

    def test_what_is_absent_is_left_in_peace(self, rig: Rig) -> None:
        nobody = str(uuid.uuid4())
        rig.driver.ask_shutdown(nobody)
        rig.driver.ask_reboot(nobody)
        rig.driver.remove_disk(nobody, "eph0")
        rig.driver.remove_nic(nobody, "port")
        rig.driver.ensure_disk_size(nobody, "root", 5)
        rig.driver.remove_snapshot("no-such-snapshot")
        rig.driver.remove_disks_except(changed(new_machine(rig), id=nobody))
        assert rig.driver.console_log(nobody) == b""
        for verb in (
            lambda: rig.driver.console(nobody, "vnc"),
            lambda: rig.driver.use(nobody),
            lambda: rig.driver.send_nmi(nobody),
            lambda: rig.driver.set_password(nobody, "root", "secret"),
            lambda: rig.driver.ensure_nic(nobody, rig.nic()),
        ):
            with pytest.raises(HostError, match="not on host"):
                verb()
        assert seen(rig, nobody) is None

    def test_devices_come_and_go_while_it_runs(self, rig: Rig, booted: Machine) -> None:
        driver, since = rig.driver, here(rig, booted.id).since
        blank = Disk(key="eph0", device="vdb", source=BlankDisk(size_mib=64, filesystem="ext4"))
        volume, nic = rig.volume(), rig.nic()
        for _ in range(2):
            driver.ensure_disk(booted.id, blank)
            driver.ensure_disk(booted.id, volume)
            driver.ensure_nic(booted.id, nic)
            found = here(rig, booted.id)
            assert sorted(found.disks) == sorted(["config", "root", "eph0", volume.key])
            assert sorted(found.nics) == sorted([booted.nics[0].key, nic.key])
        whole = changed(booted, disks=[*booted.disks, blank, volume], nics=[*booted.nics, nic])
        rig.restart()
        driver = rig.driver
        driver.ensure_machine(whole)
        assert here(rig, booted.id).since == since, "what is plugged already is no reason to restart"

        grown = changed(blank, source=BlankDisk(size_mib=96, filesystem="ext4"))
        for _ in range(2):
            driver.ensure_disk(booted.id, grown)
            driver.ensure_disk_size(booted.id, "root", SIZE_GIB + 1)

        for _ in range(2):
            driver.remove_disk(booted.id, volume.key)
            driver.remove_nic(booted.id, nic.key)
            found = here(rig, booted.id)
            assert sorted(found.disks) == ["config", "eph0", "root"]
            assert found.nics == [booted.nics[0].key]
        # the same by a whole wish: the last one is left out, the volume comes back
        driver.ensure_machine(changed(booted, disks=[*booted.disks, volume]))
        assert sorted(here(rig, booted.id).disks) == sorted(["config", "root", volume.key])
        driver.ensure_machine(booted)
        found = here(rig, booted.id)
        assert sorted(found.disks) == ["config", "root"]
        assert found.since == since

    def test_a_snapshot_is_taken_of_a_running_machine(self, rig: Rig, booted: Machine) -> None:
        before = here(rig, booted.id)
        snapshot = str(uuid.uuid4())
        for _ in range(2):
            assert finish(lambda: rig.driver.ensure_snapshot(booted.id, snapshot, "qcow2")) == Progress()
        path = Path(rig.driver.snapshot_path(snapshot))
        assert path.is_absolute()
        assert path.read_bytes()[:4] == b"QFI\xfb"
        assert path.read_bytes()[8:16] == bytes(8), "it stands on no other file"
        assert here(rig, booted.id) == before
        for _ in range(2):
            rig.driver.remove_snapshot(snapshot)
            assert not path.exists()
        path.write_bytes(b"as if its maker had died with the last byte")
        rig.driver.remove_snapshot(snapshot)
        assert not path.exists()

    def test_a_snapshot_is_taken_of_a_machine_that_is_off(self, rig: Rig) -> None:
        machine = new_machine(rig)
        make(rig, changed(machine, power="shutoff"))
        snapshot = str(uuid.uuid4())
        assert finish(lambda: rig.driver.ensure_snapshot(machine.id, snapshot, "raw")).state == "done"
        assert Path(rig.driver.snapshot_path(snapshot)).stat().st_size > 0
        rig.driver.ensure_machine(machine)
        assert here(rig, machine.id).power == "running"
        rig.driver.remove_machine(machine.id)
        assert Path(rig.driver.snapshot_path(snapshot)).exists(), "a snapshot outlives its machine"
        rig.driver.remove_snapshot(snapshot)

    def test_a_volume_cannot_be_taken_for_a_local_root(self, rig: Rig) -> None:
        machine = new_machine(rig)
        machine = changed(machine, disks=[changed(rig.volume(), device="vda", boot_index=0)], power="shutoff")
        rig.driver.ensure_machine(machine)
        snapshot = str(uuid.uuid4())
        progress = finish(lambda: rig.driver.ensure_snapshot(machine.id, snapshot, "qcow2"))
        assert progress.state == "failed"
        assert "volume" in progress.why
        rig.driver.remove_machine(machine.id)

    def test_an_unknown_snapshot_format_is_refused(self, rig: Rig, booted: Machine) -> None:
        with pytest.raises(Invalid, match="qcow2"):
            rig.driver.ensure_snapshot(booted.id, str(uuid.uuid4()), "cloop")

    def test_a_guest_without_agent_keeps_its_password(self, rig: Rig, booted: Machine) -> None:
        with pytest.raises(HostError, match="guest agent") as failure:
            rig.driver.set_password(booted.id, "root", "very-secret")
        assert "very-secret" not in failure.value.message

    def test_the_guest_is_asked_to_go(self, rig: Rig, booted: Machine) -> None:
        driver = rig.driver
        driver.send_nmi(booted.id)
        for _ in range(2):
            driver.ask_shutdown(booted.id)
        wait_for(lambda: here(rig, booted.id).power == "shutoff", "the guest's own shutdown")
        assert here(rig, booted.id).since == 0
        with pytest.raises(HostError, match="does not run"):
            driver.console(booted.id, "vnc")
        assert b"login:" in driver.console_log(booted.id), "the log outlives the run"
        driver.ask_reboot(booted.id)
        assert here(rig, booted.id).power == "shutoff"
        driver.remove_machine(booted.id)
