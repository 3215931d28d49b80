"""Where a cloud lives: its state folder, its process, and the socket by which the command line talks to it."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pilvi.kernel.errors import PilviError, Unavailable


def parser(command: str, what: str) -> argparse.ArgumentParser:
    """An argument parser with the options that every command has."""
    made = argparse.ArgumentParser(prog=f"pilvi {command}", description=what)
    made.add_argument("--state", metavar="DIR", help="the cloud's state folder (default: $PILVI_STATE, else /var/lib/pilvi)")
    made.add_argument("--config", metavar="FILE", help="settings (default: pilvi.toml in the state folder)")
    return made


class Place:
    """One cloud on this machine, by its state folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        given = options.state or os.environ.get("PILVI_STATE") or _default()
        self.state = Path(given).expanduser().resolve()
        self.config = Path(options.config).resolve() if options.config else self.state / "pilvi.toml"
        self.log = self.state / "log" / "pilvi.log"
        self.pid_file = self.state / "pilvi.pid"

    @property
    def run_dir(self) -> Path:
        """A short folder for sockets (their paths are limited to 108 bytes), one for each state folder."""
        digest = hashlib.sha256(str(self.state).encode()).hexdigest()[:8]
        root = Path("/run/pilvi") if os.geteuid() == 0 else Path(os.environ.get("XDG_RUNTIME_DIR", tempfile.gettempdir())) / "pilvi"
        return root / digest

    @property
    def socket(self) -> Path:
        return self.run_dir / "control.sock"

    def pid(self) -> int | None:
        """The running program's process id, None when it does not run."""
        try:
            pid = int(self.pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        if pid == os.getpid():  # of an earlier life: in a container numbers come again soon
            return None
        return pid if b"--foreground" in words and any(b"pilvi" in word for word in words) else None

    def ask(self, path: str, *, timeout: float = 10.0, **query: str) -> Any:
        """What the running program answers on its control socket.

        Raises Unavailable when it does not run, and the program's own sentence when it refuses.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(timeout)
                link.connect(str(self.socket))
                link.sendall(f"GET {target} HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while piece := link.recv(1 << 16):
                    answer += piece
            if not answer:
                raise ConnectionError("the program ended with the question")
        except OSError:
            if (self.state / "laboratory").is_dir():
                raise Unavailable(f"no cloud runs on {self.state} itself, which has a laboratory; `pilvi lab` lists its hosts.") from None
            raise Unavailable(f"no cloud runs on {self.state}; `pilvi up` starts it.") from None
        head, _, body = answer.partition(b"\r\n\r\n")
        told: Mapping[str, Any] = json.loads(body) if body else {}
        if b" 200 " not in head.split(b"\r\n", 1)[0] + b" ":
            raise PilviError(str(told.get("error", "the program did not answer.")))
        return told


def _default() -> str:
    return "/var/lib/pilvi" if os.geteuid() == 0 else "~/.local/state/pilvi"
