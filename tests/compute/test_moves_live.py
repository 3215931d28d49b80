"""Live migration: the guest runs on, whatever happens; aborted, failed or won over by a deletion, nothing is left behind."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pilvi.compute.drivers import Arrival
from pilvi.compute.operations import stories
from pilvi.compute.workflows.live_migrate import LiveMigrate
from tests.compute.conftest import SERVERS, Nova
from tests.compute.hosts import Host, add_host, host_of, last_action, migrations, row
from tests.compute.moved import exports, full, nothing_is_left, whole

AUTO = {"host": None, "block_migration": "auto"}


def started(nova: Nova, ref: str, body: Any = AUTO, **options: Any) -> None:
    nova.act(ref, "os-migrateLive", body, person="admin", **options)


def held(nova: Nova, ref: str) -> dict[str, Any]:
    """A migration under way that does not end by itself, once it runs."""
    nova.driver.world.hold_moves = True
    started(nova, ref)
    return nova.wait(lambda: next((one for one in under_way(nova, ref) if one["status"] == "running" and one["memory_total_bytes"]), None))


def under_way(nova: Nova, ref: str) -> list[dict[str, Any]]:
    return nova.get(f"{SERVERS}/{ref}/migrations", person="admin").json()["migrations"]


@pytest.mark.parametrize("body", [AUTO, {"host": "node2", "block_migration": True}])
def test_a_running_guest_moves_and_notices_nothing(nova: Nova, other: Host, body: Any) -> None:
    ref, volume = full(nova)
    was = nova.show(ref)
    memory, since = nova.machines[ref].memory, nova.machines[ref].since
    started(nova, ref, body)
    shown = nova.until(ref, "ACTIVE")
    assert shown["OS-EXT-SRV-ATTR:host"] == "node2"
    whole(nova, ref, volume, "node2", was)
    assert (other.machines[ref].memory, other.machines[ref].since) == (memory, since)
    assert migrations(nova, ref) == [("live-migration", "completed")]
    (event,) = last_action(nova, ref, "live-migration")["events"]
    assert (event["result"], event["host"]) == ("Success", "node2")
    started(nova, ref)
    nova.wait(lambda: host_of(nova, ref) == "node1")
    whole(nova, ref, volume, "node1", was)
    assert nova.machines[ref].memory == memory


def test_disks_on_shared_storage_are_not_copied(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    was, memory = nova.show(ref), nova.machines[ref].memory
    started(nova, ref, {"host": None, "block_migration": False}, answers=400)
    for world in (nova.driver.world, other.world):
        world.storage = "one"
    for name in ("node1", "node2"):
        nova.wait(lambda name=name: row(nova, name).facts.storage == "one")  # type: ignore[union-attr]
    told = nova.act(ref, "os-migrateLive", {"host": "node2", "block_migration": True}, answers=400, person="admin")
    assert "shares storage with node1" in told.json()["badRequest"]["message"]
    started(nova, ref, {"host": None, "block_migration": False})
    nova.wait(lambda: host_of(nova, ref) == "node2")
    whole(nova, ref, volume, "node2", was)
    assert other.machines[ref].memory == memory
    assert not any(verb == "ensure_image" for verb, _ in other.driver.faults.told), "no image is fetched for disks that are there"
    started(nova, ref)
    nova.wait(lambda: host_of(nova, ref) == "node1")
    whole(nova, ref, volume, "node1", was)


def test_its_steps_can_be_traced(nova: Nova, other: Host) -> None:
    ref, _ = full(nova)
    started(nova, ref)
    nova.wait(lambda: host_of(nova, ref) == "node2")
    nova.until(ref, "ACTIVE")
    with nova.cloud.program.db.transaction(write=False) as tx:
        story = stories.story(tx, ref)
    *_, spans = [request["spans"] for request in story["requests"]]
    steps = [step for step in LiveMigrate.steps if step.kind == "effect"]
    assert [span["name"] for span in spans] == [step.title for step in steps]
    assert {span["outcome"] for span in spans} == {"ok"}
    assert {span["host"] for span in spans} == {"node2"}


def test_a_paused_guest_arrives_paused(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    was = nova.show(ref)
    nova.act(ref, "pause")
    nova.until(ref, "PAUSED")
    started(nova, ref)
    nova.wait(lambda: host_of(nova, ref) == "node2")
    nova.until(ref, "PAUSED")
    whole(nova, ref, volume, "node2", was)
    assert other.machines[ref].power == "paused"


def test_one_sees_how_far_it_is(nova: Nova, other: Host) -> None:
    ref, _ = full(nova)
    one = held(nova, ref)
    assert nova.show(ref)["status"] == "MIGRATING"
    assert (one["source_compute"], one["dest_compute"], one["server_uuid"]) == ("node1", "node2", ref)
    assert one["memory_total_bytes"] == 512 << 20
    assert one["memory_processed_bytes"] + one["memory_remaining_bytes"] == 512 << 20
    assert one["disk_total_bytes"] == 1 << 30
    path = f"{SERVERS}/{ref}/migrations/{one['id']}"
    assert nova.get(path, person="admin").json()["migration"].keys() == one.keys()
    assert "user_id" not in nova.get(path, person="admin", version="compute 2.79").json()["migration"]
    assert "uuid" not in nova.get(path, person="admin", version="compute 2.58").json()["migration"]
    assert nova.get(path, person="admin", version="compute 2.22").status == 404
    assert nova.get(path).status == 403
    (seen,) = nova.get("/compute/v2.1/os-migrations", person="admin", status="running").json()["migrations"]
    assert seen["links"][0]["href"].endswith(f"/migrations/{one['id']}")
    hidden = nova.get(f"{SERVERS}/{ref}/migrations", person="manager").json()["migrations"][0]
    assert (hidden["dest_compute"], hidden["source_compute"]) == (None, None)
    assert nova.post(f"{path}/action", {"force_complete": None}, person="admin").status == 202
    assert nova.post(f"{path}0/action", {"force_complete": None}, person="admin").status == 404
    nova.until(ref, "ACTIVE")  # though this world holds what nobody hurries
    assert nova.get(path, person="admin").status == 404
    assert under_way(nova, ref) == []
    assert nova.delete(path, person="admin").status == 409
    assert nova.show(ref)["OS-EXT-SRV-ATTR:host"] == "node2"


def test_aborted_the_server_stays(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    was, memory = nova.show(ref), nova.machines[ref].memory
    one = held(nova, ref)
    assert nova.delete(f"{SERVERS}/{ref}/migrations/{one['id']}", person="admin", version="compute 2.23").status == 404
    assert nova.delete(f"{SERVERS}/{ref}/migrations/{one['id']}", person="admin").status == 202
    nova.until(ref, "ACTIVE")
    assert migrations(nova, ref) == [("live-migration", "cancelled")]
    whole(nova, ref, volume, "node1", was)
    assert nova.machines[ref].memory == memory


def test_aborted_before_it_copies(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    was = nova.show(ref)
    other.driver.faults.slow("ensure_disks", 0.8)
    started(nova, ref)
    one = nova.wait(lambda: next((one for one in under_way(nova, ref) if one["status"] == "preparing"), None))
    path = f"{SERVERS}/{ref}/migrations/{one['id']}"
    assert nova.delete(path, person="admin", version="compute 2.64").status == 400
    assert nova.post(f"{path}/action", {"force_complete": None}, person="admin").status == 400
    assert nova.delete(path, person="admin").status == 202
    nova.until(ref, "ACTIVE")
    assert migrations(nova, ref) == [("live-migration", "cancelled")]
    whole(nova, ref, volume, "node1", was)


@pytest.mark.parametrize(
    ("host", "verb"),
    [("node2", "share_disks"), ("node2", "ensure_image"), ("node2", "ensure_disks"), ("node2", "ensure_arrival"), ("node1", "migrate")],
)
def test_a_migration_that_fails_leaves_the_guest_running(nova: Nova, other: Host, host: str, verb: str) -> None:
    ref, volume = full(nova)
    was, memory = nova.show(ref), nova.machines[ref].memory
    driver = nova.driver if host == "node1" else other.driver
    driver.faults.fail(verb, "the road is closed", times=1)
    started(nova, ref)
    shown = nova.until(ref, "ACTIVE")
    assert shown["OS-EXT-SRV-ATTR:host"] == "node1"
    whole(nova, ref, volume, "node1", was)
    assert nova.machines[ref].memory == memory
    assert migrations(nova, ref) == [("live-migration", "error")]
    (event,) = last_action(nova, ref, "live-migration")["events"]
    assert (event["result"], event["details"]) == ("Error", "the road is closed")
    started(nova, ref)
    nova.wait(lambda: host_of(nova, ref) == "node2")
    whole(nova, ref, volume, "node2", was)


def test_a_host_that_refuses_says_why(nova: Nova, other: Host) -> None:
    ref, _ = full(nova)
    other.world.refuses = "no room at the inn"
    started(nova, ref)
    nova.wait(lambda: migrations(nova, ref) == [("live-migration", "error")])
    assert last_action(nova, ref, "live-migration")["events"][0]["details"] == "no room at the inn"


def test_an_agent_that_dies_in_the_middle_is_waited_for(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    was = nova.show(ref)
    other.driver.faults.slow("ensure_disks", 0.5, times=1)
    started(nova, ref)
    nova.wait(lambda: ("ensure_disks", ref) in other.driver.faults.told)
    other.stop()
    other.start()
    nova.until(ref, "ACTIVE", within=20)
    nova.wait(lambda: host_of(nova, ref) == "node2")
    whole(nova, ref, volume, "node2", was)


def leaving(nova: Nova, other: Host) -> str:
    """A server that is on its way from node2 to node1, and whose first host's agent then ends."""
    ref = nova.boot(person="admin", host="node2")
    other.world.hold_moves = True
    started(nova, ref)
    nova.wait(lambda: ("migrate", ref) in other.driver.faults.told)
    other.stop()
    return ref


