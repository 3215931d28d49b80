"""A cloud in parts that has lost a role: what does not need it goes on, what needs it waits."""

from __future__ import annotations

import time

from tests.crash import audit
from tests.crash.acts import NETWORK, SERVERS, VOLUMES
from tests.crash.client import Client
from tests.crash.lives import HOST
from tests.crash.parts import ONE_HOST, TWO_HOSTS, Parts
from tests.crash.rig import Rig
from tests.crash.test_outages import become_active, boot, boot_with_volume, delete_all, servers, statuses


def lose(cloud: Parts, role: str) -> None:
    for part in cloud.of(role):
        part.kill()


def apis_answer(cloud: Parts) -> None:
    """All of them, and at once."""
    paths = (SERVERS, f"{VOLUMES}/volumes/detail", f"{NETWORK}/ports", "/image/v2/images", "/identity/v3/projects", "/placement/resource_providers")
    for path in paths:
        began = time.monotonic()
        status, told, _ = cloud.client.once("GET", path)
        assert status == 200, (path, told)
        assert time.monotonic() - began < 5, path


def test_without_agents(rig: Rig) -> None:
    """Volume, network and compute agents are lost one after the other, on one cloud."""
    cloud = rig.cloud(ONE_HOST)
    lose(cloud, "volume")
    apis_answer(cloud)
    boot(cloud, "plain")
    become_active(cloud, "plain", within=20)
    cloud.ask("POST", f"{VOLUMES}/volumes", {"volume": {"name": "v", "size": 1}})
    boot_with_volume(cloud, "with-volume")
    time.sleep(0.5)
    assert statuses(cloud)["with-volume"] == "BUILD"
    cloud.ready()
    become_active(cloud, "plain", "with-volume", within=30)
    cloud.wait(lambda: [one["status"] for one in cloud.ask("GET", f"{VOLUMES}/volumes/detail")["volumes"] if one["name"] == "v"] == ["available"])

    lose(cloud, "network")
    apis_answer(cloud)
    boot(cloud, "waits")
    port = cloud.ask("POST", f"{NETWORK}/ports", {"port": {"network_id": cloud.network, "name": "p"}})["port"]
    assert port["fixed_ips"]
    time.sleep(1.0)
    assert statuses(cloud)["waits"] == "BUILD"
    boot(cloud, "no-card", networks="none")
    cloud.wait(lambda: statuses(cloud)["no-card"] == "ACTIVE", within=20)
    cloud.ready()
    become_active(cloud, "plain", "with-volume", "waits", "no-card", within=30)

    lose(cloud, "compute")
    apis_answer(cloud)
    boot(cloud, "for-compute")
    time.sleep(0.5)
    assert statuses(cloud)["for-compute"] == "BUILD"
    cloud.ready()
    become_active(cloud, "plain", "with-volume", "waits", "no-card", "for-compute", within=30)
    cloud.ask("DELETE", f"{NETWORK}/ports/{port['id']}")
    audit.settled(cloud, within=40)
    delete_all(cloud)


def test_without_schedulers(rig: Rig) -> None:
    """Requests are taken and wait until a scheduler is back, or until their time is over: then ERROR, with a sentence."""
    cloud = rig.cloud(ONE_HOST, CRASH_WITHIN="CreateServer.choose_host=6")
    lose(cloud, "scheduler")
    apis_answer(cloud)
    boot(cloud, "patient")
    time.sleep(1.0)
    assert statuses(cloud) == {"patient": "BUILD"}
    cloud.parts["scheduler2"].start()
    become_active(cloud, "patient", within=20)
    cloud.parts["scheduler2"].kill()
    boot(cloud, "in-vain")
    cloud.wait(lambda: statuses(cloud)["in-vain"] == "ERROR", within=30)
    why = servers(cloud)["in-vain"]["fault"]["message"]
    assert "scheduler" in why, why
    cloud.ready()
    audit.settled(cloud, within=40)
    delete_all(cloud)


def test_without_one_api_and_with_one_conductor(rig: Rig) -> None:
    cloud = rig.cloud(TWO_HOSTS, CRASH_LEASE="2")
    for name in ("api1", "conductor1", "conductor2"):
        cloud.parts[name].kill()
    other = Client([port for port in cloud.client.ports if answers_at(port)])
    assert len(other.ports) == 1
    other.token = cloud.client.token
    assert other.ask("GET", SERVERS)["servers"] == []
    boot_with_volume(cloud, "a")
    become_active(cloud, "a", within=30)
    cloud.parts["compute2"].kill()  # servers of other hosts are served
    boot(cloud, "near", availability_zone=f"nova:{HOST}")
    become_active(cloud, "a", "near", within=20)
    cloud.ready()
    audit.settled(cloud, within=40)
    delete_all(cloud)


def answers_at(port: int) -> bool:
    """Whether an API process listens there."""
    try:
        return Client([port]).once("GET", "/identity/v3")[0] == 200
    except Exception:
        return False
