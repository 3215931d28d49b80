"""Usage: hours of servers within a span, by project; and the audit logs of old clients."""

from __future__ import annotations

from typing import Any

import pytest

from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.testing.people import OTHER_PROJECT, PROJECT
from tests.compute.conftest import SERVERS, Nova

USAGE = "/compute/v2.1/os-simple-tenant-usage"


def age(nova: Nova, ref: str, hours: float) -> None:
    """Have the server look as if it had been launched so many hours ago."""
    nova.cloud.program.db.run(lambda tx: tx.update(Server, Server.c.id == ref, launched_at=clock.now() - hours * 3600))


def project(nova: Nova, ref: str = PROJECT, **options: Any) -> dict[str, Any]:
    told = nova.get(f"{USAGE}/{ref}", **options)
    assert told.status == 200, told
    return told.json()["tenant_usage"]


def test_a_server_is_counted_while_it_ran(nova: Nova) -> None:
    ref = nova.boot(flavorRef="small")
    age(nova, ref, 10)
    told = project(nova)
    assert told["total_hours"] == pytest.approx(10, abs=0.1)
    assert told["total_vcpus_usage"] == pytest.approx(20, abs=0.2)
    assert told["total_memory_mb_usage"] == pytest.approx(20480, abs=200)
    assert told["total_local_gb_usage"] == pytest.approx(100, abs=1)
    (one,) = told["server_usages"]
    assert (one["instance_id"], one["flavor"], one["state"], one["ended_at"]) == (ref, "test.small", "active", None)
    assert one["uptime"] == pytest.approx(36000, abs=60)
    nova.delete(f"{SERVERS}/{ref}")
    nova.gone(ref)
    (one,) = project(nova)["server_usages"]
    assert one["state"] == "terminated"
    assert one["ended_at"] is not None


def test_only_what_is_in_the_span_counts(nova: Nova) -> None:
    age(nova, nova.boot(), 48)
    now = clock.now()
    day = {"start": clock.iso_micro(now - 36 * 3600), "end": clock.iso_micro(now - 12 * 3600)}
    assert project(nova, **day)["total_hours"] == pytest.approx(24, abs=0.01)
    before = {"start": "2020-01-01T00:00:00", "end": "2020-01-02T00:00:00"}
    assert project(nova, **before) == {}
    assert nova.get(f"{USAGE}/{PROJECT}", start=day["end"], end=day["start"]).status == 400
    assert nova.get(f"{USAGE}/{PROJECT}", start="yesterday").status == 400


def test_all_projects_are_for_administrators(nova: Nova) -> None:
    nova.boot()
    (one,) = nova.get(USAGE, person="admin").json()["tenant_usages"]
    assert one["tenant_id"] == PROJECT
    assert "server_usages" not in one
    assert len(nova.get(USAGE, person="admin", detailed="1").json()["tenant_usages"][0]["server_usages"]) == 1
    assert nova.get(USAGE).status == 403
    assert nova.get(f"{USAGE}/{PROJECT}", person="stranger").status == 403
    assert project(nova, OTHER_PROJECT, person="admin") == {}


def test_pages_count_servers(nova: Nova) -> None:
    image = nova.image()
    refs = sorted(nova.boot(imageRef=image) for _ in range(3))
    first = nova.get(f"{USAGE}/{PROJECT}", limit=2).json()
    assert [one["instance_id"] for one in first["tenant_usage"]["server_usages"]] == refs[:2]
    assert f"marker={refs[1]}" in first["tenant_usage_links"][0]["href"]
    second = nova.get(f"{USAGE}/{PROJECT}", limit=2, marker=refs[1]).json()
    assert [one["instance_id"] for one in second["tenant_usage"]["server_usages"]] == refs[2:]
    assert "tenant_usage_links" not in second
    assert len(project(nova, limit=2, version="compute 2.39")["server_usages"]) == 3


def test_audit_logs_say_that_there_are_none(nova: Nova) -> None:
    path = "/compute/v2.1/os-instance_usage_audit_log"
    told = nova.get(f"{path}/2026-01-15%2010:00:00", person="admin").json()["instance_usage_audit_log"]
    assert (told["period_beginning"], told["period_ending"], told["hosts_not_run"]) == ("2025-12-01 00:00:00", "2026-01-01 00:00:00", ["node1"])
    assert nova.get(path, person="admin").status == 200
    assert nova.get(f"{path}/yesterday", person="admin").status == 400
    assert nova.get(path).status == 403
