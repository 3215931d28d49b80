"""pilvi bench: measure a fresh cloud on fake drivers with the load script that measured upstream, and set both side by side."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pilvi.cli import down, up
from pilvi.cli.place import Place, parser
from pilvi.kernel.errors import NotFound, PilviError

BENCH = Path(__file__).resolve().parents[3] / "bench"
SECTIONS = "keystone,nova,neutron,glance,placement,cinder"
# by which each service's answer is known: any status below 500 at its root
ROOTS = ("identity", "placement", "image", "network", "volume", "compute")
# of upstream.md: seconds until every API answered, MB and % of a core when idle
UPSTREAM_START, UPSTREAM_MEMORY, UPSTREAM_IDLE = 21.9, 5480, 4.1


def main(arguments: list[str]) -> int:
    options = parser("bench", "Measure a fresh cloud on fake drivers beside upstream's figures (CPU ms per operation, all processes).")
    options.add_argument("--sections", default=SECTIONS, help=f"default {SECTIONS}")
    options.add_argument("--servers", type=int, default=1000, help="how many servers at the most (default 1000)")
    options.add_argument("--secs", type=float, default=2, help="seconds of each throughput run (default 2)")
    options.add_argument("--idle", type=float, default=60, help="seconds of doing nothing before memory is read (default 60)")
    options.add_argument("--port", type=int, default=18765)
    options.add_argument("--quick", action="store_true", help="few servers and short runs: two minutes, rougher figures")
    options.add_argument("--md", metavar="FILE", help="write the tables there, too")
    chosen = options.parse_args(arguments)
    if not BENCH.is_dir():
        raise NotFound("the load script is in the source tree only; run `./pilvi bench` in a clone.")
    if chosen.quick:
        chosen.servers, chosen.secs, chosen.idle = min(chosen.servers, 100), min(chosen.secs, 1), min(chosen.idle, 10)
    folder = Path(tempfile.mkdtemp(prefix="pilvi-bench-"))
    place = Place(argparse.Namespace(state=str(folder), config=str(BENCH / "pilvi.toml")))
    os.environ.update(PILVI_API__PORT=str(chosen.port), PILVI_API__CLASSIC_PORTS="false")
    try:
        tables = measure(place, chosen)
    finally:
        pid = place.pid()
        if pid is not None:
            down.stop(place, pid)
        shutil.rmtree(folder, ignore_errors=True)
    print("\n" + tables)
    if chosen.md:
        Path(chosen.md).write_text(tables, encoding="utf-8")
    return 0


def measure(place: Place, chosen: argparse.Namespace) -> str:
    """Start, idle and single boots, then the load script; answers the tables."""
    _say("an empty state folder: starting the cloud")
    began = time.perf_counter()
    up.start(place, ["--fake"])
    first = time.perf_counter() - began
    down.stop(place, place.pid() or 0)
    _say("the same state again: until every API answers")
    began = time.perf_counter()
    up.start(place, ["--fake"])
    _until_all_answer(chosen.port)
    again = time.perf_counter() - began
    _say(f"{chosen.idle:g} s of doing nothing")
    spent = _cpu_seconds(place)
    time.sleep(chosen.idle)
    idle = (_cpu_seconds(place) - spent) / chosen.idle * 100
    memory = place.ask("/status")["memory_mib"]
    _say("single boots")
    boots = _boots(place, chosen.port, 3 if chosen.quick else 15)
    lines = [
        f"Load average at the start {os.getloadavg()[0]:.1f}; figures of CPU are of the cloud's one process, upstream's of all of its own.", "",
        "| what | Pilvi | upstream |", "|---|---:|---:|",
        f"| from an empty folder to a usable cloud, s | {first:.2f} | 77.8 |",
        f"| start on an existing state until every API answers, s | {again:.2f} | {UPSTREAM_START} |",
        f"| idle memory (RSS) after {chosen.idle:g} s, MiB | {memory} | {UPSTREAM_MEMORY} |",
        f"| idle CPU, % of a core | {idle:.2f} | {UPSTREAM_IDLE} |",
        f"| POST of a server to ACTIVE, median of {len(boots)}, ms | {statistics.median(wall for wall, _ in boots):.0f} | 470 |",
        f"| POST of a server until its (fake) machine runs, ms | {statistics.median(start for _, start in boots):.0f} | |", "",
    ]  # fmt: skip
    _say("the load script")
    rows = _load(place, chosen)
    lines += [*_rows(rows), "", *_ports(place, chosen.port, rows), f"Memory after all that: {place.ask('/status')['memory_mib']} MiB."]
    return "\n".join(lines) + "\n"


def _say(what: str) -> None:
    print(f"== {what}", flush=True)


def _until_all_answer(port: int) -> None:
    """Wait until the root of every service answers; raises PilviError when one does not."""
    end = time.monotonic() + 60
    for name in ROOTS:
        while True:
            try:
                status = _Client(port).ask("GET", f"/{name}/")[0]
            except OSError:
                status = 500
            if status < 500:
                break
            if time.monotonic() > end:
                raise PilviError(f"/{name}/ does not answer.")
            time.sleep(0.01)


def _cpu_seconds(place: Place) -> float:
    """What the cloud's process has used, user and system."""
    words = Path(f"/proc/{place.pid()}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _boots(place: Place, port: int, number: int) -> list[tuple[float, float]]:
    """Boot servers one after the other: ms from POST to ACTIVE as a client sees it, and until the machine runs as the trace tells."""
    client = _Client(port)
    client.log_in(_password(place))
    image = client.call("POST", "/image/v2/images", {"name": "bench-one", "disk_format": "raw", "container_format": "bare"})["id"]
    client.call("PUT", f"/image/v2/images/{image}/file", b"\0" * 1_000_000)
    servers = "/compute/v2.1/servers"
    flavor = client.call("POST", "/compute/v2.1/flavors", {"flavor": {"name": "bench-one", "ram": 64, "vcpus": 1, "disk": 1}})["flavor"]["id"]
    wanted = {"server": {"name": "bench-one", "imageRef": image, "flavorRef": flavor, "networks": "none"}}
    found = []
    for _ in range(number + 1):
        posted, began = time.time(), time.perf_counter()
        made = client.call("POST", servers, wanted)["server"]["id"]
        while (status := client.call("GET", f"{servers}/{made}")["server"]["status"]) == "BUILD":
            time.sleep(0.002)
        wall = (time.perf_counter() - began) * 1000
        if status != "ACTIVE":
            raise PilviError(f"a server is {status}; {place.log} tells more.")
        spans = [span for request in place.ask("/trace", server=made)["requests"] for span in request["spans"]]
        runs = next(span["started_at"] + span["seconds"] for span in spans if span["number"] == "28")
        found.append((wall, (runs - posted) * 1000))
        client.call("DELETE", f"{servers}/{made}")
    return found[1:]  # the first also filled caches


def _password(place: Place) -> str:
    return (place.state / "admin-password").read_text(encoding="utf-8").strip()


class _Client:
    """One kept connection to the cloud, as its administrator."""

    def __init__(self, port: int) -> None:
        self._link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._token = ""

    def log_in(self, password: str) -> None:
        user = {"name": "admin", "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        self._token = self.ask("POST", "/identity/v3/auth/tokens", body)[1]["x-subject-token"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; answers its JSON.  Raises PilviError with what was answered instead."""
        status, _, answered = self.ask(method, path, body)
        if status >= 400:
            raise PilviError(f"{method} {path}: {status} {answered[:300]!r}")
        return json.loads(answered) if answered else None

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], bytes]:
        """One request: its status, headers and body."""
        headers = {"X-Auth-Token": self._token, "OpenStack-API-Version": "compute 2.90", "Content-Type": "application/octet-stream"}
        if body is not None and not isinstance(body, bytes):
            headers["Content-Type"], body = "application/json", json.dumps(body).encode()
        self._link.request(method, path, body, headers)
        answer = self._link.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def _load(place: Place, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the load script, whose progress is shown; answers its figures."""
    out = place.state / "bench.json"
    command = [
        sys.executable, str(BENCH / "bench_api.py"), "--auth-url", f"http://127.0.0.1:{chosen.port}/identity/v3", "--password", _password(place),
        "--sections", chosen.sections, "--cpu-match", re.escape(str(place.state)), "--json", str(out), "--servers", str(chosen.servers),
        "--secs", str(chosen.secs), "--reps", "1" if chosen.quick else "2", "--keep", *(["--quick"] if chosen.quick else []),
    ]  # fmt: skip
    done = subprocess.run(command, check=False)
    if done.returncode or not out.exists():
        raise PilviError("the load script did not end well.")
    return json.loads(out.read_text(encoding="utf-8"))


def _ports(place: Place, port: int, rows: list[dict[str, Any]]) -> list[str]:
    """The list "of 1000 ports" holds all that a fast cloud made in the seconds before: say what that is for a thousand."""
    cost = next((row["cpu_ms_per_op"] for row in rows if row["name"] == "list 1000 ports"), None)
    if not cost:
        return []
    client = _Client(port)
    client.log_in(_password(place))
    count = len(client.call("GET", "/network/v2.0/ports?fields=id")["ports"])
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
            f"| {row['section']} | {row['name']} | {row['conc']} | {_number(cpu)} | {_number(base)} | {ratio} "
            f"| {_number(row['value'])} | {_number(other['value']) if other else ''} | {row['unit']} | {others} |"
        )
    return lines


def _key(name: str) -> str:
    """Names without what differs from run to run."""
    name = re.sub(r"\(.*?\)", "", name).strip()
    name = re.sub(r"(POST /servers to ACTIVE with \d+ others).*", r"\1", name)
    name = re.sub(r"boot \d+ servers, (no network, 50 a request|50 a request, no network).*", "boot servers, 50 a request", name)
    return re.sub(r"GET /resource_providers.*", "GET /resource_providers", name)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"
