"""Two programs on one database, eight threads in each: nothing is given twice, nothing is run twice, nothing is overrun."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilvi.block_storage.service import SERVICE as BLOCK_STORAGE
from pilvi.block_storage.settings import Settings as BlockStorageSettings
from pilvi.kernel.db import Database, Key, Row
from pilvi.kernel.errors import PilviError
from pilvi.kernel.testing.cloud import Cloud, Told
from pilvi.kernel.workflows import Worker
from pilvi.kernel.workflows.store import Work
from pilvi.network.service import SERVICE as NETWORK
from pilvi.network.settings import Settings as NetworkSettings
from pilvi.placement.service import SERVICE as PLACEMENT
from pilvi.placement.settings import Settings as PlacementSettings
from pilvi.placement.tables import Stock
from tests.kernel import things
from tests.kernel.races import Two, at_once, programs, statuses

SECTIONS: dict[str, type] = {"placement": PlacementSettings, "network": NetworkSettings, "block_storage": BlockStorageSettings}


class Step(Row, table="things_steps"):
    """One running of a step: two of one name at once are one too many."""

    name: Key
    times: int = 0


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    things.WORLD.clear()
    things.TROUBLE.clear()
    services = [PLACEMENT, NETWORK, BLOCK_STORAGE, things.SERVICE]
    with programs(tmp_path, services, SECTIONS, network={"driver": "fake"}, block_storage={"driver": "fake"}) as clouds:
        yield clouds


def test_a_quota_is_not_overrun(two: Two) -> None:
    told = at_once(two, lambda cloud, _: cloud.post("/volume/v3/volumes", {"volume": {"size": 1}}), times=1)
    assert statuses(told) == {202: 10, 413: 6}, "ten volumes are the default limit"
    told = at_once(two, lambda cloud, number: cloud.post("/network/v2.0/routers", {"router": {"name": str(number)}}), times=1)
    assert statuses(told) == {201: 10, 409: 6}
    assert len(two[0].get("/network/v2.0/routers").json()["routers"]) == 10


def test_an_address_is_not_given_twice(two: Two) -> None:
    network = two[0].post("/network/v2.0/networks", {"network": {}}).json()["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/27", "enable_dhcp": False}
    assert two[0].post("/network/v2.0/subnets", {"subnet": subnet}).status == 201
    told = at_once(two, lambda cloud, _: cloud.post("/network/v2.0/ports", {"port": {"network_id": network}}))
    assert statuses(told) == {201: 29, 409: 3}, "32 addresses less the first, the last and the gateway"
    ports = two[1].get("/network/v2.0/ports").json()["ports"]
    assert len({port["fixed_ips"][0]["ip_address"] for port in ports}) == 29
    assert len({port["mac_address"] for port in ports}) == 29
    wished = {"port": {"network_id": network, "fixed_ips": [{"ip_address": "10.0.0.9"}]}}
    holder = next(port["id"] for port in ports if port["fixed_ips"][0]["ip_address"] == "10.0.0.9")
    assert two[0].delete(f"/network/v2.0/ports/{holder}").status == 204
    told = at_once(two, lambda cloud, _: cloud.post("/network/v2.0/ports", wished), times=1)
    assert statuses(told) == {201: 1, 409: 15}


def test_overlapping_subnets_are_not_made_at_once(two: Two) -> None:
    network = two[0].post("/network/v2.0/networks", {"network": {}}).json()["network"]["id"]
    body = {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.1.0.0/24"}}
    told = at_once(two, lambda cloud, _: cloud.post("/network/v2.0/subnets", body), times=1)
    assert statuses(told)[201] == 1, statuses(told)


def test_a_network_does_not_go_from_under_a_port(two: Two) -> None:
    for _ in range(6):
        network = two[0].post("/network/v2.0/networks", {"network": {}}).json()["network"]["id"]

        def act(cloud: Cloud, number: int, network: str = network) -> Told:
            if number % 3:
                return cloud.post("/network/v2.0/ports", {"port": {"network_id": network}})
            return cloud.delete(f"/network/v2.0/networks/{network}")

        told = at_once(two, act, times=1)
        gone = two[0].get(f"/network/v2.0/networks/{network}").status == 404
        made = [one for one in told if one.status == 201]
        assert statuses(told).keys() <= {201, 204, 404, 409}
        assert gone != bool(made), "either the network went, or it has ports"
        for one in made:
            assert two[1].delete(f"/network/v2.0/ports/{one.json()['port']['id']}").status == 204


def test_a_host_is_not_overcommitted(two: Two) -> None:
    say = {"person": "admin", "version": "placement 1.39"}
    provider = two[0].post("/placement/resource_providers", {"name": "host"}, **say).json()
    inventories = {"resource_provider_generation": provider["generation"], "inventories": {"VCPU": {"total": 10, "allocation_ratio": 1.0}}}
    told = two[0].put(f"/placement/resource_providers/{provider['uuid']}/inventories", inventories, **say)
    assert told.status == 200, told

    def claim(cloud: Cloud, number: int) -> Told:
        body = {
            "allocations": {provider["uuid"]: {"resources": {"VCPU": 1}}}, "consumer_generation": None, "consumer_type": "INSTANCE",
            "project_id": "1" * 32, "user_id": "2" * 32,
        }  # fmt: skip
        return cloud.put(f"/placement/allocations/00000000-0000-0000-0000-{number:012d}", body, **say)

    assert statuses(at_once(two, claim)) == {204: 10, 409: 22}
    usages = f"/placement/resource_providers/{provider['uuid']}/usages"
    assert two[1].get(usages, **say).json()["usages"] == {"VCPU": 10}
    allocations = two[0].get(f"/placement/resource_providers/{provider['uuid']}/allocations", **say).json()["allocations"]
    for consumer in allocations:  # of all who give it back at once one does
        told = at_once(two, lambda cloud, number, uuid=consumer: cloud.delete(f"/placement/allocations/{uuid}", **say), times=1)
        assert statuses(told) == {204: 1, 404: 15}
    with two[0].program.db.transaction(write=False) as tx:
        assert [stock.used for stock in tx.all(Stock)] == [0]


def test_claims_wait_for_each_other_but_never_in_a_circle(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL lets a circle stand for a second before it breaks it: a boot storm must not live on that."""
    say = {"person": "admin", "version": "placement 1.39"}
    hosts, amounts = [], {"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1}
    for name in ("north", "south"):
        host = two[0].post("/placement/resource_providers", {"name": name}, **say).json()
        body = {"resource_provider_generation": host["generation"], "inventories": {kind: {"total": 100_000} for kind in amounts}}
        assert two[0].put(f"/placement/resource_providers/{host['uuid']}/inventories", body, **say).status == 200
        hosts.append(host["uuid"])
    clashes: list[str] = []
    is_clash = Database.is_clash

    def watched(self: Database, error: Any) -> bool:
        if is_clash(self, error):
            clashes.append(str(error.orig).splitlines()[0])
        return is_clash(self, error)

    monkeypatch.setattr(Database, "is_clash", watched)

    def act(cloud: Cloud, number: int) -> Told:
        way = 1 if number % 2 else -1  # people name hosts and classes in any order
        place = f"/placement/allocations/00000000-0000-0000-0000-{number:012d}"
        body = {
            "allocations": {host: {"resources": dict([*amounts.items()][::way])} for host in hosts[::way]},
            "consumer_generation": None, "consumer_type": "INSTANCE", "project_id": "1" * 32, "user_id": "2" * 32,
        }  # fmt: skip
        assert cloud.put(place, body, **say).status == 204
        return cloud.delete(place, **say)

    assert statuses(at_once(two, act, times=8)).keys() == {204}
    assert clashes == []


def test_a_workflow_is_run_by_one_worker_at_a_time(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: Counter[str] = Counter()
    held: dict[str, str] = {}  # subject -> who runs its workflow
    crowds: list[str] = []
    lock = threading.Lock()

    def watched(run: Callable[[Worker, Work], None]) -> Callable[[Worker, Work], None]:
        def alone(worker: Worker, work: Work) -> None:
            with lock:
                if work.subject in held:
                    crowds.append(f"{work.kind} of {work.subject}: {held[work.subject]}, {worker.owner}")
                held[work.subject] = worker.owner
            try:
                run(worker, work)
            finally:
                with lock:
                    held.pop(work.subject, None)

        return alone

    def count(kind: str, step: str, moment: str) -> None:
        with lock:
            runs[f"{kind}.{step}.{moment}"] += 1

    monkeypatch.setattr(Worker, "_run_safely", watched(Worker._run_safely))
    for cloud in two:
        cloud.program.crash_hook = count
    told = at_once(two, lambda cloud, number: cloud.post("/things/v1/things", {"thing": {"name": str(number)}}))
    assert statuses(told) == {202: 32}
    ids = [one.json()["thing"]["id"] for one in told]
    database = two[0].program.db
    two[0].wait(lambda: database.run(lambda tx: tx.count(Work)) == 0, within=30)
    assert all(two[0].get(f"/things/v1/things/{one}").json()["thing"]["state"] == "ready" for one in ids)
    weights = [two[1].get(f"/things/v1/things/{one}", version="thing 1.2").json()["thing"]["weight"] for one in ids]
    assert weights == [1] * 32, "each step that writes ran once"
    assert runs["MakeThing.announce.after"] == 32
    assert crowds == []


def test_those_who_add_to_one_row_add_up(two: Two) -> None:
    with two[0].program.db.transaction() as tx:
        tx.insert(Step(name="sum"))

    def add(cloud: Cloud, _: int) -> None:
        def work(tx: Any) -> None:
            step = tx.lock(Step, "sum")
            assert step is not None
            time.sleep(0.001)
            tx.change(step, times=step.times + 1)

        cloud.program.db.run(work)

    at_once(two, add)
    with two[0].program.db.transaction(write=False) as tx:
        step = tx.get(Step, "sum")
    assert step is not None
    assert step.times == 32


def test_what_many_put_at_once_is_there_once(two: Two) -> None:
    def put(cloud: Cloud, number: int) -> None:
        cloud.program.db.run(lambda tx: tx.put(Step(name="put", times=number + 1)))

    at_once(two, put)
    with two[0].program.db.transaction(write=False) as tx:
        assert tx.count(Step, Step.c.name == "put", Step.c.times > 0) == 1


def test_what_two_transactions_take_crosswise_is_taken_in_the_end(two: Two) -> None:
    with two[0].program.db.transaction() as tx:
        tx.insert_all([Step(name="a"), Step(name="b")])

    def cross(cloud: Cloud, number: int) -> None:
        def work(tx: Any) -> None:
            for name in ("a", "b") if number % 2 else ("b", "a"):
                tx.update(Step, Step.c.name == name, times=Step.c.times + 1)
                time.sleep(0.001)

        cloud.program.db.run(work)

    at_once(two, cross, times=1)
    with two[0].program.db.transaction(write=False) as tx:
        assert [step.times for step in tx.all(Step)] == [16, 16]


def test_one_of_many_changes_wins(two: Two) -> None:
    with two[0].program.db.transaction() as tx:
        row = tx.insert(Step(name="prize"))

    def grab(cloud: Cloud, number: int) -> bool:
        def work(tx: Any) -> None:
            tx.change(msgspec.structs.replace(row), expect={"times": 0}, times=number + 1)

        try:
            cloud.program.db.run(work)
        except PilviError:
            return False
        return True

    assert sum(at_once(two, grab, times=1)) == 1
