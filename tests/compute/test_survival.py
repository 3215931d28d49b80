"""Nothing stuck, nothing leaked: failures, deaths at every step, hosts that go away and come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.workflows.create_server import CreateServer
from pilvi.compute.workflows.delete_server import DeleteServer
from pilvi.kernel.processes import Process
from tests.compute.conftest import SERVERS, SERVICES, Nova


class Killed(BaseException):
    """The process dies here."""


def die_at(nova: Nova, kind: str, step: str, when: str) -> threading.Event:
    """Have the first worker that comes to this point die."""
    died = threading.Event()

    def hook(workflow: str, name: str, moment: str) -> None:
        if died.is_set() or (workflow, name, moment) == (kind, step, when):
            died.set()
            raise Killed

    nova.cloud.program.crash_hook = hook
    return died


def next_life(make_nova: Callable[..., Nova], dead: Nova, *, later: float = 0.0) -> Nova:
    """The same cloud in a new process: what ran on the host runs on, images and volumes lie where they lay.

    `later`: so many seconds after its hosts were heard of, and the host's agent says nothing yet.
    """
    from pilvi.compute.drivers.fake import FakeHypervisor

    world = dead.driver.world
    old = dead.cloud.program
    dead.cloud.program.workflows.lease = lambda owner, most: []  # the dead take up nothing more
    dead.cloud.program.bus.close()
    time.sleep(0.02)
    if later:
        for column in [Process.c.heartbeat_at, *(column for service in SERVICES for column in service.heartbeats)]:
            old.db.run(lambda tx, column=column: tx.execute(column.table.update().values({column.name: column - later})))

    def keep(program: Any) -> None:
        program.parts["compute.driver"] = driver = FakeHypervisor("node1", world=world)
        if later:
            driver.faults.fail("facts", "it has to think first")
        for name, part in old.parts.items():
            if name.startswith("image"):
                program.parts[name] = part
        program.parts["block_storage.world"] = old.parts["block_storage.driver"].world

    return make_nova(before=keep)


def test_who_asks_at_once_after_a_start_finds_the_hosts_that_there_were(make_nova: Callable[..., Nova]) -> None:
    nova = make_nova()
    image = nova.image()
    nova = next_life(make_nova, nova, later=1000)
    nova.boot(imageRef=image)
    states = nova.get("/compute/v2.1/os-services", person="admin", binary="nova-compute").json()["services"]
    assert [one["state"] for one in states] == ["up"]


STEPS = [(step.name, when) for step in CreateServer.steps for when in ("before", "after")]


@pytest.mark.parametrize(("step", "when"), STEPS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_killed_while_creating(make_nova: Callable[..., Nova], step: str, when: str) -> None:
    first = make_nova()
    image, net = first.image(), first.network()
    if step in ("await_volumes", "reserve_volumes", "connect_volumes"):
        disk = {"uuid": first.volume(), "source_type": "volume", "destination_type": "volume"}
        fields = {"block_device_mapping_v2": [{"boot_index": 0, "uuid": image, "source_type": "image"}, disk]}
    else:
        fields = {}
    died = die_at(first, "CreateServer", step, when)
    ref = first.boot(status="", imageRef=image, networks=[{"uuid": net}], **fields)
    assert died.wait(10)
    second = next_life(make_nova, first)
    second.until(ref, "ACTIVE", within=20)
    second.idle()
    assert list(second.machines) == [ref]
    assert (len(second.ports()), second.claims()) == (1, 3)


@pytest.mark.parametrize(("step", "when"), [(step.name, when) for step in DeleteServer.steps for when in ("before", "after")])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_killed_while_deleting(make_nova: Callable[..., Nova], step: str, when: str) -> None:
    first = make_nova()
    ref = first.boot(networks=[{"uuid": first.network()}])
    died = die_at(first, "DeleteServer", step, when)
    first.delete(f"{SERVERS}/{ref}")
    assert died.wait(10)
    second = next_life(make_nova, first)
    second.gone(ref)
    second.idle()
    assert (second.machines, second.ports(), second.claims()) == ({}, [], 0)


@pytest.mark.parametrize("verb", ["ensure_image", "ensure_disks", "ensure_machine"])
def test_a_failing_host_leaves_an_error_with_the_reason_and_nothing_else(nova: Nova, verb: str) -> None:
    nova.driver.faults.fail(verb, "the disk is on fire")
    ref = nova.boot(status="ERROR", networks=[{"uuid": nova.network()}])
    fault = nova.show(ref)["fault"]
    assert "the disk is on fire" in fault["message"]
    nova.idle()
    assert (nova.machines, nova.ports(), nova.claims()) == ({}, [], 0)
    nova.driver.faults.heal()
    assert nova.delete(f"{SERVERS}/{ref}").status == 204
    nova.gone(ref)


def test_delete_does_not_wait_for_a_slow_build(nova: Nova) -> None:
    nova.driver.faults.slow("ensure_machine", 1.0)
    ref = nova.boot(status="", networks=[{"uuid": nova.network()}])
    nova.wait(lambda: ("ensure_machine", ref) in nova.driver.faults.told)
    nova.delete(f"{SERVERS}/{ref}")
    nova.gone(ref)
    nova.idle()
    assert (nova.machines, nova.ports(), nova.claims()) == ({}, [], 0)


def test_a_server_of_a_host_that_is_down_goes_at_once_and_its_machine_later(nova: Nova) -> None:
    ref = nova.boot(networks=[{"uuid": nova.network()}])
    program = nova.cloud.program
    program.db.run(lambda tx: tx.update(ComputeHost, ComputeHost.c.host == "node1", forced_down=True))
    nova.delete(f"{SERVERS}/{ref}")
    nova.gone(ref)
    assert (nova.ports(), nova.claims()) == ([], 0)
    program.db.run(lambda tx: tx.update(ComputeHost, ComputeHost.c.host == "node1", forced_down=False))
    from pilvi.compute.operations.healing import returned

    program.db.run(lambda tx: returned(program, tx, "node1"))
    nova.wait(lambda: not nova.machines)
    nova.idle()


def test_a_guest_that_shuts_itself_down_is_off(nova: Nova) -> None:
    ref = nova.boot()
    nova.driver.stop_by_itself(ref)
    assert nova.until(ref, "SHUTOFF")["OS-EXT-STS:power_state"] == 4
    nova.act(ref, "os-start")
    nova.until(ref, "ACTIVE")


def test_a_machine_that_dies_is_noticed(nova: Nova) -> None:
    ref = nova.boot()
    nova.driver.lose(ref)
    nova.until(ref, "SHUTOFF")


def test_after_the_hosts_restart_what_ran_runs_again(make_nova: Callable[..., Nova]) -> None:
    first = make_nova()
    on, off = first.boot(), first.boot()
    first.act(off, "os-stop")
    first.until(off, "SHUTOFF")
    first.idle()
    first.cloud.stop()
    for machine in first.machines.values():
        machine.power, machine.since = "shutoff", 0.0
    second = next_life(make_nova, first)
    second.wait(lambda: second.machines[on].power == "running")
    second.idle()
    assert second.machines[off].power == "shutoff"
    assert second.show(on)["status"] == "ACTIVE"


def test_running_guests_are_not_touched_by_a_new_agent(make_nova: Callable[..., Nova]) -> None:
    first = make_nova()
    ref = first.boot()
    since = first.machines[ref].since
    second = next_life(make_nova, first)
    second.wait(lambda: ("observe", "node1") in second.driver.faults.told)
    second.idle()
    assert second.machines[ref].since == since


def test_another_host_is_tried(make_nova: Callable[..., Nova]) -> None:
    from pilvi.compute import agent as agents
    from pilvi.compute.drivers.fake import FakeHypervisor
    from pilvi.kernel import agent

    nova = make_nova()
    other = FakeHypervisor("node2", vcpus=1, memory_mib=4096)
    program = nova.cloud.program
    second = agents.ComputeAgent(program, other)
    second.host = "node2"
    stop = agent.serve(program.bus, agents.TOPIC, second, host="node2", threads=4)
    agent.remote(program.bus, agents.Conductor, agents.CONDUCTOR).heartbeat("node2", other.facts(), 0.0)
    nova.driver.faults.fail("ensure_machine", "no", times=1)
    ref = nova.boot()
    assert nova.show(ref)["OS-EXT-SRV-ATTR:host"] in ("node1", "node2")
    nova.idle()
    if nova.show(ref)["OS-EXT-SRV-ATTR:host"] == "node2":
        assert (list(nova.machines), list(other.world.machines)) == ([], [ref])
    assert nova.claims() == 3
    stop()
