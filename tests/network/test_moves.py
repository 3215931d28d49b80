"""Ports of servers that move: plugged on two hosts for a while, and the same port on the other one afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pilvi import network as door
from pilvi.kernel.context import Context
from pilvi.kernel.testing.cloud import Cloud
from pilvi.network.drivers.fake import FakeWiring
from pilvi.network.roles import serve_network
from tests.network.speak import bound, change, drop, idle, lan, make, show


@pytest.fixture
def other(cloud: Cloud) -> Iterator[None]:
    """A host node2."""
    cloud.program.settings.network.tunnel_address = "192.0.2.2"
    stop = serve_network(cloud.program, host="node2")
    yield
    stop()


def world(cloud: Cloud, host: str) -> FakeWiring:
    return cloud.program.parts["network.world"][host]


def say(cloud: Cloud, verb: Callable[..., Any], *args: Any) -> Any:
    """One of the door's functions, as the cloud itself."""

    def work(tx: Any) -> Any:
        ctx: Context = cloud.program.system_context(tx)
        return verb(ctx, *args)

    return cloud.program.db.run(work)


def plugged(cloud: Cloud, port: dict[str, Any]) -> list[str]:
    """The hosts on which the port is."""
    return [host for host in ("node1", "node2") if port["id"] in world(cloud, host).ports]


@pytest.fixture
def port(cloud: Cloud, other: None) -> dict[str, Any]:
    """A server's port on node1."""
    network, _ = lan(cloud)
    made = bound(cloud, network, device_id="a-server", device_owner="compute:nova")
    door.plug(cloud.program, "a-server", "node1")
    return made


def test_a_port_goes_with_its_server(cloud: Cloud, port: dict[str, Any]) -> None:
    before = show(cloud, "port", port["id"], person="admin")
    say(cloud, door.prepare_move, port["id"], "node2")
    door.plug(cloud.program, "a-server", "node2")
    assert plugged(cloud, port) == ["node1", "node2"]
    idle(cloud)
    shown = show(cloud, "port", port["id"], person="admin")
    assert (shown["binding:host_id"], shown["status"]) == ("node1", "ACTIVE")
    segment = world(cloud, "node1").segments[port["network_id"]]
    assert segment.peers == ["192.0.2.2"], "what is sent to all reaches the host it goes to"
    say(cloud, door.finish_move, port["id"])
    cloud.wait(lambda: plugged(cloud, port) == ["node2"])
    after = show(cloud, "port", port["id"], person="admin")
    assert (after["binding:host_id"], after["status"]) == ("node2", "ACTIVE")
    assert [after[name] for name in ("fixed_ips", "mac_address", "security_groups")] == [
        before[name] for name in ("fixed_ips", "mac_address", "security_groups")
    ]
    say(cloud, door.finish_move, port["id"])
    idle(cloud)
    assert plugged(cloud, port) == ["node2"]


def test_a_move_that_is_given_up_leaves_nothing_on_the_other_host(cloud: Cloud, port: dict[str, Any]) -> None:
    say(cloud, door.prepare_move, port["id"], "node2")
    door.plug(cloud.program, "a-server", "node2")
    for _ in range(2):
        say(cloud, door.abandon_move, port["id"])
    cloud.wait(lambda: plugged(cloud, port) == ["node1"])
    cloud.wait(lambda: port["network_id"] not in world(cloud, "node2").segments)
    assert show(cloud, "port", port["id"], person="admin")["status"] == "ACTIVE"


