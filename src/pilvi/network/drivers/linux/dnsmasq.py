"""One dnsmasq process: started, told to read its files again, found after a restart of ours, and stopped."""

from __future__ import annotations

import functools
import os
import select
import shutil
import signal
import time
from pathlib import Path

from pilvi.kernel.errors import HostError
from pilvi.network.drivers.linux import links

RUN = Path("/run/pilvi-network")  # dnsmasq gives up root's rights, so its files lie where anyone may look
_COMMON = (
    "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--no-ping", "--bind-dynamic", "--except-interface=lo",
    "--user=nobody", "--group=nogroup", "--log-facility=/dev/null", "--quiet-dhcp", "--quiet-dhcp6", "--quiet-ra",
)  # fmt: skip


class Dnsmasq:
    """The dnsmasq of one namespace; its files lie in `folder`."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self.namespace, self.folder = namespace, folder
        self._pidfile = folder / "pid"

    def ensure(self, arguments: list[str], files: dict[str, str], *, afresh: bool = False) -> None:
        """Have it run with these arguments and files; connections and leases outlive a change of files.

        `afresh` starts it anew even if nothing changed.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        changed = [_write(self.folder / name, text) for name, text in files.items()]
        argv = ["dnsmasq", f"--pid-file={self._pidfile}", *_COMMON, *arguments]
        pid = self.pid()
        if pid and not afresh and _arguments(pid)[1:] == argv[1:]:
            if any(changed):
                os.kill(pid, signal.SIGHUP)
            return
        self._end()
        links.run(argv, namespace=self.namespace)  # it answers when it is ready, and goes on by itself

    def pid(self) -> int | None:
        """The process, if it runs."""
        try:
            pid = int(self._pidfile.read_text())
        except (OSError, ValueError):
            return None
        return pid if self._is_ours(pid) else None

    def stop(self) -> None:
        """Have the process and its files gone."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ours(self, pid: int) -> bool:
        return f"--pid-file={self._pidfile}" in _arguments(pid)

    def _end(self) -> None:
        """End the process; one whose pid file was lost is found in the namespace."""
        found = {self.pid()} | set(links.processes_in(self.namespace) if links.has_namespace(self.namespace) else ())
        for pid in found:
            if pid and self._is_ours(pid):
                end_process(pid)


def end_process(pid: int, patience: float = 3.0) -> None:
    """End a process politely, then by force; returns when it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return
            deadline = time.monotonic() + patience
            if select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return
    finally:
        os.close(handle)


@functools.lru_cache(maxsize=4096)
def accepts(option: str) -> bool:
    """Whether dnsmasq would take this `dhcp-option` line; one that it refuses would keep it from starting."""
    if any(ord(letter) < 32 for letter in option):
        return False
    try:
        links.run(["dnsmasq", "--test", "--conf-file=/dev/null", f"--dhcp-option={option}"])
    except HostError:
        return False
    return True


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def _write(path: Path, text: str) -> bool:
    """Have the file say this; tells whether it said something else."""
    try:
        if path.read_text() == text:
            return False
    except (OSError, ValueError):
        pass  # not there, or not ours to read: it is written anew
    half = path.with_name(path.name + ".new")
    half.write_text(text)
    half.chmod(0o644)
    half.replace(path)
    return True
