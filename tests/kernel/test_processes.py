"""Processes tell of themselves, and the cloud tells of them: in its status, in metrics, and when they are not heard of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilvi.control import PATHS
from pilvi.kernel import agent, clock, metrics, orders, processes
from pilvi.kernel.bus.local import LocalBus
from pilvi.kernel.config import read
from pilvi.kernel.errors import Unavailable
from pilvi.kernel.orders import giving
from pilvi.kernel.processes import TOPIC, Process, Processes, Report, RoleState
from pilvi.kernel.program import Program
from pilvi.kernel.testing.cloud import Cloud
from tests.kernel import things


def told(host: str, **more: Any) -> Report:
    given: dict[str, Any] = {"id": f"{host}/x", "host": host, "pid": 7, "version": "1", "memory_mib": 50, "started_at": clock.now()}
    return Report(**{**given, "roles": [RoleState(role="compute", detail="2 machines")], **more})


def others(cloud: Cloud) -> list[dict[str, Any]]:
    return PATHS["/status"](cloud.program, {})["others"]


def test_a_process_tells_of_itself(cloud: Cloud) -> None:
    with cloud.program.db.transaction(write=False) as tx:
        (own,) = processes.known(tx)
    assert own.host == "node1"
    assert {role.role for role in own.roles} == set(cloud.program.roles)
    assert own.memory_mib > 10
    assert others(cloud) == []


def test_others_are_heard_over_the_bus_and_missed(cloud: Cloud) -> None:
    afar = agent.remote(cloud.program.bus, Processes, TOPIC)
    afar.report("n2", told("n2"))
    (other,) = others(cloud)
    assert (other["host"], other["up"], other["roles"][0].detail) == ("n2", True, "2 machines")
    cloud.program.db.run(lambda tx: tx.update(Process, Process.c.host == "n2", heartbeat_at=clock.now() - 100))
    assert [one["up"] for one in others(cloud)] == [False]
    text = metrics.text().decode()
    assert 'pilvi_role_up{host="n2",process="n2/x",role="compute",version="1"} 0.0' in text
    assert 'host="node1",process' in text
    afar.ended("n2", "n2/x")
    assert others(cloud) == []


def test_nobody_speaks_for_another_host(cloud: Cloud) -> None:
    agent.remote(cloud.program.bus, Processes, TOPIC).report("n3", told("n2"))
    assert others(cloud) == []


def test_agents_go_by_the_clock_of_those_who_give_them_orders(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = read(things.Settings, None, {}, state=str(tmp_path / "n2"), host="n2", roles=["compute"])
    monkeypatch.setattr(Processes, "moment", lambda self: clock.now() - 3600)  # this host's clock is an hour ahead
    program = Program(chosen, [things.SERVICE], bus=cloud.program.bus)
    program.start()
    done: list[str] = []

    class Door:
        def push(self, what: str) -> None:
            done.append(what)

    stop = agent.serve(program.bus, "door", Door(), host="n2", since=program.since)
    try:
        far = agent.remote(cloud.program.bus, Door, "door", host="n2")
        with giving("s1", orders.fence_of(clock.now() - 3590)):
            far.push("at once")
        with giving("s2", orders.fence_of(clock.now() - 3610)), pytest.raises(Unavailable, match="Somebody else"):
            far.push("of a former life")
        assert done == ["at once"]
    finally:
        stop()
        program.bus = LocalBus()  # the cloud's is still in use
        program.stop()


def test_a_program_of_agents_alone_has_no_database(cloud: Cloud, tmp_path: Path) -> None:
    chosen = read(things.Settings, None, {}, state=str(tmp_path / "n2"), host="n2", roles=["compute"])
    program = Program(chosen, [things.SERVICE], bus=cloud.program.bus)
    program.start()
    try:
        assert [one["host"] for one in others(cloud)] == ["n2"]
        with pytest.raises(Unavailable, match="no database"):
            program.db.transaction()
        assert not (tmp_path / "n2" / "pilvi.db").exists()
    finally:
        program.bus = LocalBus()  # the cloud's is still in use
        program.stop()
