"""Unshelving to another host, or into a zone, and why a host that is named will not do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compute.conftest import Nova
from tests.compute.hosts import Host, host_of
from tests.compute.moved import claims_of, exports, full


@pytest.fixture
def shelved(nova: Nova, other: Host) -> tuple[str, str]:
    """A server that has left node1, and its volume."""
    ref, volume = full(nova)
    nova.act(ref, "shelve")
    nova.until(ref, "SHELVED_OFFLOADED")
    nova.idle()
    return ref, volume


def zone(nova: Nova, name: str, host: str) -> None:
    """Have the host in a zone."""
    made = nova.post("/compute/v2.1/os-aggregates", {"aggregate": {"name": name, "availability_zone": name}}, person="admin")
    ref = made.json()["aggregate"]["id"]
    told = nova.post(f"/compute/v2.1/os-aggregates/{ref}/action", {"add_host": {"host": host}}, person="admin")
    assert told.status == 200, told


@pytest.mark.parametrize("host", ["node1", "node2"])
def test_to_a_host(nova: Nova, shelved: tuple[str, str], host: str) -> None:
    ref, volume = shelved
    nova.act(ref, "unshelve", {"host": host}, person="admin")
    nova.until(ref, "ACTIVE")
    assert host_of(nova, ref) == host
    assert claims_of(nova) == {ref: {host}}
    nova.wait(lambda: exports(nova, volume) == [host])
    (port,) = nova.ports()
    assert (port["binding:host_id"], port["status"]) == (host, "ACTIVE")
    nova.act(ref, "os-migrateLive", {"host": None, "block_migration": "auto"}, person="admin")
    nova.wait(lambda: host_of(nova, ref) != host)  # the host was named for once, not for ever


def test_into_a_zone(nova: Nova, other: Host, shelved: tuple[str, str]) -> None:
    ref, _ = shelved
    zone(nova, "east", "node2")
    nova.act(ref, "unshelve", {"availability_zone": "west"}, answers=400)
    nova.act(ref, "unshelve", {"availability_zone": "east"})
    nova.until(ref, "ACTIVE")
    assert host_of(nova, ref) == "node2"
    told = nova.act(ref, "migrate", answers=400, person="admin").json()["badRequest"]["message"]
    assert "node1: need zone east, have nova (AvailabilityZoneFilter)" in told


def test_a_named_host_that_will_not_do(nova: Nova, other: Host, shelved: tuple[str, str]) -> None:
    ref, volume = shelved
    body: dict[str, Any] = {"host": "node2"}
    nova.act(ref, "unshelve", body, answers=403)
    nova.act(ref, "unshelve", {"host": "nowhere"}, answers=400, person="admin")
    nova.cloud.program.parts["block_storage.driver"].shared = False
    nova.cloud.program.parts["block_storage.agent"].beat()
    told = nova.act(ref, "unshelve", body, answers=400, person="admin").json()["badRequest"]["message"]
    assert f"Server {ref} cannot go to host node2: volume {volume} lies in a back end of node1" in told
    assert nova.show(ref)["status"] == "SHELVED_OFFLOADED"
    nova.act(ref, "unshelve", {"host": "node1"}, person="admin")
    nova.until(ref, "ACTIVE")
