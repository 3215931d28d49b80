"""A small QMP client: one connection, one command after another, events passed over."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pilvi.kernel.errors import HostError


class Refused(HostError):
    """The program at the other end refused a command; `why` is its own sentence."""

    def __init__(self, command: str, why: str) -> None:
        super().__init__(f"The volume daemon refused {command}: {why}")
        self.why = why


class Monitor:
    """A connection to a QMP socket, for use in a `with` block.  Raises HostError when nobody answers in time."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
            self._lines = self._socket.makefile("rb")
            self._receive()
        except OSError as error:
            self._socket.close()
            raise self._silent(error) from error
        self.do("qmp_capabilities")

    def do(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Execute a command and answer what it returned.  Raises Refused."""
        try:
            self._socket.sendall(json.dumps({"execute": command, "arguments": arguments or {}}).encode())
            while True:
                answer = self._receive()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise Refused(command, str(answer["error"].get("desc", "")))
        except OSError as error:
            raise self._silent(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def _receive(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise ConnectionResetError("the connection was closed")
        return json.loads(line)

    def _silent(self, error: OSError) -> HostError:
        return HostError(f"The volume daemon at {self._path} does not answer ({error}); it is started anew when it has ended.")
