"""Volume types, qos specs, group types, groups and snapshots stay while something is made of them, or nothing is made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilvi.block_storage.service import SERVICE
from pilvi.block_storage.settings import Settings
from pilvi.block_storage.tables.groups import Group
from pilvi.block_storage.tables.types import DefaultType, TypeAccess, TypeEncryption, VolumeType
from pilvi.block_storage.tables.volumes import Volume
from pilvi.kernel.ids import new_hex
from pilvi.kernel.testing.cloud import Cloud
from tests.kernel.races import Made, Race, Two, at_once, left, post, programs, put, rows, run, statuses

V3, VERSION = "/volume/v3", "volume 3.71"
TYPE, QOS, GROUP_TYPE = V3 + "/types/<type>", V3 + "/qos-specs/<qos>", V3 + "/group_types/<group_type>"
QUOTA = {"volumes": -1, "gigabytes": -1, "groups": -1}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    settings = {"driver": "fake", "quota": QUOTA}
    with programs(tmp_path, [SERVICE], {"block_storage": Settings}, second=["api"], block_storage=settings) as clouds:
        yield clouds


def _make(cloud: Cloud, path: str, name: str, body: dict[str, Any]) -> str:
    told = cloud.post(f"{V3}/{path}", {name: body}, person="admin", version=VERSION)
    assert told.status in (200, 202), told
    return str(told.json()[name]["id"])


def _world(cloud: Cloud) -> Made:
    name = new_hex()
    made = {
        "type": _make(cloud, "types", "volume_type", {"name": name, "os-volume-type-access:is_public": False}),
        "other_type": _make(cloud, "types", "volume_type", {"name": f"other {name}"}),
        "qos": _make(cloud, "qos-specs", "qos_specs", {"name": name}),
        "group_type": _make(cloud, "group_types", "group_type", {"name": name}),
    }
    made["group"] = _make(cloud, "groups", "group", {"group_type": made["group_type"], "volume_types": [made["other_type"]]})
    return made


def _new_group(cloud: Cloud, made: Made, number: int) -> Any:
    body = {"group": {"group_type": made["free_group_type"], "volume_types": [made["other_type"]]}}
    return cloud.post(f"{V3}/groups", body, person="admin", version=VERSION)


ENCRYPTION = {"provider": "luks", "control_location": "front-end"}
RACES = {
    "project that may use a type": Race(TYPE, post(TYPE + "/action", addProjectAccess={"project": "<number>"}), left(TypeAccess.c.type_id, "type")),
    "encryption of a type": Race(TYPE, post(TYPE + "/encryption", encryption=ENCRYPTION), left(TypeEncryption.c.type_id, "type")),
    "type that is a project's default": Race(
        TYPE, put(V3 + "/default-types/<number>", version="volume 3.62", default_type={"volume_type": "<type>"}), left(DefaultType.c.type_id, "type")
    ),
    "volume of a type": Race(TYPE, post(V3 + "/volumes", volume={"size": 1, "volume_type": "<type>"}), left(Volume.c.volume_type_id, "type")),
    "qos specs of a type": Race(
        QOS, lambda cloud, made, _: cloud.get(f"{V3}/qos-specs/{made['qos']}/associate?vol_type_id={made['type']}", person="admin"),
        left(VolumeType.c.qos_specs_id, "qos"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RACES)
def test_nothing_is_left_behind(two: Two, name: str) -> None:
    run(two, RACES[name], _world, version=VERSION)


def test_a_group_type_stays_while_it_has_groups(two: Two) -> None:
    def world(cloud: Cloud) -> Made:
        return _world(cloud) | {"free_group_type": _make(cloud, "group_types", "group_type", {"name": new_hex()})}

    at = V3 + "/group_types/<free_group_type>"
    run(two, Race(at, _new_group, left(Group.c.group_type_id, "free_group_type")), world, version=VERSION)


def test_a_group_that_goes_gets_no_volume(two: Two) -> None:
    """Else it waits for that volume to go."""
    for _ in range(5):
        made = _world(two[0])
        place = f"{V3}/groups/{made['group']}"
        body = {"volume": {"size": 1, "volume_type": made["other_type"], "group_id": made["group"]}}

        def act(cloud: Cloud, number: int, place: str = place, body: Any = body) -> Any:
            if number % 8 > 1:
                return cloud.post(f"{V3}/volumes", body, person="admin", version=VERSION)
            return cloud.post(f"{place}/action", {"delete": {"delete-volumes": False}}, person="admin", version=VERSION)

        counted = statuses(at_once(two, act, times=1))
        group = two[0].get(place, person="admin", version=VERSION)
        going = group.status == 404 or group.json()["group"]["status"] == "deleting"
        assert going != bool(rows(two[0], Volume.c.group_id == made["group"])), counted


def test_no_volume_is_made_from_a_snapshot_that_goes(two: Two) -> None:
    for _ in range(5):
        volume = _make(two[0], "volumes", "volume", {"size": 1})
        two[0].wait(lambda volume=volume: rows(two[0], Volume.c.id == volume, Volume.c.status == "available"))
        snapshot = _make(two[0], "snapshots", "snapshot", {"volume_id": volume})
        place = f"{V3}/snapshots/{snapshot}"
        two[0].wait(lambda place=place: two[0].get(place, person="admin").json()["snapshot"]["status"] == "available")

        def act(cloud: Cloud, number: int, place: str = place, snapshot: str = snapshot) -> Any:
            if number % 8 > 1:
                return cloud.post(f"{V3}/volumes", {"volume": {"size": 1, "snapshot_id": snapshot}}, person="admin", version=VERSION)
            return cloud.delete(place, person="admin", version=VERSION)

        statuses(at_once(two, act, times=1))
        two[0].wait(lambda: not rows(two[0], Volume.c.status == "creating"), within=30)
        assert not rows(two[0], Volume.c.status == "error")


def test_specs_that_are_written_at_once_are_all_there(two: Two) -> None:
    place = f"{V3}/types/{_world(two[0])['type']}/extra_specs"
    told = at_once(two, lambda cloud, number: cloud.put(f"{place}/{number}", {str(number): "x"}, person="admin", version=VERSION), times=1)
    assert statuses(told) == {200: 16}
    assert len(two[1].get(place, person="admin", version=VERSION).json()["extra_specs"]) == 16
