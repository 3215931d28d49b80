"""Availability zones, as the aggregates make them."""

from __future__ import annotations

from tests.compute.conftest import Nova

ZONES = "/compute/v2.1/os-availability-zone"


def test_a_host_is_in_the_default_zone_until_an_aggregate_says_otherwise(nova: Nova) -> None:
    assert nova.get(ZONES).json() == {"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}]}
    made = nova.post("/compute/v2.1/os-aggregates", {"aggregate": {"name": "a", "availability_zone": "north"}}, person="admin").json()
    nova.post(f"/compute/v2.1/os-aggregates/{made['aggregate']['id']}/action", {"add_host": {"host": "node1"}}, person="admin")
    assert [one["zoneName"] for one in nova.get(ZONES).json()["availabilityZoneInfo"]] == ["north"]


def test_administrators_see_hosts_and_services(nova: Nova) -> None:
    told = {one["zoneName"]: one for one in nova.get(f"{ZONES}/detail", person="admin").json()["availabilityZoneInfo"]}
    assert set(told) == {"internal", "nova"}
    assert set(told["internal"]["hosts"]["node1"]) == {"nova-conductor", "nova-scheduler"}
    state = told["nova"]["hosts"]["node1"]["nova-compute"]
    assert (state["available"], state["active"]) == (True, True)
    assert nova.get(f"{ZONES}/detail").status == 403


def test_a_zone_without_hosts_that_may_take_servers_is_not_available(nova: Nova) -> None:
    (service,) = nova.get("/compute/v2.1/os-services", person="admin", binary="nova-compute").json()["services"]
    nova.put(f"/compute/v2.1/os-services/{service['id']}", {"status": "disabled"}, person="admin")
    (zone,) = nova.get(ZONES).json()["availabilityZoneInfo"]
    assert zone["zoneState"] == {"available": False}
