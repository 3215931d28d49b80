"""Gates: the processes that carry volumes' data between hosts, started and found again, and what they are told."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pilvi.block_storage.drivers import nbd_gate
from pilvi.kernel.errors import HostError

_PATIENCE = 15.0  # seconds


class Gate:
    """The gate process of one folder, a short path: sockets lie in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ensure(self, config: dict[str, Any]) -> None:
        """Have it running, so configured.  Raises HostError."""
        with self._alone():
            text = json.dumps(config, sort_keys=True)
            file = self.folder / "gate.json"
            known = file.read_text() if file.exists() else ""
            if known == text and self._pid():
                return
            self._end()
            _write(file, text)
            command = [sys.executable, "-I", nbd_gate.__file__, str(self.folder)]
            try:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False, cwd="/")
            except subprocess.TimeoutExpired:
                raise HostError("The gate to other hosts' volumes did not start in time.") from None
            if done.returncode:
                raise HostError(f"The gate to other hosts' volumes did not start: {(done.stderr.strip() or 'it ended at once')[-300:]}.")

    def look(self) -> None:
        """Have it look at its ways again."""
        pid = self._pid()
        if pid:
            os.kill(pid, signal.SIGHUP)

    def stop(self) -> None:
        """Have it not running, and nothing of it left; what it carried is cut."""
        if self.folder.is_dir():
            with self._alone():
                self._end()
                shutil.rmtree(self.folder)

    def _end(self) -> None:
        pid = self._pid()
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError):
            watched = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(watched, signal.SIGTERM)
                if not select.select([watched], [], [], 5)[0]:
                    signal.pidfd_send_signal(watched, signal.SIGKILL)
                    select.select([watched], [], [], 5)
            finally:
                os.close(watched)

    def _pid(self) -> int:
        """Its process; 0 when it does not run.  A number left in the file by another process does not count."""
        try:
            pid = int((self.folder / "pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return 0
        name = f"/{Path(nbd_gate.__file__).name}".encode()  # one that was started by another version of the program is ours too
        return pid if os.fsencode(self.folder) in words and any(word.endswith(name) for word in words) else 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Ways:
    """From this host's guests to volumes on others: a unix socket for each server and volume."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._gate = Gate(folder)

    def ensure(self, server_id: str, volume_id: str, *, host: str, port: int, export: str, secret: str, pin: str) -> str:
        """The socket at which the server finds the volume.  Raises HostError."""
        name = _name(server_id, volume_id)
        (self.folder / "ways").mkdir(parents=True, exist_ok=True, mode=0o700)
        file, path = self.folder / "ways" / f"{name}.json", self.folder / f"{name}.sock"
        text = json.dumps({"host": host, "port": port, "export": export, "secret": secret, "pin": pin}, sort_keys=True)
        if not file.exists() or file.read_text() != text:
            _write(file, text)
        self._gate.ensure({})
        if not path.exists():
            self._gate.look()
            end = time.monotonic() + _PATIENCE
            while not path.exists():
                if time.monotonic() > end:
                    raise HostError("The gate to other hosts' volumes does not open a way; look at its process.")
                time.sleep(0.01)
        else:
            self._gate.look()
        return str(path)

    def remove(self, server_id: str, volume_id: str = "") -> None:
        """Have no way to the volume for the server; without a volume, none at all."""
        gone = list((self.folder / "ways").glob(f"{_name(server_id, volume_id)}*.json"))
        for file in gone:
            file.unlink(missing_ok=True)
        if gone:
            self._gate.look()

    def heal(self) -> None:
        """Have the gate running while there is a way."""
        if any((self.folder / "ways").glob("*.json")):
            self._gate.ensure({})

    def stop(self) -> None:
        """Have no gate."""
        self._gate.stop()


def pin(certificate: Path) -> str:
    """By which a certificate (PEM) is known to those who are to meet it: the SHA-256 of its DER form."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        first = begin + certificate.read_text(encoding="ascii").partition(begin)[2].partition(end)[0] + end  # a chain may follow
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
    except (OSError, ValueError):
        raise HostError(f"{certificate} is not a certificate that can be read.") from None


def _name(server_id: str, volume_id: str) -> str:
    server, volume = (hashlib.blake2s(one.encode(), digest_size=8).hexdigest() for one in (server_id, volume_id))
    return f"{server}-{volume if volume_id else ''}"


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for its owner only."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
