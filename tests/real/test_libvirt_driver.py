"""The libvirt driver with real machines: a libvirtd, a network namespace and guests of the test's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.compute.drivers import BlankDisk, Disk, Machine, Nic
from pilvi.compute.drivers.libvirt import LibvirtHypervisor
from pilvi.compute.drivers.libvirt.facts import choose_virt_type
from pilvi.kernel.errors import HostError
from pilvi.kernel.progress import Progress

from ..drivers.hypervisor_contract import (
    HypervisorContract,
    changed,
    finish,
    here,
    make,
    new_machine,
    seen,
    wait_for,
)
from .libvirt_rig import HOST, LibvirtRig, console, run


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtRig]:
    rig = LibvirtRig(tmp_path_factory.mktemp("lv"))
    try:
        yield rig
    finally:
        rig.end()


class TestLibvirtHypervisor(HypervisorContract):
    """Every test of the contract, with real guests."""

    def test_the_guest_sees_what_is_plugged(self, rig: LibvirtRig, booted: Machine) -> None:
        volume, nic = rig.volume(), rig.nic()
        rig.driver.ensure_disk(booted.id, volume)
        rig.driver.ensure_nic(booted.id, nic)
        with console(rig, booted) as guest:
            guest.log_in()
            assert guest.ask("cat /sys/block/vdb/serial", volume.key[:20]), "the disk is known by its serial, cut to 20 characters"
            assert guest.ask("cat /sys/block/vda/size", str(2 << 21)), "the root disk grew while it ran"
            assert guest.ask("cat /sys/class/net/*/address", nic.mac)
            assert guest.ask("cat /sys/class/dmi/id/product_name", "OpenStack Nova")
            assert guest.ask("cat /proc/sys/kernel/hostname", "contract"), "the config drive was read"
        rig.driver.remove_disk(booted.id, volume.key)
        rig.driver.remove_nic(booted.id, nic.key)

    # the last of the class, as in the contract, for it ends the guest
    def test_the_guest_is_asked_to_go(self, rig: LibvirtRig, booted: Machine) -> None:
        super().test_the_guest_is_asked_to_go(rig, booted)


def test_devices_keep_their_places(rig: LibvirtRig) -> None:
    machine = make(rig, new_machine(rig))
    first, second = rig.nic(), rig.nic()
    rig.driver.ensure_nic(machine.id, first)
    rig.driver.ensure_nic(machine.id, second)
    before = address(rig, machine, second)
    rig.driver.ensure_machine(changed(machine, nics=[first, second], power="shutoff"))
    rig.driver.ensure_machine(changed(machine, nics=[second]))
    assert address(rig, machine, second) == before
    rig.driver.remove_machine(machine.id)


def address(rig: LibvirtRig, machine: Machine, nic: Nic) -> dict[str, str]:
    found = rig.definition(machine.id).find(f"devices/interface/target[@dev='{nic.tap}']/../address")
    assert found is not None
    return found.attrib


def test_the_vnc_console_answers(rig: LibvirtRig) -> None:
    machine = make(rig, new_machine(rig))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(rig.driver.console(machine.id, "vnc").path)
        assert connection.recv(4) == b"RFB "
    rig.driver.remove_machine(machine.id)


def test_machines_outlive_a_killed_libvirtd(rig: LibvirtRig) -> None:
    machine = make(rig, new_machine(rig))
    before = here(rig, machine.id)
    pid = rig.libvirtd.pid()
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0), "it does not end with our session"
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: rig.libvirtd.pid() is None, "the end of libvirtd")
    with pytest.raises(HostError, match="does not answer"):
        rig.driver.observe()
    assert rig.libvirtd.start() == rig.uri
    assert rig.libvirtd.pid() not in (None, pid)
    assert here(rig, machine.id) == before
    rig.driver.ensure_machine(machine)
    assert here(rig, machine.id) == before
    rig.driver.remove_machine(machine.id)


def test_wished_hardware_is_given(rig: LibvirtRig) -> None:
    plain = new_machine(rig, nics=[rig.nic()])
    root, config = plain.disks
    machine = changed(
        plain,
        vcpus=2,
        disks=[changed(root, bus="scsi", device="sda"), config],
        nics=[changed(plain.nics[0], model="e1000e")],
        properties={
            "hw_machine_type": "q35",
            "hw_scsi_model": "virtio-scsi",
            "hw_video_model": "virtio",
            "hw_cpu_cores": "2",
            "hw_boot_menu": "true",
            "hw_watchdog_action": "reset",
            "hw_qemu_guest_agent": "yes",
            "hw_pointer_model": "usbtablet",
            "os_command_line": "ignored",
        },
    )
    make(rig, machine)
    found = rig.definition(machine.id)
    assert "q35" in found.find("os/type").get("machine")  # type: ignore[union-attr, operator]
    assert found.find("devices/controller[@type='scsi']").get("model") == "virtio-scsi"  # type: ignore[union-attr]
    assert found.find("devices/video/model").get("type") == "virtio"  # type: ignore[union-attr]
    assert found.find("cpu/topology").get("cores") == "2"  # type: ignore[union-attr]
    assert found.find("devices/watchdog").get("action") == "reset"  # type: ignore[union-attr]
    assert found.find("devices/channel/target[@name='org.qemu.guest_agent.0']") is not None
    assert found.find("devices/interface/model").get("type") == "e1000e"  # type: ignore[union-attr]
    # there are ports enough for what comes later
    rig.driver.ensure_nic(machine.id, rig.nic())
    rig.driver.ensure_disk(machine.id, Disk(key="eph0", device="vda", source=BlankDisk(size_mib=16, filesystem="swap")))
    rig.driver.ensure_disk(machine.id, Disk(key="eph1", device="sdb", bus="scsi", source=BlankDisk(size_mib=64, filesystem="vfat")))
    cold = Disk(key="cold", device="sdc", bus="sata", source=BlankDisk(size_mib=1))
    with pytest.raises(HostError, match="stop the machine"):
        rig.driver.ensure_disk(machine.id, cold)
    rig.driver.remove_machine(machine.id)


def test_a_guest_that_does_not_let_go_is_told_of(rig: LibvirtRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilvi.compute.drivers.libvirt.plugs.UNPLUG_PATIENCE", 0.3)
    machine = make(rig, new_machine(rig))
    rig.driver.ensure_disk(machine.id, Disk(key="eph0", device="vdb", source=BlankDisk(size_mib=1)))
    rig.driver.ensure_machine(changed(machine, disks=[*machine.disks, Disk(key="eph0", device="vdb", source=BlankDisk(size_mib=1))], power="paused"))
    with pytest.raises(HostError, match="did not let go of eph0"):
        rig.driver.remove_disk(machine.id, "eph0")
    assert "eph0" in here(rig, machine.id).disks
    rig.driver.remove_machine(machine.id)


def test_damaged_and_hostile_images_are_refused(rig: LibvirtRig) -> None:
    wrong = "0" * 64
    progress = finish(lambda: rig.driver.ensure_image(rig.image_id, wrong))
    assert progress.state == "failed"
    assert "damaged" in progress.why
    assert finish(lambda: rig.driver.ensure_image("unknown", "")).why == "There is no image unknown."

    hostile = rig.folder / "hostile.qcow2"
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", str(hostile), "1M")
    good, rig.image = rig.image, hostile
    try:
        progress = finish(lambda: rig.driver.ensure_image(rig.image_id, ""))
    finally:
        rig.image = good
    assert (progress.state, progress.elsewhere) == ("failed", False)
    assert "backing file" in progress.why
    leftovers = [path.name for path in (rig.state_dir / "images").iterdir() if path.name.startswith(".")]
    assert leftovers == []


def test_another_format_becomes_qcow2(rig: LibvirtRig) -> None:
    vmdk = rig.folder / "tiny.vmdk"
    run("qemu-img", "convert", "-f", "qcow2", "-O", "vmdk", "-o", "subformat=streamOptimized", str(rig.image), str(vmdk))
    good, rig.image = rig.image, vmdk
    try:
        assert finish(lambda: rig.driver.ensure_image(rig.image_id, "")) == Progress()
    finally:
        rig.image = good
    run("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", str(good), str(rig.state_dir / "images" / "tiny.any.qcow2"))
    rig.driver.remove_image(rig.image_id)


CHILD = """
import sys, time
from pathlib import Path
from pilvi.compute.drivers.libvirt import LibvirtHypervisor

