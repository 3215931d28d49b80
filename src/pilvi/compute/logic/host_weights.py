"""Host weights: of the hosts that will do, which first; the more free, the better, so that load spreads."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence

from pilvi.compute.logic.host_filters import Ask, HostState

Values = list[float] | None  # one for each host; None where all hosts are alike


def _building(hosts: Sequence[HostState], ask: Ask) -> Values:
    return [-ask.building.get(host.name, 0) for host in hosts] if ask.building else None


def _group(hosts: Sequence[HostState], ask: Ask) -> Values:
    if not ask.members or ask.policy not in ("soft-affinity", "soft-anti-affinity"):
        return None
    sign = 1 if ask.policy == "soft-affinity" else -1
    return [sign * ask.members.get(host.name, 0) for host in hosts]


def _failed(hosts: Sequence[HostState], ask: Ask) -> Values:
    values = [-host.failed_builds for host in hosts]
    return values if any(values) else None


# each is brought to 0..1 over the hosts, then multiplied
WEIGHERS: tuple[tuple[str, float, Callable[[Sequence[HostState], Ask], Values]], ...] = (
    ("memory", 1.0, lambda hosts, ask: [host.memory for host in hosts]),
    ("cpu", 1.0, lambda hosts, ask: [host.cpu for host in hosts]),
    ("disk", 1.0, lambda hosts, ask: [host.disk for host in hosts]),
    ("building", 1.0, _building),
    ("group", 10.0, _group),
    ("failed builds", 100.0, _failed),
)
_TIE = 1e-9  # less than any difference that means something


def ranked(hosts: Sequence[HostState], ask: Ask, most: int) -> list[tuple[float, HostState]]:
    """The best hosts, at most so many, with their weights; equals in random order, so that two schedulers differ."""
    if not hosts:
        return []
    totals: list[float] = []
    for _, factor, weigh in WEIGHERS:
        values = weigh(hosts, ask)
        if values is None:
            continue
        low, high = min(values), max(values)
        if high > low:
            scale = factor / (high - low)
            if totals:
                totals = [total + (value - low) * scale for total, value in zip(totals, values, strict=True)]
            else:
                totals = [(value - low) * scale for value in values]
    totals = totals or [0.0] * len(hosts)
    chance = random.random
    keys = [total + _TIE * chance() for total in totals]
    best = heapq.nlargest(most, range(len(hosts)), key=keys.__getitem__)
    return [(totals[place], hosts[place]) for place in best]
