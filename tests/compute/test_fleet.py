"""Many fake hosts in one program: known, chosen, switched, silent; and what schedulers remember of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pilvi import compute, fleet
from pilvi.compute.conductor import Conductor
from pilvi.compute.drivers.fake import FakeHypervisor
from pilvi.compute.logic.explain import table
from pilvi.compute.scheduler import Scheduler
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.kernel import clock
from pilvi.kernel.errors import NoValidHost
from tests.compute.conftest import SERVERS, Nova

HOSTS = 20
AGGREGATES = "/compute/v2.1/os-aggregates"


@pytest.fixture
def nova(make_nova: Callable[..., Nova]) -> Nova:
    """A cloud of 20 hosts that have 8 CPUs each and no more servers than that."""
    made = make_nova(
        before=lambda program: program.parts.update({"compute.agents": fleet.begin}),
        compute={
            "fake": {"hosts": HOSTS, "vcpus": 8, "memory_mib": 16_384, "disk_gib": 100}, "cpu_ratio": 1.0,
            "quota": {"instances": -1, "cores": -1, "ram": -1},
        },
        network={"quotas": {"port": -1}},
    )  # fmt: skip
    made.wait(lambda: len(_known(made)) == HOSTS)
    return made


def _known(nova: Nova) -> list[ComputeHost]:
    return nova.cloud.program.db.run(lambda tx: tx.all(ComputeHost), write=False)


def _boot_many(nova: Nova, count: int, **fields: Any) -> list[dict[str, Any]]:
    """So many servers, once none is being built."""
    body = nova.body(imageRef=nova.image(), min_count=count, max_count=count, return_reservation_id=True, **fields)
    made = nova.post(SERVERS, {"server": body})
    assert made.status == 202, made
    ref = made.json()["reservation_id"]

    def built() -> list[dict[str, Any]]:
        found = nova.get(f"{SERVERS}/detail?reservation_id={ref}&all_tenants=1", person="admin").json()["servers"]
        return found if len(found) == count and all(one["status"] != "BUILD" for one in found) else []

    return nova.wait(built, within=60)


def test_servers_with_ports_that_come_at_once_spread_over_the_hosts(nova: Nova) -> None:
    network, spreads = nova.network(), []
    for _ in range(3):  # chance has a part in it: how often two choices come at the same moment
        servers = _boot_many(nova, HOSTS, networks=[{"uuid": network}])
        assert Counter(one["status"] for one in servers) == {"ACTIVE": HOSTS}
        hosts = {one["OS-EXT-SRV-ATTR:host"] for one in servers}
        assert hosts <= set(fleet.names(1, HOSTS))
        spreads.append(len(hosts))
        nova.wait(lambda: all(port["status"] == "ACTIVE" for port in nova.ports()))
        for one in servers:
            assert nova.delete(f"{SERVERS}/{one['id']}", person="admin").status == 204
        for one in servers:
            nova.gone(one["id"])
    assert sum(spreads) > 3 * (HOSTS * 3 // 4), f"{spreads}: one round may be unlucky, but not by much"
    assert sorted(spreads)[1] > HOSTS * 3 // 4, "two choices at once may take the same of the last free hosts, but not many"


def test_servers_that_come_one_after_the_other_spread_over_all_hosts(nova: Nova) -> None:
    built = [nova.boot() for _ in range(HOSTS)]  # at once, two may be given the same host: neither choice knows of the other
    assert sorted(nova.show(ref)["OS-EXT-SRV-ATTR:host"] for ref in built) == fleet.names(1, HOSTS)


def test_the_last_room_is_given_once_however_many_ask_at_once(nova: Nova) -> None:
    servers = _boot_many(nova, HOSTS * 8 + 5)
    assert Counter(one["status"] for one in servers) == {"ACTIVE": HOSTS * 8, "ERROR": 5}
    assert set(Counter(one["OS-EXT-SRV-ATTR:host"] for one in servers if one["status"] == "ACTIVE").values()) == {8}
    failed = next(one for one in servers if one["status"] == "ERROR")
    assert f"ResourceFilter refused {HOSTS} of {HOSTS} hosts" in failed["fault"]["message"]
    told = nova.cloud.program.db.run(lambda tx: compute.why(tx, failed["id"]), write=False)
    assert sorted(host for host, _, _ in told) == fleet.names(1, HOSTS)
    assert {sentence for _, _, sentence in told} == {"need 1 VCPU, have 8, free 0"}


def test_what_two_schedulers_remember_follows_every_switch_at_once(nova: Nova) -> None:
    program = nova.cloud.program
    schedulers = [Scheduler(program), Scheduler(program)]
    ref = nova.boot()
    names = fleet.names(1, HOSTS)

    def fitting(scheduler: Scheduler) -> set[str]:
        return {host for host, refused_by, _ in table(scheduler.examine(ref)) if not refused_by}

    def refused(scheduler: Scheduler) -> dict[str, str]:
        return {host: sentence for host, refused_by, sentence in table(scheduler.examine(ref)) if refused_by}

    assert all(fitting(one) and not refused(one) for one in schedulers)
    services = nova.get("/compute/v2.1/os-services?binary=nova-compute", person="admin").json()["services"]
    ids = {one["host"]: one["id"] for one in services}
    for host in names[3:]:
        changed = nova.put(f"/compute/v2.1/os-services/{ids[host]}", {"status": "disabled", "disabled_reason": "test"}, person="admin")
        assert changed.status == 200, changed
    for one in schedulers:
        assert fitting(one) == set(names[:3])
        assert refused(one) == dict.fromkeys(names[3:], "the host is disabled: test")
    made = nova.post(AGGREGATES, {"aggregate": {"name": "kept", "availability_zone": None}}, person="admin").json()["aggregate"]["id"]
    nova.post(f"{AGGREGATES}/{made}/action", {"add_host": {"host": names[0]}}, person="admin")
    assert all(names[0] in fitting(one) for one in schedulers)
    nova.post(f"{AGGREGATES}/{made}/action", {"set_metadata": {"metadata": {"filter_tenant_id": "others"}}}, person="admin")
    for one in schedulers:
        assert refused(one)[names[0]] == "the host is kept for other projects"
    nova.post(f"{AGGREGATES}/{made}/action", {"remove_host": {"host": names[0]}}, person="admin")
    assert all(fitting(one) == set(names[:3]) for one in schedulers)


def test_a_silent_host_gets_nothing_until_it_reports_again(nova: Nova) -> None:
    program = nova.cloud.program
    scheduler = Scheduler(program)
    ref = nova.boot()
    silent = fleet.names(1, HOSTS)[7]
    assert not any(one.filter for one in scheduler.examine(ref))
    program.parts["fleet"].silence(silent)
    long_ago = clock.now() - 1000
    program.db.run(lambda tx: tx.update(ComputeHost, ComputeHost.c.host == silent, heartbeat_at=long_ago))
    told = {host: sentence for host, refused_by, sentence in table(scheduler.examine(ref)) if refused_by == "ComputeFilter"}
    assert list(told) == [silent] and told[silent].startswith("the host is down: its agent has not reported for 100")
    program.parts["fleet"].silence(silent, speak=True)
    nova.wait(lambda: not any(one.filter for one in scheduler.examine(ref)))


def test_a_host_that_was_forgotten_comes_back_by_its_next_report(nova: Nova) -> None:
    services = nova.get("/compute/v2.1/os-services?binary=nova-compute", person="admin").json()["services"]
    gone = services[0]
    before = {row.host: row.heartbeat_at for row in _known(nova)}
    assert nova.delete(f"/compute/v2.1/os-services/{gone['id']}", person="admin").status == 204
    nova.wait(lambda: len(_known(nova)) == HOSTS)
    nova.wait(lambda: all(row.heartbeat_at > before[row.host] for row in _known(nova)))
    assert len(nova.get("/placement/resource_providers", person="admin", version="placement 1.39").json()["resource_providers"]) == HOSTS


def test_what_another_conductor_heard_of_a_host_is_overwritten_by_the_next_report(nova: Nova) -> None:
    program = nova.cloud.program
    conductors = [Conductor(program), Conductor(program)]
    then, later = (FakeHypervisor("other", vcpus=vcpus).facts() for vcpus in (4, 6))

    def vcpus() -> int:
        return program.db.run(lambda tx: tx.get(ComputeHost, "other"), write=False).facts.vcpus

    for facts, conductor in ((then, conductors[0]), (later, conductors[1])):
        conductor.heartbeat("other", facts, 1.0)
        assert vcpus() == facts.vcpus
    conductors[0].heartbeat("other", then, 1.0)
    nova.wait(lambda: vcpus() == 4)
    for conductor in conductors:
        conductor._end()


def test_choices_at_once_never_promise_more_than_there_is(nova: Nova) -> None:
    """Four schedulers with memories of their own, thirty servers, room for eight."""
    program = nova.cloud.program
    servers = _boot_many(nova, 30)
    for one in servers:
        program.db.run(lambda tx, ref=one["id"]: _free(tx, ref))
    names = fleet.names(1, HOSTS)
    program.db.run(lambda tx: tx.update(ComputeHost, ComputeHost.c.host.in_(names[1:]), disabled=True, version=ComputeHost.c.version + 1))
    schedulers = [Scheduler(program) for _ in range(4)]

    def choose(place: int) -> str:
        try:
            return schedulers[place % 4].choose(servers[place]["id"], []).host
        except NoValidHost:
            return ""

    with ThreadPoolExecutor(8) as pool:
        found = Counter(pool.map(choose, range(30)))
    assert found == {names[0]: 8, "": 22}


def _free(tx: Any, server_id: str) -> None:
    from pilvi import placement
    from pilvi.compute.tables.servers import Server

    placement.release(tx, server_id)
    tx.update(Server, Server.c.id == server_id, host=None, node=None)
