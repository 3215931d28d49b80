"""Compute's services: listed, switched, forced down, forgotten; and hosts as they were switched before 2.43."""

from __future__ import annotations

from typing import Any

from tests.compute.conftest import Nova

SERVICES = "/compute/v2.1/os-services"
HOSTS = "/compute/v2.1/os-hosts"


def agent(nova: Nova, **options: Any) -> dict[str, Any]:
    (one,) = nova.get(SERVICES, person="admin", binary="nova-compute", **options).json()["services"]
    return one


def test_listing(nova: Nova) -> None:
    told = nova.get(SERVICES, person="admin").json()["services"]
    zones = {one["binary"]: one["zone"] for one in told}
    assert zones == {"nova-compute": "nova", "nova-conductor": "internal", "nova-scheduler": "internal"}
    assert {(one["state"], one["status"], one["forced_down"]) for one in told} == {("up", "enabled", False)}
    assert nova.get(SERVICES, person="admin", host="nowhere", binary="nova-compute").json() == {"services": []}
    assert nova.get(SERVICES).status == 403
    assert isinstance(agent(nova, version="compute 2.52")["id"], int)
    assert "forced_down" not in agent(nova, version="compute 2.10")
    assert nova.get(SERVICES, person="admin", colour="blue").status == 400
    assert nova.get(SERVICES, person="admin", colour="blue", version="compute 2.74").status == 200


def test_switching_by_id(nova: Nova) -> None:
    path = f"{SERVICES}/{agent(nova)['id']}"
    off = nova.put(path, {"status": "disabled", "disabled_reason": "new disks"}, person="admin")
    assert off.status == 200, off
    assert (off.json()["service"]["status"], off.json()["service"]["disabled_reason"]) == ("disabled", "new disks")
    down = nova.put(path, {"forced_down": True}, person="admin").json()["service"]
    assert (down["state"], down["status"]) == ("down", "disabled")
    on = nova.put(path, {"status": "enabled", "forced_down": False}, person="admin").json()["service"]
    assert (on["state"], on["status"], on["disabled_reason"]) == ("up", "enabled", None)
    for wrong in ({}, {"status": "maybe"}, {"status": "enabled", "disabled_reason": "x"}, {"disabled_reason": "x"}, {"status": "enabled", "x": 1}):
        assert nova.put(path, wrong, person="admin").status == 400, wrong
    assert nova.put(path, {"status": "disabled"}).status == 403
    assert nova.put(f"{SERVICES}/7", {"status": "disabled"}, person="admin").status == 400
    assert nova.put(f"{SERVICES}/00000000-0000-0000-0000-000000000000", {"status": "disabled"}, person="admin").status == 404
    (conductor,) = nova.get(SERVICES, person="admin", binary="nova-conductor").json()["services"]
    assert nova.put(f"{SERVICES}/{conductor['id']}", {"status": "disabled"}, person="admin").status == 400


def test_switching_by_host_and_binary(nova: Nova) -> None:
    old: dict[str, Any] = {"person": "admin", "version": "compute 2.52"}
    one = {"host": "node1", "binary": "nova-compute"}
    assert nova.put(f"{SERVICES}/disable", one, **old).json() == {"service": {**one, "status": "disabled"}}
    told = nova.put(f"{SERVICES}/disable-log-reason", {**one, "disabled_reason": "why"}, **old)
    assert told.json() == {"service": {**one, "status": "disabled", "disabled_reason": "why"}}
    assert nova.put(f"{SERVICES}/enable", one, **old).json() == {"service": {**one, "status": "enabled"}}
    assert nova.put(f"{SERVICES}/force-down", {**one, "forced_down": True}, **old).json() == {"service": {**one, "forced_down": True}}
    assert agent(nova)["state"] == "down"
    assert nova.put(f"{SERVICES}/disable-log-reason", one, **old).status == 400
    assert nova.put(f"{SERVICES}/enable", {"host": "nowhere", "binary": "nova-compute"}, **old).status == 404
    assert nova.put(f"{SERVICES}/enable", {"host": "node1"}, **old).status == 400
    assert nova.put(f"{SERVICES}/force-down", {**one, "forced_down": True}, person="admin", version="compute 2.10").status == 404
    assert nova.put(f"{SERVICES}/enable", one, person="admin").status == 404


def test_a_host_with_servers_is_not_forgotten(nova: Nova) -> None:
    path = f"{SERVICES}/{agent(nova)['id']}"
    ref = nova.boot()
    assert nova.delete(path, person="admin").status == 409
    nova.delete(f"/compute/v2.1/servers/{ref}")
    nova.gone(ref)
    nova.idle()
    assert nova.delete(path, person="admin").status == 204


def test_no_new_servers_on_a_disabled_host(nova: Nova) -> None:
    nova.put(f"{SERVICES}/{agent(nova)['id']}", {"status": "disabled"}, person="admin")
    ref = nova.boot(status="ERROR")
    assert "node1" in nova.show(ref)["fault"]["message"]


def test_hosts_of_old_clients(nova: Nova) -> None:
    old: dict[str, Any] = {"person": "admin", "version": "compute 2.42"}
    nova.boot()
    told = nova.get(HOSTS, **old).json()["hosts"]
    assert {"host_name": "node1", "service": "compute", "zone": "nova"} in told
    assert nova.get(HOSTS, zone="nova", **old).json()["hosts"] == [{"host_name": "node1", "service": "compute", "zone": "nova"}]
    assert nova.get(HOSTS, zone="", **old).json()["hosts"] == told
    assert nova.get(HOSTS, zone="nothing", **old).json() == {"hosts": []}
    shown = [one["resource"] for one in nova.get(f"{HOSTS}/node1", **old).json()["host"]]
    assert [one["project"] for one in shown] == ["(total)", "(used_now)", "(used_max)", "1" * 32]
    assert [(one["cpu"], one["memory_mb"]) for one in shown[1:]] == [(1, 1024), (1, 512), (1, 512)]
    assert nova.get(f"{HOSTS}/nowhere", **old).status == 404
    assert nova.put(f"{HOSTS}/node1", {"status": "disable"}, **old).json() == {"host": "node1", "status": "disabled"}
    assert agent(nova)["status"] == "disabled"
    assert nova.put(f"{HOSTS}/node1", {"status": "perhaps"}, **old).status == 400
    assert nova.put(f"{HOSTS}/node1", {"maintenance_mode": "enable"}, **old).status == 400
    assert nova.get(HOSTS, version="compute 2.42").status == 403
    assert nova.get(HOSTS, person="admin", version="compute 2.43").status == 404
