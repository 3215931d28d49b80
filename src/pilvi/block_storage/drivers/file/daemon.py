"""The storage daemon of one back end: a qemu-storage-daemon that outlives this program and is found again.

It knows volumes as block nodes, exports by id and copies as jobs; what it knows dies with it, and the back end says
it anew.  Nodes are named by hashes, as QEMU allows them 31 characters.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Literal

from pilvi.block_storage.drivers.file.qmp import Monitor, Refused
from pilvi.kernel.errors import HostError

_PROGRAM = "qemu-storage-daemon"
_LONGEST_SOCKET_PATH = 107  # of a unix socket's address


class Daemon:
    """Commands to the daemon whose sockets lie in `run_dir`; it listens on a unix socket only."""

    def __init__(self, run_dir: Path) -> None:
        self._monitor_path, self._nbd_path, self._pid_path = run_dir / "qmp.sock", run_dir / "nbd.sock", run_dir / "daemon.pid"
        if len(os.fsencode(self._monitor_path)) > _LONGEST_SOCKET_PATH:
            raise HostError(f"The path {run_dir} is too long for sockets; choose a shorter run folder.")
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def socket_path(self) -> str:
        """Where NBD is served."""
        return str(self._nbd_path)

    @property
    def _listen(self) -> str:
        return f"addr.type=unix,addr.path={self._nbd_path}"

    # -- the process -----------------------------------------------------------------------------

    def running(self) -> bool:
        """Whether the daemon is there."""
        found = self._find()
        if found:
            os.close(found[0])
        return found is not None

    def ensure_running(self) -> bool:
        """Have the daemon running; answers whether it was started just now and so knows nothing yet."""
        found = self._find()
        if found:
            pidfd, words = found
            os.close(pidfd)
            if os.fsencode(self._listen) not in words:
                raise HostError("The volume daemon listens elsewhere than configured; detach its volumes and stop it.")
            return False
        if shutil.which(_PROGRAM) is None:
            raise HostError(f"{_PROGRAM} is not installed; install the package qemu-system-common.")
        command = [_PROGRAM, "--daemonize", "--pidfile", str(self._pid_path)]
        command += ["--chardev", f"socket,id=monitor,path={self._monitor_path},server=on,wait=off", "--monitor", "chardev=monitor"]
        command += ["--nbd-server", self._listen]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        except subprocess.TimeoutExpired:
            raise HostError("The volume daemon did not start within 30 seconds.") from None
        if done.returncode:
            raise HostError(f"The volume daemon did not start: {done.stderr.strip()[-300:]}")
        return True

    def stop(self) -> None:
        """End the daemon: all exports and unfinished copies go with it, what was written stays."""
        found = self._find()
        if found is None:
            return
        pidfd = found[0]
        try:
            with self._monitor() as monitor:
                monitor.do("quit")
        except HostError:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        try:
            if not select.select([pidfd], [], [], 10)[0]:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                select.select([pidfd], [], [], 10)
        finally:
            os.close(pidfd)
        for path in (self._monitor_path, self._nbd_path, self._pid_path):
            path.unlink(missing_ok=True)

    def _find(self) -> tuple[int, list[bytes]] | None:
        """A pidfd and the command line of our daemon: the process in the pid file, if it is alive and its command line names our socket."""
        try:
            pid = int(self._pid_path.read_text())
            pidfd = os.pidfd_open(pid)
        except (OSError, ValueError):
            return None
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            words = []
        ours = any(os.fsencode(self._monitor_path) in word for word in words)
        if ours and not select.select([pidfd], [], [], 0)[0]:
            return pidfd, words
        os.close(pidfd)
        return None

    def _monitor(self) -> Monitor:
        return Monitor(self._monitor_path)

    # -- volumes and exports ---------------------------------------------------------------------

    def is_open(self, volume_id: str) -> bool:
        """Whether the daemon has the volume's file open."""
        if not self.running():
            return False
        with self._monitor() as monitor:
            return _node("v", volume_id) in _nodes(monitor)

    def exports(self) -> set[str]:
        """The names of all exports."""
        with self._monitor() as monitor:
            return {export["id"].removeprefix("e-") for export in monitor.do("query-block-exports")}

    def ensure_export(self, volume_id: str, path: Path, export: str, *, read_only: bool) -> None:
        """Have the volume exported under the name `export`."""
        with self._monitor() as monitor:
            _open(monitor, _node("v", volume_id), "qcow2", path)
            if not any(known["id"] == _export_id(export) for known in monitor.do("query-block-exports")):
                _add_export(monitor, volume_id, export, read_only=read_only)

    def remove_export(self, export: str) -> None:
        """Have the export gone, its clients cut off, and the file closed when nothing else uses it."""
        with self._monitor() as monitor:
            node = _remove_export(monitor, _export_id(export))
            if node:
                _close_unused(monitor, node)

    def resize(self, volume_id: str, size: int, exports: dict[str, bool]) -> None:
        """Have an open volume `size` bytes large.

        `exports` are the names of its exports, with whether each is read-only.  An exported node cannot be resized, so
        they go and come back, which takes milliseconds; clients reconnect and retry what was under way.
        """
        with self._monitor() as monitor:
            for export in exports:
                _remove_export(monitor, _export_id(export))
            try:
                monitor.do("block_resize", {"node-name": _node("v", volume_id), "size": size})
            except Refused as refused:
                raise HostError(f"Volume {volume_id} cannot grow now; try again when it is not being copied.") from refused
            finally:
                for export, read_only in exports.items():
                    _add_export(monitor, volume_id, export, read_only=read_only)

    # -- copies ----------------------------------------------------------------------------------

    def jobs(self) -> set[str]:
        """Names of all copies that have not been forgotten."""
        with self._monitor() as monitor:
            return {job["id"] for job in monitor.do("query-jobs")}

    def start_copy(self, job: str, volume_id: str, path: Path, target: Path, format: Literal["qcow2", "raw"]) -> None:
        """Begin to copy the volume as it is at this moment to `target`, an empty image of its size."""
        with self._monitor() as monitor:
            volume, copy = _node("v", volume_id), _node("t", job)
            _open(monitor, volume, "qcow2", path)
            try:
                _open(monitor, copy, format, target)
                monitor.do(
                    "blockdev-backup",
                    {"job-id": job, "device": volume, "target": copy, "sync": "full", "auto-dismiss": False},
                )
            except HostError:
                _close_unused(monitor, copy)
                _close_unused(monitor, volume)
                raise

    def copy_state(self, job: str) -> tuple[bool, int, str] | None:
        """Whether the copy has ended, its percentage and its error; None when it is not known."""
        with self._monitor() as monitor:
            for known in monitor.do("query-jobs"):
                if known["id"] == job:
                    percent = 100 * known["current-progress"] // max(1, known["total-progress"])
                    return known["status"] == "concluded", min(percent, 100), str(known.get("error", ""))
        return None

    def close_copy(self, job: str) -> None:
        """Write out and close the target of a copy that has ended; the copy stays known until `end_copy`."""
        with self._monitor() as monitor:
            if not _close_unused(monitor, _node("t", job)):
                raise HostError(f"The copy {job} has ended but its file is still in use.")

    def end_copy(self, job: str) -> None:
        """Forget the copy, cancelling it when it still runs, and close its files and volumes that nothing uses."""
        with self._monitor() as monitor:
            deadline = time.monotonic() + 10
            while status := next((known["status"] for known in monitor.do("query-jobs") if known["id"] == job), None):
                with contextlib.suppress(Refused):  # it may go on by itself between question and command
                    monitor.do("job-dismiss" if status == "concluded" else "job-cancel", {"id": job})
                if time.monotonic() > deadline:
                    raise HostError(f"The copy {job} does not end; its disk may hang.")
                time.sleep(0.005)
            for node in _nodes(monitor):
                if node == _node("t", job) or node.startswith("v"):
                    _close_unused(monitor, node)

    def close_unused(self, volume_id: str) -> bool:
        """Close the volume's file; False when exports or copies use it."""
        with self._monitor() as monitor:
            return _close_unused(monitor, _node("v", volume_id))


