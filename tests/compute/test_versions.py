"""Versions, extensions, and what the API has no more."""

from __future__ import annotations

import pytest

from pilvi.compute.dialect import VERSIONS
from tests.compute.conftest import Nova

NEWEST = str(VERSIONS.highest)


def test_versions_are_told_to_everyone(nova: Nova) -> None:
    told = nova.cloud.get("/compute/", person="nobody").json()["versions"]
    assert [(one["id"], one["status"], one["version"]) for one in told] == [("v2.0", "SUPPORTED", ""), ("v2.1", "CURRENT", NEWEST)]
    for one in told:
        (link,) = one["links"]
        path = link["href"].removeprefix("http://cloud.test")
        shown = nova.cloud.get(path, person="nobody").json()["version"]
        assert shown["id"] == one["id"]
        assert link in shown["links"]
    assert nova.cloud.get("/compute/v3", person="nobody").status == 404


def test_a_version_is_agreed_on(nova: Nova) -> None:
    path = "/compute/v2.1/flavors/1"
    assert nova.cloud.get(path).headers["openstack-api-version"] == "compute 2.1"
    assert nova.get(path, version="compute latest").headers["openstack-api-version"] == f"compute {NEWEST}"
    assert nova.cloud.get(path, headers={"X-OpenStack-Nova-API-Version": "2.60"}).headers["x-openstack-nova-api-version"] == "2.60"
    assert nova.get(path, version="compute 2.200").status == 406
    assert nova.get(path, version="compute two").status == 400


def test_extensions(nova: Nova) -> None:
    told = nova.get("/compute/v2.1/extensions").json()["extensions"]
    assert "Hosts" in {one["name"] for one in told}
    assert nova.get("/compute/v2.1/extensions/os-consoles").json()["extension"]["alias"] == "os-consoles"
    assert nova.get("/compute/v2.1/extensions/os-nothing").status == 404


@pytest.mark.parametrize("path", ["os-fping", "os-cells", "os-certificates/root", "os-agents/7"])
def test_what_is_gone_says_so(nova: Nova, path: str) -> None:
    told = nova.get(f"/compute/v2.1/{path}")
    assert (told.status, set(told.json())) == (410, {"gone"})


def test_the_project_may_stand_in_the_path(nova: Nova) -> None:
    assert nova.get("/compute/v2.1/11111111111111111111111111111111/flavors/1").json()["flavor"]["name"] == "m1.tiny"