def test_while_it_moves_its_rules_are_the_same_on_both_hosts(cloud: Cloud, port: dict[str, Any]) -> None:
    say(cloud, door.prepare_move, port["id"], "node2")
    door.plug(cloud.program, "a-server", "node2")
    group = make(cloud, "security_group", name="web")
    make(cloud, "security_group_rule", security_group_id=group["id"], direction="ingress", protocol="tcp", port_range_min=80, port_range_max=80)
    assert change(cloud, "port", port["id"], security_groups=[group["id"]]).status == 200

    def open_at(host: str) -> bool:
        return any(rule.port_min == 80 for rule in world(cloud, host).ports[port["id"]].rules)

    cloud.wait(lambda: open_at("node1") and open_at("node2"))
    make(cloud, "security_group_rule", security_group_id=group["id"], direction="ingress", protocol="tcp", port_range_min=81, port_range_max=81)
    cloud.wait(lambda: all(any(rule.port_min == 81 for rule in world(cloud, host).ports[port["id"]].rules) for host in ("node1", "node2")))


def test_a_port_deleted_on_its_way_is_on_neither_host(cloud: Cloud, port: dict[str, Any]) -> None:
    say(cloud, door.prepare_move, port["id"], "node2")
    door.plug(cloud.program, "a-server", "node2")
    assert drop(cloud, "port", port["id"]).status == 204
    cloud.wait(lambda: plugged(cloud, port) == [])


def test_an_agent_that_starts_finds_ports_that_are_coming(cloud: Cloud, port: dict[str, Any]) -> None:
    say(cloud, door.prepare_move, port["id"], "node2")
    door.plug(cloud.program, "a-server", "node2")
    world(cloud, "node2").ports.clear()
    stop = serve_network(cloud.program, host="node2")
    cloud.wait(lambda: plugged(cloud, port) == ["node1", "node2"])
    stop()


def test_who_cannot_plug_a_port_is_told_why(cloud: Cloud, port: dict[str, Any]) -> None:
    told = cloud.program.db.run(lambda tx: door.out_of_reach(cloud.program, tx, [port["id"]]), write=False)
    assert told == {"": "no network agent is known there", "node1": "", "node2": ""}
    assert cloud.program.db.run(lambda tx: door.out_of_reach(cloud.program, tx, []), write=False) == {}


def bindings(cloud: Cloud, port: dict[str, Any]) -> dict[str, str]:
    told = cloud.get(f"/network/v2.0/ports/{port['id']}/bindings", person="admin").json()["bindings"]
    return {one["host"]: one["status"] for one in told}


def test_bindings_by_hand(cloud: Cloud, port: dict[str, Any]) -> None:
    path = f"/network/v2.0/ports/{port['id']}/bindings"
    assert bindings(cloud, port) == {"node1": "ACTIVE"}
    made = cloud.post(path, {"binding": {"host": "node2"}}, person="admin")
    assert made.status == 201, made
    assert made.json()["binding"]["vif_type"] == "bridge"
    assert bindings(cloud, port) == {"node1": "ACTIVE", "node2": "INACTIVE"}
    cloud.wait(lambda: plugged(cloud, port) == ["node1", "node2"])
    assert cloud.post(path, {"binding": {"host": "node2"}}, person="admin").status == 409
    assert cloud.post(path, {"binding": {"host": "node3"}}, person="admin").status == 409
    assert cloud.post(path, {"binding": {}}, person="admin").status == 400
    assert cloud.put(f"{path}/node2/activate", person="admin").json()["binding"]["status"] == "ACTIVE"
    assert bindings(cloud, port) == {"node2": "ACTIVE", "node1": "INACTIVE"}
    assert cloud.put(f"{path}/node2/activate", person="admin").status == 409
    assert cloud.put(f"{path}/node9/activate", person="admin").status == 404
    assert cloud.get(f"{path}/node1", person="admin").json()["binding"]["host"] == "node1"
    changed = cloud.put(f"{path}/node2", {"binding": {"profile": {"a": "b"}}}, person="admin")
    assert changed.json()["binding"]["profile"] == {"a": "b"}
    assert cloud.delete(f"{path}/node1", person="admin").status == 204
    cloud.wait(lambda: plugged(cloud, port) == ["node2"])
    assert bindings(cloud, port) == {"node2": "ACTIVE"}
    assert cloud.get(path).status in (403, 404)
    assert cloud.post(path, {"binding": {"host": "node1"}}).status in (403, 404)
