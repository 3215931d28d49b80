"""The command line: each subcommand is a module of this package, imported only when it is used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

# command -> (module, what it does); the order is the help's
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("pilvi.cli.demo", "bring up a cloud and boot a real server in it, step by step"),
    "up": ("pilvi.cli.up", "start the cloud"),
    "down": ("pilvi.cli.down", "stop the cloud"),
    "status": ("pilvi.cli.status", "every role, its health, memory and uptime"),
    "host": ("pilvi.cli.host", "the cloud's hosts: invite, list, drain, remove"),
    "join": ("pilvi.cli.join", "turn this machine into a host of a cloud"),
    "lab": ("pilvi.cli.lab", "run a command on a host of the laboratory that `demo --hosts` made"),
    "openrc": ("pilvi.cli.openrc", "print what a shell needs to use the openstack client"),
    "trace": ("pilvi.cli.trace", "what happened to a server, step by step, with durations"),
    "why": ("pilvi.cli.why", "why a server is, or is not, on each host"),
    "logs": ("pilvi.cli.logs", "show the log"),
    "check": ("pilvi.cli.check", "find what is orphaned or drifted; --repair mends it"),
    "database": ("pilvi.cli.database", "show the cloud's database, or move the cloud to another"),
    "fleet": ("pilvi.cli.fleet", "many fake hosts in a few processes, to measure a large cloud"),
    "bench": ("pilvi.cli.bench", "measure this cloud beside upstream's figures"),
    "install": ("pilvi.cli.install", "install the system packages that are missing"),
    "test": ("pilvi.cli.test", "set up whatever is missing and run all tests"),
}


def run(arguments: Sequence[str]) -> int:
    """Run a command line; answers the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version", "version"):
        from pilvi import __version__

        print(f"pilvi {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        print(f"pilvi: there is no command '{arguments[0]}'.\n\n{_help()}", file=sys.stderr)
        return 2
    from pilvi.kernel.errors import PilviError

    module = importlib.import_module(COMMANDS[arguments[0]][0])
    try:
        return int(module.main(list(arguments[1:])) or 0)
    except PilviError as error:
        print(f"pilvi {arguments[0]}: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            return 0
        print(f"pilvi {arguments[0]}: {error.strerror or error}" + (f": {error.filename}." if error.filename else "."), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    usage = "usage: pilvi COMMAND [OPTIONS]   (pilvi COMMAND --help)"
    return "\n".join(["Pilvi, an OpenStack-compatible cloud in one program.", "", usage, "", *lines])