def fetch(image_id, path):
    with open(path, "wb") as file:
        file.write(b"half of an image")
        file.flush()
        print("fetching", flush=True)
        time.sleep(600)

state_dir, uri, verb, *arguments = sys.argv[1:]
driver = LibvirtHypervisor("{host}", Path(state_dir), uri, fetch=fetch)
ask = getattr(driver, verb)
while ask(*arguments).state == "working":
    print("working", flush=True)
    time.sleep(0.01)
"""


def begin_and_kill(rig: LibvirtRig, until: Path, verb: str, *arguments: str) -> None:
    """A process of its own begins a long verb and is killed as soon as the file `until` is there."""
    program = textwrap.dedent(CHILD).format(host=HOST)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program, str(rig.state_dir), rig.uri, verb, *arguments]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: until.exists() or child.poll() is not None, "the beginning of the work")
        assert child.poll() is None, "the work ended before it could be cut off"
    finally:
        child.kill()
        child.wait()


def test_a_fetch_that_was_killed_is_begun_anew(rig: LibvirtRig) -> None:
    images = rig.state_dir / "images"
    part = images / f".part-tiny.{rig.checksum[:32]}.fetched"
    rig.driver.remove_image(rig.image_id)
    begin_and_kill(rig, part, "ensure_image", rig.image_id, rig.checksum)
    assert rig.driver.cached_images() == []
    assert finish(lambda: rig.driver.ensure_image(rig.image_id, rig.checksum)).state == "done"
    assert [path.name for path in images.iterdir()] == [f"tiny.{rig.checksum[:32]}.qcow2"]


def test_a_snapshot_that_was_killed_is_finished(rig: LibvirtRig) -> None:
    machine = make(rig, new_machine(rig))
    before, snapshot = here(rig, machine.id), str(uuid.uuid4())
    part = rig.state_dir / "snapshots" / f".part-{snapshot}"
    begin_and_kill(rig, part, "ensure_snapshot", machine.id, snapshot, "qcow2")
    assert here(rig, machine.id) == before, "the machine has not noticed"
    assert finish(lambda: rig.driver.ensure_snapshot(machine.id, snapshot, "qcow2")).state == "done"
    run("qemu-img", "check", "-q", "-f", "qcow2", rig.driver.snapshot_path(snapshot))

    rig.driver.ensure_machine(changed(machine, power="shutoff"))
    off = str(uuid.uuid4())
    part = rig.state_dir / "snapshots" / f".part-{off}"
    begin_and_kill(rig, part, "ensure_snapshot", machine.id, off, "vmdk")
    rig.driver.ensure_machine(machine)  # no copy that was left behind holds the disk
    rig.driver.ensure_machine(changed(machine, power="shutoff"))
    assert finish(lambda: rig.driver.ensure_snapshot(machine.id, off, "vmdk")).state == "done"
    rig.driver.remove_machine(machine.id)
    for name in (snapshot, off):
        rig.driver.remove_snapshot(name)
    assert list((rig.state_dir / "snapshots").iterdir()) == []


def test_the_machines_of_another_cloud_are_not_ours(rig: LibvirtRig) -> None:
    machine = make(rig, changed(new_machine(rig), power="shutoff"))
    other = LibvirtHypervisor(HOST, rig.folder / "other", rig.uri, fetch=rig.fetch)
    try:
        assert other.observe() == []
        other.remove_machine(machine.id)
        with pytest.raises(HostError, match="not on host"):
            other.use(machine.id)
    finally:
        other.close()
        other.places.short.unlink()
    assert sorted(here(rig, machine.id).disks) == ["config", "root"]
    rig.driver.remove_machine(machine.id)
    assert seen(rig, machine.id) is None


def test_what_a_killed_driver_left_is_swept(rig: LibvirtRig) -> None:
    machine = changed(new_machine(rig), power="shutoff")
    left = rig.state_dir / "images" / ".part-other.any.fetched"
    left.write_bytes(b"half")
    rig.restart()
    assert not left.exists()
    disks = rig.driver.places.disks(machine.id)
    (disks / ".part-config.files" / "openstack").mkdir(parents=True)
    (disks / ".part-root.0.qcow2").write_bytes(b"half")
    (disks / ".part-old").mkdir()
    make(rig, machine)
    rig.driver.remove_disks_except(machine)
    assert sorted(path.name for path in disks.iterdir()) == ["config.iso", "root.0.base", "root.0.qcow2"]
    rig.driver.remove_machine(machine.id)


def test_a_console_log_is_bounded_on_disk(rig: LibvirtRig) -> None:
    machine_id = str(uuid.uuid4())
    log = rig.driver.places.console_log(machine_id)
    log.parent.mkdir()
    log.write_bytes(b"x" * (4 << 20) + b"the end")
    said = rig.driver.console_log(machine_id)
    assert len(said) == 1 << 20
    assert said.endswith(b"the end")
    assert log.stat().st_blocks * 512 <= 2 << 20
    rig.driver.remove_machine(machine_id)


def test_kvm_is_used_only_where_guests_boot_by_it(tmp_path: Path) -> None:
    kvm, modules = tmp_path / "kvm", tmp_path / "modules"
    (modules / "kvm_pvm").mkdir(parents=True)
    assert choose_virt_type("auto", sys_module=modules, kvm=kvm) == "qemu"
    kvm.touch()
    assert choose_virt_type("auto", sys_module=modules, kvm=kvm) == "qemu"
    with pytest.raises(HostError, match="/dev/kvm"):
        choose_virt_type("kvm", sys_module=modules, kvm=kvm)
    (modules / "kvm_amd").mkdir()
    assert choose_virt_type("auto", sys_module=modules, kvm=kvm) == "kvm"
    assert choose_virt_type("qemu", sys_module=modules, kvm=kvm) == "qemu"
