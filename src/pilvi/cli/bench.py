"""pilvi bench: measure fresh clouds on fake drivers with the load script that measured upstream, and set both side by side."""

from __future__ import annotations

from pathlib import Path

from pilvi import clone
from pilvi.bench import api, fleet
from pilvi.bench.cloud import BENCH, measured
from pilvi.cli.place import parser
from pilvi.kernel.errors import Invalid, NotFound

# part -> what it measures; each has a cloud of its own
PARTS = {
    "api": "start, idle, and every service's calls",
    "storm": "200 servers at once on one host, with and without ports",
    "fleet": "1000 hosts: 1000 servers, heartbeats, scheduler, 10,000 servers' memory",
}


def main(arguments: list[str]) -> int:
    options = parser("bench", "Measure fresh clouds on fake drivers beside upstream's figures (CPU ms per operation, all processes).")
    told = "; ".join(f"{name}: {what}" for name, what in PARTS.items())
    options.add_argument("--parts", default=",".join(PARTS), help=f"default all ({told})")
    options.add_argument("--fleet-only", action="store_true", help="the same as --parts storm,fleet")
    options.add_argument("--sections", default=api.SECTIONS, help=f"of the API; default {api.SECTIONS}")
    options.add_argument("--servers", type=int, default=1000, help="how many servers at the most, API and fleet (default 1000)")
    options.add_argument("--many", type=int, default=10_000, help="how many servers the fleet has when memory is read (default 10000)")
    options.add_argument("--hosts", type=int, default=1000, help="hosts of the fleet (default 1000)")
    options.add_argument("--secs", type=float, default=2, help="seconds of each throughput run (default 2)")
    options.add_argument("--idle", type=float, default=60, help="seconds of doing nothing before memory is read (default 60)")
    options.add_argument("--port", type=int, default=18765)
    options.add_argument("--quick", action="store_true", help="few servers and short runs: two minutes, rougher figures")
    options.add_argument("--md", metavar="FILE", help="write the tables there, too")
    chosen = options.parse_args(arguments)
    if clone.ROOT is None:
        raise NotFound("the load script is in the source tree only; run `./pilvi bench` in a clone.")
    if chosen.quick:
        chosen.servers, chosen.secs, chosen.idle = min(chosen.servers, 100), min(chosen.secs, 1), min(chosen.idle, 10)
        chosen.many, chosen.hosts = min(chosen.many, 500), min(chosen.hosts, 200)
    parts = ["storm", "fleet"] if chosen.fleet_only else chosen.parts.split(",")
    for part in parts:
        if part not in PARTS:
            raise Invalid(f"--parts: there is no part '{part}'; choose from {', '.join(PARTS)}.")
    lines: list[str] = []
    for part, run in (("api", api.measure), ("storm", fleet.storms), ("fleet", fleet.measure)):
        if part in parts:
            with measured(chosen.port, BENCH / ("fleet.toml" if part == "fleet" else "pilvi.toml")) as cloud:
                lines += [*run(cloud, chosen), ""]
    tables = "\n".join(lines)
    print("\n" + tables)
    if chosen.md:
        Path(chosen.md).write_text(tables, encoding="utf-8")
    return 0