def _node(kind: str, name: str) -> str:
    return kind + hashlib.blake2s(name.encode(), digest_size=14).hexdigest()


def _export_id(export: str) -> str:
    return f"e-{export}"


def _nodes(monitor: Monitor) -> set[str]:
    return {node["node-name"] for node in monitor.do("query-named-block-nodes", {"flat": True})}


def _open(monitor: Monitor, node: str, format: str, path: Path) -> None:
    if node in _nodes(monitor):
        return
    options: dict[str, Any] = {"driver": format, "node-name": node, "discard": "unmap", "detect-zeroes": "unmap"}
    options["file"] = {"driver": "file", "filename": str(path), "discard": "unmap"}
    if format == "qcow2":
        options["backing"] = None
    monitor.do("blockdev-add", options)


def _close_unused(monitor: Monitor, node: str) -> bool:
    """Close a node; False when it is in use."""
    if node not in _nodes(monitor):
        return True
    try:
        monitor.do("blockdev-del", {"node-name": node})
    except Refused as refused:
        if "in use" in refused.why or "busy" in refused.why:
            return False
        raise
    return True


def _add_export(monitor: Monitor, volume_id: str, export: str, *, read_only: bool) -> None:
    options = {"type": "nbd", "id": _export_id(export), "node-name": _node("v", volume_id), "name": export}
    monitor.do("block-export-add", {**options, "writable": not read_only})


def _remove_export(monitor: Monitor, export_id: str) -> str:
    """Have the export gone; answers the node that it exported, or nothing."""
    deadline = time.monotonic() + 10
    served = ""
    while known := next((known for known in monitor.do("query-block-exports") if known["id"] == export_id), None):
        if not served:
            served = known["node-name"]
            monitor.do("block-export-del", {"id": export_id, "mode": "hard"})
        elif time.monotonic() > deadline:
            raise HostError(f"The export {export_id} does not end; its disk may hang.")
        else:
            time.sleep(0.005)
    return served
