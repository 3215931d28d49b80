"""The API measured: start, idle, single boots, and the load script that measured upstream, beside upstream's figures."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from typing import Any

from pilvi.bench.client import SERVERS
from pilvi.bench.cloud import BENCH, Measured, number, say
from pilvi.kernel.errors import PilviError

SECTIONS = "keystone,nova,neutron,glance,placement,cinder"
# of upstream.md: seconds until every API answered, MB and % of a core when idle
_UPSTREAM_START, _UPSTREAM_MEMORY, _UPSTREAM_IDLE = 21.9, 5480, 4.1


def measure(cloud: Measured, chosen: Namespace) -> list[str]:
    """Start, idle and single boots, then the load script; answers the tables."""
    say("an empty state folder: starting the cloud")
    began = time.perf_counter()
    cloud.start()
    first = time.perf_counter() - began
    cloud.stop()
    say("the same state again: until every API answers")
    began = time.perf_counter()
    cloud.start()
    cloud.until_all_answer()
    again = time.perf_counter() - began
    say(f"{chosen.idle:g} s of doing nothing")
    spent = cloud.cpu()
    time.sleep(chosen.idle)
    idle = (cloud.cpu() - spent) / chosen.idle * 100
    memory = cloud.memory()
    say("single boots")
    boots = _boots(cloud, 3 if chosen.quick else 15)
    lines = [
        f"Load average at the start {os.getloadavg()[0]:.1f}; figures of CPU are of the cloud's one process, upstream's of all of its own.", "",
        "| what | Pilvi | upstream |", "|---|---:|---:|",
        f"| from an empty folder to a usable cloud, s | {first:.2f} | 77.8 |",
        f"| start on an existing state until every API answers, s | {again:.2f} | {_UPSTREAM_START} |",
        f"| idle memory (RSS) after {chosen.idle:g} s, MiB | {memory} | {_UPSTREAM_MEMORY} |",
        f"| idle CPU, % of a core | {idle:.2f} | {_UPSTREAM_IDLE} |",
        f"| POST of a server to ACTIVE, median of {len(boots)}, ms | {statistics.median(wall for wall, _ in boots):.0f} | 470 |",
        f"| POST of a server until its (fake) machine runs, ms | {statistics.median(start for _, start in boots):.0f} | |", "",
    ]  # fmt: skip
    say("the load script")
    rows = _load(cloud, chosen)
    lines += [*_rows(rows), "", *_ports(cloud, rows), f"Memory after all that: {cloud.memory()} MiB."]
    return lines


def _boots(cloud: Measured, count: int) -> list[tuple[float, float]]:
    """Boot servers one after the other: ms from POST to ACTIVE as a client sees it, and until the machine runs as the trace tells."""
    client = cloud.client()
    wanted = {"name": "bench-one", "imageRef": client.image("bench-one"), "flavorRef": client.flavor("bench-one"), "networks": "none"}
    found = []
    for _ in range(count + 1):
        posted, began = time.time(), time.perf_counter()
        made = client.call("POST", SERVERS, {"server": wanted})["server"]["id"]
        while (status := client.call("GET", f"{SERVERS}/{made}")["server"]["status"]) == "BUILD":
            time.sleep(0.002)
        wall = (time.perf_counter() - began) * 1000
        if status != "ACTIVE":
            raise PilviError(f"a server is {status}; {cloud.place.log} tells more.")
        spans = [span for request in cloud.place.ask("/trace", server=made)["requests"] for span in request["spans"]]
        runs = next(span["started_at"] + span["seconds"] for span in spans if span["number"] == "28")
        found.append((wall, (runs - posted) * 1000))
        client.call("DELETE", f"{SERVERS}/{made}")
    return found[1:]  # the first also filled caches


def _load(cloud: Measured, chosen: Namespace) -> list[dict[str, Any]]:
    """Run the load script, whose progress is shown; answers its figures."""
    out = cloud.folder / "bench.json"
    command = [
        sys.executable, str(BENCH / "bench_api.py"), "--auth-url", f"http://127.0.0.1:{cloud.port}/identity/v3", "--password", cloud.password,
        "--sections", chosen.sections, "--cpu-match", re.escape(str(cloud.place.state)), "--json", str(out), "--servers", str(chosen.servers),
        "--secs", str(chosen.secs), "--reps", "1" if chosen.quick else "2", "--keep", *(["--quick"] if chosen.quick else []),
    ]  # fmt: skip
    done = subprocess.run(command, check=False)
    if done.returncode or not out.exists():
        raise PilviError("the load script did not end well.")
    return json.loads(out.read_text(encoding="utf-8"))


def _ports(cloud: Measured, rows: list[dict[str, Any]]) -> list[str]:
    """The list "of 1000 ports" holds all that a fast cloud made in the seconds before: say what that is for a thousand."""
    cost = next((row["cpu_ms_per_op"] for row in rows if row["name"] == "list 1000 ports"), None)
    if not cost:
        return []
    count = len(cloud.client().call("GET", "/network/v2.0/ports?fields=id")["ports"])
    return [f"There were {count} ports in the list of ports: {cost * 1000 / count:.1f} ms for each 1000 (upstream: 628).", ""]


def _rows(ours: list[dict[str, Any]]) -> list[str]:
    """Each figure, beside upstream's where that was taken, with the ratio of CPU."""
    upstream = json.loads((BENCH / "upstream.json").read_text(encoding="utf-8"))
    theirs = {(row["section"], _key(row["name"]), row["conc"]): row for row in upstream}
    lines = [
        "| service | what | conc. | CPU ms/op | upstream | upstream / Pilvi | median | upstream | unit | others' CPU |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for row in ours:
        if row["value"] is None:
            lines.append(f"| {row['section']} | {row['name']} | | | | | | | | |")
            continue
        other = theirs.get((row["section"], _key(row["name"]), row["conc"]))
        cpu, base = row["cpu_ms_per_op"], other["cpu_ms"] if other else None
        ratio = f"{base / cpu:.1f}" if cpu and base else ""
        others = "" if row["others"] is None else f"{row['others']:.0%}"
        lines.append(
            f"| {row['section']} | {row['name']} | {row['conc']} | {number(cpu)} | {number(base)} | {ratio} "
            f"| {number(row['value'])} | {number(other['value']) if other else ''} | {row['unit']} | {others} |"
        )
    return lines


def _key(name: str) -> str:
    """Names without what differs from run to run."""
    name = re.sub(r"\(.*?\)", "", name).strip()
    name = re.sub(r"(POST /servers to ACTIVE with \d+ others).*", r"\1", name)
    name = re.sub(r"boot \d+ servers, (no network, 50 a request|50 a request, no network).*", "boot servers, 50 a request", name)
    return re.sub(r"GET /resource_providers.*", "GET /resource_providers", name)
