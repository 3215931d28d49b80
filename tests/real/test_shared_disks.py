"""Real machines on two hosts that keep their disks in one folder: a live migration copies none of them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.compute.drivers.libvirt.places import Places
from pilvi.kernel.errors import Invalid
from pilvi.kernel.progress import Progress

from ..drivers.hypervisor_contract import changed, finish, here, make, new_machine, wait_for
from ..drivers.move_contract import SharingContract, gone
from .libvirt_rig import console
from .moving_rig import Host, Pair


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("mv")
    (folder / "storage").mkdir()
    pair = Pair(folder, str(folder / "storage"))
    try:
        pair.build()
        yield pair.a
    finally:
        pair.end()


class TestLibvirtSharing(SharingContract):
    """Every test of the contract of disks that are shared, with real guests."""


def names(host: Host) -> set[str]:
    """What the host has on the shared storage, beside its images."""
    folder = Path(host.pair.shared) / host.name / "disks"
    return {str(path.relative_to(folder)) for path in folder.glob("*/*")}


def test_what_the_guest_wrote_is_there_and_its_host_leaves_nothing(sharing: Host) -> None:
    other = sharing.neighbour
    machine = make(sharing, new_machine(sharing))
    wait_for(lambda: b"login:" in sharing.driver.console_log(machine.id), "the guest's login", within=120)
    with console(sharing, machine) as guest:
        guest.log_in()
        assert guest.ask("echo dear > letter; sync; cat letter", "dear")
        assert guest.ask("echo not-yet-on-disk > note; cat note", "not-yet-on-disk")
    assert other.driver.share_disks(machine, sharing.name)
    assert names(sharing) == names(other) == {f"{machine.id}/{name}" for name in ("root.0.qcow2", "root.0.base", "config.iso")}
    arrival = other.driver.ensure_arrival(machine, sharing.name)
    assert sharing.driver.migrate(machine.id, arrival).state in ("working", "done")
    sharing.restart()  # its agent dies meanwhile, or thereafter
    arrival = other.driver.ensure_arrival(machine, sharing.name)
    assert finish(lambda: sharing.driver.migrate(machine.id, arrival), within=120) == Progress()
    sharing.driver.remove_machine(machine.id)
    assert names(sharing) == set()
    other.driver.ensure_machine(machine)
    off = changed(machine, power="shutoff")
    with console(other, machine) as guest:
        guest.say("")
        assert guest.ask("sync; sudo sh -c 'echo 3 > /proc/sys/vm/drop_caches'; cat letter note", "not-yet-on-disk")
    other.driver.ensure_machine(off)
    assert {offer.key for offer in other.driver.offer_disks(machine.id)} == {"root", "image:tiny"}, "it can go on to a host that shares nothing"
    other.driver.ensure_machine(machine)
    wait_for(lambda: b"login:" in other.driver.console_log(machine.id), "the guest's login after its start there", within=120)
    with console(other, machine) as guest:
        guest.log_in()
        assert guest.ask("cat letter note", "dear")
    gone(sharing, machine)
    assert names(sharing) == names(other) == set()


def test_a_disk_that_is_not_the_same_file_is_not_taken_for_shared(sharing: Host) -> None:
    other = sharing.neighbour
    machine = make(sharing, new_machine(sharing))
    assert other.driver.share_disks(machine, sharing.name)
    arrival = other.driver.ensure_arrival(machine, sharing.name)
    disk = Path(sharing.pair.shared) / other.name / "disks" / machine.id / "root.0.qcow2"
    disk.unlink()
    disk.write_bytes(b"another")
    failed = finish(lambda: sharing.driver.migrate(machine.id, arrival), within=60)
    assert failed.state == "failed"
    assert "not the file that the other host names" in failed.why
    assert here(sharing, machine.id).power == "running"
    gone(sharing, machine)


def test_disks_stay_where_they_are(sharing: Host, tmp_path: Path) -> None:
    """Another place may be chosen only when no machine is here: its disks would not be found, and made anew."""
    machine = make(sharing, changed(new_machine(sharing), power="shutoff"))
    sharing.driver.end(signal.SIGKILL)
    try:
        for other_place in ("", str(tmp_path)):
            with pytest.raises(Invalid, match="shared_disks"):
                Places(sharing.places, sharing.name, other_place)
    finally:
        sharing.driver = sharing.new_driver()
    gone(sharing, machine)
    assert Places(tmp_path / "new", "a", str(tmp_path)).storage == Places(tmp_path / "newer", "b", str(tmp_path)).storage != ""
    Places(tmp_path / "new", "a", "")
    for hostile in ("../up", "", ".hidden", "a/b"):
        with pytest.raises(Invalid, match="name of a host"):
            Places(tmp_path / "newest", hostile, str(tmp_path))
