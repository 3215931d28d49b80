"""Images by compute's older API."""

from __future__ import annotations

from typing import Any

from tests.compute.conftest import Nova

IMAGES = "/compute/v2.1/images"
OLD: dict[str, Any] = {"version": "compute 2.35"}
SERVER = "0b3b1b2a-1b1a-4b3a-8b1a-1b2a3b4c5d6e"


def own(nova: Nova, **fields: Any) -> str:
    made = nova.cloud.post("/image/v2/images", {"name": "mine", "disk_format": "raw", "container_format": "bare", **fields})
    assert made.status == 201, made
    return made.json()["id"]


def found(nova: Nova, **query: Any) -> list[str]:
    told = nova.get(IMAGES, **{**OLD, **query})
    assert told.status == 200, told
    return [one["id"] for one in told.json()["images"]]


def test_an_image_in_novas_words(nova: Nova) -> None:
    ref = nova.image(name="cirros", min_ram=64, min_disk=1, instance_uuid=SERVER)
    shown = nova.get(f"{IMAGES}/{ref}", **OLD).json()["image"]
    assert (shown["status"], shown["progress"], shown["OS-EXT-IMG-SIZE:size"], shown["minRam"], shown["minDisk"]) == ("ACTIVE", 100, 1 << 20, 64, 1)
    assert shown["metadata"] == {"instance_uuid": SERVER}
    assert shown["server"]["id"] == SERVER
    assert [link["rel"] for link in shown["links"]] == ["self", "bookmark", "alternate"]
    assert nova.get(f"{IMAGES}/detail", **OLD).json() == {"images": [shown]}
    (brief,) = nova.get(IMAGES, **OLD).json()["images"]
    assert brief == {name: shown[name] for name in ("id", "name", "links")}
    queued = own(nova)
    assert nova.get(f"{IMAGES}/{queued}", **OLD).json()["image"]["status"] == "SAVING"
    assert nova.get(IMAGES, version="compute 2.36").status == 404


def test_lists_are_narrowed_and_paged(nova: Nova) -> None:
    ready, queued = nova.image(name="ready", min_ram=64, instance_uuid=SERVER), own(nova, name="queued", colour="blue")
    assert found(nova) == [queued, ready]
    assert found(nova, name="ready") == found(nova, status="ACTIVE") == found(nova, minRam=64) == [ready]
    assert found(nova, server=f"http://cloud.test/servers/{SERVER}") == [ready]
    assert found(nova, status="SAVING") == found(nova, **{"property-colour": "blue"}) == [queued]
    assert found(nova, status="nonsense") == found(nova, **{"changes-since": "2999-01-01T00:00:00Z"}) == []
    page = nova.get(IMAGES, limit=1, **OLD).json()
    assert f"marker={queued}" in page["images_links"][0]["href"]
    assert found(nova, limit=1, marker=queued) == [ready]
    assert found(nova, person="stranger") == [ready]
    for wrong in ({"marker": "nobody"}, {"limit": -1}, {"minDisk": "much"}, {"changes-since": "yesterday"}):
        assert nova.get(IMAGES, **{**OLD, **wrong}).status == 400, wrong


def test_deleting(nova: Nova) -> None:
    ref, public = own(nova), nova.image()
    assert nova.delete(f"{IMAGES}/{ref}", person="stranger", **OLD).status == 404
    assert nova.delete(f"{IMAGES}/{ref}", person="reader", **OLD).status == 403
    assert nova.delete(f"{IMAGES}/{public}", person="stranger", **OLD).status == 403
    assert nova.delete(f"{IMAGES}/{ref}", **OLD).status == 204
    assert nova.get(f"{IMAGES}/{ref}", **OLD).status == 404
    assert nova.delete(f"{IMAGES}/{ref}", **OLD).status == 404


def test_metadata(nova: Nova) -> None:
    path = f"{IMAGES}/{own(nova, a='1')}/metadata"
    last = {"version": "compute 2.38"}
    assert nova.get(path, **last).json() == {"metadata": {"a": "1"}}
    assert nova.post(path, {"metadata": {"b": "2"}}, **last).json() == {"metadata": {"a": "1", "b": "2"}}
    assert nova.put(f"{path}/b", {"meta": {"b": "3"}}, **last).json() == {"meta": {"b": "3"}}
    assert nova.get(f"{path}/b", **last).json() == {"meta": {"b": "3"}}
    assert nova.put(f"{path}/b", {"meta": {"c": "3"}}, **last).status == 400
    assert nova.delete(f"{path}/b", **last).status == 204
    assert nova.delete(f"{path}/b", **last).status == 404
    assert nova.get(f"{path}/b", **last).status == 404
    assert nova.put(path, {"metadata": {"z": "9"}}, **last).json() == {"metadata": {"z": "9"}}
    many = {f"k{number}": "v" for number in range(129)}
    assert nova.put(path, {"metadata": many}, **last).status == 403
    assert nova.post(path, {"metadata": {"b": 2}}, **last).status == 400
    assert nova.post(path, {"metadata": {"b": "x" * 256}}, **last).status == 400
    assert nova.put(path, {"metadata": {}}, person="reader", **last).status == 403
    assert nova.get(path, version="compute 2.39").status == 404
