"""Metrics: plain counters in memory, told to Prometheus when it asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

_started = time.time()
_requests: dict[tuple[str, str, int], list[float]] = {}
_gauges: dict[str, Callable[[], float]] = {}
_tables: dict[str, Callable[[], list[tuple[dict[str, str], float]]]] = {}
_counts: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}


def request(service: str, route: str, status: int, seconds: float) -> None:
    """Count one answered request."""
    key = (service, route, status)
    seen = _requests.get(key)
    if seen is None:
        seen = _requests.setdefault(key, [0, 0.0])
    seen[0] += 1
    seen[1] += seconds


def count(name: str, amount: float = 1, **labels: str) -> None:
    """Add to a counter, e.g. count("workflow_steps", kind="CreateServer", outcome="ok")."""
    key = (name, tuple(sorted(labels.items())))
    _counts[key] = _counts.get(key, 0) + amount


def gauge(name: str, read: Callable[[], float]) -> None:
    """A value that is read when Prometheus asks."""
    _gauges[name] = read


def table(name: str, read: Callable[[], list[tuple[dict[str, str], float]]]) -> None:
    """Values by their labels, which are read when Prometheus asks; each has the same labels."""
    _tables[name] = read


class _Collector:
    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        total = CounterMetricFamily("pilvi_requests", "Requests answered.", labels=("service", "route", "status"))
        seconds = CounterMetricFamily("pilvi_request_seconds", "Seconds spent answering.", labels=("service", "route", "status"))
        for (service, route, status), (number, spent) in list(_requests.items()):
            total.add_metric((service, route, str(status)), number)
            seconds.add_metric((service, route, str(status)), spent)
        yield total
        yield seconds
        families: dict[str, CounterMetricFamily] = {}
        for (name, labels), amount in list(_counts.items()):
            family = families.setdefault(name, CounterMetricFamily(f"pilvi_{name}", name.replace("_", " "), labels=[key for key, _ in labels]))
            family.add_metric([value for _, value in labels], amount)
        yield from families.values()
        for name, read in list(_gauges.items()):
            yield GaugeMetricFamily(f"pilvi_{name}", name.replace("_", " "), value=read())
        for name, look in list(_tables.items()):
            rows = look()
            kept = GaugeMetricFamily(f"pilvi_{name}", name.replace("_", " "), labels=list(rows[0][0]) if rows else [])
            for labels_of, value in rows:
                kept.add_metric(list(labels_of.values()), value)
            yield kept
        yield GaugeMetricFamily("pilvi_uptime_seconds", "Seconds since this process started.", value=time.time() - _started)


def text() -> bytes:
    """All metrics in Prometheus' text form."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Collector())  # type: ignore[arg-type]
    return generate_latest(registry)
