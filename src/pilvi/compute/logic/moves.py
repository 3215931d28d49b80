"""Moves: whether a server can go to a host at all, beyond what the scheduler's filters ask of hosts for any server.

Each check looks at the move, at what the server takes along, and at one host; it answers None, or the sentence that
says why the server cannot go there.  They stand in `CHECKS` in the order in which they are told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from pilvi.compute.drivers import HostFacts

Kind = Literal["live-migration", "migration", "resize", "evacuation", "unshelve"]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to have a server on another host.  `force`: the scheduler's filters are not asked, but for room and life."""

    kind: Kind
    leave: str = ""  # the host that will not do, because the server is to leave it
    only: str = ""  # the host that was named
    force: bool = False
    over_commit: bool = False  # disks may be promised more than is free
    disks: Literal["any", "copied", "shared"] = "any"  # how the disks of a running machine may come there


@dataclass(slots=True, frozen=True, kw_only=True)
class Luggage:
    """What a server takes along, and what it comes from."""

    facts: HostFacts | None  # of the host that it leaves
    local_gib: int = 0  # of its disks on that host
    # host -> why it cannot plug the server's ports, "" when it can; under "" what is so of the hosts that are not named
    ports: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)  # host -> why it cannot reach one of the server's volumes
    same_host: bool = True  # whether a resize may stay where it is


def leaves(move: Move, luggage: Luggage, host: str, facts: HostFacts) -> str | None:
    if move.kind == "resize" and host == move.leave and not luggage.same_host:
        return "the server is here, and this cloud does not resize servers where they are (compute.allow_resize_to_same_host)"
    return "the server is on this host" if host == move.leave else None


def same_hypervisor(move: Move, luggage: Luggage, host: str, facts: HostFacts) -> str | None:
    here = luggage.facts
    if here is None:
        return None
    if facts.hypervisor != here.hypervisor:
        return f"it runs {facts.hypervisor}, and the server's machine is of {here.hypervisor}"
    if str(facts.cpu.get("arch", "")) != str(here.cpu.get("arch", "")):
        return f"its architecture is {facts.cpu.get('arch')}, the server's is {here.cpu.get('arch')}"
    return None


def able_to_take_over(move: Move, luggage: Luggage, host: str, facts: HostFacts) -> str | None:
    """A running machine goes only where its hypervisor is as new, and its processor has all that the guest was shown."""
    here = luggage.facts
    if move.kind != "live-migration" or here is None:
        return None
    if facts.virt_type != here.virt_type:
        return f"it runs machines with {facts.virt_type}, and the server runs with {here.virt_type}"
    if facts.version < here.version:
        return f"its {facts.hypervisor} {_dotted(facts.version)} is older than {_dotted(here.version)}, with which the server runs"
    if here.virt_type == "qemu":
        return None  # emulated processors are alike on all hosts
    if facts.cpu.get("vendor") != here.cpu.get("vendor"):
        return f"its processor is of {facts.cpu.get('vendor')}, the server runs on one of {here.cpu.get('vendor')}"
    missing = sorted(_features(here) - _features(facts))
    if missing:
        return f"its processor ({facts.cpu.get('model', 'unknown')}) lacks {', '.join(missing[:6])}{', ...' if len(missing) > 6 else ''}"
    return None


def ports_there(move: Move, luggage: Luggage, host: str, facts: HostFacts) -> str | None:
    return luggage.ports.get(host, luggage.ports.get("", "")) or None


def volumes_there(move: Move, luggage: Luggage, host: str, facts: HostFacts) -> str | None:
    return luggage.volumes.get(host) or None


def disks_come(move: Move, luggage: Luggage, host: str, facts: HostFacts) -> str | None:
    """Disks are copied, or are on storage that both hosts share; who asked for one of these does not get the other."""
    if not luggage.local_gib or move.disks == "any":
        return None
    shared = _share(move, luggage, facts)
    if move.disks == "shared" and not shared:
        return f"it does not share storage with {move.leave}, and the server has {luggage.local_gib} GiB of local disks: ask for block_migration auto"
    if move.disks == "copied" and shared:
        return f"it shares storage with {move.leave}, so there is nothing to copy: ask for block_migration auto"
    return None


def disks_fit(move: Move, luggage: Luggage, host: str, facts: HostFacts) -> str | None:
    if host == move.leave or move.over_commit or luggage.local_gib <= facts.free_disk_gib or _share(move, luggage, facts):
        return None
    return f"the server's disks take up to {luggage.local_gib} GiB, {facts.free_disk_gib} GiB are free on its file system"


CHECKS: tuple[Callable[[Move, Luggage, str, HostFacts], str | None], ...] = (
    leaves, same_hypervisor, able_to_take_over, ports_there, volumes_there, disks_come, disks_fit,
)  # fmt: skip


def objections(move: Move, luggage: Luggage, host: str, facts: HostFacts) -> list[str]:
    """Why the server cannot go to the host; none when it can, as far as this is known."""
    if host == move.leave and move.kind == "resize" and luggage.same_host:
        return []
    first = leaves(move, luggage, host, facts)
    if first is not None:
        return [first]
    return [sentence for check in CHECKS if (sentence := check(move, luggage, host, facts)) is not None]


def _share(move: Move, luggage: Luggage, facts: HostFacts) -> bool:
    """Whether a running machine finds its disks on the host as they are."""
    here = luggage.facts
    return move.kind == "live-migration" and here is not None and bool(here.storage) and here.storage == facts.storage


def _dotted(version: int) -> str:
    """7002001 is 7.2.1."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"


def _features(facts: HostFacts) -> set[str]:
    found = facts.cpu.get("features", [])
    return set(map(str, found)) if isinstance(found, list) else set()
