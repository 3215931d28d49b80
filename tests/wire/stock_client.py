"""The stock `openstack` client, imported once, for many commands: each runs in a fork, so that none remembers another.

As a program it reads from stdin one JSON line a command, `{"words": [...], "environment": {...}}`, and answers with one JSON
line, `{"code": 0, "said": "..."}`.  `StockClient` is the other end.  Starting Python for each command would take minutes.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# what takes long to import, and no command of the warming up imports
LOADED_BEFORE = [
    "openstack.compute.v2._proxy", "openstack.block_storage.v3._proxy", "openstack.network.v2._proxy", "openstack.image.v2._proxy",
    "openstack.identity.v3._proxy", "keystoneclient.v3.client", "keystoneauth1.loading", "cliff.formatters.table",
    "openstackclient.compute.v2.server", "openstackclient.volume.v3.volume", "openstackclient.network.v2.port",
]  # fmt: skip


class StockClient:
    """A child process that runs commands of the client."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = {name: value for name, value in environment.items() if name.startswith("OS_")}
        rest = {name: value for name, value in environment.items() if not name.startswith("OS_")}
        self._child = subprocess.Popen(
            [sys.executable, __file__], env=rest, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def run(self, *words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
        """The exit code, and what stands on the terminal afterwards (standard output and errors)."""
        assert self._child.stdin is not None and self._child.stdout is not None
        told = {"words": words, "environment": self.environment if environment is None else environment}
        self._child.stdin.write(json.dumps(told) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, f"the client's process ended at {words}"
        answer = json.loads(line)
        return answer["code"], answer["said"]

    def close(self) -> None:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait(30)


def main() -> None:
    """Serve commands until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    commands = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    sys.argv = ["openstack"]  # its name in what it says of its usage
    _warm_up()
    for line in commands:
        told = json.loads(line)
        code, said = _run(told["words"], told["environment"])
        answers.write(json.dumps({"code": code, "said": said}) + "\n")
        answers.flush()


def _warm_up() -> None:
    """Load what every command loads: plugins, their commands' places, and the slow modules; nobody logs in for help."""
    from openstackclient.shell import main as stock

    for module in LOADED_BEFORE:
        importlib.import_module(module)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.suppress(SystemExit):
        stock(["help", "server", "list"])
    logging.getLogger().handlers.clear()  # each command brings its own


def _run(words: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """One command in a fork, its standard output and errors caught on their way to the terminal."""
    with tempfile.TemporaryFile() as terminal:
        child = os.fork()
        if child == 0:
            for number in (1, 2):
                os.dup2(terminal.fileno(), number)
            os.environ.update(environment)
            sys.argv = ["openstack", *words]
            os._exit(_main())
        _, status = os.waitpid(child, 0)
        terminal.seek(0)
        return os.waitstatus_to_exitcode(status), terminal.read().decode("utf-8", "replace")


def _main() -> int:
    """What the script `openstack` does."""
    from openstackclient.shell import main as stock

    try:
        return int(stock() or 0)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


if __name__ == "__main__":
    main()
