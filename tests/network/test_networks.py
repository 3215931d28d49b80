"""Networks: types, external ones, what keeps them from being deleted."""

from __future__ import annotations

from collections.abc import Callable

from pilvi.kernel.testing.cloud import Cloud
from pilvi.network.drivers.fake import FakeWiring
from tests.network.speak import ask, bound, change, drop, idle, kind_of, lan, listed, make, outside, show


def test_a_project_network_is_a_vxlan_of_its_own_with_room_for_the_tunnel(cloud: Cloud) -> None:
    first, second = (make(cloud, "network", name=name) for name in "ab")
    seen = [show(cloud, "network", one["id"], person="admin") for one in (first, second)]
    assert {one["provider:network_type"] for one in seen} == {"vxlan"}
    assert len({one["provider:segmentation_id"] for one in seen}) == 2
    assert seen[0]["mtu"] == 1450
    assert "provider:network_type" not in first  # who made it is no admin
    assert first["tenant_id"] == first["project_id"] == "1" * 32


def test_provider_attributes_are_for_admins_and_a_segment_is_given_once(cloud: Cloud) -> None:
    told = ask(cloud, "network", provider__network_type="flat", provider__physical_network="public")
    assert (told.status, kind_of(told)) == (403, "PolicyNotAuthorized")
    make(cloud, "network", person="admin", provider__network_type="flat", provider__physical_network="public")
    again = ask(cloud, "network", person="admin", provider__network_type="flat", provider__physical_network="public")
    assert (again.status, kind_of(again)) == (409, "FlatNetworkInUse")
    unknown = ask(cloud, "network", person="admin", provider__network_type="flat", provider__physical_network="moon")
    assert unknown.status == 400


def test_an_external_network_of_which_nothing_more_is_said_takes_the_free_wire_and_the_machine_is_its_gateway(
    cloud: Cloud, wiring: FakeWiring
) -> None:
    network, subnet = outside(cloud)
    seen = show(cloud, "network", network["id"], person="admin")
    assert (seen["provider:network_type"], seen["provider:physical_network"]) == ("flat", "public")
    cloud.wait(lambda: wiring.outside.get(("public", "203.0.113.0/24")) == "203.0.113.1")
    second = make(cloud, "network", person="admin", router__external=True)
    assert second["provider:network_type"] == "vxlan"
    assert drop(cloud, "subnet", subnet["id"], person="admin").status == 204
    assert drop(cloud, "network", network["id"], person="admin").status == 204
    cloud.wait(lambda: not wiring.outside and not wiring.segments)


def test_the_machine_keeps_out_of_external_networks_when_told_so(build: Callable[..., Cloud]) -> None:
    cloud = build(outside=False).start()
    outside(cloud)
    idle(cloud)
    assert not cloud.program.parts["network.world"]["node1"].outside


def test_the_machine_is_no_gateway_where_a_real_wire_leads_out(build: Callable[..., Cloud]) -> None:
    cloud = build(bridge_mappings={"public": "eth1"}).start()
    outside(cloud)
    idle(cloud)
    assert not cloud.program.parts["network.world"]["node1"].outside


def test_everyone_sees_external_networks_and_only_the_owner_others(cloud: Cloud) -> None:
    public, subnet = outside(cloud)
    private, _ = lan(cloud)
    assert [one["id"] for one in listed(cloud, "network", person="stranger")] == [public["id"]]
    assert [one["id"] for one in listed(cloud, "subnet", person="stranger")] == [subnet["id"]]
    assert cloud.get(f"/network/v2.0/networks/{private['id']}", person="stranger").status == 404
    assert change(cloud, "network", public["id"], person="stranger", name="mine").status == 404
    assert change(cloud, "network", private["id"], person="stranger", name="mine").status == 404
    assert change(cloud, "network", private["id"], person="reader", name="mine").status == 403


def test_a_network_goes_with_its_subnets_and_dhcp_but_not_under_a_port(cloud: Cloud, wiring: FakeWiring) -> None:
    network, subnet = lan(cloud)
    cloud.wait(lambda: network["id"] in wiring.dhcp)
    port = make(cloud, "port", network_id=network["id"])
    told = drop(cloud, "network", network["id"])
    assert (told.status, kind_of(told)) == (409, "NetworkInUse")
    assert drop(cloud, "port", port["id"]).status == 204
    assert drop(cloud, "network", network["id"]).status == 204
    assert cloud.get(f"/network/v2.0/subnets/{subnet['id']}").status == 404
    assert listed(cloud, "port", person="admin") == []
    cloud.wait(lambda: not wiring.dhcp and not wiring.segments)


def test_several_are_made_in_one_commit_or_none(cloud: Cloud) -> None:
    told = cloud.post("/network/v2.0/networks", {"networks": [{"name": "a"}, {"name": "b"}]})
    assert [one["name"] for one in told.json()["networks"]] == ["a", "b"]
    told = cloud.post("/network/v2.0/networks", {"networks": [{"name": "c"}, {"name": "d", "colour": "red"}]})
    assert told.status == 400
    assert "colour" in told.json()["NeutronError"]["message"]
    assert {one["name"] for one in listed(cloud, "network")} == {"a", "b"}


def test_a_network_switched_off_has_no_dhcp_and_its_ports_are_down(cloud: Cloud, wiring: FakeWiring) -> None:
    network, _ = lan(cloud)
    port = bound(cloud, network)
    change(cloud, "network", network["id"], admin_state_up=False)
    cloud.wait(lambda: network["id"] not in wiring.dhcp)
    assert port["id"] in wiring.ports


def test_only_an_admin_names_another_project(cloud: Cloud) -> None:
    assert ask(cloud, "network", tenant_id="2" * 32).status == 400
    assert make(cloud, "network", person="admin", project_id="2" * 32)["project_id"] == "2" * 32
    assert ask(cloud, "network", person="admin", project_id="2" * 32, tenant_id="3" * 32).status == 400


def test_a_stale_revision_changes_nothing(cloud: Cloud) -> None:
    network = make(cloud, "network", name="a")
    where = f"/network/v2.0/networks/{network['id']}"
    fresh = {"If-Match": f"revision_number={network['revision_number']}"}
    assert cloud.put(where, {"network": {"name": "b"}}, headers=fresh).status == 200
    told = cloud.put(where, {"network": {"name": "c"}}, headers=fresh)
    assert (told.status, kind_of(told)) == (412, "RevisionNumberConstraintFailed")
    assert cloud.delete(where, headers=fresh).status == 412
    assert show(cloud, "network", network["id"])["name"] == "b"


def test_a_cloud_can_be_born_with_its_external_network(build: Callable[..., Cloud]) -> None:
    wish = {"name": "outside", "cidr": "198.51.100.0/24", "gateway": "198.51.100.1", "pool": "198.51.100.10-198.51.100.20"}
    cloud = build(external_network=wish).start()
    cloud.stop()
    cloud = build(external_network=wish).start()
    (network,) = listed(cloud, "network")
    (subnet,) = listed(cloud, "subnet")
    assert (network["name"], network["router:external"], network["is_default"]) == ("outside", True, True)
    assert subnet["allocation_pools"] == [{"start": "198.51.100.10", "end": "198.51.100.20"}]
