"""Outages of a cloud in parts: the bus, the database, the link to a host, a conductor that sleeps, a host that never comes back."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from pilvi.kernel import clock
from pilvi.kernel.testing.servers import run as sql
from tests.crash import audit
from tests.crash.acts import SERVERS
from tests.crash.lives import HOST
from tests.crash.parts import ONE_HOST, TWO_HOSTS, Parts, answers
from tests.crash.relay import Relay
from tests.crash.rig import Rig

AWAY = float(os.environ.get("OUTAGE", "4"))  # seconds; a minute on demand


def boot(cloud: Parts, name: str, **more: Any) -> str:
    body = {"name": name, "flavorRef": "1", "imageRef": cloud.image, "networks": [{"uuid": cloud.network}], **more}
    return str(cloud.ask("POST", SERVERS, {"server": body})["server"]["id"])


def boot_with_volume(cloud: Parts, name: str) -> str:
    root = {"source_type": "image", "destination_type": "local", "uuid": cloud.image, "boot_index": 0}
    blank = {"source_type": "blank", "destination_type": "volume", "volume_size": 1, "delete_on_termination": True, "boot_index": -1}
    return boot(cloud, name, block_device_mapping_v2=[root, blank])


def servers(cloud: Parts) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in cloud.ask("GET", f"{SERVERS}/detail")["servers"]}


def statuses(cloud: Parts) -> dict[str, str]:
    return {name: one["status"] for name, one in servers(cloud).items()}


def become_active(cloud: Parts, *names: str, within: float) -> None:
    """Wait until these servers, and no others, are there and ACTIVE."""
    try:
        cloud.wait(lambda: statuses(cloud) == dict.fromkeys(names, "ACTIVE"), within=within)
    except AssertionError:
        told = {name: (one["status"], one.get("fault", {}).get("message")) for name, one in servers(cloud).items()}
        raise AssertionError(f"not all ACTIVE within {within:g} s: {told}; {[(one.kind, one.step) for one in cloud.works()]}") from None


def delete_all(cloud: Parts) -> None:
    """Nothing of any server is left."""
    for one in servers(cloud).values():
        cloud.ask("DELETE", f"{SERVERS}/{one['id']}")
    audit.settled(cloud, within=40)
    assert not servers(cloud)
    assert not any(lies.machines for lies in cloud.world.hosts().values())


def test_the_bus_is_away(rig: Rig) -> None:
    """Killed, away for a while and back: reads are answered, requests are taken, and all work is done."""
    cloud = rig.cloud(ONE_HOST)
    first = [boot_with_volume(cloud, f"before{number}") for number in range(3)]
    rig.bus.kill()
    try:
        began = time.monotonic()
        wishes = [f"during{number}" for number in range(3)]
        for name in wishes:
            boot_with_volume(cloud, name)
        cloud.ask("DELETE", f"{SERVERS}/{first[0]}")
        assert time.monotonic() - began < 10, "requests must not wait for the bus"
        assert set(statuses(cloud)) >= set(wishes)
        time.sleep(AWAY)
    finally:
        rig.bus.start_again()
    become_active(cloud, "before1", "before2", *wishes, within=60)
    audit.settled(cloud, within=40)
    delete_all(cloud)


def test_the_database_is_away(rig: Rig) -> None:
    """Killed under load, away for a while and back: requests are refused with 503 meanwhile, and no work is lost."""
    cloud = rig.cloud(ONE_HOST)
    for number in range(4):
        boot_with_volume(cloud, f"before{number}")
    rig.database.kill()
    try:
        time.sleep(0.2)
        status, told, _ = cloud.client.once("GET", f"{SERVERS}/detail")
        assert status == 503, (status, told)
        time.sleep(AWAY)
    finally:
        rig.database.start_again()
    cloud.wait(lambda: answers(lambda: cloud.client.once("GET", SERVERS)), within=20)
    boot_with_volume(cloud, "after")
    become_active(cloud, *(f"before{number}" for number in range(4)), "after", within=60)
    audit.settled(cloud, within=40)
    delete_all(cloud)


def test_the_link_to_a_host_is_cut(rig: Rig) -> None:
    """Bytes are held in both directions for longer than the host may be silent; then all goes on."""
    link = Relay([rig.bus.port])
    try:
        cloud = rig.cloud(TWO_HOSTS, far={"compute2": link, "network2": link}, PILVI_COMPUTE__DOWN_AFTER="3", PILVI_NETWORK__AGENT_DOWN_AFTER="3")
        boot(cloud, "far", availability_zone="nova:node2")
        become_active(cloud, "far", within=20)
        boot(cloud, "underway", availability_zone="nova:node2")
        link.cut()
        time.sleep(AWAY)
        gone = servers(cloud)["far"]["id"]
        cloud.ask("DELETE", f"{SERVERS}/{gone}")
        cloud.wait(lambda: "far" not in statuses(cloud), within=10)  # the host that does not answer is not waited for
        boot(cloud, "near")
        cloud.wait(lambda: statuses(cloud)["near"] == "ACTIVE", within=20)
        assert servers(cloud)["near"]["OS-EXT-SRV-ATTR:host"] == HOST
        link.join()
        cloud.wait(lambda: statuses(cloud)["underway"] in ("ACTIVE", "ERROR"), within=60)
        audit.settled(cloud, within=60)
        delete_all(cloud)
    finally:
        link.close()


def test_an_agent_is_frozen(rig: Rig) -> None:
    """SIGSTOP for a while: its work waits, and is done when it goes on."""
    cloud = rig.cloud(ONE_HOST)
    agent = cloud.of("compute")[0]
    agent.freeze()
    try:
        boot(cloud, "s")
        time.sleep(AWAY)
        assert statuses(cloud) == {"s": "BUILD"}
    finally:
        agent.thaw()
    become_active(cloud, "s", within=30)
    audit.settled(cloud, within=40)
    delete_all(cloud)


def test_two_conductors_fight(rig: Rig) -> None:
    """One is frozen in the midst of a boot, past its lease; another ends the work; the first wakes, and does no harm."""
    cloud = rig.cloud(ONE_HOST, CRASH_LEASE="2")
    for step in ("take_place", "plug_ports", "start_machine", "announce"):
        sleeper = freeze_in(cloud, "CreateServer", step)
        try:
            become_active(cloud, "s", within=30)  # some of its calls go to the sleeper, and are said again
            found = servers(cloud)["s"]
            trace = story(cloud, found["id"])
        finally:
            sleeper.thaw()
        time.sleep(1.0)  # what it still wanted to do is done by now
        audit.settled(cloud, within=20)
        assert servers(cloud)["s"]["updated"] == found["updated"]
        assert story(cloud, found["id"]) == trace, "the overtaken one has written"
        delete_all(cloud)


def freeze_in(cloud: Parts, workflow: str, step: str) -> Any:
    """Ask for a server and freeze the conductor that comes to the step, in its midst."""
    cloud.points.freeze_at(workflow, step)
    boot_with_volume(cloud, "s")
    pid = cloud.wait(cloud.points.died, within=20)
    sleeper = next(part for part in cloud.of("conductor") if part.pid == pid)
    cloud.wait(lambda: sleeper.frozen, within=5)
    return sleeper


def story(cloud: Parts, server_id: str) -> list[Any]:
    """The steps that were written down for the server, and the events of its actions."""
    steps = sql(cloud.servers.database, f"SELECT name, outcome, started_at FROM kernel_spans WHERE subject = '{server_id}' ORDER BY id")  # noqa: S608
    actions = cloud.ask("GET", f"{SERVERS}/{server_id}/os-instance-actions")["instanceActions"]
    return [*map(tuple, steps), actions]


def test_a_host_dies_for_good(rig: Rig) -> None:
    """Its servers can be deleted at once; their places on the host are given back only once it is known to be gone."""
    cloud = rig.cloud(TWO_HOSTS, PILVI_COMPUTE__DOWN_AFTER="3", PILVI_NETWORK__AGENT_DOWN_AFTER="3")
    lost = boot(cloud, "lost", availability_zone="nova:node2")
    become_active(cloud, "lost", within=20)
    for part in (cloud.parts["compute2"], cloud.parts["network2"]):
        part.kill()
    boot(cloud, "unlucky", availability_zone="nova:node2")  # before anyone can know
    began = time.monotonic()
    cloud.ask("DELETE", f"{SERVERS}/{lost}")
    cloud.wait(lambda: "lost" not in statuses(cloud), within=20)
    assert time.monotonic() - began < 15
    cloud.wait(lambda: down(cloud, "node2"), within=10)
    cloud.ask("DELETE", f"{SERVERS}/{servers(cloud)['unlucky']['id']}")
    cloud.wait(lambda: not statuses(cloud), within=10)
    boot(cloud, "lucky")
    cloud.wait(lambda: statuses(cloud) == {"lucky": "ACTIVE"}, within=20)
    assert servers(cloud)["lucky"]["OS-EXT-SRV-ATTR:host"] == HOST
    waiting = [work.kind for work in cloud.works() if work.wake_at > clock.now()]
    assert set(waiting) <= {"CleanHost", "CloseExport", "RealizePort", "RealizeNetwork", "RealizeGroup"}, waiting
    assert cloud.world.others["node2"].machines  # nobody has been there to remove them
    for part in (cloud.parts["compute2"], cloud.parts["network2"]):
        part.start()
        part.ready()
    cloud.wait(lambda: not cloud.world.others["node2"].machines, within=30)  # the host is back, and was cleaned
    audit.settled(cloud, within=40)
    delete_all(cloud)


def down(cloud: Parts, host: str) -> bool:
    told = cloud.ask("GET", "/compute/v2.1/os-services?binary=nova-compute")["services"]
    return any(one["host"] == host and one["state"] == "down" for one in told)


@pytest.mark.slow
def test_all_of_it_for_a_minute(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bus and then the database are away for a minute."""
    monkeypatch.setattr("tests.crash.test_outages.AWAY", 60.0)
    test_the_bus_is_away(rig)
    test_the_database_is_away(rig)
