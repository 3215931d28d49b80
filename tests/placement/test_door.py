"""The door of placement: providers are kept as said, and room is never given out twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pilvi import placement
from pilvi.kernel.errors import Conflict
from pilvi.kernel.ids import new_id
from pilvi.kernel.testing.cloud import Cloud
from pilvi.placement import Inventory
from pilvi.placement.service import check_used
from pilvi.placement.tables import Stock

HOST = "aaaaaaaa-0000-4000-8000-000000000001"


def ensure(cloud: Cloud, uuid: str = HOST, name: str = "host1", vcpus: int = 8, traits: tuple[str, ...] = ("COMPUTE_NODE",)) -> None:
    with cloud.program.db.transaction() as tx:
        placement.ensure_provider(tx, uuid, name, {"VCPU": Inventory(total=vcpus), "MEMORY_MB": Inventory(total=4096, reserved=512)}, set(traits))


def claim(cloud: Cloud, consumer: str, vcpus: int, provider: str = HOST) -> None:
    with cloud.program.db.transaction() as tx:
        placement.claim(
            tx, consumer=consumer, provider=provider, resources={"VCPU": vcpus, "MEMORY_MB": 256}, project_id="p1", user_id="u1"
        )


def rooms(cloud: Cloud) -> dict[str, placement.Room]:
    with cloud.program.db.transaction(write=False) as tx:
        return {room.name: room for room in placement.rooms(tx).values()}


def drift(cloud: Cloud) -> list[tuple[str, str, str, object]]:
    return list(check_used(cloud.program))


def generation(cloud: Cloud, uuid: str = HOST) -> int:
    return cloud.get(f"/placement/resource_providers/{uuid}", person="admin").json()["generation"]


def test_ensuring_the_same_provider_again_writes_nothing(cloud: Cloud) -> None:
    ensure(cloud)
    before = generation(cloud)
    ensure(cloud)
    assert generation(cloud) == before
    ensure(cloud, vcpus=16, traits=("COMPUTE_NODE", "CUSTOM_FAST"))
    assert generation(cloud) == before + 1
    room = rooms(cloud)["host1"]
    assert room.classes["VCPU"] == (16, 0, 0, 1.0)
    assert room.traits == {"COMPUTE_NODE", "CUSTOM_FAST"}


def test_a_claim_said_twice_is_one(cloud: Cloud) -> None:
    ensure(cloud)
    consumer = new_id()
    claim(cloud, consumer, 3)
    claim(cloud, consumer, 3)
    assert rooms(cloud)["host1"].classes["VCPU"] == (8, 0, 3, 1.0)
    claim(cloud, consumer, 5)
    assert rooms(cloud)["host1"].classes["VCPU"] == (8, 0, 5, 1.0)
    assert not drift(cloud)


def test_a_full_host_refuses_and_says_why(cloud: Cloud) -> None:
    ensure(cloud)
    claim(cloud, new_id(), 7)
    with pytest.raises(Conflict, match="7 of 8 are used, 2 more are wanted"):
        claim(cloud, new_id(), 2)
    with pytest.raises(Conflict, match="VGPU"), cloud.program.db.transaction() as tx:
        placement.claim(tx, consumer=new_id(), provider=HOST, resources={"VGPU": 1}, project_id="p", user_id="u")
    assert rooms(cloud)["host1"].classes["VCPU"][2] == 7
    assert not drift(cloud)


def test_many_at_once_never_take_more_than_there_is(cloud: Cloud) -> None:
    ensure(cloud, vcpus=10)

    def one(_: int) -> bool:
        try:
            claim(cloud, new_id(), 1)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(one, range(30)))
    assert sum(done) == 10
    assert rooms(cloud)["host1"].classes["VCPU"][2] == 10
    assert not drift(cloud)


def test_release_gives_back_and_may_be_said_twice(cloud: Cloud) -> None:
    ensure(cloud)
    consumer = new_id()
    claim(cloud, consumer, 4)
    for _ in range(2):
        with cloud.program.db.transaction() as tx:
            placement.release(tx, consumer)
    assert rooms(cloud)["host1"].classes["VCPU"][2] == 0
    with cloud.program.db.transaction(write=False) as tx:
        assert placement.allocations(tx, consumer) == {}


def test_a_move_hands_over_and_reassign_replaces(cloud: Cloud) -> None:
    other = "aaaaaaaa-0000-4000-8000-000000000002"
    ensure(cloud)
    ensure(cloud, other, "host2")
    server, migration = new_id(), new_id()
    claim(cloud, server, 2)
    for _ in range(2):
        with cloud.program.db.transaction() as tx:
            placement.move(tx, server, migration)
    claim(cloud, server, 2, provider=other)
    with cloud.program.db.transaction(write=False) as tx:
        assert placement.allocations(tx, migration) == {HOST: {"VCPU": 2, "MEMORY_MB": 256}}
    with cloud.program.db.transaction() as tx:
        placement.reassign(tx, server, HOST, {"VCPU": 6})
    found = rooms(cloud)
    assert (found["host1"].classes["VCPU"][2], found["host2"].classes["VCPU"][2]) == (8, 0)
    assert not drift(cloud)


def test_rooms_are_true_after_a_rollback(cloud: Cloud) -> None:
    ensure(cloud)
    tx = cloud.program.db.begin()
    placement.claim(tx, consumer=new_id(), provider=HOST, resources={"VCPU": 8}, project_id="p", user_id="u")
    assert {room.name: room for room in placement.rooms(tx).values()}["host1"].classes["VCPU"][2] == 8
    tx.rollback()
    assert rooms(cloud)["host1"].classes["VCPU"][2] == 0


def test_an_inventory_in_use_stays(cloud: Cloud) -> None:
    ensure(cloud)
    claim(cloud, new_id(), 1)
    with pytest.raises(Conflict, match="in use"), cloud.program.db.transaction() as tx:
        placement.ensure_provider(tx, HOST, "host1", {"VCPU": Inventory(total=8)}, set())
    with pytest.raises(Conflict, match="allocations"), cloud.program.db.transaction() as tx:
        placement.remove_provider(tx, HOST)


def test_removed_providers_are_gone(cloud: Cloud) -> None:
    ensure(cloud)
    for _ in range(2):
        with cloud.program.db.transaction() as tx:
            placement.remove_provider(tx, HOST)
    assert rooms(cloud) == {}


def test_the_check_finds_and_mends_drift(cloud: Cloud) -> None:
    ensure(cloud)
    claim(cloud, new_id(), 3)
    with cloud.program.db.transaction() as tx:
        tx.update(Stock, Stock.c.resource_class == "VCPU", used=5)
    ((kind, subject, sentence, mend),) = drift(cloud)
    assert (kind, subject) == ("inventory drift", HOST)
    assert "5 are noted as used, but 3 are allocated" in sentence
    mend()
    assert not drift(cloud)
    assert rooms(cloud)["host1"].classes["VCPU"][2] == 3
