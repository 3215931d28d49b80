"""pilvi logs: show the log, the last lines first asked for, or as it grows."""

from __future__ import annotations

import json
import time
from collections import deque

from pilvi.cli.place import Place, parser
from pilvi.kernel.errors import NotFound


def main(arguments: list[str]) -> int:
    options = parser("logs", "Show the log.")
    options.add_argument("-n", "--lines", type=int, default=50, help="how many of the last lines (default 50)")
    options.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    options.add_argument("--level", choices=("debug", "info", "warning", "error"), help="only lines of this level")
    options.add_argument("--request", metavar="ID", help="only lines of this request")
    options.add_argument("--json", action="store_true", help="the lines as they are")
    chosen = options.parse_args(arguments)
    place = Place(chosen)
    if not place.log.exists():
        raise NotFound(f"there is no log at {place.log} yet.")

    def show(line: str) -> None:
        try:
            told: dict[str, object] = json.loads(line)
        except ValueError:
            told = {"event": line.rstrip()}
        if chosen.level and told.get("level") != chosen.level or chosen.request and told.get("request_id") != chosen.request:
            return
        print(line.rstrip() if chosen.json else _words(told), flush=True)

    with open(place.log, encoding="utf-8", errors="replace") as log:
        for line in deque(log, maxlen=chosen.lines):
            show(line)
        while chosen.follow:
            line = log.readline()
            if line:
                show(line)
            else:
                time.sleep(0.2)
    return 0


def _words(told: dict[str, object]) -> str:
    at = told.pop("at", None)
    clock = time.strftime("%H:%M:%S", time.localtime(float(str(at)))) if at else "        "
    level, event, trouble = told.pop("level", ""), told.pop("event", ""), told.pop("traceback", "")
    facts = " ".join(f"{name}={value}" for name, value in told.items() if value not in ("", None))
    return f"{clock} {level!s:<7} {event} {facts}" + (f"\n{trouble}" if trouble else "")
