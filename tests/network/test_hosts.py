"""Hosts: agents that come, die and come back; what they find and what they must not disturb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi.kernel import clock
from pilvi.kernel.testing.cloud import Cloud
from pilvi.network.bootstrap import heal
from pilvi.network.drivers import Port, Segment
from pilvi.network.drivers.fake import FakeWiring
from pilvi.network.roles import serve_network
from pilvi.network.tables import Agent
from tests.network.speak import bound, change, drop, idle, interface, lan, make, outside, show


def world(cloud: Cloud, host: str = "node1") -> FakeWiring:
    """What lies on a host."""
    return cloud.program.parts["network.world"][host]


def second_host(cloud: Cloud) -> Callable[[], None]:
    """Have a host node2."""
    return serve_network(cloud.program, host="node2")


def silence(cloud: Cloud, host: str) -> None:
    """Have the host's last heartbeat lie long ago."""
    with cloud.program.db.transaction() as tx:
        tx.update(Agent, Agent.c.host == host, heartbeat_at=clock.now() - 1000)


def agents(cloud: Cloud, query: str = "") -> list[dict[str, Any]]:
    """The agents that an admin sees."""
    return cloud.get(f"/network/v2.0/agents{query}", person="admin").json()["agents"]


def test_each_host_is_listed_with_what_it_does(cloud: Cloud) -> None:
    told = agents(cloud)
    assert {(one["host"], one["binary"], one["alive"]) for one in told} == {
        ("node1", f"neutron-{name}-agent", True) for name in ("linuxbridge", "dhcp", "l3", "metadata")
    }
    assert [one["agent_type"] for one in agents(cloud, "?agent_type=L3%20agent")] == ["L3 agent"]
    assert cloud.get(f"/network/v2.0/agents/{told[0]['id']}", person="admin").json()["agent"] == told[0]
    assert cloud.get("/network/v2.0/agents").json() == {"agents": []}
    assert cloud.delete(f"/network/v2.0/agents/{told[0]['id']}", person="admin").status == 409


def test_dhcp_and_routers_move_from_a_dead_host_to_a_living_one(cloud: Cloud) -> None:
    public, _ = outside(cloud)
    network, subnet = lan(cloud)
    router = make(cloud, "router", external_gateway_info={"network_id": public["id"]})
    interface(cloud, router, subnet_id=subnet["id"])
    cloud.wait(lambda: network["id"] in world(cloud).dhcp and router["id"] in world(cloud).routers)
    stop = second_host(cloud)
    try:
        silence(cloud, "node1")
        heal(cloud.program)
        cloud.wait(lambda: network["id"] in world(cloud, "node2").dhcp and router["id"] in world(cloud, "node2").routers)
        dhcp = world(cloud, "node2").dhcp[network["id"]]
        assert [one.address for one in dhcp.addresses] == [one.address for one in world(cloud).dhcp[network["id"]].addresses]
    finally:
        stop()


