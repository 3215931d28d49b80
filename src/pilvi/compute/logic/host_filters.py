"""Host filters: each looks at one host and one wish, and answers None, or the sentence that says why the host will not do.

They stand in `FILTERS` in the order in which they are asked; the first that refuses a host is the one that is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pilvi.compute.drivers import HostFacts
from pilvi.compute.logic.flavor_specs import matches
from pilvi.compute.tables.servers import Wishes

Room = dict[str, tuple[int, int, int, float]]  # class -> total, reserved, used, ratio
_OF_AGGREGATE = "aggregate_instance_extra_specs:"
_OF_IMAGE = ("hw_architecture", "architecture", "img_hv_type", "hypervisor_type")


@dataclass(slots=True)
class HostState:
    """A host as the scheduler remembers it between two choices; replaced, not altered, when something of it changes."""

    name: str
    node: str  # its uuid, by which placement knows it
    facts: HostFacts
    disabled: bool = False
    disabled_reason: str = ""
    forced_down: bool = False
    failed_builds: int = 0
    room: Room = field(default_factory=dict)
    traits: frozenset[str] = frozenset()
    zone: str = "nova"
    aggregates: list[dict[str, str]] = field(default_factory=list)  # their metadata
    kept_for: frozenset[str] = field(init=False)  # projects, when aggregates keep the host for some
    fits: dict[str, int] = field(init=False)  # class -> the most that one server can have of it
    memory: float = field(init=False)  # free, overcommitment counted; MiB
    cpu: float = field(init=False)
    disk: float = field(init=False)

    def __post_init__(self) -> None:
        self.kept_for = frozenset(
            project.strip() for metadata in self.aggregates for key, value in metadata.items()
            if key.startswith("filter_tenant_id") for project in value.split(",")
        )  # fmt: skip
        self.fits = {name: _most(name, *amounts) for name, amounts in self.room.items()}
        self.memory, self.cpu, self.disk = (_free(*self.room.get(name, _EMPTY)) for name in ("MEMORY_MB", "VCPU", "DISK_GB"))


@dataclass(slots=True)
class Ask:
    """What a server needs, and what of the hosts is of this moment only."""

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
    silent: Mapping[str, float] = field(default_factory=dict)  # host -> when it last reported, of those that are down
    closed: bool = True  # some hosts are disabled, or said to be down
    kept: bool = True  # some hosts are kept for certain projects
    building: Mapping[str, int] = field(default_factory=dict)  # host -> servers that are being made there
    members: Mapping[str, int] = field(default_factory=dict)  # host -> servers there of the server's own group
    barred: Mapping[str, str] = field(default_factory=dict)  # host -> why a server that moves cannot go there
    forced: bool = False  # only whether it can be there at all is asked, not whether it should


_EMPTY = (0, 0, 0, 1.0)
UNITS = {"VCPU": "VCPU", "MEMORY_MB": "MiB of memory", "DISK_GB": "GiB of disk"}


def available(host: HostState, ask: Ask) -> str | None:
    if host.disabled:
        return f"the host is disabled{': ' + host.disabled_reason if host.disabled_reason else ''}"
    if host.forced_down:
        return "the host is forced down"
    if host.name in ask.silent:
        return f"the host is down: its agent has not reported for {ask.now - ask.silent[host.name]:.0f} s"
    return None


def may_come(host: HostState, ask: Ask) -> str | None:
    return ask.barred.get(host.name)


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
        if key.startswith(_OF_AGGREGATE):
            name = key.removeprefix(_OF_AGGREGATE)
            values = [value.strip() for metadata in host.aggregates if name in metadata for value in metadata[name].split(",")]
            if not any(matches(value, wish) for value in values):
                return f"the flavor needs an aggregate with {name} {wish}, the host's have {', '.join(values) or 'none'}"
    return "the host is kept for other projects" if host.kept_for and ask.project_id not in host.kept_for else None


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
    here = ask.members.get(host.name, 0)
    if ask.policy == "anti-affinity" and here >= ask.most_per_host:
        return f"the server group's policy is anti-affinity, and {here} of its members are here already"
    if ask.policy == "affinity" and ask.same and host.name not in ask.same and not ask.wishes.same_host:
        return f"the server group's policy is affinity, and its members are on {', '.join(sorted(ask.same))}"
    return None


def has_room(host: HostState, ask: Ask) -> str | None:
    """Every resource class that does not fit, with need, have and free: placement's room, overcommitment counted."""
    fits = host.fits
    for name, need in ask.resources.items():
        if need > fits.get(name, 0):
            return _shortage(host, ask)
    return None


