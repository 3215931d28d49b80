"""A NATS broker of our own: Debian's nats-server, with a user for each host, and a life longer than Pilvi's."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bcrypt
import msgspec

from pilvi.kernel.bus import MAX_BYTES
from pilvi.kernel.bus.names import CONTROL, AgentTopics, agent_user, root, token
from pilvi.kernel.bus.nats import INBOX
from pilvi.kernel.config import BusSettings
from pilvi.kernel.errors import HostError, Invalid

CONTROL_USER = "control"  # the control plane's; it may do everything
INSTALL = "run `pilvi install`, or `apt-get install nats-server` as root."
_START, _STOP, _RELOAD = 20.0, 10.0, 10.0  # seconds
_ANSWER_WITHIN = "1h"  # how long an agent may answer what it was asked
_COST = 5  # of bcrypt: passwords are random and long, and each connection pays for it


class Broker:
    """The broker that `settings.serve` asks for.  Its folder keeps configuration, log, and the hashes of passwords.

    `topics` says what agents have to do with.  Starting a running one and stopping a stopped one do nothing.
    """

    def __init__(self, settings: BusSettings, folder: Path, topics: AgentTopics) -> None:
        self._settings, self._folder, self._topics = settings, folder.absolute(), topics
        self._address, self._port = _address(settings.serve)
        self._root = root(settings.prefix)
        if bool(settings.cert_file) != bool(settings.key_file):
            raise Invalid("bus.cert_file and bus.key_file belong together.", field="bus.cert_file")
        if settings.verify_clients and not (settings.cert_file and settings.ca_file):
            raise Invalid("bus.verify_clients needs bus.cert_file, bus.key_file and bus.ca_file.", field="bus.verify_clients")

    @property
    def url(self) -> str:
        """How other machines reach it: as `bus.url` says, or by this machine's name when it listens on all its addresses."""
        return self._url(socket.gethostname())

    def client(self) -> BusSettings:
        """The settings with which this program itself connects to it, as the control plane.  To be asked after `ensure`."""
        return msgspec.structs.replace(
            self._settings, url=self._url("127.0.0.1"), user=CONTROL_USER, password="", password_file=str(self._folder / "control.password")
        )

    def ensure(self) -> None:
        """Have it running, as the settings say.  Raises HostError with what to install or where to look."""
        with self._alone():
            self._ensure_control()
            changed = self._configure()
            listens = self._folder / "listens"
            if self.pid() is not None and (not listens.exists() or listens.read_text() != self._settings.serve):
                self._stop()  # the address is what a running server cannot change
            if self.pid() is None:
                self._launch()
                _write(listens, self._settings.serve)
            elif changed:
                self._reload()

    def stop(self) -> None:
        """Have it not running."""
        if self._folder.exists():
            with self._alone():
                self._stop()

    def ensure_user(self, host: str) -> str:
        """A password for the agent of a host, whose user is `names.agent_user(host)`; the one before is not valid any more."""
        password = secrets.token_urlsafe(32)
        self._set_user(host, _hash(password))
        return password

    def remove_user(self, host: str) -> None:
        """Let the agent of a host in no more; it is cut off when it is there."""
        self._set_user(host, None)

    def pid(self) -> int | None:
        """Its process id; None when it does not run.  A number left in the file by another process does not count."""
        try:
            pid = int((self._folder / "nats.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if os.fsencode(self._configuration) in command else None

    @property
    def _configuration(self) -> Path:
        return self._folder / "nats.conf"

    def _url(self, wildcard: str) -> str:
        if urlsplit(self._settings.url).scheme in ("nats", "tls"):
            return self._settings.url
        address = wildcard if self._address in ("0.0.0.0", "::", "") else self._address
        return f"{'tls' if self._settings.cert_file else 'nats'}://{f'[{address}]' if ':' in address else address}:{self._port}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _users(self) -> dict[str, str]:
        """The hashes of the agents' passwords by host."""
        try:
            return msgspec.json.decode((self._folder / "users.json").read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}

    def _set_user(self, host: str, hashed: str | None) -> None:
        with self._alone():
            users = {name: known for name, known in self._users().items() if name != host} | ({host: hashed} if hashed else {})
            _write(self._folder / "users.json", msgspec.json.encode(users).decode())
            self._ensure_control()
            if self._configure() and self.pid() is not None:
                self._reload()

    def _ensure_control(self) -> None:
        """The control plane's password is kept: this program has no other place to have it from."""
        if not (self._folder / "control.hash").exists():
            password = secrets.token_urlsafe(32)
            _write(self._folder / "control.password", password)
            _write(self._folder / "control.hash", _hash(password))

    def _configure(self) -> bool:
        """Write the configuration; whether it is another than before."""
        users: list[dict[str, Any]] = [{"user": CONTROL_USER, "password": (self._folder / "control.hash").read_text()}]
        users += [
            {"user": agent_user(host), "password": hashed, "permissions": permissions(host, self._topics, self._root)}
            for host, hashed in self._users().items()
        ]
        wanted: dict[str, Any] = {
            "listen": f"{f'[{self._address}]' if ':' in self._address else self._address}:{self._port}",
            "pid_file": str(self._folder / "nats.pid"),
            "log_file": str(self._folder / "nats.log"),
            "logfile_size_limit": 10_000_000,
            "max_payload": MAX_BYTES,
            "ping_interval": "4s",  # who is frozen or cut off gets no messages after three times as long
            "ping_max": 2,
            "authorization": {"timeout": 10, "users": users},
        }
        if self._settings.cert_file:
            wanted["tls"] = {"cert_file": _absolute(self._settings.cert_file), "key_file": _absolute(self._settings.key_file), "timeout": 10}
            if self._settings.verify_clients:
                wanted["tls"] |= {"ca_file": _absolute(self._settings.ca_file), "verify": True}
        text = json.dumps(wanted, indent=1) + "\n"
        if self._configuration.exists() and self._configuration.read_text() == text:
            return False
        _write(self._configuration, text)
        return True

    def _launch(self) -> None:
        program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            raise HostError(f"This machine has no nats-server: {INSTALL}")
        (self._folder / "nats.pid").unlink(missing_ok=True)
        since = self._log_size()
        out = self._folder / "start.log"
        with out.open("wb") as file:
            # setsid --fork gives it a session of its own and no parent, so it neither ends with Pilvi nor becomes a zombie of it
            subprocess.run(
                ["setsid", "--fork", program, "-c", str(self._configuration)],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/", check=True,
            )  # fmt: skip

        def said() -> str:
            return (out.read_text(errors="replace") + self._logged(since)).strip()

        _wait(lambda: self._ready() or "[FTL]" in said() or said().startswith("nats-server:"), _START)
        if not self._ready():
            self._stop()
            raise HostError(f"nats-server did not start: {(said().splitlines() or ['it said nothing'])[-1]}; look into {self._folder}.")

    def _ready(self) -> bool:
        return self.pid() is not None and self._answers()

    def _answers(self) -> bool:
        address = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._address, self._address)
        try:
            with socket.create_connection((address, self._port), timeout=1) as client:
                return client.recv(5) == b"INFO "
        except OSError:
            return False

    def _reload(self) -> None:
        """Have the running server take on the configuration; it tells in its log whether it did."""
        since = self._log_size()
        if (pid := self.pid()) is None:
            return
        os.kill(pid, signal.SIGHUP)
        _wait(lambda: "Reloaded server configuration" in self._logged(since) or "Failed to reload" in self._logged(since), _RELOAD)
        if "Reloaded server configuration" not in self._logged(since):
            raise HostError(f"nats-server did not take on its new configuration; look into {self._folder / 'nats.log'}.")

    def _log_size(self) -> int:
        log = self._folder / "nats.log"
        return log.stat().st_size if log.exists() else 0

    def _logged(self, since: int) -> str:
        """What it wrote into its log since that size; all of it, when it has begun another."""
        log = self._folder / "nats.log"
        data = log.read_bytes() if log.exists() else b""
        return data[since if since <= len(data) else 0 :].decode(errors="replace")

    def _stop(self) -> None:
        pid = self.pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        if not _wait(lambda: self.pid() is None, _STOP):
            os.kill(pid, signal.SIGKILL)
            _wait(lambda: self.pid() is None, _STOP)


def permissions(host: str, topics: AgentTopics, names: str) -> dict[str, Any]:
    """What the agent of a host may do, in NATS's words: speak under its own name, and hear what is meant for its host.

    `names` is the root of the cloud's names.
    """
    me = token(host)
    return {
        "publish": {"allow": [f"{names}.{me}.{token(topic)}.{whom}" for topic in topics.call for whom in ("any", "host.*")]},
        "subscribe": {
            "allow": [
                f"{names}.{CONTROL}.*.host.{me}",
                *(f"{names}.{CONTROL}.{token(topic)}.all" for topic in topics.serve),
                f"{names}{INBOX}.{me}.>",
            ]
        },
        "allow_responses": {"max": 1, "expires": _ANSWER_WITHIN},
    }


def _address(serve: str) -> tuple[str, int]:
    """Address and port out of `address:port`, `:port` or `[address]:port`."""
    try:
        parts = urlsplit(f"//{serve}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not port or parts.path or "@" in serve:
        raise Invalid(f"bus.serve: '{serve}' is not an address with a port, as 0.0.0.0:4222 is.", field="bus.serve")
    return parts.hostname or "0.0.0.0", port


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _hash(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(_COST, prefix=b"2a")).decode()


def _write(path: Path, text: str) -> None:
    """Put a text into a file that only we read, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(name, path)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
