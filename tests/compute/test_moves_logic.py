"""Whether a server can go to a host: what is asked of processors, versions, ports, volumes and disks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pilvi.compute.drivers import HostFacts
from pilvi.compute.logic.moves import Luggage, Move, objections

CPU: dict[str, object] = {"arch": "x86_64", "vendor": "Intel", "model": "Skylake", "features": ["avx", "avx2"]}
HERE = HostFacts(
    hypervisor="QEMU", version=7_002_000, hostname="a", vcpus=4, memory_mib=4096, disk_gib=100, free_memory_mib=4096, free_disk_gib=50,
    running=0, cpu=CPU, virt_type="kvm",
)  # fmt: skip
LIVE = Move(kind="live-migration", leave="a")
COLD = Move(kind="migration", leave="a")


def told(move: Move, *, luggage: dict[str, Any] | None = None, here: HostFacts = HERE, **facts: Any) -> list[str]:
    """What speaks against host b, which is as a but for these facts."""
    return objections(move, Luggage(facts=here, **(luggage or {})), "b", msgspec.structs.replace(here, **facts))


def test_hosts_that_are_alike_will_do() -> None:
    assert told(LIVE) == told(COLD) == []


@pytest.mark.parametrize(
    ("facts", "live", "cold"),
    [
        ({"version": 7_001_005}, "its QEMU 7.1.5 is older than 7.2.0, with which the server runs", None),
        ({"version": 8_000_000}, None, None),
        ({"virt_type": "qemu"}, "it runs machines with qemu, and the server runs with kvm", None),
        ({"cpu": {**CPU, "features": ["avx"]}}, "its processor (Skylake) lacks avx2", None),
        ({"cpu": {**CPU, "features": ["avx", "avx2", "avx512f"]}}, None, None),
        ({"cpu": {**CPU, "vendor": "AMD"}}, "its processor is of AMD, the server runs on one of Intel", None),
        ({"cpu": {**CPU, "arch": "aarch64"}}, *["its architecture is aarch64, the server's is x86_64"] * 2),
        ({"hypervisor": "Xen"}, *["it runs Xen, and the server's machine is of QEMU"] * 2),
    ],
)
def test_what_a_host_must_be_for_a_guest_that_runs_and_for_one_that_is_off(facts: dict[str, Any], live: str | None, cold: str | None) -> None:
    for move, sentence in ((LIVE, live), (COLD, cold)):
        assert (told(move, **facts)[:1] or [None]) == [sentence]


def test_emulated_processors_are_alike_on_all_hosts() -> None:
    here = msgspec.structs.replace(HERE, virt_type="qemu")
    assert told(LIVE, here=here, cpu={**CPU, "vendor": "AMD", "features": []}) == []


def test_all_that_speaks_against_a_host_is_told() -> None:
    luggage = {
        "local_gib": 60, "ports": {"": "no network agent is known there", "a": ""}, "volumes": {"b": "volume v cannot be reached"},
    }  # fmt: skip
    assert told(COLD, luggage=luggage) == [
        "no network agent is known there", "volume v cannot be reached",
        "the server's disks take up to 60 GiB, 50 GiB are free on its file system",
    ]  # fmt: skip
    assert told(Move(kind="live-migration", leave="a", over_commit=True), luggage={"local_gib": 60}) == []


@pytest.mark.parametrize(
    ("disks", "apart", "on_one_storage"),
    [
        ("any", None, None),
        ("copied", None, "it shares storage with a, so there is nothing to copy: ask for block_migration auto"),
        ("shared", "it does not share storage with a, and the server has 10 GiB of local disks: ask for block_migration auto", None),
    ],
)
def test_disks_are_copied_or_shared_as_was_asked(disks: Any, apart: str | None, on_one_storage: str | None) -> None:
    move = msgspec.structs.replace(LIVE, disks=disks)
    here = msgspec.structs.replace(HERE, storage="one")
    luggage = {"local_gib": 10}
    for found, sentence in (
        (told(move, luggage=luggage), apart), (told(move, luggage=luggage, here=here, storage="another"), apart),
        (told(move, luggage=luggage, here=here), on_one_storage), (told(move, here=here), None), (told(move), None),
    ):  # fmt: skip
        assert (found or [None]) == [sentence]


def test_a_shared_disk_needs_no_second_room() -> None:
    here = msgspec.structs.replace(HERE, storage="one")
    assert told(LIVE, luggage={"local_gib": 60}, here=here) == []
    assert told(COLD, luggage={"local_gib": 60}, here=here) != [], "a machine that is off is copied, so that it can go back"


def test_only_a_resize_may_stay_where_the_server_is() -> None:
    packed = Luggage(facts=HERE, local_gib=1000)
    assert objections(COLD, packed, "a", HERE) == ["the server is on this host"]
    resize = Move(kind="resize", leave="a")
    assert objections(resize, packed, "a", HERE) == []
    strict = Luggage(facts=HERE, same_host=False)
    assert "does not resize servers where they are" in objections(resize, strict, "a", HERE)[0]


def test_a_server_that_is_on_no_host_yet_is_held_against_no_other() -> None:
    assert objections(Move(kind="unshelve", only="b"), Luggage(facts=None), "b", HERE) == []
