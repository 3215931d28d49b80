"""Host weights: of the hosts that will do, which first; the more free, the better, so that load spreads."""

from __future__ import annotations

import random
from collections.abc import Callable

from pilvi.compute.logic.host_filters import Ask, HostState


def _free(name: str) -> Callable[[HostState, Ask], float]:
    def weigh(host: HostState, ask: Ask) -> float:
        total, reserved, used, ratio = host.room.get(name, (0, 0, 0, 1.0))
        return (total - reserved) * ratio - used

    return weigh


def _soft(host: HostState, ask: Ask) -> float:
    if ask.policy == "soft-affinity":
        return host.group_members
    return -host.group_members if ask.policy == "soft-anti-affinity" else 0


# each is brought to 0..1 over the hosts, then multiplied
WEIGHERS: tuple[tuple[str, float, Callable[[HostState, Ask], float]], ...] = (
    ("memory", 1.0, _free("MEMORY_MB")),
    ("cpu", 1.0, _free("VCPU")),
    ("disk", 1.0, _free("DISK_GB")),
    ("building", 1.0, lambda host, ask: -host.building),
    ("group", 10.0, _soft),
    ("failed builds", 100.0, lambda host, ask: -host.failed_builds),
)


def ranked(hosts: list[HostState], ask: Ask) -> list[tuple[float, HostState]]:
    """The hosts, best first, with their weights; equals in random order, so that two schedulers differ."""
    totals = [0.0] * len(hosts)
    for _, factor, weigh in WEIGHERS:
        values = [weigh(host, ask) for host in hosts]
        low, high = (min(values), max(values)) if values else (0.0, 0.0)
        if high > low:
            span = high - low
            for place, value in enumerate(values):
                totals[place] += factor * (value - low) / span
    order = list(zip(totals, hosts, strict=True))
    random.shuffle(order)
    order.sort(key=lambda one: -one[0])
    return order
