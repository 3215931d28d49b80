"""Hypervisors: what each host has and what of it is taken, in each version's shape."""

from __future__ import annotations

from typing import Any

from tests.compute.conftest import Nova

HYPERVISORS = "/compute/v2.1/os-hypervisors"
SIZES = {"vcpus", "memory_mb", "local_gb", "vcpus_used", "memory_mb_used", "local_gb_used", "free_ram_mb", "free_disk_gb", "running_vms"}


def ask(nova: Nova, path: str = "", **options: Any) -> Any:
    told = nova.get(HYPERVISORS + path, person="admin", **options)
    assert told.status == 200, told
    return told.json()


def test_the_newest_shape_has_uptime_and_no_sizes(nova: Nova) -> None:
    (brief,) = ask(nova)["hypervisors"]
    assert brief == {"id": brief["id"], "hypervisor_hostname": "node1", "state": "up", "status": "enabled"}
    shown = ask(nova, f"/{brief['id']}")["hypervisor"]
    assert not SIZES & set(shown)
    assert "cpu_info" not in shown
    assert shown["uptime"].startswith("up 0 days, 00:0")
    assert ask(nova, "/detail")["hypervisors"] == [shown]
    for gone in ("/statistics", f"/{brief['id']}/uptime"):
        assert nova.get(HYPERVISORS + gone, person="admin").status == 404


def test_older_shapes_tell_what_servers_were_given(nova: Nova) -> None:
    nova.boot()
    (one,) = ask(nova, "/detail", version="compute 2.87")["hypervisors"]
    assert set(one) >= SIZES
    assert (one["vcpus_used"], one["memory_mb_used"], one["running_vms"]) == (1, 1024, 1)
    assert isinstance(one["cpu_info"], dict)
    assert isinstance(ask(nova, "/detail", version="compute 2.27")["hypervisors"][0]["cpu_info"], str)
    summed = ask(nova, "/statistics", version="compute 2.87")["hypervisor_statistics"]
    assert (summed["count"], summed["vcpus"], summed["vcpus_used"]) == (1, one["vcpus"], 1)
    assert ask(nova, f"/{one['id']}/uptime", version="compute 2.87")["hypervisor"]["uptime"].startswith("up ")


def test_servers_on_hypervisors(nova: Nova) -> None:
    (empty,) = ask(nova, with_servers="true")["hypervisors"]
    assert empty["servers"] == []
    assert "servers" not in ask(nova, with_servers="true", version="compute 2.74")["hypervisors"][0]
    ref = nova.boot()
    expected = [{"uuid": ref, "name": f"instance-{ref[:8]}"}]
    assert ask(nova, with_servers="true")["hypervisors"][0]["servers"] == expected
    assert ask(nova, f"/{empty['id']}", with_servers="true")["hypervisor"]["servers"] == expected
    assert "servers" not in ask(nova)["hypervisors"][0]
    assert ask(nova, "/node1/servers", version="compute 2.52")["hypervisors"][0]["servers"] == expected


def test_finding(nova: Nova) -> None:
    (one,) = ask(nova, hypervisor_hostname_pattern="ode")["hypervisors"]
    assert nova.get(HYPERVISORS, person="admin", hypervisor_hostname_pattern="zzz").status == 404
    assert nova.get(HYPERVISORS, person="admin", hypervisor_hostname_pattern="ode", limit=1).status == 400
    assert nova.get(HYPERVISORS, person="admin", with_servers="perhaps").status == 400
    old = ask(nova, "/ode/search", version="compute 2.52")["hypervisors"]
    assert isinstance(old[0]["id"], int)
    assert ask(nova, f"/{old[0]['id']}", version="compute 2.52")["hypervisor"]["hypervisor_hostname"] == "node1"
    assert nova.get(f"{HYPERVISORS}/zzz/search", person="admin", version="compute 2.52").status == 404
    assert nova.get(f"{HYPERVISORS}/{old[0]['id']}", person="admin").status == 400
    assert nova.get(f"{HYPERVISORS}/00000000-0000-0000-0000-000000000000", person="admin").status == 404
    assert ask(nova, marker=one["id"]) == {"hypervisors": []}
    assert nova.get(HYPERVISORS, person="admin", marker="nobody").status == 400


def test_a_host_that_is_down(nova: Nova) -> None:
    (service,) = nova.get("/compute/v2.1/os-services", person="admin", binary="nova-compute").json()["services"]
    nova.put(f"/compute/v2.1/os-services/{service['id']}", {"forced_down": True, "status": "disabled"}, person="admin")
    (one,) = ask(nova)["hypervisors"]
    assert (one["state"], one["status"]) == ("down", "disabled")
    assert nova.get(f"{HYPERVISORS}/{one['id']}/uptime", person="admin", version="compute 2.87").status == 400
    assert ask(nova, "/statistics", version="compute 2.87")["hypervisor_statistics"]["count"] == 0


def test_they_are_for_administrators(nova: Nova) -> None:
    for path in ("", "/detail", "/x"):
        assert nova.get(HYPERVISORS + path).status == 403
    assert nova.get(f"{HYPERVISORS}/statistics", version="compute 2.1").status == 403
