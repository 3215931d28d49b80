"""Ports: addresses, MACs, guards, binding, and what their host is told."""

from __future__ import annotations

import threading

import pytest

from pilvi.kernel.testing.cloud import Cloud
from pilvi.network.drivers.fake import FakeWiring
from pilvi.network.operations.addresses import next_free
from pilvi.network.tables import Allocation, Subnet
from tests.network.speak import ask, bound, change, drop, kind_of, lan, listed, make, show


def test_addresses_are_given_in_order_and_a_freed_one_is_not_given_at_once(cloud: Cloud) -> None:
    network, _ = lan(cloud, enable_dhcp=False)
    ports = [make(cloud, "port", network_id=network["id"]) for _ in range(3)]
    assert [one["fixed_ips"][0]["ip_address"] for one in ports] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    assert all(one["mac_address"].startswith("fa:16:3e:") for one in ports)
    drop(cloud, "port", ports[0]["id"])
    assert make(cloud, "port", network_id=network["id"])["fixed_ips"][0]["ip_address"] == "10.0.0.5"


def test_the_last_address_is_found_and_then_there_is_none(cloud: Cloud) -> None:
    network, subnet = lan(cloud, cidr="10.0.0.0/22", enable_dhcp=False)
    with cloud.program.db.transaction() as tx:
        taken = [f"10.0.{third}.{last}" for third in range(4) for last in range(256)]
        gone = {"10.0.0.0", "10.0.0.1", "10.0.3.255", "10.0.3.7"}
        tx.insert_all([Allocation(subnet_id=subnet["id"], address=one, network_id=network["id"], port_id="x") for one in taken if one not in gone])
    assert make(cloud, "port", network_id=network["id"])["fixed_ips"][0]["ip_address"] == "10.0.3.7"
    told = ask(cloud, "port", network_id=network["id"])
    assert (told.status, kind_of(told)) == (409, "IpAddressGenerationFailure")


def test_many_at_once_get_addresses_of_their_own(cloud: Cloud) -> None:
    network, _ = lan(cloud, enable_dhcp=False)
    made: list[dict[str, object]] = []

    def some() -> None:
        made.extend(make(cloud, "port", network_id=network["id"]) for _ in range(8))

    threads = [threading.Thread(target=some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one["fixed_ips"][0]["ip_address"] for one in made}) == 32  # type: ignore[index]


def test_an_address_or_subnet_can_be_wished(cloud: Cloud) -> None:
    network, subnet = lan(cloud)
    assert make(cloud, "port", network_id=network["id"], fixed_ips=[{"ip_address": "10.0.0.77"}])["fixed_ips"][0]["subnet_id"] == subnet["id"]
    told = ask(cloud, "port", network_id=network["id"], fixed_ips=[{"ip_address": "10.0.0.77"}])
    assert (told.status, kind_of(told)) == (409, "IpAddressAlreadyAllocated")
    told = ask(cloud, "port", network_id=network["id"], fixed_ips=[{"ip_address": "10.9.0.77"}])
    assert (told.status, kind_of(told)) == (400, "InvalidIpForNetwork")
    told = ask(cloud, "port", network_id=network["id"], fixed_ips=[{"subnet_id": subnet["id"], "ip_address": "10.0.0.255"}])
    assert (told.status, kind_of(told)) == (400, "InvalidIpForSubnet")
    assert make(cloud, "port", network_id=network["id"], fixed_ips=[])["fixed_ips"] == []


