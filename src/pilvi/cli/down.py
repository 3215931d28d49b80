"""pilvi down: stop the cloud; with --all its servers and networks on this machine too."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from pilvi.cli.place import Place, parser
from pilvi.kernel.errors import PilviError


def main(arguments: list[str]) -> int:
    options = parser("down", "Stop the cloud.  Servers go on running, and are taken up again by the next `pilvi up`.")
    options.add_argument("--all", action="store_true", help="stop the servers, and take networks and helpers of this cloud off this machine")
    chosen = options.parse_args(arguments)
    place = Place(chosen)
    pid = place.pid()
    laboratory = _laboratory(place, everything=chosen.all)
    if pid is not None:
        stop(place, pid)
        print("stopped")
    elif not laboratory:
        print(f"no cloud runs on {place.state}", file=sys.stderr)
    if chosen.all and (pid is not None or not laboratory or (place.state / "pilvi.db").exists()):
        from pilvi.cli.clear import clear

        clear(place)
        print("the servers, networks and helpers of this cloud on this machine are gone; its data is kept")
    return 0


def _laboratory(place: Place, *, everything: bool) -> bool:
    """Stop the programs on the hosts of `pilvi demo --hosts`, or take down the hosts with all that they have; whether there are any."""
    folder = place.state / "laboratory"
    if not folder.is_dir():
        return False
    from pilvi.laboratory import Laboratory

    laboratory = Laboratory(folder)
    if everything:
        laboratory.end()
        print("the laboratory's hosts are down; what is on their disks is kept")
        return True
    for name in laboratory.names():
        if laboratory.host(name).pid:
            laboratory.host(name).pilvi("down", check=False)
            print(f"stopped on {name}")
    return True


def stop(place: Place, pid: int, *, within: float = 30.0) -> None:
    """End the program and wait for it; raises PilviError when it does not end in time."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + within
    while _runs(pid):
        if time.monotonic() > end:
            raise PilviError(f"process {pid} did not end within {within:g} s; `kill -9 {pid}` is safe.")
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether the process is there; its pid file goes before it has ended all that it does."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False
