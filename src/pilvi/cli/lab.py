"""pilvi lab: run a command on a host of the laboratory that `pilvi demo --hosts` made, or a shell."""

from __future__ import annotations

import argparse
import os
import subprocess

from pilvi.cli.place import Place, parser
from pilvi.kernel.errors import NotFound, PilviError


def main(arguments: list[str]) -> int:
    options = parser("lab", "Run a command on a host of the laboratory that `pilvi demo --hosts` made; without a command, a shell.")
    options.add_argument("host", nargs="?", help="controller, n1, n2, ... or outside; without it, the hosts are listed")
    options.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    chosen = options.parse_args(arguments)
    from pilvi.laboratory import OUTSIDE, Laboratory

    folder = Place(chosen).state / "laboratory"
    if not folder.is_dir():
        raise NotFound(f"there is no laboratory in {folder}; `pilvi demo --hosts 3` makes one.")
    laboratory = Laboratory(folder)
    names = [*laboratory.names(), OUTSIDE]
    if chosen.host is None:
        for name in names:
            address = "" if name == OUTSIDE else laboratory.address(name)
            print(f"{name:<12} {'up' if laboratory.host(name).pid else 'down':<5} {address}")
        return 0
    if chosen.host not in names:
        raise NotFound(f"the laboratory has no host {chosen.host}; it has {', '.join(names)}.")
    if os.geteuid() != 0:
        raise PilviError("the laboratory's hosts belong to root; run it with sudo.")
    host = laboratory.host(chosen.host)
    words = host.enter(chosen.command or [os.environ.get("SHELL", "/bin/sh")])
    return subprocess.run(words, env=host.environment(), check=False).returncode
