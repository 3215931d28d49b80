"""Security groups: the default one, rules that contradict themselves, remote sides, templates."""

from __future__ import annotations

from typing import Any

import pytest

from pilvi.kernel.testing.cloud import Cloud
from pilvi.network.drivers.fake import FakeWiring
from tests.network.speak import ask, bound, change, drop, kind_of, lan, listed, make, show


def test_a_project_has_a_default_group_from_the_first_look(cloud: Cloud) -> None:
    (group,) = listed(cloud, "security_group")
    assert group["name"] == "default"
    rules = {(one["direction"], one["ethertype"], one["remote_group_id"]) for one in group["security_group_rules"]}
    assert rules == {(way, ether, group["id"] if way == "ingress" else None) for way in ("ingress", "egress") for ether in ("IPv4", "IPv6")}
    assert [one["id"] for one in listed(cloud, "security_group")] == [group["id"]]
    assert ask(cloud, "security_group", name="default").status == 409
    assert change(cloud, "security_group", group["id"], name="other").status == 409
    told = drop(cloud, "security_group", group["id"])
    assert (told.status, kind_of(told)) == (409, "SecurityGroupCannotRemoveDefault")


def test_a_rule_reaches_the_ports_of_its_group(cloud: Cloud, wiring: FakeWiring) -> None:
    network, _ = lan(cloud)
    group = make(cloud, "security_group", name="web")
    port = bound(cloud, network, security_groups=[group["id"]])
    rule = make(
        cloud, "security_group_rule", security_group_id=group["id"], direction="ingress", protocol="tcp", port_range_min=80, port_range_max=90,
        remote_ip_prefix="192.0.2.77/24",
    )  # fmt: skip
    assert (rule["remote_ip_prefix"], rule["normalized_cidr"]) == ("192.0.2.77/24", "192.0.2.0/24")

    def held() -> list[tuple[str, int | None, int | None, list[str] | None]]:
        return [(one.protocol, one.port_min, one.port_max, one.remote) for one in wiring.ports[port["id"]].rules if one.direction == "ingress"]

    cloud.wait(lambda: held() == [("tcp", 80, 90, ["192.0.2.0/24"])])
    told = drop(cloud, "security_group", group["id"])
    assert (told.status, kind_of(told)) == (409, "SecurityGroupInUse")
    assert drop(cloud, "security_group_rule", rule["id"]).status == 204
    cloud.wait(lambda: held() == [])


def test_a_rule_that_is_there_already_is_refused(cloud: Cloud) -> None:
    group = make(cloud, "security_group", name="g")
    wish: dict[str, Any] = {"security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv6", "protocol": "icmp"}
    make(cloud, "security_group_rule", **wish)
    told = ask(cloud, "security_group_rule", **(wish | {"protocol": "ipv6-icmp"}))
    assert (told.status, kind_of(told)) == (409, "SecurityGroupRuleExists")


@pytest.mark.parametrize(
    "wish",
    [
        {"protocol": "nonsense"}, {"protocol": "256"}, {"protocol": "tcp", "port_range_min": 9, "port_range_max": 8}, {"port_range_min": 80},
        {"protocol": "tcp", "port_range_max": 80}, {"protocol": "udp", "port_range_min": 1, "port_range_max": 70000},
        {"protocol": "icmp", "port_range_max": 3}, {"protocol": "icmp", "port_range_min": 300}, {"protocol": "gre", "port_range_min": 1},
        {"remote_ip_prefix": "2001:db8::/64"}, {"remote_ip_prefix": "10.0.0.0/33"}, {"ethertype": "IPX"}, {"direction": "up"},
        {"protocol": "ipv6-icmp"},
    ],
)  # fmt: skip
def test_rules_that_contradict_themselves_are_refused(cloud: Cloud, wish: dict[str, Any]) -> None:
    group = make(cloud, "security_group", name="g")
    assert ask(cloud, "security_group_rule", **({"security_group_id": group["id"], "direction": "ingress"} | wish)).status == 400


