"""Aggregates: hosts in groups, and the availability zones that they make."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compute.conftest import Nova

AGGREGATES = "/compute/v2.1/os-aggregates"


def make(nova: Nova, **fields: Any) -> int:
    made = nova.post(AGGREGATES, {"aggregate": {"name": "one", **fields}}, person="admin")
    assert made.status == 200, made
    return made.json()["aggregate"]["id"]


def act(nova: Nova, ref: int, action: str, value: dict[str, Any], *, answers: int = 200) -> dict[str, Any]:
    told = nova.post(f"{AGGREGATES}/{ref}/action", {action: value}, person="admin")
    assert told.status == answers, told
    return told.json().get("aggregate", {})


def test_an_aggregate_from_its_making_to_its_end(nova: Nova) -> None:
    made = nova.post(AGGREGATES, {"aggregate": {"name": "one", "availability_zone": "north"}}, person="admin").json()["aggregate"]
    assert {"hosts", "metadata"}.isdisjoint(made)
    ref = made["id"]
    shown = nova.get(f"{AGGREGATES}/{ref}", person="admin").json()["aggregate"]
    assert (shown["hosts"], shown["metadata"], shown["availability_zone"], shown["updated_at"]) == ([], {"availability_zone": "north"}, "north", None)
    assert "uuid" in shown
    assert "uuid" not in nova.get(f"{AGGREGATES}/{ref}", person="admin", version="compute 2.40").json()["aggregate"]
    renamed = nova.put(f"{AGGREGATES}/{ref}", {"aggregate": {"name": "two", "availability_zone": "south"}}, person="admin").json()["aggregate"]
    assert (renamed["name"], renamed["availability_zone"]) == ("two", "south")
    assert act(nova, ref, "set_metadata", {"metadata": {"ssd": "true"}})["metadata"] == {"availability_zone": "south", "ssd": "true"}
    assert act(nova, ref, "set_metadata", {"metadata": {"ssd": None}})["metadata"] == {"availability_zone": "south"}
    assert nova.put(f"{AGGREGATES}/{ref}", {"aggregate": {"availability_zone": None}}, person="admin").json()["aggregate"]["metadata"] == {}
    assert act(nova, ref, "add_host", {"host": "node1"})["hosts"] == ["node1"]
    act(nova, ref, "add_host", {"host": "node1"}, answers=409)
    act(nova, ref, "add_host", {"host": "nowhere"}, answers=404)
    assert nova.delete(f"{AGGREGATES}/{ref}", person="admin").status == 409
    assert act(nova, ref, "remove_host", {"host": "node1"})["hosts"] == []
    act(nova, ref, "remove_host", {"host": "node1"}, answers=404)
    assert nova.delete(f"{AGGREGATES}/{ref}", person="admin").status == 200
    assert nova.get(AGGREGATES, person="admin").json() == {"aggregates": []}


def test_who_and_what_is_refused(nova: Nova) -> None:
    ref = make(nova)
    for told in (nova.get(AGGREGATES), nova.post(AGGREGATES, {"aggregate": {"name": "x"}}), nova.delete(f"{AGGREGATES}/{ref}")):
        assert told.status == 403
    assert nova.post(AGGREGATES, {"aggregate": {"name": "one"}}, person="admin").status == 409
    for wrong in ({"name": ""}, {"name": "x" * 256}, {"name": "x", "availability_zone": "a:b"}, {"name": "x", "availability_zone": ""}, {}):
        assert nova.post(AGGREGATES, {"aggregate": wrong}, person="admin").status == 400, wrong
    assert nova.put(f"{AGGREGATES}/{ref}", {"aggregate": {}}, person="admin").status == 400
    assert nova.get(f"{AGGREGATES}/-1", person="admin").status == 404
    assert nova.get(f"{AGGREGATES}/one", person="admin").status == 400


def test_a_host_is_in_one_zone(nova: Nova) -> None:
    north, south = make(nova, availability_zone="north"), make(nova, name="two", availability_zone="south")
    act(nova, north, "add_host", {"host": "node1"})
    act(nova, south, "add_host", {"host": "node1"}, answers=409)
    plain = make(nova, name="three")
    act(nova, plain, "add_host", {"host": "node1"})
    act(nova, plain, "set_metadata", {"metadata": {"availability_zone": "west"}}, answers=409)
    act(nova, north, "set_metadata", {"metadata": {"availability_zone": "west"}})


@pytest.mark.parametrize("of_servers", [True, False])
def test_servers_are_not_moved_to_another_zone_unasked(nova: Nova, of_servers: bool) -> None:
    if of_servers:
        nova.boot()
    answers = 409 if of_servers else 200
    north = make(nova, availability_zone="north")
    act(nova, north, "add_host", {"host": "node1"}, answers=answers)
    plain = make(nova, name="two")
    act(nova, plain, "add_host", {"host": "node1"})
    act(nova, plain, "set_metadata", {"metadata": {"availability_zone": "north"}}, answers=answers)


def test_images_are_fetched_before_servers_need_them(nova: Nova) -> None:
    ref, image = make(nova), nova.image()
    act(nova, ref, "add_host", {"host": "node1"})
    path = f"{AGGREGATES}/{ref}/images"
    assert nova.post(path, {"cache": [{"id": image}]}, person="admin").status == 202
    nova.wait(lambda: image in nova.driver.world.images)
    for wrong in ([{"id": image}, {"id": image}], [{"id": "x"}], [{"id": "00000000-0000-0000-0000-000000000000"}], image):
        assert nova.post(path, {"cache": wrong}, person="admin").status == 400, wrong
    assert nova.post(path, {"cache": [{"id": image}]}, person="admin", version="compute 2.80").status == 404
