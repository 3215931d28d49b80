"""Servers move between real hosts: while they run and are talked to, shut off, away from a host that is drained, and from one that died.

The tests stand on each other, in the order in which they are written.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .laboratory import HOSTS, Rig, until

pytestmark = pytest.mark.filterwarnings("ignore")  # openstacksdk warns of its own future
MARK = "mark-of-this-boot"
LOST = 30  # pings, ten a second, that a live migration under software emulation may cost at most


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("rig"))
    try:
        made.start()
        with made.calling():
            made.one = made.server("one", "n1")
        yield made
    finally:
        made.end()


@pytest.fixture(autouse=True)
def _calling(rig: Rig) -> Iterator[None]:
    with rig.calling():
        yield


@pytest.fixture(scope="module")
def address(rig: Rig) -> str:
    """The floating address at which one can log in to the server; its memory and its disk are marked."""
    with rig.calling():
        rig.active(rig.one.id)
        found = rig.floating(rig.one.id)
        rig.login(found)
        assert rig.ssh(found, f"echo {MARK} | sudo tee /run/mark /home/cirros/mark && sync") == MARK
    return found


def host_of(rig: Rig) -> str:
    return str(rig.api.compute.get_server(rig.one.id).compute_host)


def other_than(host: str) -> str:
    return next(name for name in HOSTS if name != host)


def settled(rig: Rig, status: str, host: str, within: float = 120) -> None:
    """Wait until the server is so, there."""

    def look() -> bool:
        server = rig.api.compute.get_server(rig.one.id)
        assert server.status != "ERROR", (server.fault or {}).get("message")
        return bool(server.status == status and server.compute_host == host and not server.task_state)

    until(f"the server is {status} on {host}", look, within)


@contextmanager
def pinging(rig: Rig, address: str) -> Iterator[dict[str, int]]:
    """Ping from outside, ten times a second; afterwards the answer tells how many were lost."""
    told: dict[str, int] = {}
    running = rig.outside.start(["ping", "-i", "0.1", address], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield told
    finally:
        os.killpg(running.pid, signal.SIGINT)
        said, _ = running.communicate(timeout=30)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said[-300:]
    told.update(sent=int(found[1]), lost=int(found[1]) - int(found[2]))


def live_migrate(rig: Rig, address: str) -> None:
    source = host_of(rig)
    target = other_than(source)
    with pinging(rig, address) as told:
        rig.api.compute.live_migrate_server(rig.one, host=target, block_migration="auto")
        settled(rig, "ACTIVE", target)
        until("it answers", lambda: rig.ssh(address, "true") is not None, 30)
    print(f"live migration: {told['lost']} of {told['sent']} pings lost")
    assert told["lost"] <= LOST
    assert rig.ssh(address, "cat /run/mark") == MARK, "its memory came with it"
    until("nothing is amiss", lambda: not rig.check(), 60)
    assert rig.laboratory.host(source).run(["pgrep", "-x", "qemu-system-x86"], check=False).stdout == "", "nothing of it is left behind"


def test_a_server_moves_while_it_is_talked_to(rig: Rig, address: str) -> None:
    live_migrate(rig, address)


def test_and_back_with_a_volume(rig: Rig, address: str) -> None:
    volume = rig.api.block_storage.create_volume(name="volume", size=1)

    def status() -> str:
        return str(rig.api.block_storage.get_volume(volume.id).status)

    until("the volume is available", lambda: status() == "available", 60)
    rig.api.compute.create_volume_attachment(rig.one, volume_id=volume.id)
    until("it is attached", lambda: status() == "in-use", 60)
    write = f"until [ -b /dev/vdb ]; do sleep 0.3; done; echo {MARK} | sudo dd of=/dev/vdb bs=512 conv=sync,fsync 2>/dev/null && echo done"
    assert rig.ssh(address, write, within=40) == "done"
    live_migrate(rig, address)
    read = f"sudo dd if=/dev/vdb bs=512 count=1 iflag=direct 2>/dev/null | head -c {len(MARK)}"
    assert rig.ssh(address, read) == MARK
    assert rig.ssh(address, "echo anew | sudo dd of=/dev/vdb bs=512 seek=1 conv=sync,fsync 2>/dev/null && echo done") == "done"
    rig.api.compute.delete_volume_attachment(rig.one, volume.id)
    until("it is detached", lambda: status() == "available", 90)


def test_a_resize_takes_it_to_another_host(rig: Rig, address: str) -> None:
    source = host_of(rig)
    larger = rig.api.compute.create_flavor(name="larger", ram=160, vcpus=1, disk=1)
    rig.api.compute.resize_server(rig.one, larger.id)
    until("the resize can be confirmed", lambda: rig.api.compute.get_server(rig.one.id).status == "VERIFY_RESIZE", 120)
    assert host_of(rig) == other_than(source)
    rig.login(address)
    assert rig.ssh(address, "cat /home/cirros/mark") == MARK, "its disk came with it"
    rig.api.compute.confirm_server_resize(rig.one)
    settled(rig, "ACTIVE", other_than(source))
    until("nothing is amiss", lambda: not rig.check(), 60)


def test_a_drained_host_has_no_servers(rig: Rig, address: str) -> None:
    source = host_of(rig)
    assert rig.ssh(address, f"echo {MARK} | sudo tee /run/mark") == MARK
    told = rig.controller.pilvi("host", "drain", source, "--wait", within=180).stdout
    assert f"{source} has no servers" in told
    assert host_of(rig) == other_than(source)
    assert rig.ssh(address, "cat /run/mark") == MARK, "it ran all the time"
    rig.api.compute.enable_service(next(one for one in rig.api.compute.services() if one.host == source and one.binary == "nova-compute"))


def test_a_server_of_a_host_that_died_is_brought_up_on_another(rig: Rig, address: str) -> None:
    lost = host_of(rig)
    rig.laboratory.host(lost).kill()
    until("the host is seen to be down", lambda: not rig.agents()["nova-compute", lost], 60)
    rig.api.compute.evacuate_server(rig.one)
    settled(rig, "SHUTOFF", other_than(lost))  # since 2.95 it is left to its owner to start it
    rig.api.compute.start_server(rig.one)
    settled(rig, "ACTIVE", other_than(lost))
    until("the router is where hosts live", lambda: rig.router_host() == other_than(lost), 90)
    rig.login(address)
    assert rig.ssh(address, "hostname") == "one"
    rig.laboratory.boot(lost)
    rig.cloud.join(lost)
    until("the host is back", lambda: all(rig.agents().values()), 60)
    until("nothing is amiss", lambda: not rig.check(), 90)
    machines = rig.laboratory.host(lost).run(["ls", "/run/state/compute/machines"]).stdout.split()
    assert rig.one.id not in machines, "the host that came back has let go of it"
    assert host_of(rig) == other_than(lost)
