"""Quotas: shown, set, held, taken back; of projects and of the default class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi.kernel.testing.people import OTHER_PROJECT, PROJECT
from tests.compute.conftest import SERVERS, Nova

QUOTAS = "/compute/v2.1/os-quota-sets"
CLASS = "/compute/v2.1/os-quota-class-sets/default"
NETWORK = {"fixed_ips", "floating_ips", "security_groups", "security_group_rules"}
FILES = {"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"}
GROUPS = {"server_groups", "server_group_members"}
ALWAYS = {"instances", "cores", "ram", "metadata_items", "key_pairs"}


def limits(nova: Nova, project: str = PROJECT, **options: Any) -> dict[str, Any]:
    told = nova.get(f"{QUOTAS}/{project}", **{"person": "admin", **options})
    assert told.status == 200, told
    return told.json()["quota_set"]


def put(nova: Nova, *, answers: int = 200, project: str = PROJECT, **wanted: Any) -> dict[str, Any]:
    told = nova.put(f"{QUOTAS}/{project}", {"quota_set": wanted}, person="admin")
    assert told.status == answers, told
    return told.json().get("quota_set", {})


@pytest.mark.parametrize(
    ("version", "names", "of_class"),
    [
        ("2.1", ALWAYS | GROUPS | FILES | NETWORK, ALWAYS | FILES | NETWORK),
        ("2.36", ALWAYS | GROUPS | FILES, ALWAYS | FILES | NETWORK),
        ("2.50", ALWAYS | GROUPS | FILES, ALWAYS | GROUPS | FILES),
        ("2.57", ALWAYS | GROUPS, ALWAYS | GROUPS),
    ],
)
def test_names_by_version(nova: Nova, version: str, names: set[str], of_class: set[str]) -> None:
    at = f"compute {version}"
    assert set(limits(nova, version=at)) == names | {"id"}
    assert set(nova.get(f"{QUOTAS}/{PROJECT}/defaults", version=at).json()["quota_set"]) == names | {"id"}
    assert set(nova.get(f"{QUOTAS}/{PROJECT}/detail", version=at).json()["quota_set"]) == names | {"id"}
    assert set(nova.put(f"{QUOTAS}/{PROJECT}", {"quota_set": {"cores": 5}}, person="admin", version=at).json()["quota_set"]) == names
    assert set(nova.get(CLASS, person="admin", version=at).json()["quota_class_set"]) == of_class | {"id"}
    for name in (NETWORK | FILES) - names:
        assert nova.put(f"{QUOTAS}/{PROJECT}", {"quota_set": {name: 5}}, person="admin", version=at).status == 400, name


def test_limits_of_networks_are_the_networks(nova: Nova) -> None:
    told = limits(nova, version="compute 2.35")
    assert (told["fixed_ips"], told["floating_ips"], told["security_groups"], told["security_group_rules"]) == (-1, 50, 10, 100)
    nova.cloud.get("/network/v2.0/security-groups")
    in_use = nova.get(f"{QUOTAS}/{PROJECT}/detail", version="compute 2.35").json()["quota_set"]
    assert in_use["security_groups"] == {"limit": 10, "in_use": 1, "reserved": 0}


def test_setting_and_taking_back(nova: Nova) -> None:
    default = limits(nova)
    assert put(nova, instances="7", ram=-1)["instances"] == 7
    assert (limits(nova)["instances"], limits(nova)["ram"], limits(nova)["cores"]) == (7, -1, default["cores"])
    assert limits(nova, OTHER_PROJECT)["instances"] == default["instances"]
    assert nova.delete(f"{QUOTAS}/{PROJECT}", person="admin").status == 202
    assert limits(nova) == default


def test_a_limit_below_what_is_used_takes_force(nova: Nova) -> None:
    nova.boot()
    detail = nova.get(f"{QUOTAS}/{PROJECT}/detail").json()["quota_set"]
    assert detail["instances"] == {"limit": 10, "in_use": 1, "reserved": 0}
    assert detail["ram"]["in_use"] == 512
    put(nova, instances=0, answers=400)
    assert put(nova, instances=0, force="True")["instances"] == 0


def test_the_default_class_is_every_projects_default(nova: Nova) -> None:
    assert nova.put(CLASS, {"quota_class_set": {"cores": 3}}, person="admin").json()["quota_class_set"]["cores"] == 3
    assert limits(nova)["cores"] == 3
    assert nova.get(f"{QUOTAS}/{PROJECT}/defaults").json()["quota_set"]["cores"] == 3
    put(nova, cores=9)
    assert limits(nova)["cores"] == 9
    assert nova.put(f"{CLASS}x", {"quota_class_set": {"cores": 1}}, person="admin").status == 200
    assert limits(nova, OTHER_PROJECT)["cores"] == 3


def test_unlimited(make_nova: Callable[..., Nova]) -> None:
    nova = make_nova(compute={"quota": {"instances": -1, "cores": -1, "ram": -1, "key_pairs": -1, "metadata_items": -1, "server_groups": -1}})
    assert (limits(nova)["instances"], limits(nova)["cores"]) == (-1, -1)
    image = nova.image()
    body = nova.body(imageRef=image, metadata={f"k{number}": "v" for number in range(200)}, min_count=11)
    assert nova.post(SERVERS, {"server": body}).status == 202
    nova.wait(lambda: len(nova.get(SERVERS, status="ACTIVE").json()["servers"]) == 11)
    absolute = nova.get("/compute/v2.1/limits").json()["limits"]["absolute"]
    assert (absolute["maxTotalInstances"], absolute["totalInstancesUsed"]) == (-1, 11)


def test_a_limit_is_held(nova: Nova) -> None:
    put(nova, instances=1)
    nova.boot()
    told = nova.post(SERVERS, {"server": nova.body(imageRef=nova.image())})
    assert told.status == 403
    assert "instances" in told.json()["forbidden"]["message"]


def test_who_may_and_what_is_refused(nova: Nova) -> None:
    assert limits(nova, person="reader")["instances"] == 10
    assert nova.get(f"{QUOTAS}/{PROJECT}", person="stranger").status == 403
    assert nova.get(f"{QUOTAS}/{PROJECT}/detail", person="stranger").status == 403
    assert nova.get(f"{QUOTAS}/{PROJECT}/defaults", person="stranger").status == 200
    assert nova.put(f"{QUOTAS}/{PROJECT}", {"quota_set": {"cores": 1}}).status == 403
    assert nova.delete(f"{QUOTAS}/{PROJECT}").status == 403
    assert nova.get(CLASS).status == 403
    for wrong in ({"cores": -2}, {"cores": "many"}, {"cores": 1 << 31}, {"coores": 1}, {"force": "perhaps"}):
        assert nova.put(f"{QUOTAS}/{PROJECT}", {"quota_set": wrong}, person="admin").status == 400, wrong