def test_the_dead_host_comes_back_and_gives_up_what_moved(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    cloud.wait(lambda: network["id"] in world(cloud).dhcp)
    stop = second_host(cloud)
    try:
        silence(cloud, "node1")
        heal(cloud.program)
        cloud.wait(lambda: network["id"] in world(cloud, "node2").dhcp)
        serve_network(cloud.program)()  # node1 starts again, heals, and ends
        cloud.wait(lambda: network["id"] not in world(cloud).dhcp)
        assert network["id"] in world(cloud, "node2").dhcp
    finally:
        stop()


def test_hosts_know_those_with_whom_they_share_a_network(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    cloud.program.settings.network.tunnel_address = "192.0.2.2"
    stop = second_host(cloud)
    try:
        bound(cloud, network, "node1", device_id="a")
        bound(cloud, network, "node2", device_id="b")
        cloud.wait(lambda: world(cloud).segments[network["id"]].peers == ["192.0.2.2"])
        cloud.wait(lambda: world(cloud, "node2").segments[network["id"]].peers == ["127.0.0.1"])
    finally:
        stop()


def test_a_start_makes_good_what_is_missing_removes_what_nobody_knows_and_leaves_the_rest(build: Callable[..., Cloud]) -> None:
    cloud = build().start()
    network, _ = lan(cloud)
    port = bound(cloud, network)
    idle(cloud)
    left = world(cloud)
    kept = left.ports[port["id"]]
    cloud.stop()
    stranger = "00000000-0000-0000-0000-000000000001"
    segment = Segment(id=stranger, kind="vxlan", segmentation_id=9)
    left.ports[stranger] = Port(id=stranger, mac="fa:16:3e:00:00:09", segment=segment, tap="tapx")
    left.segments[stranger] = segment
    left.dhcp.clear()
    cloud = build()
    cloud.program.parts["network.world"] = {"node1": left}
    cloud.start()
    cloud.wait(lambda: stranger not in left.ports and stranger not in left.segments and network["id"] in left.dhcp)
    assert left.ports[port["id"]] == kept
    assert ("remove_port", port["id"]) not in cloud.program.parts["network.faults"].told


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["place", "tell_hosts"])
def test_a_death_in_the_middle_loses_nothing(build: Callable[..., Cloud], step: str, moment: str) -> None:
    cloud = build().start()
    dead: list[str] = []

    def die(kind: str, name: str, when: str) -> None:
        if (kind, name, when) == ("RealizeNetwork", step, moment) and not dead:
            dead.append(kind)
            raise SystemExit

    cloud.program.crash_hook = die
    network, _ = lan(cloud)
    cloud.wait(lambda: dead)
    cloud.stop()
    again = build().start()
    again.wait(lambda: network["id"] in world(again).dhcp)
    ports = again.get("/network/v2.0/ports?device_owner=network:dhcp").json()["ports"]
    assert len(ports) == 1


def test_a_host_that_fails_for_a_while_is_asked_again(cloud: Cloud) -> None:
    faults = cloud.program.parts["network.faults"]
    network, _ = lan(cloud)
    idle(cloud)
    faults.fail("ensure_dhcp", "no dnsmasq")
    change(cloud, "network", network["id"], dns_domain="example.org.")
    idle(cloud)  # it failed for good
    faults.heal()
    change(cloud, "network", network["id"], dns_domain="example.com.")
    cloud.wait(lambda: world(cloud).dhcp[network["id"]].domain == "example.com.")


def test_a_switched_off_agent_gives_its_work_to_another(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    cloud.wait(lambda: network["id"] in world(cloud).dhcp)
    stop = second_host(cloud)
    try:
        (ref,) = [one["id"] for one in agents(cloud, "?host=node1") if one["binary"] == "neutron-dhcp-agent"]
        told = cloud.put(f"/network/v2.0/agents/{ref}", {"agent": {"admin_state_up": False}}, person="admin").json()["agent"]
        assert told["admin_state_up"] is False
        cloud.wait(lambda: network["id"] in world(cloud, "node2").dhcp and network["id"] not in world(cloud).dhcp)
        where = f"/network/v2.0/networks/{network['id']}/dhcp-agents"
        assert [one["host"] for one in cloud.get(where, person="admin").json()["agents"]] == ["node2"]
    finally:
        stop()


def test_an_admin_moves_dhcp_and_routers_by_hand(cloud: Cloud) -> None:
    network, subnet = lan(cloud)
    router = make(cloud, "router")
    interface(cloud, router, subnet_id=subnet["id"])
    cloud.wait(lambda: network["id"] in world(cloud).dhcp and router["id"] in world(cloud).routers)
    stop = second_host(cloud)
    try:
        ids = {(one["host"], one["binary"]): one["id"] for one in agents(cloud)}
        dhcp, l3 = ids["node2", "neutron-dhcp-agent"], ids["node2", "neutron-l3-agent"]
        assert cloud.post(f"/network/v2.0/agents/{dhcp}/dhcp-networks", {"network_id": network["id"]}, person="admin").status == 201
        cloud.wait(lambda: network["id"] in world(cloud, "node2").dhcp and network["id"] not in world(cloud).dhcp)
        assert cloud.post(f"/network/v2.0/agents/{l3}/l3-routers", {"router_id": router["id"]}, person="admin").status == 409
        old = ids["node1", "neutron-l3-agent"]
        assert cloud.delete(f"/network/v2.0/agents/{old}/l3-routers/{router['id']}", person="admin").status == 204
        assert cloud.post(f"/network/v2.0/agents/{l3}/l3-routers", {"router_id": router["id"]}, person="admin").status == 201
        cloud.wait(lambda: router["id"] in world(cloud, "node2").routers and router["id"] not in world(cloud).routers)
        told = cloud.get(f"/network/v2.0/agents/{l3}/l3-routers", person="admin").json()["routers"]
        assert [one["id"] for one in told] == [router["id"]]
    finally:
        stop()


def test_a_deleted_network_leaves_nothing_on_any_host(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    stop = second_host(cloud)
    try:
        port = bound(cloud, network, "node2")
        cloud.wait(lambda: network["id"] in world(cloud, "node2").segments)
        drop(cloud, "port", port["id"])
        assert drop(cloud, "network", network["id"]).status == 204
        cloud.wait(lambda: not world(cloud).segments and not world(cloud).dhcp and not world(cloud, "node2").segments)
        cloud.wait(lambda: not world(cloud, "node2").ports)
    finally:
        stop()


def test_availability_zones_are_told(cloud: Cloud) -> None:
    told = cloud.get("/network/v2.0/availability_zones").json()["availability_zones"]
    assert {(one["name"], one["resource"], one["state"]) for one in told} == {("nova", "network", "available"), ("nova", "router", "available")}
    network, _ = lan(cloud)
    assert show(cloud, "network", network["id"])["availability_zones"] == ["nova"]
