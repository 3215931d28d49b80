"""Real machines that move between two hosts: cold, with their disks, and live, without noticing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from pilvi.compute.drivers import Arrival, BlankDisk, Disk, Machine
from pilvi.kernel.errors import HostError
from pilvi.kernel.progress import Progress

from ..drivers.hypervisor_contract import changed, finish, here, make, new_machine, seen, wait_for
from ..drivers.move_contract import MoveContract, gone, ready
from .authority import Authority
from .libvirt_rig import console, run
from .moving_rig import Host, Pair


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    pair = Pair(tmp_path_factory.mktemp("mv"))
    try:
        pair.build()
        yield pair.a
    finally:
        pair.end()


class TestLibvirtMoves(MoveContract):
    """Every test of the contract of moves, with real guests."""


def booted(rig: Host, machine: Machine) -> Machine:
    make(rig, machine)
    wait_for(lambda: b"login:" in rig.driver.console_log(machine.id), "the guest's login", within=120)
    return machine


def slow_down(rig: Host, machine: Machine, mib: int) -> None:
    """Have libvirt send no more than so many MiB a second; 0 is no limit."""
    run("virsh", "-q", "-c", rig.uri, "migrate-setspeed", machine.id, str(mib or 1 << 40))


def on_the_way(rig: Host, machine: Machine, arrival: Arrival, mib: int = 4) -> None:
    """Begin a migration at so many MiB a second, and wait until memory is sent."""
    slow_down(rig, machine, mib)
    assert rig.driver.migrate(machine.id, arrival).state == "working"
    wait_for(lambda: (use := rig.driver.move_use(machine.id)) and use.memory_done > 0, "memory on its way")


def ticks(log: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"tick-(\d+)\.", log)]


def test_a_guest_does_not_notice_that_it_moves(rig: Host) -> None:
    """With certificates of a cloud; its volume stays plugged, its disk comes along, and what it says has no gap."""
    other, volume = rig.neighbour, rig.volume()
    authority = Authority(rig.pair.folder / "authority")
    for host in (rig, other):
        host.tls = authority.files(host.name)
        host.restart()
    blank = Disk(key="eph0", device="vdb", source=BlankDisk(size_mib=64, filesystem="ext4"))
    machine = new_machine(rig, nics=[rig.nic()])
    machine = booted(rig, changed(machine, disks=[*machine.disks, blank, volume]))
    with console(rig, machine) as guest:
        guest.log_in()
        guest.say("echo dear > letter; sudo sh -c 'echo friend > /dev/vdc; mount /dev/vdb /mnt; echo farewell > /mnt/letter; umount /mnt'; sync")
        guest.say("(i=0; while true; do i=$((i+1)); echo tick-$i.; sleep 0.1; done) & echo said-$((40+2))")
        guest.wait_for("said-42")
    wait_for(lambda: len(ticks(rig.driver.console_log(machine.id))) > 20, "the guest's counting")

    there = changed(machine, disks=[*machine.disks[:-1], rig.pair.by_tcp(volume)])
    arrival = ready(other, there)
    assert sorted(arrival.disks) == ["eph0", "root"]
    assert finish(lambda: rig.driver.migrate(machine.id, arrival), within=120) == Progress()
    left = rig.driver.console_log(machine.id)
    rig.driver.remove_machine(machine.id)
    other.driver.ensure_machine(there)
    assert sorted(here(other, machine.id).disks) == sorted(["root", "config", "eph0", volume.key])
    with console(other, machine) as guest:
        guest.say("")
        assert guest.ask("sudo sh -c 'echo 3 > /proc/sys/vm/drop_caches; cat letter'", "dear")
        assert guest.ask("sudo sh -c 'mount /dev/vdb /mnt; cat /mnt/letter; umount /mnt'", "farewell")
        assert guest.ask("sudo head -c 6 /dev/vdc", "friend")
    counted = ticks(left + other.driver.console_log(machine.id))
    assert len(counted) > len(ticks(left)) > 20
    assert counted == list(range(1, len(counted) + 1)), "nothing is lost, and nothing said twice"
    arrival = ready(rig, machine)
    assert finish(lambda: other.driver.migrate(machine.id, arrival), within=120) == Progress(), "it can come back"
    assert here(rig, machine.id).power == "running"
    gone(rig, machine)
    for host in (rig, other):
        host.tls = ("", "", "")
        host.restart()


def test_hosts_tell_what_is_to_be_known_before_a_machine_moves(rig: Host) -> None:
    here, there = rig.driver.facts(), rig.neighbour.driver.facts()
    assert here.version == there.version > 1_000_000
    for name in ("arch", "vendor", "model", "features"):
        assert here.cpu[name] == there.cpu[name] != "", name
    assert (here.address, there.address) == ("192.168.77.1", "192.168.77.2")


def test_machines_of_every_kind_move(rig: Host) -> None:
    plain = new_machine(rig, nics=[rig.nic()])
    root, config = plain.disks
    machine = changed(
        plain,
        vcpus=2,
        disks=[changed(root, bus="scsi", device="sda"), config, Disk(key="swap", device="vda", source=BlankDisk(size_mib=16, filesystem="swap"))],
        nics=[changed(plain.nics[0], model="e1000e")],
        serial_console=False,
        properties={
            "hw_machine_type": "q35",
            "hw_scsi_model": "virtio-scsi",
            "hw_video_model": "virtio",
            "hw_watchdog_action": "reset",
            "hw_qemu_guest_agent": "yes",
            "hw_pointer_model": "usbtablet",
        },
    )
    make(rig, machine)
    arrival = ready(rig.neighbour, machine)
    assert finish(lambda: rig.driver.migrate(machine.id, arrival), within=120) == Progress()
    arrived = here(rig.neighbour, machine.id)
    rig.neighbour.driver.ensure_machine(machine)
    assert here(rig.neighbour, machine.id) == arrived
    gone(rig, machine)


def test_a_migration_that_is_aborted_leaves_the_machine_where_it_is(rig: Host) -> None:
    machine = booted(rig, new_machine(rig))
    mark, arrival = rig.mark(machine.id), ready(rig.neighbour, machine)
    on_the_way(rig, machine, arrival)
    use = rig.driver.move_use(machine.id)
    assert use is not None
    assert 0 < use.memory_left < use.memory_total
    assert here(rig, machine.id).power == "running"
    assert here(rig.neighbour, machine.id).power == "shutoff", "what has not arrived is not there"
    for _ in range(2):
        rig.driver.abort_migrate(machine.id)
    failed = finish(lambda: rig.driver.migrate(machine.id, arrival))
    assert (failed.state, failed.elsewhere, bool(failed.why)) == ("failed", False, True)
    assert rig.driver.move_use(machine.id) is None
    assert rig.mark(machine.id) == mark
    slow_down(rig, machine, 0)
    arrival = ready(rig.neighbour, machine)
    assert finish(lambda: rig.driver.migrate(machine.id, arrival), within=120) == Progress()
    assert rig.neighbour.mark(machine.id) == mark
    gone(rig, machine)


def test_a_guest_that_writes_faster_than_it_can_be_sent_arrives_when_it_is_hurried(rig: Host) -> None:
    machine = booted(rig, new_machine(rig))
    mark, arrival = rig.mark(machine.id), ready(rig.neighbour, machine)
    with console(rig, machine) as guest:
        # not zeros, which are sent by a few bytes
        guest.say(r"dd if=/dev/zero bs=1048576 count=16 2>/dev/null | tr '\0' x > /dev/shm/one; wc -c < /dev/shm/one; echo said-$((40+1))")
        assert str(16 << 20) in guest.wait_for("said-41")
        guest.say("(while cat /dev/shm/one > /dev/shm/other; do echo > /dev/shm/writes; done) & sleep 2; ls /dev/shm; echo said-$((40+2))")
        assert "writes" in guest.wait_for("said-42")
    on_the_way(rig, machine, arrival, mib=8)
    wait_for(lambda: rounds(rig, machine) > 2, "a third round", within=120)
    assert rig.driver.migrate(machine.id, arrival).state == "working", "what is left at the end of a round takes longer than a guest may stand still"
    for _ in range(2):
        rig.driver.hurry_migrate(machine.id)
    assert finish(lambda: rig.driver.migrate(machine.id, arrival), within=60) == Progress()
    assert rig.neighbour.mark(machine.id) == mark
    gone(rig, machine)


@pytest.mark.parametrize("side", ["source", "target"])
def test_an_agent_dies_while_a_machine_moves(rig: Host, side: str) -> None:
    machine = booted(rig, new_machine(rig))
    mark, arrival = rig.mark(machine.id), ready(rig.neighbour, machine)
    on_the_way(rig, machine, arrival)
    if side == "source":
        rig.restart()
    else:
        rig.neighbour.restart()
        assert finish(lambda: rig.driver.migrate(machine.id, arrival)).state == "failed"
    assert here(rig, machine.id).power == "running"
    slow_down(rig, machine, 0)
    # the same arrival is good still: what a host expects outlives its agent
    assert finish(lambda: rig.driver.migrate(machine.id, arrival), within=120) == Progress()
    assert rig.neighbour.mark(machine.id) == mark
    gone(rig, machine)


def test_an_agent_dies_in_the_last_moment(rig: Host) -> None:
    """All memory has gone over, and nobody has said yet on which side the machine goes on."""
    other = rig.neighbour
    machine = booted(rig, new_machine(rig))
    mark, arrival = rig.mark(machine.id), ready(other, machine)
    on_the_way(rig, machine, arrival, mib=2)
    libvirtd = other.libvirtd.pid()
    assert libvirtd is not None
    os.kill(libvirtd, signal.SIGSTOP)
    try:
        slow_down(rig, machine, 0)
        wait_for(lambda: '"completed"' in virsh(rig, "qemu-monitor-command", machine.id, '{"execute":"query-migrate"}'), "the end of the sending")
        rig.restart()
        other.driver.end(signal.SIGKILL)
        wait_for(lambda: here(rig, machine.id).power == "paused", "libvirt's giving up")
        with pytest.raises(HostError, match="does not tell"):
            rig.driver.ensure_machine(machine)
        assert state(rig, machine) == "paused", "it may run there already, so it must not go on here"
    finally:
        os.kill(libvirtd, signal.SIGCONT)
        other.restart()
    assert finish(lambda: rig.driver.migrate(machine.id, arrival), within=120) == Progress()
    assert (seen(rig, machine.id) or machine).power != "paused"
    assert state(rig, machine) == ""
    assert other.mark(machine.id) == mark
    gone(rig, machine)


def rounds(rig: Host, machine: Machine) -> int:
    """How often QEMU has begun to send what the guest has written meanwhile."""
    told = json.loads(virsh(rig, "qemu-monitor-command", machine.id, '{"execute":"query-migrate"}'))
    return int(told["return"].get("ram", {}).get("dirty-sync-count", 0))


def state(rig: Host, machine: Machine) -> str:
    """What libvirt says of a machine; empty when it knows none."""
    return virsh(rig, "domstate", machine.id)


def virsh(rig: Host, *command: str) -> str:
    return subprocess.run(["virsh", "-q", "-c", rig.uri, *command], capture_output=True, text=True, check=False).stdout.strip()


def test_a_written_disk_comes_to_a_host_that_has_no_image(rig: Host) -> None:
    other = rig.neighbour
    machine = booted(rig, new_machine(rig))
    with console(rig, machine) as guest:
        guest.log_in()
        assert guest.ask("echo dear > letter; sync; cat letter", "dear")
    off = changed(machine, power="shutoff")
    rig.driver.ensure_machine(off)
    offers = rig.driver.offer_disks(machine.id)
    other.driver.remove_image(rig.image_id)
    other.restart(image=False)
    assert finish(lambda: other.driver.fetch_disks(off, offers)).state == "done"
    assert other.driver.cached_images() == [rig.image_id], "it is certainly that image, so others may use it"
    rig.driver.withdraw_disks(machine.id)
    rig.driver.remove_machine(machine.id)
    other.driver.ensure_disks(machine)
    other.driver.ensure_machine(machine)
    assert other.files(machine.id) == {"root.0.qcow2", "root.0.base", "config.iso"}
    wait_for(lambda: b"login:" in other.driver.console_log(machine.id), "the guest's login", within=120)
    with console(other, machine) as guest:
        guest.log_in()
        assert guest.ask("cat letter", "dear")
    gone(rig, machine)
    other.restart()


def test_a_fetch_that_was_killed_is_begun_anew(rig: Host) -> None:
    other = rig.neighbour
    machine = changed(new_machine(rig), power="shutoff")
    blank = Disk(key="eph0", device="vdb", source=BlankDisk(size_mib=192))
    machine = make(rig, changed(machine, disks=[*machine.disks, blank]))
    content = os.urandom(192 << 20)
    disk = rig.places / "machines" / machine.id / "disks" / "eph0.0.raw"
    disk.write_bytes(content)
    # what an earlier life of the machine left there is not taken for what is offered
    fetched = other.places / "machines" / machine.id / "disks" / "eph0.0.raw"
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(b"old")
    offers = rig.driver.offer_disks(machine.id)
    assert other.driver.fetch_disks(machine, offers).state == "working"
    part = fetched.with_name(".part-eph0.0.raw")
    wait_for(part.exists, "the beginning of the copy")
    other.restart()
    assert not fetched.exists(), "half a disk is no disk"
    rig.restart()  # what is offered outlives the agent too
    assert finish(lambda: other.driver.fetch_disks(machine, offers)).state == "done"
    assert fetched.read_bytes() == content
    rig.driver.ensure_machine(changed(machine, power="running"))
    gone(rig, changed(machine))
    with pytest.raises(HostError, match="not on host"):
        rig.driver.offer_disks(machine.id)


def test_a_suspended_machine_stays(rig: Host) -> None:
    machine = make(rig, new_machine(rig))
    rig.driver.ensure_machine(changed(machine, power="suspended"))
    with pytest.raises(HostError, match="suspended"):
        rig.driver.offer_disks(machine.id)
    gone(rig, machine)


STRANGER = """
import ssl, sys
from pathlib import Path
import libvirt
from pilvi.compute.drivers.libvirt.tls import Files, Identity, read_pass
from pilvi.compute.drivers.libvirt.tunnel import Tunnels
import msgspec
handed_out, folder = read_pass(sys.argv[1]), Path(sys.argv[2])
libvirt.registerErrorHandler(lambda *_: None, None)
tunnels = Tunnels(Identity(Files(), folder), "127.0.0.1")

