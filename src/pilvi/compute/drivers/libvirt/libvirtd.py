"""A libvirtd of our own for one cloud and host: private folders, private sockets, and a life longer than Pilvi's."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pilvi.compute.drivers.libvirt import become_libvirtd
from pilvi.compute.drivers.libvirt.link import INSTALL, library
from pilvi.compute.drivers.libvirt.places import short_path
from pilvi.kernel.errors import HostError

# folder below the state directory -> where libvirtd looks for it
FOLDERS = {
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
}
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
seccomp_sandbox = 0
max_files = 0
"""
LIBVIRTD_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
listen_tls = 0
listen_tcp = 0
max_clients = 200
host_uuid = "{host_uuid}"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
START_PATIENCE, STOP_PATIENCE = 60.0, 30.0  # seconds


class Libvirtd:
    """The libvirtd of one state directory.  Starting a running one and stopping a stopped one do nothing.

    It runs in a session of its own, so that neither it nor the machines end with Pilvi; `netns` is the network
    namespace in which the taps of its machines are.
    """

    def __init__(self, state_dir: Path, *, hostname: str, netns: str | None = None) -> None:
        self.state_dir, self.hostname, self.netns = state_dir.absolute(), hostname, netns
        self._home = self.state_dir / "libvirtd"

    @property
    def uri(self) -> str:
        """Where libvirt's clients find it."""
        return f"qemu+unix:///system?socket={self._socket}"

    def start(self) -> str:
        """Have it running and answering; return the uri.  Raises HostError with what to install or where to look."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            if not self._answers():
                self._check_host()
                self._write_folders()
                self._launch()
        self._warm_up()
        return self.uri

    def stop(self) -> None:
        """Have it not running; machines go on without it, and it finds them when it is started again."""
        if not self._home.exists():
            return
        with self._alone():
            pid = self.pid()
            if pid is None:
                return
            os.kill(pid, signal.SIGTERM)
            if not _wait(lambda: self.pid() is None, STOP_PATIENCE):
                os.kill(pid, signal.SIGKILL)
                _wait(lambda: self.pid() is None, STOP_PATIENCE)

    def pid(self) -> int | None:
        """Its process id; None when it does not run.  A number left in the file by another process does not count."""
        try:
            pid = int(self._pidfile.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if os.fsencode(self._pidfile) in command else None

    @property
    def _pidfile(self) -> Path:
        return self._home / "libvirtd.pid"

    @property
    def _socket(self) -> Path:
        return short_path(self.state_dir) / "libvirtd" / "run" / "libvirt-sock"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _answers(self) -> bool:
        if self.pid() is None:
            return False
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self._socket))
            except OSError:
                return False
        return True

    def _check_host(self) -> None:
        if os.geteuid() != 0:
            raise HostError("libvirtd must be started by root: run Pilvi as root, or choose the fake hypervisor.")
        missing = [program for program in ("libvirtd", "qemu-system-x86_64", "qemu-img", "genisoimage") if _program(program) is None]
        if missing:
            raise HostError(f"This host has no {', '.join(missing)}: {INSTALL} genisoimage")
        if self.netns and not Path("/run/netns", self.netns).exists():
            raise HostError(f"This host has no network namespace {self.netns}.")

    def _write_folders(self) -> None:
        for name in FOLDERS:
            (self._home / name / "qemu").mkdir(parents=True, exist_ok=True)
        host_uuid = uuid.uuid5(uuid.NAMESPACE_URL, f"pilvi:{self.hostname}:{self.state_dir}")
        (self._home / "etc" / "qemu.conf").write_text(QEMU_CONF)
        (self._home / "etc" / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(host_uuid=host_uuid))
        (self._home / "run" / "libvirt-sock").unlink(missing_ok=True)

    def _launch(self) -> None:
        command = [] if self.netns is None else [_program("ip") or "ip", "netns", "exec", self.netns]
        command += [sys.executable, "-I", become_libvirtd.__file__, self.hostname]
        command += [f"{self._home / name}:{target}" for name, target in FOLDERS.items()]
        libvirtd = _program("libvirtd") or "libvirtd"
        command += ["--", libvirtd, "--daemon", "-f", "/etc/libvirt/libvirtd.conf", "-p", str(self._pidfile)]
        out = self._home / "log" / "start.log"
        with out.open("wb") as file:
            try:
                # with --daemon the call returns when libvirtd is ready to serve, or has said why not
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, cwd="/",
                    timeout=START_PATIENCE, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise HostError(f"libvirtd did not start within {START_PATIENCE:.0f} s; look into {self._home / 'log'}.") from None
        if done.returncode != 0 or not _wait(self._answers, START_PATIENCE):
            said = out.read_text(errors="replace").strip().splitlines()
            raise HostError(f"libvirtd did not start: {said[-1] if said else f'exit status {done.returncode}'}; look into {self._home / 'log'}.")

    def _warm_up(self) -> None:
        """Have QEMU's capabilities known: the first question of all costs seconds, and is remembered on disk."""
        libvirt = library()
        try:
            connection = libvirt.open(self.uri)
            connection.getDomainCapabilities(None, None, "pc", "qemu")
            connection.close()
        except libvirt.libvirtError as error:
            raise HostError(f"libvirtd cannot use QEMU: {error.get_error_message()}; {INSTALL}") from error


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
