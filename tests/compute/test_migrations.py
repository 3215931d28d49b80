"""Migrations: the moves and resizes that administrators see."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.testing.people import PROJECT
from tests.compute.conftest import Nova

MIGRATIONS = "/compute/v2.1/os-migrations"


def ask(nova: Nova, **options: Any) -> list[dict[str, Any]]:
    told = nova.get(MIGRATIONS, person="admin", **options)
    assert told.status == 200, told
    return told.json()["migrations"]


def test_a_resize_is_told_in_each_versions_shape(nova: Nova) -> None:
    ref = nova.boot()
    nova.act(ref, "resize", {"flavorRef": "small"})
    nova.until(ref, "VERIFY_RESIZE")
    (one,) = ask(nova)
    assert (one["instance_uuid"], one["migration_type"], one["source_compute"], one["dest_compute"]) == (ref, "resize", "node1", "node1")
    assert (one["project_id"], one["status"]) == (PROJECT, "finished")
    assert 0 < one["old_instance_type_id"] < one["new_instance_type_id"]
    assert "user_id" not in ask(nova, version="compute 2.79")[0]
    assert "uuid" not in ask(nova, version="compute 2.58")[0]
    assert "migration_type" not in ask(nova, version="compute 2.22")[0]


def test_lists_are_narrowed_and_paged(nova: Nova) -> None:
    image = nova.image()
    refs = [nova.boot(imageRef=image) for _ in range(2)]
    for ref in refs:
        nova.act(ref, "resize", {"flavorRef": "small"})
        nova.until(ref, "VERIFY_RESIZE")
    assert [one["instance_uuid"] for one in ask(nova)] == refs[::-1]
    assert [one["instance_uuid"] for one in ask(nova, instance_uuid=refs[0])] == refs[:1]
    assert len(ask(nova, host="node1", migration_type="resize", project_id=PROJECT)) == 2
    assert ask(nova, status="error") == ask(nova, source_compute="nowhere") == ask(nova, **{"changes-since": "2999-01-01T00:00:00Z"}) == []
    page = nova.get(MIGRATIONS, person="admin", limit=1).json()
    (first,) = page["migrations"]
    assert f"marker={first['uuid']}" in page["migrations_links"][0]["href"]
    assert [one["instance_uuid"] for one in ask(nova, limit=1, marker=first["uuid"])] == refs[:1]
    backwards = {"changes-since": "2999-01-01T00:00:00Z", "changes-before": "2020-01-01T00:00:00Z"}
    for wrong in (backwards, {"marker": "nobody"}, {"colour": "blue"}, {"changes-since": "yesterday"}):
        assert nova.get(MIGRATIONS, person="admin", **wrong).status == 400, wrong
    assert nova.get(MIGRATIONS).status == 403