def test_an_agent_that_ends_meanwhile_does_not_end_the_migration(nova: Nova, other: Host) -> None:
    ref = leaving(nova, other)
    memory = other.machines[ref].memory
    assert migrations(nova, ref) == [("live-migration", "running")]
    other.world.hold_moves = False
    other.start()
    nova.until(ref, "ACTIVE", within=25)
    assert (host_of(nova, ref), nova.machines[ref].memory) == ("node1", memory)
    nova.idle()
    assert not other.machines


def test_a_guest_that_arrived_is_found_where_it_is(nova: Nova, other: Host) -> None:
    ref = leaving(nova, other)
    memory = other.machines[ref].memory
    other.world.hold_moves = False
    assert other.driver.migrate(ref, Arrival(uri="fake://node1", disks=["root"])).state == "done"
    nova.until(ref, "ACTIVE", within=25)
    assert (host_of(nova, ref), nova.machines[ref].memory) == ("node1", memory)
    assert migrations(nova, ref) == [("live-migration", "completed")]
    assert ref in other.world.disks
    other.start()
    nova.wait(lambda: ref not in other.world.disks)


@pytest.mark.parametrize(("host", "verb"), [("node2", "ensure_disks"), ("node1", "migrate"), ("node2", "ensure_machine")])
def test_delete_wins_over_a_live_migration(nova: Nova, other: Host, host: str, verb: str) -> None:
    ref, volume = full(nova)
    driver = nova.driver if host == "node1" else other.driver
    if verb == "migrate":
        nova.driver.world.hold_moves = True
    else:
        driver.faults.slow(verb, 0.7)
    started(nova, ref)
    nova.wait(lambda: (verb, ref) in driver.faults.told)
    assert nova.delete(f"{SERVERS}/{ref}", person="admin").status == 204
    nova.gone(ref)
    nothing_is_left(nova, volume)


