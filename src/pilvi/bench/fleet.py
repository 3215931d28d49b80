"""Storms and the fleet measured: many servers at once on one host, and on a thousand hosts."""

from __future__ import annotations

import json
import os
import statistics
import time
from argparse import Namespace
from typing import Any

from pilvi.bench.client import SERVERS, Client
from pilvi.bench.cloud import BENCH, Measured, number, say
from pilvi.bench.storm import Storm, remove, states, storm, until_built
from pilvi.kernel.errors import PilviError

_CONCURRENCY = 10
_AT_ONCE = 500  # servers in one request, when many are only to be there
_CHOICES, _CHOOSING = "pilvi_scheduler_choices_total", "pilvi_scheduler_cpu_seconds_total"
_HEADS = [
    "| storm (concurrency 10) | servers/s to ACTIVE | upstream | POST p50 ms | p95 | p99 | errors | s until accepted | s until ACTIVE "
    "| CPU ms a boot | upstream |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
]


def storms(cloud: Measured, chosen: Namespace) -> list[str]:
    """200 servers at once on one host, without and with a new port each."""
    servers = 50 if chosen.quick else 200
    cloud.start()
    client = cloud.client()
    body = _body(client)
    lines = list(_HEADS)
    for name, networks, upstream in (
        ("no-network", "none", "boot 200 servers, no network"),
        ("new-port", [{"uuid": client.network("bench-storm", "10.64.0.0/16")}], "boot 50 servers, one new port each"),
    ):
        say(f"a storm of {servers} servers on one host, {name}")
        took = storm(client, cloud.cpu, name=name, servers=servers, concurrency=_CONCURRENCY, body={**body, "networks": networks})
        lines.append(_row(f"{servers} servers, one host, {name}", took, _upstream("nova", upstream)))
        remove(client, name)
    return [*lines, "", f"Load average {os.getloadavg()[0]:.1f}."]


def measure(cloud: Measured, chosen: Namespace) -> list[str]:
    """A thousand hosts in the cloud's own process: storms, heartbeats, the scheduler, a list, and memory."""
    os.environ["PILVI_COMPUTE__FAKE__HOSTS"] = str(chosen.hosts)
    try:
        say(f"a cloud of {chosen.hosts} hosts")
        began = time.perf_counter()
        cloud.start()
    finally:
        del os.environ["PILVI_COMPUTE__FAKE__HOSTS"]
    cloud.until_well()
    known = time.perf_counter() - began
    say(f"{chosen.idle:g} s of heartbeats only")
    spent = cloud.cpu()
    time.sleep(chosen.idle)
    beating = (cloud.cpu() - spent) / chosen.idle * 100
    alone = cloud.memory()
    client = cloud.client()
    body = _body(client)
    say(f"{chosen.servers} servers on {chosen.hosts} hosts")
    choices, choosing = client.metric(_CHOICES), client.metric(_CHOOSING)
    took = storm(client, cloud.cpu, name="fleet", servers=chosen.servers, concurrency=_CONCURRENCY, body={**body, "networks": "none"})
    choice = (client.metric(_CHOOSING) - choosing) / max(1.0, client.metric(_CHOICES) - choices) * 1000
    lines = [*_HEADS, _row(f"{chosen.servers} servers on {chosen.hosts} hosts", took, None)]
    say("the list with details")
    listing, page = _listing(client, cloud)
    with_ports = min(200, chosen.servers)
    say(f"{with_ports} servers with a new port each on {chosen.hosts} hosts")
    networks = [{"uuid": client.network("bench-fleet", "10.64.0.0/16")}]
    ported = storm(client, cloud.cpu, name="ported", servers=with_ports, concurrency=_CONCURRENCY, body={**body, "networks": networks})
    lines.append(_row(f"{with_ports} servers on as many of {chosen.hosts} hosts, new-port", ported, None))
    say(f"{chosen.many} servers")
    _fill(client, body, chosen.many - chosen.servers - with_ports)
    failed = {status: count for status, count in states(client, "").items() if status != "ACTIVE" and count}
    memory = cloud.memory()
    return [
        *lines, "", "| what | Pilvi | upstream |", "|---|---:|---:|",
        f"| {chosen.hosts} hosts known after s | {known:.1f} | 100 to 120 |",
        f"| choosing a host among {chosen.hosts}, ms of CPU (upstream: wall) | {choice:.2f} | {_wall('scheduler', 'choose one of 1000 hosts')} |",
        f"| heartbeats of {chosen.hosts} hosts, agents in the same process, % of a core | {beating:.1f} | |",
        f"| list of {page} servers with details, median ms | {listing[0]:.1f} | {_wall('nova', 'GET /servers/detail, 1000 servers')} |",
        f"| the same, ms of CPU | {listing[1]:.1f} | {number(_upstream('nova', 'GET /servers/detail, 1000 servers')['cpu_ms'])} |",
        f"| memory with {chosen.hosts} hosts and no servers, MiB | {alone} | |",
        f"| memory with {chosen.hosts} hosts and {chosen.many} servers, MiB | {memory} | |",
        f"| of these servers not ACTIVE | {sum(failed.values())} | |", "",
        f"Load average {os.getloadavg()[0]:.1f}.",
    ]  # fmt: skip


def _body(client: Client) -> dict[str, Any]:
    return {"imageRef": client.image("bench-storm"), "flavorRef": client.flavor("bench-storm")}


def _fill(client: Client, body: dict[str, Any], servers: int) -> None:
    """Have so many more servers."""
    while servers > 0:
        count = min(servers, _AT_ONCE)
        client.call("POST", SERVERS, {"server": {**body, "name": "many", "networks": "none", "min_count": count, "max_count": count}})
        until_built(client, "many")
        servers -= count


def _listing(client: Client, cloud: Measured) -> tuple[tuple[float, float], int]:
    """Median milliseconds, and CPU, of a list of a thousand servers; and how many it really had."""
    path = f"{SERVERS}/detail?limit=1000"
    page, walls = len(client.call("GET", path)["servers"]), []
    spent = cloud.cpu()
    for _ in range(20):
        began = time.perf_counter()
        status, _, _ = client.ask("GET", path)
        walls.append((time.perf_counter() - began) * 1000)
        if status != 200:
            raise PilviError(f"GET {path}: {status}")
    return (statistics.median(walls), (cloud.cpu() - spent) * 1000 / len(walls)), page


def _row(what: str, took: Storm, upstream: dict[str, Any] | None) -> str:
    theirs = (number(upstream["value"] / 60), number(upstream["cpu_ms"])) if upstream else ("", "")
    return (
        f"| {what} | {took.a_second:.1f} | {theirs[0]} | {took.post(50):.1f} | {took.post(95):.1f} | {took.post(99):.1f} | {took.errors} "
        f"| {took.accepted:.1f} | {took.seconds:.1f} | {took.cpu:.1f} | {theirs[1]} |"
    )


def _upstream(section: str, name: str) -> dict[str, Any]:
    """Upstream's figure of that name, one at a time where there are several."""
    rows = json.loads((BENCH / "upstream.json").read_text(encoding="utf-8"))
    return next(row for row in rows if row["section"] == section and row["name"] == name)


def _wall(section: str, name: str) -> str:
    return number(_upstream(section, name)["value"])
