"""Messages that reach a host late, from an asker who died or was overtaken, do no harm to what is wanted there by then."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pilvi.compute.agent import TOPIC, ComputeAgent
from pilvi.compute.tables.servers import Server
from pilvi.kernel import agent
from pilvi.kernel.errors import HostError, Unavailable
from pilvi.kernel.orders import Order
from tests.compute.conftest import Nova


def host_agent(nova: Nova) -> Any:
    return agent.remote(nova.cloud.program.bus, ComputeAgent, TOPIC, host="node1", timeout=10)


def say(nova: Nova, ref: str, task_state: str | None) -> None:
    nova.cloud.program.db.run(lambda tx: tx.update(Server, Server.c.id == ref, task_state=task_state))


def keep_busy(nova: Nova, ref: str) -> None:
    """The host is at the server for a while."""
    nova.driver.faults.slow("ask_reboot", 0.8, times=1)
    assert host_agent(nova).reboot(ref, "busy").state == "working"


def test_a_removal_of_an_earlier_visit_removes_nothing(nova: Nova) -> None:
    ref = nova.boot()
    nova.act(ref, "os-stop", None)
    nova.until(ref, "SHUTOFF")
    with pytest.raises(HostError, match="is to be on host node1"):
        host_agent(nova).remove(ref)
    assert nova.machines[ref].power == "shutoff"
    assert ("remove_machine", ref) not in nova.driver.faults.told


def test_a_removal_that_had_to_wait_looks_again(nova: Nova) -> None:
    ref = nova.boot()
    keep_busy(nova, ref)
    say(nova, ref, "deleting")
    told: list[Exception] = []

    def remove() -> None:
        try:
            host_agent(nova).remove(ref)
        except HostError as error:
            told.append(error)

    late = threading.Thread(target=remove)
    late.start()
    nova.wait(lambda: ("abort_migrate", ref) in nova.driver.faults.told)
    say(nova, ref, None)
    late.join()
    assert told
    assert nova.machines[ref].power == "running"


def test_what_an_overtaken_asker_wanted_is_not_begun(nova: Nova) -> None:
    ref = nova.boot(networks=[{"uuid": nova.network()}])
    (port,) = nova.ports()
    keep_busy(nova, ref)
    assert host_agent(nova).detach_nic(ref, port["id"], "old").state == "working"
    nova.wait(lambda: host_agent(nova).ensure(ref, "new").state == "done")
    assert list(nova.machines[ref].nics) == [port["id"]]
    assert ("remove_nic", ref) not in nova.driver.faults.told


def test_a_host_is_not_taken_for_a_server_that_waits_for_none(nova: Nova) -> None:
    bus, said = nova.cloud.program.bus, []
    call = bus.call

    def listen(topic: str, message: Any, **options: Any) -> Any:
        if message.method == "choose":
            said.append((topic, message))
        return call(topic, message, **options)

    bus.call = listen
    ref = nova.boot()
    nova.act(ref, "shelve", None)
    nova.until(ref, "SHELVED_OFFLOADED")
    nova.idle()
    ((topic, message),) = said
    with pytest.raises(Unavailable, match="Somebody else has gone on"):
        call(topic, message, timeout=10)
    assert nova.claims() == 0
    assert nova.show(ref)["OS-EXT-SRV-ATTR:host"] is None


def test_what_is_said_in_time_is_never_refused(nova: Nova) -> None:
    """A refused message costs its workflow half a second: steps under one lease must not look like echoes of each other."""
    orders: dict[tuple[str, str], list[Order]] = {}
    bus = nova.cloud.program.bus
    call = bus.call

    def listen(topic: str, message: Any, *, host: str = "", timeout: float = 60.0) -> Any:
        if host and message.order is not None:
            orders.setdefault((topic, message.order.subject), []).append(message.order)
        return call(topic, message, host=host, timeout=timeout)

    bus.call = listen
    ref = nova.boot(networks=[{"uuid": nova.network()}])
    nova.act(ref, "os-stop", None)
    nova.until(ref, "SHUTOFF")
    nova.idle()
    assert len(orders["compute", ref]) >= 3
    for said in orders.values():
        ranks = [order.rank for order in said]
        assert ranks == sorted(set(ranks))