def tried(what, attempt):
    try:
        print(what, "got", attempt())
    except Exception as error:
        print(what, "got nothing:", type(error).__name__)

def names(to):
    with tunnels.carrying(to, {"libvirt": folder / "socket"}):
        connection = libvirt.open(f"qemu+unix:///system?socket={folder}/socket")
        try:
            return [domain.name() for domain in connection.listAllDomains()]
        finally:
            connection.close()

guessed = msgspec.structs.replace(handed_out, secret="0" * 64)
tried("a guess", lambda: tunnels.call(guessed, "state").recv(100))
tried("a guess at libvirt", lambda: names(guessed))
tried("another channel", lambda: tunnels.call(handed_out, "/etc/shadow").recv(100))
tried("another key", lambda: tunnels.call(handed_out, "root").recv(100))
tried("a question", lambda: names(handed_out))
tried("a guest", lambda: tunnels.call(handed_out, "state").recv(100))
"""


def test_strangers_get_nothing(rig: Host) -> None:
    """Also who holds a pass gets only what it is for."""
    machine = make(rig, new_machine(rig))
    arrival = ready(rig.neighbour, machine)
    (folder := rig.pair.folder / "stranger").mkdir()
    program = [sys.executable, "-c", textwrap.dedent(STRANGER), arrival.uri, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = ["nsenter", f"--net=/run/netns/{rig.netns}", *program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    heard = dict(line.split(" got", 1) for line in done.stdout.splitlines())
    assert heard.pop("a guest") == " b'none\\n'", done.stderr
    assert len(heard) == 5
    assert all(said.startswith(" nothing") for said in heard.values()), heard
    rig.neighbour.driver.remove_machine(machine.id)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.count(" got nothing") == 6, "nobody listens when nobody is expected"
    gone(rig, machine)
