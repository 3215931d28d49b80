"""Who shares an image, or fills a namespace, that another deletes in the same moment leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.image.service import SERVICE
from pilvi.image.settings import Settings
from pilvi.image.tables import Association, Definition, Member, Tag
from pilvi.kernel.ids import new_hex
from pilvi.kernel.testing.cloud import Cloud
from tests.kernel.races import Made, Race, Two, at_once, left, post, programs, put, run, statuses

V2 = "/image/v2"
IMAGE, NAMESPACE = V2 + "/images/<image>", V2 + "/metadefs/namespaces/<namespace>"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with programs(tmp_path, [SERVICE], {"image": Settings}, image={"store": "memory", "image_member_quota": 4}) as clouds:
        yield clouds


def _world(cloud: Cloud) -> Made:
    image = cloud.post(f"{V2}/images", {"name": "one", "visibility": "shared"}, person="admin").json()["id"]
    made = {"image": image, "namespace": new_hex()}
    assert cloud.post(f"{V2}/metadefs/namespaces", {"namespace": made["namespace"]}, person="admin").status == 201
    return made


RACES = {
    "member of an image": Race(IMAGE, post(IMAGE + "/members", member="<number>"), left(Member.c.image, "image")),
    "tag of an image": Race(IMAGE, put(IMAGE + "/tags/<number>"), left(Tag.c.image, "image")),
    "object of a namespace": Race(NAMESPACE, post(NAMESPACE + "/objects", name="<number>"), left(Definition.c.namespace, "namespace")),
    "tags of a namespace": Race(NAMESPACE, post(NAMESPACE + "/tags", tags=[{"name": "t"}]), left(Definition.c.namespace, "namespace")),
    "type for a namespace": Race(NAMESPACE, post(NAMESPACE + "/resource_types", name="<number>"), left(Association.c.namespace, "namespace")),
    "object of a namespace that is renamed": Race(
        NAMESPACE, post(NAMESPACE + "/objects", name="<number>"), left(Definition.c.namespace, "namespace"),
        put(NAMESPACE, namespace="new <namespace>"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RACES)
def test_nothing_is_left_behind(two: Two, name: str) -> None:
    run(two, RACES[name], _world)


def test_what_many_add_at_once_is_all_there(two: Two) -> None:
    made = _world(two[0])
    place = f"{V2}/images/{made['image']}"
    assert statuses(at_once(two, lambda cloud, number: cloud.put(f"{place}/tags/{number}", person="admin"), times=1)) == {204: 16}
    assert len(two[1].get(place, person="admin").json()["tags"]) == 16
    told = at_once(two, lambda cloud, number: cloud.post(f"{place}/members", {"member": str(number)}, person="admin"), times=1)
    assert statuses(told)[200] == 4, "the quota of members"


def test_a_protected_image_stays(two: Two) -> None:
    """Or it is gone before it is protected."""
    patch = [{"op": "replace", "path": "/protected", "value": True}]
    say = {"person": "admin", "headers": {"content-type": "application/openstack-images-v2.1-json-patch"}}
    for _ in range(5):
        place = f"{V2}/images/{_world(two[0])['image']}"
        told = at_once(two, lambda cloud, number, place=place: (
            number // 2 % 2, cloud.delete(place, person="admin") if number // 2 % 2 else cloud.patch(place, patch, **say)), times=1)  # fmt: skip
        counted = statuses([one for _, one in told])
        gone = two[0].get(place, person="admin").status == 404
        assert gone != any(one.status == 200 for deleted, one in told if not deleted), counted
