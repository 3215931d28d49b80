"""Limits: what a project may have and has, in each version's names."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.testing.people import OTHER_PROJECT, PROJECT
from tests.compute.conftest import Nova

LIMITS = "/compute/v2.1/limits"


def absolute(nova: Nova, **options: Any) -> dict[str, int]:
    told = nova.get(LIMITS, **options)
    assert told.status == 200, told
    assert told.json()["limits"]["rate"] == []
    return told.json()["limits"]["absolute"]


def test_names_by_version(nova: Nova) -> None:
    newest = {
        "maxTotalInstances": 10, "maxTotalCores": 20, "maxTotalRAMSize": 51200, "maxServerMeta": 128, "maxTotalKeypairs": 100,
        "maxServerGroups": 10, "maxServerGroupMembers": 10, "totalInstancesUsed": 0, "totalCoresUsed": 0, "totalRAMUsed": 0,
        "totalServerGroupsUsed": 0,
    }  # fmt: skip
    assert absolute(nova) == newest
    files = {"maxPersonality": 5, "maxPersonalitySize": 10240}
    assert absolute(nova, version="compute 2.56") == newest | files
    assert absolute(nova, version="compute 2.38") == newest | files | {"maxImageMeta": 128}
    network = {
        "maxTotalFloatingIps": 50, "maxSecurityGroups": 10, "maxSecurityGroupRules": 100, "totalFloatingIpsUsed": 0, "totalSecurityGroupsUsed": 0,
    }  # fmt: skip
    assert absolute(nova, version="compute 2.35") == newest | files | {"maxImageMeta": 128} | network


def test_what_is_used(nova: Nova) -> None:
    nova.boot(flavorRef="small")
    nova.post("/compute/v2.1/os-server-groups", {"server_group": {"name": "g", "policy": "affinity"}})
    told = absolute(nova)
    assert [told[f"total{name}Used"] for name in ("Instances", "Cores", "RAM", "ServerGroups")] == [1, 2, 2048, 1]
    assert absolute(nova, person="stranger")["totalInstancesUsed"] == 0
    assert absolute(nova, person="admin", tenant_id=OTHER_PROJECT)["totalInstancesUsed"] == 0
    assert absolute(nova, person="admin", tenant_id=PROJECT, reserved="1")["totalInstancesUsed"] == 1
    assert nova.get(LIMITS, tenant_id=OTHER_PROJECT).status == 403
    assert nova.get(LIMITS, colour="blue").status == 400
    assert nova.get(LIMITS, person="nobody").status == 401
