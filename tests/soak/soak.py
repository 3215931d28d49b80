"""The soak: users, deaths and faults at random, from one seed; then all must settle, agree, and go away without a trace."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from pilvi.compute.tables.migrations import Migration
from tests.crash.client import Client
from tests.crash.lives import HOST
from tests.crash.parts import PASSWORD, Parts
from tests.soak.users import IMAGES, PORTS, SERVERS, VOLUMES, Tally, User

FAULTS = (
    ("compute", "ensure_machine"), ("compute", "ensure_disks"), ("compute", "ensure_disk"), ("compute", "remove_disk"), ("compute", "ensure_nic"),
    ("compute", "remove_nic"), ("compute", "remove_machine"), ("compute", "ensure_snapshot"), ("compute", "ensure_image"),
    ("compute", "offer_disks"), ("compute", "fetch_disks"), ("compute", "withdraw_disks"), ("compute", "share_disks"), ("compute", "ensure_arrival"),
    ("compute", "migrate"),
    ("network", "ensure_port"), ("network", "remove_port"), ("network", "ensure_dhcp"),
    ("block_storage", "ensure_volume"), ("block_storage", "remove_volume"), ("block_storage", "ensure_export"), ("block_storage", "remove_export"),
    ("block_storage", "ensure_snapshot"), ("block_storage", "ensure_copy"),
)  # fmt: skip

WENT = ("finished", "confirmed", "reverted", "completed", "done")  # statuses of moves that succeeded


@dataclass
class Plan:
    """How much, how many, how wild."""

    operations: int
    seed: int
    users: int = 3
    kill_every: float = 1.5  # seconds between two deaths, about
    fault_every: float = 1.0
    report: list[str] = field(default_factory=list)


def run(cloud: Parts, plan: Plan) -> Tally:
    """Do it all; AssertionError with the seed and what is wrong."""
    dice = random.Random(plan.seed)
    cloud.furnish()
    tally = Tally(plan.operations)
    users = [_user(cloud, f"u{number}", random.Random(dice.random()), tally) for number in range(plan.users)]
    over = threading.Event()
    wild = threading.Thread(target=_be_wild, args=(cloud, plan, dice, over, tally), name="fate", daemon=True)
    began = time.monotonic()
    for user in users:
        user.start()
    wild.start()
    for user in users:
        user.join()
    over.set()
    wild.join(60)
    at = time.monotonic()
    cloud.ready()
    cloud.heal()
    assert not tally.wrong, "\n".join([f"seed {plan.seed}", *tally.wrong[:20]])
    cloud.settled()
    settled = time.monotonic()
    moves = _moves(cloud, tally)
    _check_quotas(cloud)
    _delete_all(cloud)
    cloud.settled()
    _nothing_is_left(cloud)
    deaths = sum(part.deaths for part in cloud.parts.values())
    plan.report.append(
        f"seed {plan.seed}: {tally.count} operations in {at - began:.0f} s, {deaths} deaths, slowest answer {tally.slowest:.2f} s "
        f"({tally.slow}); {moves}; settled after {settled - at:.1f} s, all deleted after {time.monotonic() - settled:.1f} s"
    )
    return tally


def _user(cloud: Parts, name: str, dice: random.Random, tally: Tally) -> User:
    """A member of a project of their own."""
    ask = cloud.client.ask
    project = ask("POST", "/identity/v3/projects", {"project": {"name": name}})["project"]["id"]
    body = {"name": name, "password": PASSWORD, "default_project_id": project}
    user = ask("POST", "/identity/v3/users", {"user": body})["user"]["id"]
    role = cloud.client.named("/identity/v3/roles", "roles", "member")
    ask("PUT", f"/identity/v3/projects/{project}/users/{user}/roles/{role}")
    client = Client(cloud.client.ports)
    client.log_in(name, PASSWORD, name)
    admin = Client(cloud.client.ports)
    admin.token = cloud.client.token
    return User(name, client, dice, tally, image=cloud.image, network=cloud.network, admin=admin, moves=len(cloud.shape.hosts) > 1)


def _be_wild(cloud: Parts, plan: Plan, dice: random.Random, over: threading.Event, tally: Tally) -> None:
    """Kill and start processes, and have verbs fail."""
    try:
        next_kill, next_fault = dice.uniform(0, plan.kill_every), dice.uniform(0, plan.fault_every)
        began = time.monotonic()
        while not over.wait(0.05):
            now = time.monotonic() - began
            if now > next_fault:
                next_fault = now + dice.uniform(0, 2 * plan.fault_every)
                service, verb = dice.choice(FAULTS)
                host = HOST if service == "block_storage" else dice.choice(cloud.shape.hosts)
                cloud.break_verb(service, verb, "an ill host", times=1, host=host)
            if now > next_kill:
                next_kill = now + dice.uniform(0, 2 * plan.kill_every)
                part = dice.choice(list(cloud.parts.values()))
                part.kill()
                if cloud.alone or dice.random() < 0.7:
                    part.start()
            for part in cloud.parts.values():
                if not part.alive and dice.random() < 0.05:
                    part.start()
    except BaseException as error:
        tally.blame(f"fate: {type(error).__name__}: {error}")
        raise


def _moves(cloud: Parts, tally: Tally) -> str:
    """How many servers went to another host, and how many of those that were to go did not."""
    told = cloud.program.db.run(lambda tx: tx.all(Migration), write=False)
    went = Counter(one.kind for one in told if one.status in WENT and one.dest_host not in (None, "", one.source_host))
    left = len([one for one in told if one.kind != "resize" and one.status not in WENT])
    assert sum(went.values()) or not tally.done["os-migrateLive: 202"], "no server has moved"
    return f"{', '.join(f'{count} {kind}s' for kind, count in sorted(went.items())) or 'no moves'}, {left} in vain"


def _check_quotas(cloud: Parts) -> None:
    """What each project is said to use is what it has."""
    ask = cloud.client.ask
    servers = ask("GET", f"{SERVERS}/detail?all_tenants=1")["servers"]
    volumes = ask("GET", f"{VOLUMES}/volumes/detail?all_tenants=1")["volumes"]
    snapshots = ask("GET", f"{VOLUMES}/snapshots/detail?all_tenants=1")["snapshots"]
    ports = ask("GET", PORTS)["ports"]
    for project in ask("GET", "/identity/v3/projects")["projects"]:
        mine = [one for one in servers if one["tenant_id"] == project["id"]]
        said = ask("GET", f"/compute/v2.1/os-quota-sets/{project['id']}/detail")["quota_set"]
        assert said["instances"]["in_use"] == len(mine), (project["name"], said["instances"], len(mine))
        assert said["cores"]["in_use"] == sum(one["flavor"]["vcpus"] for one in mine)
        disks = [one for one in volumes if one["os-vol-tenant-attr:tenant_id"] == project["id"]]
        shots = [one for one in snapshots if one["os-extended-snapshot-attributes:project_id"] == project["id"]]
        said = ask("GET", f"{VOLUMES}/os-quota-sets/{project['id']}?usage=true")["quota_set"]
        assert said["volumes"]["in_use"] == len(disks), (project["name"], said["volumes"], len(disks))
        assert said["gigabytes"]["in_use"] == sum(one["size"] for one in [*disks, *shots])
        said = ask("GET", f"/network/v2.0/quotas/{project['id']}/details.json")["quota"]
        assert said["port"]["used"] == len([one for one in ports if one["project_id"] == project["id"]])


def _delete_all(cloud: Parts) -> None:
    """Delete everything that users made, in the order in which it goes."""
    ask = cloud.client.ask
    for server in ask("GET", f"{SERVERS}?all_tenants=1")["servers"]:
        ask("DELETE", f"{SERVERS}/{server['id']}")
    cloud.idle(60)
    for backup in ask("GET", f"{VOLUMES}/backups?all_tenants=1")["backups"]:
        ask("DELETE", f"{VOLUMES}/backups/{backup['id']}")
    for snapshot in ask("GET", f"{VOLUMES}/snapshots?all_tenants=1")["snapshots"]:
        ask("DELETE", f"{VOLUMES}/snapshots/{snapshot['id']}")
    cloud.idle(60)
    for volume in ask("GET", f"{VOLUMES}/volumes?all_tenants=1")["volumes"]:
        ask("DELETE", f"{VOLUMES}/volumes/{volume['id']}")
    for port in ask("GET", PORTS)["ports"]:
        if not port["device_owner"].startswith("network:"):
            ask("DELETE", f"{PORTS}/{port['id']}")
    for image in ask("GET", f"{IMAGES}?limit=1000")["images"]:
        if image["id"] != cloud.image:
            ask("DELETE", f"{IMAGES}/{image['id']}")
    cloud.idle(60)


def _nothing_is_left(cloud: Parts) -> None:
    """Neither in the lists nor in the world."""
    ask = cloud.client.ask
    assert not ask("GET", f"{SERVERS}?all_tenants=1")["servers"]
    assert not ask("GET", f"{VOLUMES}/volumes?all_tenants=1")["volumes"]
    assert [one["device_owner"] for one in ask("GET", PORTS)["ports"]] == ["network:dhcp"]
    world = cloud.world
    for host, lies in world.hosts().items():
        assert not lies.machines, (host, list(lies.machines))
        assert not lies.disks, (host, list(lies.disks))
        assert not lies.snapshots
        assert not [*lies.folder.iterdir()], (host, [*lies.folder.iterdir()])
    assert not world.volumes.volumes
    for host, wiring in world.wires.items():
        assert not wiring.ports, (host, list(wiring.ports))
    stored = sorted(one.name for one in (cloud.folder / "images").iterdir() if not one.name.startswith("."))
    assert stored == [cloud.image]