def test_rules_of_one_request_are_of_one_group(cloud: Cloud) -> None:
    groups = [make(cloud, "security_group", name=name)["id"] for name in "ab"]
    rules = [{"security_group_id": one, "direction": "ingress", "protocol": "tcp"} for one in groups]
    assert cloud.post("/network/v2.0/security-group-rules", {"security_group_rules": rules}).status == 400
    rules[1] = rules[0] | {"protocol": "udp"}
    assert cloud.post("/network/v2.0/security-group-rules", {"security_group_rules": rules}).status == 201


def test_an_address_group_stands_for_its_addresses(cloud: Cloud, wiring: FakeWiring) -> None:
    network, _ = lan(cloud)
    group = make(cloud, "security_group", name="g")
    port = bound(cloud, network, security_groups=[group["id"]])
    named = make(cloud, "address_group", name="offices", addresses=["192.0.2.1/32", "2001:db8::/64"])
    make(cloud, "security_group_rule", security_group_id=group["id"], direction="ingress", remote_address_group_id=named["id"])

    def remote() -> list[str] | None:
        return next((one.remote for one in wiring.ports[port["id"]].rules if one.direction == "ingress"), None)

    cloud.wait(lambda: remote() == ["192.0.2.1/32"])
    where = f"/network/v2.0/address-groups/{named['id']}"
    assert cloud.put(f"{where}/add_addresses", {"addresses": ["198.51.100.0/24"]}).status == 200
    cloud.wait(lambda: remote() == ["192.0.2.1/32", "198.51.100.0/24"])
    assert cloud.put(f"{where}/add_addresses", {"addresses": ["198.51.100.0/24"]}).status == 400
    assert cloud.put(f"{where}/remove_addresses", {"addresses": ["203.0.113.0/24"]}).status == 404
    told = drop(cloud, "address_group", named["id"])
    assert (told.status, kind_of(told)) == (409, "AddressGroupInUse")


def test_new_groups_are_born_with_the_template(cloud: Cloud) -> None:
    assert ask(cloud, "default_security_group_rule", direction="ingress", protocol="tcp").status == 403
    rule = make(cloud, "default_security_group_rule", person="admin", direction="ingress", protocol="tcp", port_range_min=22, port_range_max=22)
    group = make(cloud, "security_group", name="g")
    assert [one["port_range_min"] for one in group["security_group_rules"] if one["direction"] == "ingress"] == [22]
    drop(cloud, "default_security_group_rule", rule["id"], person="admin")
    group = make(cloud, "security_group", name="h")
    assert {one["direction"] for one in group["security_group_rules"]} == {"egress"}


def test_stateful_and_stateless_groups_do_not_mix(cloud: Cloud, wiring: FakeWiring) -> None:
    network, _ = lan(cloud)
    plain, stateless = make(cloud, "security_group", name="a"), make(cloud, "security_group", name="b", stateful=False)
    told = ask(cloud, "port", network_id=network["id"], security_groups=[plain["id"], stateless["id"]])
    assert told.status == 409
    port = bound(cloud, network, security_groups=[stateless["id"]])
    assert wiring.ports[port["id"]].stateful is False


def test_a_group_of_another_project_is_not_there(cloud: Cloud) -> None:
    group = make(cloud, "security_group", name="g")
    network, _ = lan(cloud, person="stranger")
    assert cloud.get(f"/network/v2.0/security-groups/{group['id']}", person="stranger").status == 404
    assert ask(cloud, "port", person="stranger", network_id=network["id"], security_groups=[group["id"]]).status == 404
    assert ask(cloud, "security_group_rule", person="stranger", security_group_id=group["id"], direction="ingress").status == 404
    make(cloud, "rbac_policy", object_type="security_group", object_id=group["id"], action="access_as_shared", target_tenant="2" * 32)
    port = make(cloud, "port", person="stranger", network_id=network["id"], security_groups=[group["id"]])
    assert port["security_groups"] == [group["id"]]
    assert show(cloud, "security_group", group["id"], person="stranger")["shared"] is True