def differs(nova: Nova, other: Host, **facts: Any) -> None:
    """Have the second host tell other facts of itself."""
    tell = type(other.driver).facts
    other.driver.facts = lambda: msgspec.structs.replace(tell(other.driver), **facts)  # type: ignore[method-assign]
    name, wanted = next(iter(facts.items()))
    nova.wait(lambda: getattr(row(nova, "node2").facts, name) == wanted)  # type: ignore[union-attr]


CPU = {"arch": "x86_64", "model": "ancient", "vendor": "fake", "features": []}


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"hypervisor": "other"}, "it runs other, and the server's machine is of fake"),
        ({"version": 999_000}, "its fake 0.999.0 is older than 1.0.0, with which the server runs"),
        ({"virt_type": "kvm"}, "it runs machines with kvm, and the server runs with fake"),
        ({"cpu": CPU}, "its processor (ancient) lacks sse2"),
        ({"cpu": {**CPU, "vendor": "else"}}, "its processor is of else, the server runs on one of fake"),
        ({"cpu": {**CPU, "arch": "aarch64"}}, "its architecture is aarch64, the server's is x86_64"),
        ({"free_disk_gib": 0}, "the server's disks take up to 1 GiB, 0 GiB are free on its file system"),
    ],
)
def test_each_host_says_why_not(nova: Nova, other: Host, facts: dict[str, Any], sentence: str) -> None:
    ref = nova.boot(person="admin", host="node1")
    differs(nova, other, **facts)
    told = nova.act(ref, "os-migrateLive", {"host": "node2", "block_migration": "auto"}, answers=400, person="admin")
    assert f"Server {ref} cannot go to host node2: " in told.json()["badRequest"]["message"]
    assert sentence in told.json()["badRequest"]["message"]
    told = nova.act(ref, "os-migrateLive", AUTO, answers=400, person="admin").json()["badRequest"]["message"]
    assert "No valid host was found" in told
    assert f"node2: {sentence}" in told
    assert "(MoveFilter)" in told
    assert (nova.show(ref)["status"], migrations(nova, ref)) == ("ACTIVE", [])