def _shortage(host: HostState, ask: Ask) -> str | None:
    short = []
    for name, need in ask.resources.items():
        total, reserved, used, ratio = host.room.get(name, _EMPTY)
        capacity = int((total - reserved) * ratio)
        free = capacity - used
        if need > free:
            short.append(f"need {need} {UNITS.get(name, name)}, have {capacity}, free {max(0, free)}")
        elif need > _most(name, total, reserved, used, ratio):
            short.append(f"need {need} {UNITS.get(name, name)}, which is more than the whole host has ({total - reserved})")
    return "; ".join(short) or None


def _most(name: str, total: int, reserved: int, used: int, ratio: float) -> int:
    """The most that one server can have: what is free, and no more CPUs or memory than there really are."""
    free = int((total - reserved) * ratio) - used
    return min(free, total - reserved) if name in ("VCPU", "MEMORY_MB") else free


def _free(total: int, reserved: int, used: int, ratio: float) -> float:
    return (total - reserved) * ratio - used


Filter = Callable[[HostState, Ask], str | None]

# name, the filter, and whether it can refuse anything at all for this wish: most wishes concern the last only
FILTERS: tuple[tuple[str, Filter, Callable[[Ask], object]], ...] = (
    ("ComputeFilter", available, lambda ask: ask.closed or ask.silent),
    ("MoveFilter", may_come, lambda ask: ask.barred),
    ("RetryFilter", not_tried, lambda ask: ask.exclude),
    ("ForcedHostFilter", forced, lambda ask: ask.wishes.host or ask.wishes.node or ask.wishes.ignore_hosts),
    ("AvailabilityZoneFilter", in_zone, lambda ask: ask.zone),
    ("ImagePropertiesFilter", fits_image, lambda ask: not ask.properties.keys().isdisjoint(_OF_IMAGE)),
    ("ComputeCapabilitiesFilter", capable, lambda ask: ask.capabilities),
    ("AggregateFilter", in_aggregates, lambda ask: ask.kept or any(key.startswith(_OF_AGGREGATE) for key in ask.flavor_specs)),
    ("TraitsFilter", has_traits, lambda ask: ask.required or ask.forbidden),
    ("HostAffinityFilter", near_and_far, lambda ask: ask.wishes.same_host or ask.different),
    ("ServerGroupFilter", of_group, lambda ask: ask.policy),
    ("ResourceFilter", has_room, lambda ask: True),
)


_CANNOT = ("ComputeFilter", "MoveFilter", "ForcedHostFilter", "ResourceFilter")  # who refuses what cannot be; the others, what should not


def concerned(ask: Ask) -> list[tuple[str, Filter]]:
    """The filters that can refuse a host for this wish."""
    return [(name, look) for name, look, concerns in FILTERS if concerns(ask) and (name in _CANNOT or not ask.forced)]


def sieve(hosts: Sequence[HostState], ask: Ask) -> tuple[list[HostState], list[tuple[HostState, str, str]]]:
    """The hosts that will do; and the others, each with the first filter that refuses it and its sentence."""
    refused: list[tuple[HostState, str, str]] = []
    for name, look in concerned(ask):
        suspects = _short_of(hosts, ask) if look is has_room else hosts
        said = [(host, name, sentence) for host in suspects if (sentence := look(host, ask)) is not None]
        if said:
            refused += said
            gone = {host.name for host, _, _ in said}
            hosts = [host for host in hosts if host.name not in gone]
    return list(hosts), refused


def _short_of(hosts: Sequence[HostState], ask: Ask) -> Sequence[HostState]:
    """The hosts that have not enough of something: asked class by class, which is much faster than host by host."""
    fit = hosts
    for name, need in ask.resources.items():
        fit = [host for host in fit if host.fits.get(name, 0) >= need]
    if len(fit) == len(hosts):
        return ()
    enough = {host.name for host in fit}
    return [host for host in hosts if host.name not in enough]
