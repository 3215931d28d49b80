"""The stock `openstack` client, once imported, for many commands: each runs as if its process were new.

As a program it reads from stdin one JSON line a command, `{"words": [...], "environment": {...}}`, and answers with one JSON
line, `{"code": 0, "said": "..."}`.  `StockClient` is the other end.  Starting Python seventy times would take minutes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any


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
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    from openstackclient.shell import OpenStackShell

    warnings.resetwarnings()
    for line in commands:
        told = json.loads(line)
        for name in [name for name in os.environ if name.startswith("OS_")]:
            del os.environ[name]
        os.environ.update(told["environment"])
        code, said = _run(OpenStackShell, told["words"])
        answers.write(json.dumps({"code": code, "said": said}) + "\n")
        answers.flush()


def _run(shell: Any, words: list[str]) -> tuple[int, str]:
    """One command by a new shell object, its standard output and errors caught on their way to the terminal."""
    with tempfile.TemporaryFile() as terminal:
        for number in (1, 2):
            os.dup2(terminal.fileno(), number)
        try:
            code = int(shell().run(words) or 0)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(ValueError):
                    stream.flush()
            for handler in list(logging.getLogger().handlers):  # a new process would have none
                logging.getLogger().removeHandler(handler)
        terminal.seek(0)
        return code, terminal.read().decode("utf-8", "replace")


if __name__ == "__main__":
    main()
