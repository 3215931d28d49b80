"""pilvi status: every role, its health, memory and uptime; answers in a blink."""

from __future__ import annotations

import json
import sys
from typing import Any

from pilvi.cli.place import Place, parser


def main(arguments: list[str]) -> int:
    """Exit code 0: all is well; 1: something is not; 3: no cloud runs."""
    options = parser("status", "Show every role, its health, memory and uptime.")
    options.add_argument("--json", action="store_true", help="print JSON")
    chosen = options.parse_args(arguments)
    place = Place(chosen)
    if place.pid() is None:
        print(f"no cloud runs on {place.state}; `pilvi up` starts it.", file=sys.stderr)
        return 3
    told = place.ask("/status", timeout=5)
    if chosen.json:
        print(json.dumps(told, indent=2))
    else:
        print(f"Pilvi {told['version']} on {told['host']}: {told['url']}   state {told['state']}")
        print(f"process {told['pid']}, up {_span(told['uptime'])}, memory {told['memory_mib']} MiB, {told['threads']} threads")
        for role in told["roles"]:
            _print(role)
        for other in told["others"]:
            heard = f"up {_span(other['uptime'])}" if other["up"] else f"NOT HEARD OF for {_span(other['silent'])}"
            print(f"host {other['host']}: process {other['pid']}, {heard}, memory {other['memory_mib']} MiB, version {other['version']}")
            for role in other["roles"]:
                _print(role if other["up"] else {**role, "healthy": False})
    roles = told["roles"] + [role | {"healthy": role["healthy"] and other["up"]} for other in told["others"] for role in other["roles"]]
    return 0 if all(role["healthy"] for role in roles) else 1


def _print(role: dict[str, Any]) -> None:
    print(f"  {role['role']:<10} {'ok' if role['healthy'] else 'NOT WELL':<9} {role['detail']}")


def _span(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
