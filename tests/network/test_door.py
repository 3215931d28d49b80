"""The door: what compute asks of networks for its servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from pilvi import network
from pilvi.kernel.agent import remote
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Forbidden, HostError, Invalid, NotFound, QuotaExceeded
from pilvi.kernel.testing.cloud import Cloud
from pilvi.kernel.testing.people import PEOPLE
from pilvi.network import NetworkRequest, PortDeleted
from pilvi.network.checks import CHECKS
from pilvi.network.conductor import TOPIC, NetworkConductor
from pilvi.network.drivers.fake import FakeWiring
from pilvi.network.tables import Allocation, PortGroup, Router
from tests.network.speak import change, drop, idle, interface, lan, listed, make, outside, show

T = TypeVar("T")


def act(cloud: Cloud, work: Callable[[Context], T], person: str = "member") -> T:
    """Do it in a commit of that person's."""
    return cloud.program.db.run(lambda tx: work(cloud.program.context(tx, PEOPLE[person])))


def test_a_server_gets_a_port_is_plugged_and_leaves_nothing(cloud: Cloud, wiring: FakeWiring) -> None:
    gone: list[PortDeleted] = []
    cloud.program.events.hear(PortDeleted, lambda ctx, event: gone.append(event))
    lan_, _ = lan(cloud)
    info = act(cloud, lambda ctx: network.create_port(ctx, network_id=lan_["id"], server_id="s1", security_groups=["default"], tag="nic1"))
    assert info.network_name == "lan"
    assert info.tap == "tap" + info.id[:11]
    assert info.security_groups == ["default"]
    assert info.fixed_ips[0][2] == 24
    act(cloud, lambda ctx: network.bind_port(ctx, info.id, "node1"))
    network.plug(cloud.program, "s1", "node1")
    assert info.id in wiring.ports
    cloud.wait(lambda: lan_["id"] in wiring.dhcp)
    network.plug(cloud.program, "s1", "node1")  # may be said twice
    assert show(cloud, "port", info.id)["status"] == "ACTIVE"
    with cloud.program.db.transaction(write=False) as tx:
        (held,) = network.ports_of(tx, ["s1", "s2"])["s1"]
        assert (held.host, held.tag, held.status) == ("node1", "nic1", "ACTIVE")
        assert network.groups_of(tx, ["s1"]) == {"s1": ["default"]}
        found = network.find_port_by_source(tx, info.fixed_ips[0][1], network_id=lan_["id"])
        assert found == ("s1", "1" * 32, info.id)
        assert network.find_port_by_source(tx, "10.0.0.200", network_id=lan_["id"]) is None
    act(cloud, lambda ctx: network.delete_port(ctx, info.id))
    act(cloud, lambda ctx: network.delete_port(ctx, info.id))
    network.unplug(cloud.program, [info.id], "node1")
    assert info.id not in wiring.ports
    assert [event.device_id for event in gone] == ["s1"]


def test_a_users_own_port_is_adopted_once_and_given_back(cloud: Cloud, wiring: FakeWiring) -> None:
    lan_, _ = lan(cloud)
    port = make(cloud, "port", network_id=lan_["id"])
    act(cloud, lambda ctx: network.adopt_port(ctx, port["id"], "s1"))
    with pytest.raises(Conflict):
        act(cloud, lambda ctx: network.adopt_port(ctx, port["id"], "s2"))
    with pytest.raises(NotFound):
        act(cloud, lambda ctx: network.adopt_port(ctx, port["id"], "s2"), "stranger")
    act(cloud, lambda ctx: network.bind_port(ctx, port["id"], "node1"))
    network.plug(cloud.program, "s1", "node1")
    act(cloud, lambda ctx: network.release_port(ctx, port["id"]))
    seen = show(cloud, "port", port["id"], person="admin")
    assert (seen["device_id"], seen["device_owner"], seen["binding:host_id"], seen["status"]) == ("", "", "", "DOWN")
    cloud.wait(lambda: port["id"] not in wiring.ports)


def test_what_a_server_asks_of_networks_is_checked(cloud: Cloud) -> None:
    public, _ = outside(cloud)

    def ask(wanted: Any, person: str = "member", count: int = 1) -> list[NetworkRequest]:
        return act(cloud, lambda ctx: network.request_networks(ctx, wanted, count=count), person)

    assert ask("none") == []
    assert ask(None) == []
    lan_, _ = lan(cloud)
    assert ask(None) == [NetworkRequest(network_id=lan_["id"])]
    bare = make(cloud, "network", name="bare")
    with pytest.raises(Conflict, match="Multiple possible networks"):
        ask(None)
    with pytest.raises(Invalid, match="requires a subnet"):
        ask([NetworkRequest(network_id=bare["id"])])
    with pytest.raises(Forbidden):
        ask([NetworkRequest(network_id=public["id"])])
    with pytest.raises(NotFound):
        ask([NetworkRequest(network_id=lan_["id"])], "stranger")
    port = make(cloud, "port", network_id=lan_["id"])
    assert ask([NetworkRequest(port_id=port["id"])])[0].network_id == lan_["id"]
    with pytest.raises(Invalid):
        ask([NetworkRequest(port_id=port["id"])], count=2)
    cloud.put(f"/network/v2.0/quotas/{'1' * 32}", {"quota": {"port": 3}}, person="admin")
    with pytest.raises(QuotaExceeded):
        ask([NetworkRequest(network_id=lan_["id"])], count=3)
    with pytest.raises(Conflict):
        ask("auto")


