"""Flavors, aggregates and server groups that go take what was added to them in the same moment along, or stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilvi.compute.tables.aggregates import AggregateHost
from pilvi.compute.tables.flavors import FlavorAccess
from pilvi.compute.tables.servers import Server
from pilvi.kernel.ids import new_hex
from pilvi.kernel.testing.cloud import Cloud
from tests.compute.conftest import SECTIONS, SERVICES, VERSION
from tests.kernel.races import Made, Race, Two, at_once, left, post, programs, rows, run, statuses

V2 = "/compute/v2.1"
FLAVOR, AGGREGATE, GROUP = V2 + "/flavors/<flavor>", V2 + "/os-aggregates/<aggregate>", V2 + "/os-server-groups/<group>"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    given: dict[str, Any] = {
        "compute": {"driver": "fake", "heartbeat": 0.2, "quota": {"instances": -1, "cores": -1, "ram": -1, "server_groups": -1}},
        "network": {"driver": "fake"}, "block_storage": {"driver": "fake"}, "image": {"store": "memory"},
    }  # fmt: skip
    with programs(tmp_path, SERVICES, SECTIONS, second=["api"], **given) as clouds:
        clouds[0].wait(lambda: _get(clouds[0], "os-hypervisors")["hypervisors"])
        yield clouds


def _get(cloud: Cloud, path: str) -> Any:
    return cloud.get(f"{V2}/{path}", person="admin", version=VERSION).json()


def _make(cloud: Cloud, path: str, name: str, body: dict[str, Any]) -> str:
    told = cloud.post(f"{V2}/{path}", {name: body}, person="admin", version=VERSION)
    assert told.status == 200, told
    return str(told.json()[name]["id"])


def _world(cloud: Cloud) -> Made:
    name = new_hex()
    size = {"vcpus": 1, "ram": 64, "disk": 1}
    image = cloud.post("/image/v2/images", {"name": name, "disk_format": "raw", "container_format": "bare"}, person="admin").json()["id"]
    data = {"data": b"x" * 1024, "headers": {"content-type": "application/octet-stream"}}
    assert cloud.put(f"/image/v2/images/{image}/file", person="admin", **data).status == 204
    return {
        "image": image,
        "flavor": _make(cloud, "flavors", "flavor", {"name": name, "os-flavor-access:is_public": False, **size}),
        "other_flavor": _make(cloud, "flavors", "flavor", {"name": f"other {name}", **size}),
        "aggregate": _make(cloud, "os-aggregates", "aggregate", {"name": name}),
        "group": _make(cloud, "os-server-groups", "server_group", {"name": name, "policy": "soft-affinity"}),
    }


SERVER = {"name": "one", "flavorRef": "<other_flavor>", "imageRef": "<image>", "networks": "none"}
RACES = {
    "project that may use a flavor": Race(
        FLAVOR, post(FLAVOR + "/action", addTenantAccess={"tenant": "<number>"}), left(FlavorAccess.c.flavorid, "flavor")
    ),
    "server in a group": Race(
        GROUP, post(V2 + "/servers", version=VERSION, server=SERVER, **{"os:scheduler_hints": {"group": "<group>"}}), left(Server.c.group_id, "group")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RACES)
def test_nothing_is_left_behind(two: Two, name: str) -> None:
    run(two, RACES[name], _world, version=VERSION)


def test_an_aggregate_with_hosts_stays(two: Two) -> None:
    add = post(AGGREGATE + "/action", add_host={"host": "first"})
    run(two, Race(AGGREGATE, add, lambda cloud, made: rows(cloud, AggregateHost.c.aggregate_id == int(made["aggregate"]))), _world, version=VERSION)


def test_a_host_is_in_one_zone(two: Two) -> None:
    for turn in range(5):
        refs = [_make(two[0], "os-aggregates", "aggregate", {"name": f"{turn} {zone}", "availability_zone": zone}) for zone in ("north", "south")]

        def act(cloud: Cloud, number: int, refs: list[str] = refs) -> Any:
            body = {"add_host": {"host": "first"}}
            return cloud.post(f"{V2}/os-aggregates/{refs[number // 2 % 2]}/action", body, person="admin", version=VERSION)

        assert statuses(at_once(two, act, times=1)) == {200: 1, 409: 15}
        for ref in refs:
            two[0].post(f"{V2}/os-aggregates/{ref}/action", {"remove_host": {"host": "first"}}, person="admin", version=VERSION)


def test_specs_that_are_written_at_once_are_all_there(two: Two) -> None:
    place = f"flavors/{_world(two[0])['flavor']}/os-extra_specs"
    say = {"person": "admin", "version": VERSION}
    told = at_once(two, lambda cloud, number: cloud.put(f"{V2}/{place}/k{number}", {f"k{number}": "x"}, **say), times=1)
    assert statuses(told) == {200: 16}
    assert len(_get(two[1], place)["extra_specs"]) == 16