def test_all_that_speaks_against_a_named_host_is_told(nova: Nova, other: Host) -> None:
    ref = nova.boot(person="admin", host="node1", flavorRef="small")
    differs(nova, other, vcpus=1, version=1, cpu=CPU)
    nova.wait(lambda: row(nova, "node2").facts.vcpus == 1)  # type: ignore[union-attr]
    told = nova.act(ref, "os-migrateLive", {"host": "node2", "block_migration": "auto"}, answers=400, person="admin")
    message = told.json()["badRequest"]["message"]
    assert "is older than" in message
    assert "need 2 VCPU" in message


def test_a_wire_that_is_not_there(make_nova: Any) -> None:
    nova = make_nova(network={"bridge_mappings": {"public": "", "blue": ""}})
    other = add_host(nova, "node2")
    from pilvi.network.tables import Agent

    body = {"name": "blue", "provider:network_type": "flat", "provider:physical_network": "blue"}
    made = nova.cloud.post("/network/v2.0/networks", {"network": {**body, "shared": True}}, person="admin")
    assert made.status == 201, made
    ref = made.json()["network"]["id"]
    subnet = {"network_id": ref, "cidr": "10.1.0.0/24", "ip_version": 4}
    assert nova.cloud.post("/network/v2.0/subnets", {"subnet": subnet}, person="admin").status == 201
    server = nova.boot(person="admin", host="node1", networks=[{"uuid": ref}])
    nova.cloud.program.db.run(lambda tx: tx.update(Agent, Agent.c.host == "node2", facts={"bridge_mappings": {"public": ""}}))
    told = nova.act(server, "os-migrateLive", AUTO, answers=400, person="admin").json()["badRequest"]["message"]
    assert "node2: it does not reach the physical network blue (MoveFilter)" in told
    other.stop()


