"""A guest under QEMU's software emulation for tests: its console to talk to, its monitor to plug things with."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class QemuGuest:
    """One machine; `start`, then `wait_for` what its console says, `log_in`, `run` commands, `monitor` it, `stop`."""

    def __init__(self, folder: Path, image: Path, *, size: str = "1G", machine: str = "pc", memory: int = 128) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.memory, self.machine = folder, memory, machine
        self.disk = folder / "disk.qcow2"
        qemu_img("create", "-q", "-f", "qcow2", "-b", str(image), "-F", "qcow2", str(self.disk), size)
        self.heard = self.boot_log = ""
        self.ssh_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._console = self._monitor = socket.socket()

    def start(self, *arguments: str, disk: Sequence[str] | None = None) -> None:
        """Start the machine; `disk` replaces the arguments that make its disk a virtio one."""
        disk = disk or (f"-drive=file={self.disk},if=virtio,cache=unsafe",)
        command = [
            find("qemu-system-x86_64"), "-accel", "tcg,thread=multi,tb-size=64", "-machine", self.machine, "-cpu", "max",
            "-m", str(self.memory), "-nodefaults", "-vga", "std", "-display", "none", "-device", "virtio-rng-pci",
            "-chardev", "socket,id=c0,path=serial,server=on,wait=off", "-serial", "chardev:c0",
            "-qmp", "unix:qmp,server=on,wait=off",
            *(word for option in disk for word in option.split("=", 1)), *arguments,
        ]  # fmt: skip
        for name in ("serial", "qmp"):
            (self.folder / name).unlink(missing_ok=True)
        self._process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL)
        self._console = self._connect("serial")
        self._monitor = self._connect("qmp")
        self.monitor("qmp_capabilities")

    def _connect(self, name: str) -> socket.socket:
        deadline = time.monotonic() + 20
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.folder / name))
                return connection
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                assert self._process is not None
                assert self._process.poll() is None, "QEMU ended at once"
                assert time.monotonic() < deadline, f"QEMU did not open its socket {name}"
                time.sleep(0.02)

    def monitor(self, command: str, **arguments: Any) -> Any:
        """Say a QMP command and answer what it returns."""
        self._monitor.settimeout(30)
        self._monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        rest = b""
        while True:
            rest += self._monitor.recv(65536)
            *lines, rest = rest.split(b"\n")
            for line in map(json.loads, lines):
                assert "error" not in line, line["error"]
                if "return" in line:
                    return line["return"]

    def wait_for(self, pattern: str, *, within: float = 60) -> re.Match[str]:
        """Listen to the console until it says `pattern`; what was heard up to there is forgotten."""
        deadline = time.monotonic() + within
        while (found := re.search(pattern, self.heard)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"the console did not say {pattern!r} within {within} s, but:\n{self.heard}"
            self._console.settimeout(left)
            try:
                piece = self._console.recv(65536)
            except TimeoutError:
                continue
            assert piece, f"the machine ended before its console said {pattern!r}:\n{self.heard}"
            self.heard += piece.decode(errors="replace").replace("\r", "")
        self.heard = self.heard[found.end() :]
        return found

    def send(self, text: str) -> None:
        """Type on the console."""
        self._console.sendall(text.encode())

    def log_in(self, user: str = "cirros", password: str = "gocubsgo") -> None:
        """Log in on the console, up to a prompt without echo."""
        self.send("\n")
        self.wait_for("login: ")
        self.send(f"{user}\n")
        self.wait_for("Password: ")
        self.send(f"{password}\n")
        self.wait_for(r"\$ ")
        self.send("stty -echo; PS1=\n")
        self.run("true")

    def run(self, command: str, *, within: float = 60) -> tuple[int, str]:
        """Run a command in the shell of the console and answer its exit code and what it printed."""
        self.send(f"echo be''gin; ( {command} ) </dev/null 2>&1; echo en''d $?\n")
        self.wait_for("begin\n", within=within)
        done = self.wait_for(r"(?s)^(.*?)end (\d+)\n", within=within)
        return int(done[2]), "\n".join(line for line in done[1].splitlines() if not line.startswith("==="))

    def check(self, command: str, *, within: float = 60) -> str:
        """Run a command as OpenStack's tests do, with their prefix; it must succeed."""
        code, said = self.run(f"set -eu -o pipefail; PATH=$PATH:/sbin:/usr/sbin; {command}", within=within)
        assert code == 0, f"{command}: exit code {code}: {said}"
        return said

    def ended(self, *, within: float = 30) -> bool:
        """Whether the machine ends by itself in that time."""
        assert self._process is not None
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End the machine's process, whatever it does."""
        self._console.close()
        self._monitor.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def find(program: str) -> str:
    """Where a program of the host is; the test fails when it is not installed."""
    path = shutil.which(program)
    assert path is not None, f"{program} is not installed: run ./pilvi install"
    return path


def qemu_img(*arguments: str) -> None:
    """Run qemu-img."""
    subprocess.run([find("qemu-img"), *arguments], check=True)


def config_drive(folder: Path, meta_data: dict[str, Any], user_data: str | None = None) -> Path:
    """An ISO file as the compute service makes it for a server."""
    latest = folder / "drive" / "openstack" / "latest"
    latest.mkdir(parents=True)
    (latest / "meta_data.json").write_text(json.dumps(meta_data))
    if user_data is not None:
        (latest / "user_data").write_text(user_data)
    drive = folder / "config.iso"
    subprocess.run(
        [find("genisoimage"), "-quiet", "-J", "-r", "-V", "config-2", "-o", str(drive), str(folder / "drive")], check=True
    )
    return drive
