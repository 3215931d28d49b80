"""pilvi bench: measure a fresh cloud on fake drivers with the load script that measured upstream, and set both side by side."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pilvi.cli import down, up
from pilvi.cli.place import Place, parser
from pilvi.kernel.errors import NotFound, PilviError

ROOT = Path(__file__).resolve().parents[3]
SECTIONS = "keystone,nova,neutron,glance,placement,cinder"


def main(arguments: list[str]) -> int:
    options = parser("bench", "Measure a fresh cloud on fake drivers beside upstream's figures (CPU ms per operation, all processes).")
    options.add_argument("--sections", default=SECTIONS, help=f"default {SECTIONS}")
    options.add_argument("--servers", type=int, default=1000, help="how many servers at the most (default 1000)")
    options.add_argument("--secs", type=float, default=3, help="seconds of each throughput run (default 3)")
    options.add_argument("--port", type=int, default=18765)
    options.add_argument("--md", metavar="FILE", help="write the table there, too")
    chosen = options.parse_args(arguments)
    script = ROOT / "bench" / "bench_api.py"
    if not script.exists():
        raise NotFound("the load script is in the source tree only; run `./pilvi bench` in a clone.")
    folder = Path(tempfile.mkdtemp(prefix="pilvi-bench-"))
    place = Place(argparse.Namespace(state=str(folder), config=None))
    os.environ.update(PILVI_API__PORT=str(chosen.port), PILVI_API__CLASSIC_PORTS="false", PILVI_QUOTAS="unlimited")
    try:
        table = measure(place, script, chosen)
    finally:
        pid = place.pid()
        if pid is not None:
            down.stop(place, pid)
        shutil.rmtree(folder, ignore_errors=True)
    print(table)
    if chosen.md:
        Path(chosen.md).write_text(table, encoding="utf-8")
    return 0


def measure(place: Place, script: Path, chosen: argparse.Namespace) -> str:
    """Start, idle, then the load script; answers the table."""
    up.start(place, ["--fake"])
    down.stop(place, place.pid() or 0)
    began = time.perf_counter()
    up.start(place, ["--fake"])
    started = time.perf_counter() - began
    time.sleep(5)
    told = place.ask("/status")
    lines = [
        "| what | Pilvi | upstream |", "|---|---:|---:|",
        f"| from `pilvi up` on an existing state until every API answers, s | {started:.2f} | 22.0 |",
        f"| idle memory of all processes, MiB (RSS) | {told['memory_mib']} | 5480 |", "",
    ]  # fmt: skip
    out = place.state / "bench.json"
    password = (place.state / "admin-password").read_text(encoding="utf-8").strip()
    done = subprocess.run(
        [
            sys.executable, str(script), "--auth-url", f"{told['url']}/identity/v3", "--password", password, "--sections", chosen.sections,
            "--cpu-match", re.escape(str(place.state)), "--json", str(out), "--servers", str(chosen.servers), "--secs", str(chosen.secs),
            "--reps", "2", "--keep",
        ],
        check=False,
    )  # fmt: skip
    if done.returncode or not out.exists():
        raise PilviError("the load script did not end well.")
    return "\n".join([*lines, *_rows(json.loads(out.read_text(encoding="utf-8")))]) + "\n"


def _rows(ours: list[dict[str, Any]]) -> list[str]:
    """Each figure that both have, with the ratio of CPU (or of the figure where upstream's CPU was not taken)."""
    upstream = json.loads((ROOT / "bench" / "upstream.json").read_text(encoding="utf-8"))
    theirs = {(row["section"], _key(row["name"]), row["conc"]): row for row in upstream}
    lines = [
        "| service | what | conc. | CPU ms/op | upstream | upstream / Pilvi | median | unit | upstream |",
        "|---|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    for row in ours:
        if row["value"] is None:
            lines.append(f"| {row['section']} | {row['name']} | | | | | | | |")
            continue
        other = theirs.get((row["section"], _key(row["name"]), row["conc"]))
        cpu, base = row["cpu_ms_per_op"], other["cpu_ms"] if other else None
        ratio = f"{base / cpu:.1f}" if cpu and base else ""
        lines.append(
            f"| {row['section']} | {row['name']} | {row['conc']} | {_number(cpu)} | {_number(base)} | {ratio} "
            f"| {_number(row['value'])} | {row['unit']} | {_number(other['value']) if other else ''} |"
        )
    return lines


def _key(name: str) -> str:
    """Names without the counts that differ from run to run."""
    name = re.sub(r"\(.*?\)", "", name).replace(", sequential", "").strip()
    return re.sub(r"GET /resource_providers.*", "GET /resource_providers", name)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"
