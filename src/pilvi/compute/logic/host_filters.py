"""Host filters: each looks at one host and one wish, and answers None, or the sentence that says why the host will not do.

They stand in `FILTERS` in the order in which they are asked; the first that refuses a host is the one that is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pilvi.compute.drivers import HostFacts
from pilvi.compute.logic.flavor_specs import matches
from pilvi.compute.tables.servers import Wishes

Room = dict[str, tuple[int, int, int, float]]  # class -> total, reserved, used, ratio


@dataclass(slots=True)
class HostState:
    """A host as the scheduler sees it."""

    name: str
    node: str  # its uuid, by which placement knows it
    facts: HostFacts
    heartbeat_at: float
    disabled: bool = False
    disabled_reason: str = ""
    forced_down: bool = False
    failed_builds: int = 0
    room: Room = field(default_factory=dict)
    traits: frozenset[str] = frozenset()
    zone: str = "nova"
    aggregates: list[dict[str, str]] = field(default_factory=list)  # their metadata
    building: int = 0  # servers that are being made there
    group_members: int = 0  # of the server's own group


@dataclass(slots=True)
class Ask:
    """What a server needs."""

    resources: dict[str, int]
    now: float
    down_after: float
    wishes: Wishes = field(default_factory=Wishes)
    zone: str = ""
    required: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    capabilities: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)  # of the image
    project_id: str = ""
    flavor_specs: dict[str, str] = field(default_factory=dict)
    exclude: frozenset[str] = frozenset()  # hosts that have failed already
    same: frozenset[str] = frozenset()  # hosts on which the servers named in same_host are
    different: frozenset[str] = frozenset()
    policy: str = ""  # of the server's group
    most_per_host: int = 1


UNITS = {"VCPU": "VCPU", "MEMORY_MB": "MiB of memory", "DISK_GB": "GiB of disk"}


def available(host: HostState, ask: Ask) -> str | None:
    if host.disabled:
        return f"the host is disabled{': ' + host.disabled_reason if host.disabled_reason else ''}"
    if host.forced_down:
        return "the host is forced down"
    silent = ask.now - host.heartbeat_at
    if silent > ask.down_after:
        return f"the host is down: its agent has not reported for {silent:.0f} s"
    return None


def not_tried(host: HostState, ask: Ask) -> str | None:
    return "the server failed on this host a moment ago" if host.name in ask.exclude else None


def forced(host: HostState, ask: Ask) -> str | None:
    wish = ask.wishes
    if wish.host and wish.host != host.name:
        return f"host {wish.host} was asked for"
    if wish.node and wish.node not in (host.facts.hostname, host.node, host.name):
        return f"node {wish.node} was asked for"
    return "the request says to ignore this host" if host.name in wish.ignore_hosts else None


def in_zone(host: HostState, ask: Ask) -> str | None:
    return f"need zone {ask.zone}, have {host.zone}" if ask.zone and host.zone != ask.zone else None


def fits_image(host: HostState, ask: Ask) -> str | None:
    wanted = ask.properties
    arch = wanted.get("hw_architecture") or wanted.get("architecture")
    have = str(host.facts.cpu.get("arch", "")) if host.facts.cpu else ""
    if arch and have and arch != have:
        return f"the image needs architecture {arch}, the host has {have}"
    kind = wanted.get("img_hv_type") or wanted.get("hypervisor_type")
    offered = {host.facts.hypervisor.lower(), host.facts.virt_type.lower()}
    if offered & {"qemu", "fake"}:
        offered |= {"qemu", "kvm"}
    if kind and kind.lower() not in offered:
        return f"the image needs hypervisor {kind}, the host has {host.facts.hypervisor}"
    return None


def capable(host: HostState, ask: Ask) -> str | None:
    for name, wish in ask.capabilities.items():
        if any(name in metadata for metadata in host.aggregates):
            continue  # said of an aggregate: judged there
        value = _capability(host, name)
        if value is None:
            return f"the flavor needs {name} {wish}, which the host does not tell"
        if not matches(value, wish):
            return f"the flavor needs {name} {wish}, the host has {value}"
    return None


def _capability(host: HostState, name: str) -> str | None:
    facts = host.facts
    plain: dict[str, object] = {
        "hypervisor_type": facts.hypervisor, "hypervisor_version": facts.version, "hypervisor_hostname": facts.hostname,
        "vcpus_total": facts.vcpus, "total_usable_ram_mb": facts.memory_mib, "free_ram_mb": facts.free_memory_mib,
        "free_disk_mb": facts.free_disk_gib * 1024, "host": host.name,
    }  # fmt: skip
    value: object = plain
    for part in name.split(":"):
        value = (value | {"cpu_info": facts.cpu} if value is plain else value).get(part) if isinstance(value, dict) else None
        if value is None:
            return None
    return str(value)


def in_aggregates(host: HostState, ask: Ask) -> str | None:
    """Specs `aggregate_instance_extra_specs:x`, and aggregates kept for certain projects."""
    for key, wish in ask.flavor_specs.items():
        scope, colon, name = key.partition(":")
        if colon and scope == "aggregate_instance_extra_specs":
            values = [value.strip() for metadata in host.aggregates if name in metadata for value in metadata[name].split(",")]
            if not any(matches(value, wish) for value in values):
                return f"the flavor needs an aggregate with {name} {wish}, the host's have {', '.join(values) or 'none'}"
    kept = {
        project.strip() for metadata in host.aggregates for key, value in metadata.items()
        if key.startswith("filter_tenant_id") for project in value.split(",")
    }  # fmt: skip
    return "the host is kept for other projects" if kept and ask.project_id not in kept else None


def has_traits(host: HostState, ask: Ask) -> str | None:
    missing = ask.required - host.traits
    if missing:
        return f"the host lacks {', '.join(sorted(missing))}"
    unwanted = ask.forbidden & host.traits
    return f"the host has {', '.join(sorted(unwanted))}, which must not be" if unwanted else None


def near_and_far(host: HostState, ask: Ask) -> str | None:
    if ask.wishes.same_host and host.name not in ask.same:
        return "the server must be on the host of " + ", ".join(ask.wishes.same_host)
    if host.name in ask.different:
        return "the server must not be on the host of " + ", ".join(ask.wishes.different_host)
    return None


def of_group(host: HostState, ask: Ask) -> str | None:
    if ask.policy == "anti-affinity" and host.group_members >= ask.most_per_host:
        return f"the server group's policy is anti-affinity, and {host.group_members} of its members are here already"
    if ask.policy == "affinity" and ask.same and host.name not in ask.same and not ask.wishes.same_host:
        return f"the server group's policy is affinity, and its members are on {', '.join(sorted(ask.same))}"
    return None


def has_room(host: HostState, ask: Ask) -> str | None:
    """Every resource class that does not fit, with need, have and free: placement's room, overcommitment counted."""
    short = []
    for name, need in ask.resources.items():
        total, reserved, used, ratio = host.room.get(name, (0, 0, 0, 1.0))
        capacity = int((total - reserved) * ratio)
        free = capacity - used
        if need > free:
            short.append(f"need {need} {UNITS.get(name, name)}, have {capacity}, free {max(0, free)}")
        elif need > total - reserved and name in ("VCPU", "MEMORY_MB"):
            short.append(f"need {need} {UNITS.get(name, name)}, which is more than the whole host has ({total - reserved})")
    return "; ".join(short) or None


FILTERS: tuple[tuple[str, Callable[[HostState, Ask], str | None]], ...] = (
    ("ComputeFilter", available),
    ("RetryFilter", not_tried),
    ("ForcedHostFilter", forced),
    ("AvailabilityZoneFilter", in_zone),
    ("ImagePropertiesFilter", fits_image),
    ("ComputeCapabilitiesFilter", capable),
    ("AggregateFilter", in_aggregates),
    ("TraitsFilter", has_traits),
    ("HostAffinityFilter", near_and_far),
    ("ServerGroupFilter", of_group),
    ("ResourceFilter", has_room),
)


def refusal(host: HostState, ask: Ask) -> tuple[str, str] | None:
    """The first filter that refuses the host, and its sentence."""
    for name, judge in FILTERS:
        sentence = judge(host, ask)
        if sentence is not None:
            return name, sentence
    return None