def test_changing_addresses_frees_the_old_ones_and_keeps_those_that_stay(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    port = make(cloud, "port", network_id=network["id"], fixed_ips=[{"ip_address": "10.0.0.10"}, {"ip_address": "10.0.0.11"}])
    told = change(cloud, "port", port["id"], fixed_ips=[{"ip_address": "10.0.0.11"}, {"ip_address": "10.0.0.12"}])
    assert sorted(one["ip_address"] for one in told.json()["port"]["fixed_ips"]) == ["10.0.0.11", "10.0.0.12"]
    make(cloud, "port", network_id=network["id"], fixed_ips=[{"ip_address": "10.0.0.10"}])


def test_a_mac_is_one_ports_in_its_network(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    make(cloud, "port", network_id=network["id"], mac_address="fa:16:3e:11:22:33")
    told = ask(cloud, "port", network_id=network["id"], mac_address="FA:16:3E:11:22:33")
    assert (told.status, kind_of(told)) == (409, "MacAddressInUse")
    port = make(cloud, "port", network_id=network["id"])
    renewed = change(cloud, "port", port["id"], person="admin", mac_address=None).json()["port"]
    assert renewed["mac_address"] != port["mac_address"]


def test_a_random_mac_that_is_taken_is_not_given_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = lan(cloud, enable_dhcp=False)
    drawn = iter(["fa:16:3e:00:00:01", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"])
    monkeypatch.setattr("pilvi.network.logic.addresses.new_mac", lambda: next(drawn))
    assert [make(cloud, "port", network_id=network["id"])["mac_address"] for _ in range(2)] == ["fa:16:3e:00:00:01", "fa:16:3e:00:00:02"]


def test_binding_is_for_admins_and_plugs_the_port_with_its_rules(cloud: Cloud, wiring: FakeWiring) -> None:
    network, _ = lan(cloud)
    port = make(cloud, "port", network_id=network["id"])
    assert change(cloud, "port", port["id"], binding__host_id="node1").status == 403
    assert "binding:host_id" not in port
    port = bound(cloud, network, name="web", device_id="s1")
    plugged = wiring.ports[port["id"]]
    assert plugged.tap == "tap" + port["id"][:11]
    assert plugged.fixed_ips[0].address == port["fixed_ips"][0]["ip_address"]
    assert plugged.fixed_ips[0].prefix == 24
    ingress = [rule for rule in plugged.rules if rule.direction == "ingress" and rule.ether == "IPv4"]
    assert [rule.remote for rule in ingress] == [[port["fixed_ips"][0]["ip_address"] + "/32"]]  # members of the default group
    cloud.wait(lambda: network["id"] in wiring.dhcp and any(lease.port_id == port["id"] for lease in wiring.dhcp[network["id"]].leases))
    seen = show(cloud, "port", port["id"], person="admin")
    assert (seen["binding:host_id"], seen["binding:vif_type"]) == ("node1", "bridge")
    assert drop(cloud, "port", port["id"]).status == 204
    cloud.wait(lambda: port["id"] not in wiring.ports)
    cloud.wait(lambda: not any(lease.port_id == port["id"] for lease in wiring.dhcp[network["id"]].leases))


def test_a_host_without_an_agent_cannot_plug(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    port = make(cloud, "port", network_id=network["id"])
    change(cloud, "port", port["id"], person="admin", binding__host_id="nowhere")
    assert show(cloud, "port", port["id"], person="admin")["binding:vif_type"] == "binding_failed"


def test_new_members_reach_the_rules_of_those_who_name_their_group(cloud: Cloud, wiring: FakeWiring) -> None:
    network, _ = lan(cloud)
    first = bound(cloud, network, device_id="s1")
    second = bound(cloud, network, device_id="s2")
    wanted = {one["fixed_ips"][0]["ip_address"] + "/32" for one in (first, second)}

    def remote() -> set[str]:
        rules = wiring.ports[first["id"]].rules
        return {one for rule in rules if rule.remote and rule.ether == "IPv4" for one in rule.remote}

    cloud.wait(lambda: remote() == wanted)
    drop(cloud, "port", second["id"])
    cloud.wait(lambda: len(remote()) == 1)


def test_port_security_groups_and_pairs_go_together(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    told = ask(cloud, "port", network_id=network["id"], port_security_enabled=False, allowed_address_pairs=[{"ip_address": "10.0.0.9"}])
    assert (told.status, kind_of(told)) == (409, "AddressPairAndPortSecurityRequired")
    port = make(cloud, "port", network_id=network["id"], allowed_address_pairs=[{"ip_address": "10.0.0.9"}, {"ip_address": "10.1.0.0/16"}])
    assert port["allowed_address_pairs"][0] == {"ip_address": "10.0.0.9", "mac_address": port["mac_address"]}
    told = change(cloud, "port", port["id"], port_security_enabled=False)
    assert (told.status, kind_of(told)) == (409, "PortSecurityPortHasSecurityGroup")
    told = change(cloud, "port", port["id"], port_security_enabled=False, security_groups=[], allowed_address_pairs=[])
    assert told.status == 200
    assert make(cloud, "port", network_id=network["id"], port_security_enabled=False)["security_groups"] == []


@pytest.mark.parametrize(
    "query",
    ["fixed_ips=ip_address=10.0.0.50", "fixed_ips=ip_address_substr=0.50", "name=fifty", "name=fifty&name=other", "mac_address=fa:16:3e:00:00:50",
     "sort_key=name&sort_dir=asc&limit=1", "device_id=dev&admin_state_up=True"],
)  # fmt: skip
def test_ports_are_found_by_any_attribute(cloud: Cloud, query: str) -> None:
    network, _ = lan(cloud, enable_dhcp=False)
    make(cloud, "port", network_id=network["id"], name="zero", fixed_ips=[{"ip_address": "10.0.0.9"}])
    wish = {"fixed_ips": [{"ip_address": "10.0.0.50"}], "mac_address": "fa:16:3e:00:00:50", "device_id": "dev"}
    port = make(cloud, "port", network_id=network["id"], name="fifty", **wish)
    assert [one["id"] for one in listed(cloud, "port", query)] == [port["id"]]


def test_a_list_tells_how_to_go_on_and_fields_are_cut(cloud: Cloud) -> None:
    network, _ = lan(cloud, enable_dhcp=False)
    made = sorted(make(cloud, "port", network_id=network["id"])["id"] for _ in range(3))
    told = cloud.get("/network/v2.0/ports?limit=2&fields=id").json()
    assert told["ports"] == [{"id": one} for one in made[:2]]
    (link,) = told["ports_links"]
    assert link["rel"] == "next"
    assert f"marker={made[1]}" in link["href"]
    assert cloud.get(f"/network/v2.0/ports?limit=2&fields=id&marker={made[1]}").json()["ports"] == [{"id": made[2]}]
    assert cloud.get("/network/v2.0/ports?colour=red").status == 400
    assert cloud.get("/network/v2.0/ports?sort_key=colour&sort_dir=asc").status == 400


def test_ports_that_serve_something_are_not_deleted_by_themselves(cloud: Cloud) -> None:
    _, subnet = lan(cloud)
    router = make(cloud, "router")
    leg = cloud.put(f"/network/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]}).json()["port_id"]
    told = drop(cloud, "port", leg)
    assert (told.status, kind_of(told)) == (409, "ServicePortInUse")


def test_the_network_owner_sees_and_deletes_others_ports_on_it(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    make(cloud, "rbac_policy", object_type="network", object_id=network["id"], action="access_as_shared", target_tenant="2" * 32)
    theirs = make(cloud, "port", person="stranger", network_id=network["id"])
    mine = make(cloud, "port", network_id=network["id"])
    assert theirs["id"] in {one["id"] for one in listed(cloud, "port")}
    assert {one["id"] for one in listed(cloud, "port", person="stranger")} == {theirs["id"]}
    assert cloud.get(f"/network/v2.0/ports/{mine['id']}", person="stranger").status == 404
    assert ask(cloud, "port", person="stranger", network_id=network["id"], mac_address="fa:16:3e:99:99:99").status == 403
    assert drop(cloud, "port", theirs["id"]).status == 204


def test_next_free_looks_and_does_not_take(cloud: Cloud) -> None:
    _, subnet = lan(cloud, enable_dhcp=False)
    with cloud.program.db.transaction(write=False) as tx:
        ctx = cloud.program.system_context(tx)
        row = tx.get(Subnet, subnet["id"])
        assert row is not None
        assert next_free(ctx, row, peek=True) == next_free(ctx, row) == "10.0.0.2"
        assert next_free(ctx, row) == "10.0.0.3"
