"""NATS and RabbitMQ for tests: each in a folder of its own, on free ports of 127.0.0.1."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pilvi.kernel.errors import HostError
from pilvi.kernel.testing.ports import take_port

_START = 120.0  # seconds
_libc = ctypes.CDLL(None)


class Started:
    """A broker that runs.  Several processes may hold it by its folder; it ends with the process that started it."""

    scheme = ""
    kind = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}  # by the name of the file with the process id
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "ports").exists():
            (folder / "ports").write_text(" ".join(str(take_port()) for _ in range(4)))
        self.port, *self.other_ports = [int(port) for port in (folder / "ports").read_text().split()]
        if self._pid() is None:
            self.start_again()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def runs(self) -> bool:
        return self._pid() is not None

    def start_again(self) -> None:
        """Start it on its folder and ports, and wait until it answers."""
        self._launch("pid", *self._command())
        end = time.monotonic() + _START
        while not self._answers():
            if self._pid() is None or time.monotonic() > end:
                self.kill()
                words = (self.folder / "log").read_text(errors="replace").splitlines()[-5:]
                raise HostError(f"{self.kind} does not start: {' '.join(words)}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it as it should end."""
        self._end(signal.SIGTERM)
        self.kill()

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def _launch(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Start a program whose process id is put into the file of that name."""
        with open(self.folder / "log", "ab") as log:
            child = self._children[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=os.environ | environment, preexec_fn=_end_with_parent
            )
        (self.folder / name).write_text(str(child.pid))

    def _end(self, how: signal.Signals, name: str = "pid") -> None:
        pid = self._pid(name)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, how)
        end = time.monotonic() + 30
        while self._pid(name) is not None and time.monotonic() < end:
            time.sleep(0.01)
        child = self._children.pop(name, None)
        if child is not None:
            child.wait(30)

    def _pid(self, name: str = "pid") -> int | None:
        """The process, and leader of its group; None when it does not live."""
        try:
            pid = int((self.folder / name).read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if state in "ZX" else pid

    def _command(self) -> tuple[list[str], dict[str, str]]:
        raise AssertionError("said by each kind")

    def _answers(self) -> bool:
        raise AssertionError("said by each kind")

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Nats(Started):
    """Debian's nats-server; everyone may do everything."""

    scheme, kind = "nats", "NATS"

    def _command(self) -> tuple[list[str], dict[str, str]]:
        configuration = self.folder / "nats.conf"
        configuration.write_text(f'listen: "127.0.0.1:{self.port}"\nmax_payload: 8MB\nping_interval: "4s"\nping_max: 2\n{self._cluster()}')
        return [_program("nats-server"), "-c", str(configuration)], {}

    def _answers(self) -> bool:
        return _says(self.port, b"", b"INFO ")

    def _cluster(self) -> str:
        """What its configuration says of other servers."""
        return ""


class NatsNode(Nats):
    """One server of a cluster; `routes`: those that were started before it, of which it learns the others."""

    def __init__(self, folder: Path, routes: Sequence[NatsNode] = ()) -> None:
        self.routes = routes
        super().__init__(folder)

    def _cluster(self) -> str:
        places = ", ".join(f'"nats://127.0.0.1:{one.other_ports[0]}"' for one in self.routes)
        return f'cluster {{ name: "c", listen: "127.0.0.1:{self.other_ports[0]}", routes: [{places}] }}\n'


class Rabbitmq(Started):
    """Debian's rabbitmq-server, with the guest user or those of `definitions` (a document as RabbitMQ exports it).

    `tls`: files with the broker's certificate, its key, and the authority whose clients may come in to `tls_url`.
    """

    scheme, kind = "amqp", "RabbitMQ"

    def __init__(self, folder: Path, definitions: dict[str, Any] | None = None, tls: tuple[Path, Path, Path] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._tls = tls
        if definitions is not None:
            (folder / "definitions.json").write_text(json.dumps(definitions))
        super().__init__(folder)

    @property
    def tls_url(self) -> str:
        return f"amqps://127.0.0.1:{self.other_ports[2]}"

    def start_again(self) -> None:
        if self._pid("epmd.pid") is None:  # the names of Erlang's nodes; RabbitMQ would start one that outlives it
            epmd = [_program("epmd"), "-port", str(self.other_ports[1]), "-address", "127.0.0.1"]
            self._launch("epmd.pid", epmd, {})
        super().start_again()

    def stop(self) -> None:
        super().stop()
        self._end(signal.SIGKILL, "epmd.pid")

    def _command(self) -> tuple[list[str], dict[str, str]]:
        configuration = "log.console = true\nlog.console.level = warning\nlog.file = false\n"
        if (self.folder / "definitions.json").exists():
            configuration += f"load_definitions = {self.folder}/definitions.json\n"
        if self._tls is not None:
            cert, key, authority = self._tls
            configuration += (
                f"listeners.ssl.default = 127.0.0.1:{self.other_ports[2]}\nssl_options.cacertfile = {authority}\nssl_options.certfile = {cert}\n"
                f"ssl_options.keyfile = {key}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
            )
        (self.folder / "rabbitmq.conf").write_text(configuration)
        (self.folder / "enabled_plugins").write_text("[].\n")
        # Debian's wrapper in the path would change the user and forget the environment
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"], self._environment()

    def _environment(self) -> dict[str, str]:
        folder, (distribution, epmd, _) = self.folder, self.other_ports
        return {
            "RABBITMQ_NODENAME": f"pilvi-{self.port}@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution), "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1", "HOME": str(folder),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia", "RABBITMQ_LOG_BASE": f"{folder}/logs", "RABBITMQ_PID_FILE": f"{folder}/rabbitmq.pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins", "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin",
        }  # fmt: skip

    def _answers(self) -> bool:
        return _says(self.port, b"AMQP\x00\x00\x09\x01", b"\x01")

    def control(self, *words: str) -> str:
        """What rabbitmqctl answers."""
        command = ["/usr/lib/rabbitmq/bin/rabbitmqctl", *words]
        done = subprocess.run(command, env=os.environ | self._environment(), capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise HostError(f"rabbitmqctl failed: {done.stderr.strip()}")
        return done.stdout


def nats(folder: Path) -> Nats:
    """A NATS server that keeps what it has in the folder."""
    return Nats(folder)


def rabbitmq(folder: Path, definitions: dict[str, Any] | None = None, tls: tuple[Path, Path, Path] | None = None) -> Rabbitmq:
    """A RabbitMQ server that keeps what it has in the folder.  Takes 5 to 15 s."""
    return Rabbitmq(folder, definitions, tls)


def _says(port: int, hello: bytes, answer: bytes) -> bool:
    """Whether somebody listens on the port who speaks as is expected."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(hello)
            return client.recv(64).startswith(answer)
    except OSError:
        return False


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin")))
    if found is None:
        raise HostError(f"There is no {name} on this machine; Debian's package of that name has it.")
    return found


def _end_with_parent() -> None:
    """In the child: a group of its own, and an end when the parent dies."""
    os.setsid()
    _libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