def test_fixed_and_floating_addresses_of_servers(cloud: Cloud) -> None:
    public, _ = outside(cloud)
    lan_, subnet = lan(cloud)
    router = make(cloud, "router", external_gateway_info={"network_id": public["id"]})
    interface(cloud, router, subnet_id=subnet["id"])
    info = act(cloud, lambda ctx: network.create_port(ctx, network_id=lan_["id"], server_id="s1", fixed_ip="10.0.0.42"))
    floating = make(cloud, "floatingip", floating_network_id=public["id"], port_id=info.id)
    with cloud.program.db.transaction(write=False) as tx:
        seen = [(one.address, one.type, one.network_name) for one in network.addresses_of(tx, ["s1"])["s1"]]
    assert seen == [("10.0.0.42", "fixed", "lan"), (floating["floating_ip_address"], "floating", "lan")]
    with cloud.program.db.transaction(write=False) as tx:
        assert network.find_port_by_source(tx, "10.0.0.42", router_id=router["id"]) == ("s1", "1" * 32, info.id)


def test_groups_are_added_and_removed_by_name(cloud: Cloud) -> None:
    lan_, _ = lan(cloud)
    info = act(cloud, lambda ctx: network.create_port(ctx, network_id=lan_["id"], server_id="s1"))
    make(cloud, "security_group", name="web")
    act(cloud, lambda ctx: network.add_group(ctx, "s1", "web"))
    with cloud.program.db.transaction(write=False) as tx:
        assert sorted(network.groups_of(tx, ["s1"])["s1"]) == ["default", "web"]
    act(cloud, lambda ctx: network.remove_group(ctx, "s1", "default"))
    assert len(show(cloud, "port", info.id)["security_groups"]) == 1
    with pytest.raises(NotFound):
        act(cloud, lambda ctx: network.remove_group(ctx, "s1", "default"))
    with pytest.raises(NotFound):
        act(cloud, lambda ctx: network.add_group(ctx, "s1", "moon"))
    make(cloud, "security_group", name="web")
    with pytest.raises(Conflict):
        act(cloud, lambda ctx: network.add_group(ctx, "s1", "web"))


def test_a_host_that_cannot_plug_says_so(cloud: Cloud) -> None:
    lan_, _ = lan(cloud)
    info = act(cloud, lambda ctx: network.create_port(ctx, network_id=lan_["id"], server_id="s1"))
    act(cloud, lambda ctx: network.bind_port(ctx, info.id, "nowhere"))
    with pytest.raises(HostError, match="no network agent"):
        network.plug(cloud.program, "s1", "nowhere")
    act(cloud, lambda ctx: network.bind_port(ctx, info.id, "node1"))
    faults = cloud.program.parts["network.faults"]
    faults.fail("ensure_port", "no room for taps")  # for good: the port's own workflow plugs it, too
    with pytest.raises(HostError, match="no room for taps"):
        network.plug(cloud.program, "s1", "node1")
    faults.heal()
    network.plug(cloud.program, "s1", "node1")


def test_guests_questions_reach_whoever_answers_them(cloud: Cloud) -> None:
    asked = network.MetadataRequest(method="GET", path="/", headers={}, client="10.0.0.2", network_id="n")
    conductor = remote(cloud.program.bus, NetworkConductor, TOPIC)
    assert conductor.answer_metadata(asked).status == 404
    network.set_metadata_handler(cloud.program, lambda request: network.MetadataAnswer(body=request.client.encode()))
    assert conductor.answer_metadata(asked).body == b"10.0.0.2"


def test_checks_find_and_mend_what_drifted(cloud: Cloud, wiring: FakeWiring) -> None:
    def found() -> list[tuple[str, Any]]:
        return [(kind, mend) for look in CHECKS for kind, _, _, mend in look(cloud.program)]

    lan_, subnet = lan(cloud)
    port = make(cloud, "port", network_id=lan_["id"])
    router = make(cloud, "router")
    interface(cloud, router, subnet_id=subnet["id"])
    change(cloud, "port", port["id"], person="admin", binding__host_id="node1")
    cloud.wait(lambda: router["id"] in wiring.routers and lan_["id"] in wiring.dhcp and port["id"] in wiring.ports)
    idle(cloud)
    assert found() == []
    with cloud.program.db.transaction() as tx:
        tx.insert(Allocation(subnet_id=subnet["id"], address="10.0.0.200", network_id=lan_["id"], port_id="gone"))
        tx.delete(PortGroup)
        tx.delete(Router)
    wiring.ports.clear()
    kinds = [kind for kind, _ in found()]
    assert {"address without port", "group membership", "port without owner", "unknown router", "missing port"} <= set(kinds)
    for _, mend in found():
        mend()
    idle(cloud)
    cloud.wait(lambda: found() == [])
    assert port["id"] in wiring.ports
    assert {one["id"] for one in listed(cloud, "port", "device_owner=network:router_interface")} == set()
    assert drop(cloud, "port", port["id"]).status == 204