def test_a_host_without_a_network_agent(nova: Nova, other: Host) -> None:
    from pilvi.kernel import clock
    from pilvi.network.tables import Agent

    ref, _ = full(nova)
    nova.cloud.program.db.run(lambda tx: tx.update(Agent, Agent.c.host == "node2", heartbeat_at=clock.now() - 1000))
    told = nova.act(ref, "os-migrateLive", AUTO, answers=400, person="admin").json()["badRequest"]["message"]
    assert "node2: its network agent has not reported for 1000 s" in told


@pytest.mark.parametrize(
    ("version", "body", "answers"),
    [
        ("2.1", {"host": None, "block_migration": True, "disk_over_commit": False}, 202),
        ("2.1", {"host": None, "block_migration": False, "disk_over_commit": False}, 400),
        ("2.24", {"host": None, "block_migration": "auto", "disk_over_commit": False}, 400),
        ("2.25", {"host": None, "block_migration": "auto", "disk_over_commit": False}, 400),
        ("2.25", {"host": None, "block_migration": "auto"}, 202),
        ("2.25", {"block_migration": "auto"}, 400),
        ("2.25", {"host": None}, 400),
        ("2.30", {"host": "node2", "block_migration": "auto", "force": True}, 202),
        ("2.30", {"host": None, "block_migration": "auto", "force": True}, 400),
        ("2.67", {"host": "node2", "block_migration": "auto", "force": "maybe"}, 400),
        ("2.68", {"host": "node2", "block_migration": "auto", "force": False}, 400),
        ("2.96", {"host": "nowhere", "block_migration": "auto"}, 400),
        ("2.96", {"host": "node1", "block_migration": "auto"}, 400),
        ("2.96", {"host": "a b", "block_migration": "auto"}, 400),
    ],
)
def test_the_request_in_each_version(nova: Nova, other: Host, version: str, body: dict[str, Any], answers: int) -> None:
    ref = nova.boot(person="admin", host="node1")
    nova.act(ref, "os-migrateLive", body, answers=answers, person="admin", version=f"compute {version}")
    nova.until(ref, "ACTIVE")
    assert host_of(nova, ref) == ("node2" if answers == 202 else "node1")


def test_force_asks_no_filter_but_what_cannot_be(nova: Nova, other: Host) -> None:
    group = nova.post("/compute/v2.1/os-server-groups", {"server_group": {"name": "apart", "policy": "anti-affinity"}}, person="admin")
    hints = {"os:scheduler_hints": {"group": group.json()["server_group"]["id"]}}
    image, refs = nova.image(), []
    for _ in range(2):
        made = nova.post(SERVERS, {"server": nova.body(imageRef=image), **hints}, person="admin")
        refs.append(made.json()["server"]["id"])
        nova.until(refs[-1], "ACTIVE")
    here, there = host_of(nova, refs[0]), host_of(nova, refs[1])
    assert here != there
    body = {"host": there, "block_migration": "auto"}
    nova.act(refs[0], "os-migrateLive", body, answers=400, person="admin")
    nova.act(refs[0], "os-migrateLive", body | {"force": True}, person="admin", version="compute 2.67")
    nova.wait(lambda: host_of(nova, refs[0]) == there)


def test_while_it_moves_ports_and_volumes_are_on_both_hosts(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    held(nova, ref)
    (port,) = nova.ports()
    assert (port["binding:host_id"], port["status"]) == ("node1", "ACTIVE")
    wires = nova.cloud.program.parts["network.world"]
    assert all(port["id"] in wires[host].ports for host in ("node1", "node2"))
    assert exports(nova, volume) == ["node1", "node2"]
    nova.driver.world.hold_moves = False
    nova.until(ref, "ACTIVE")
