"""One host of a laboratory: its namespaces, by which programs are run in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pilvi import clone
from pilvi.kernel.errors import HostError
from pilvi.laboratory import holder

STATE = "/run/state"  # the cloud's state folder, on every host
_SOURCE = str(Path(holder.__file__).parents[2])  # every host runs the program that this one is
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """A host that is up between `boot` and `kill`.  What lies in its folder stays, as on a disk; all else goes with it.

    `follow`: it ends with the process that booted it.
    """

    def __init__(self, folder: Path, name: str, *, follow: bool) -> None:
        self.folder, self.name, self.follow = folder, name, follow
        self.state = folder / name / "state"
        self._pid_file = folder / name / "holder.pid"
        self._holder: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process by which the host is entered; 0 when it is down."""
        try:
            pid = int(self._pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return 0
        ours = words[-4:-2] == [os.fsencode(self.folder), self.name.encode()]
        return pid if ours and any(word.endswith(b"/holder.py") for word in words) else 0

    def boot(self) -> None:
        """Have the host up, without a network.  Raises HostError."""
        if self.pid:
            return
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [sys.executable, "-I", holder.__file__, str(self.folder), self.name, "follow" if self.follow else "keep"]
        standing = subprocess.PIPE if self.follow else subprocess.DEVNULL
        began = subprocess.Popen(
            command, stdin=standing, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", env=self.environment(),
            start_new_session=True,
        )  # fmt: skip
        assert began.stdout is not None
        assert began.stderr is not None
        told = began.stdout.readline().strip()
        if not told:
            raise HostError(f"The host {self.name} could not be made: {began.stderr.read().strip()[-300:]}")
        began.wait()
        self._holder = began  # its standard input is the host's life
        self._pid_file.write_text(told)

    def kill(self) -> None:
        """Have the host down at once, with everything that runs on it."""
        pid = self.pid
        if pid:
            watched = os.pidfd_open(pid)
            try:
                os.kill(pid, signal.SIGKILL)
                select.select([watched], [], [], 30)
            finally:
                os.close(watched)
        self._pid_file.unlink(missing_ok=True)
        if self._holder is not None:
            for stream in (self._holder.stdin, self._holder.stdout, self._holder.stderr):
                if stream is not None:
                    stream.close()
            self._holder = None

    def enter(self, words: Sequence[str]) -> list[str]:
        """The command that runs a command in the host.  Raises HostError when it is down."""
        pid = self.pid
        if not pid:
            raise HostError(f"The host {self.name} is down.")
        return ["nsenter", "--target", str(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--wd=/", "--", *words]

    def run(
        self, words: Sequence[str], *, check: bool = True, within: float = 120.0, text: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command in the host.  With `check` its failure is a HostError that holds its words."""
        began = subprocess.Popen(
            self.enter(words), stdin=subprocess.DEVNULL if text is None else subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", env=self.environment(environment), start_new_session=True,
        )  # fmt: skip
        try:
            said, complained = began.communicate(text, timeout=within)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(began.pid, signal.SIGKILL)
            said, complained = began.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise HostError(f"{words[0]} on {self.name} did not end within {within:g} s: {(said + complained).strip()[-1000:]}") from None
        if check and began.returncode:
            raise HostError(f"{' '.join(words)} on {self.name} failed: {(said[-2000:] + complained[-2000:]).strip()}")
        return subprocess.CompletedProcess(words, began.returncode, said, complained)

    def start(self, words: Sequence[str], **streams: Any) -> subprocess.Popen[str]:
        """Begin a command in the host, in a process group of its own; `os.killpg` of its pid ends it."""
        streams.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.enter(words), **streams, text=True, errors="replace", env=self.environment(), start_new_session=True)

    def pilvi(
        self, *words: str, check: bool = True, within: float = 300.0, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a `pilvi` command in the host."""
        return self.run([sys.executable, "-m", "pilvi", *words], check=check, within=within, environment=environment)

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Within this the calling thread is in the host's network: sockets made here belong to it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _set_network(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _set_network(home)
        finally:
            os.close(home)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What programs in the host find in their environment: nothing of another cloud's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PILVI_"))}
        path = kept.get("PATH", "")
        beside = [str(one) for one in (Path(sys.executable).parent, clone.ROOT) if one]  # `openstack`, and `pilvi`
        return {
            **kept, "PYTHONPATH": _SOURCE, "PATH": ":".join([*beside, path, "/usr/sbin:/usr/bin:/sbin:/bin"]), "PILVI_STATE": STATE,
            "OS_CLOUD": "pilvi", "OS_CLIENT_CONFIG_FILE": f"{STATE}/clouds.yaml", **(more or {}),
        }  # fmt: skip


def _set_network(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
