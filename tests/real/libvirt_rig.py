"""A host of its own for tests of the libvirt driver: namespace, libvirtd, volumes, and logins on consoles."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from pilvi.compute.drivers import Disk, Machine, Nic, VolumeDisk
from pilvi.compute.drivers.libvirt import LibvirtHypervisor
from pilvi.compute.drivers.libvirt.libvirtd import Libvirtd
from pilvi.guest import tiny_image
from pilvi.kernel.errors import HostError

from ..drivers.hypervisor_contract import (
    wait_for,
)

HOST = "real-host"
GUEST_CACHE = Path(os.environ.get("PILVI_TEST_GUESTS", "/var/tmp/pilvi-test-guests"))


class LibvirtRig:
    """One host: namespace, libvirtd, volumes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "a state directory with a name that alone is longer than the path of any unix socket may be" / "state"
        self.netns = f"pilvi-lv-{os.getpid()}"
        self.image = tiny_image(GUEST_CACHE)
        self.image_id = "tiny"
        self.checksum = hashlib.sha256(self.image.read_bytes()).hexdigest()
        self.changes: list[str] = []
        self.servers: list[subprocess.Popen[bytes]] = []
        self.taps = 0
        run("ip", "netns", "add", self.netns)
        run("ip", "-n", self.netns, "link", "set", "lo", "up")
        self.libvirtd = Libvirtd(self.state_dir, hostname=HOST, netns=self.netns)
        self.uri = self.libvirtd.start()
        self.driver = self.new_driver()

    def new_driver(self) -> LibvirtHypervisor:
        return LibvirtHypervisor(HOST, self.state_dir, self.uri, fetch=self.fetch, tb_cache_mib=32, on_change=self.changes.append)

    def fetch(self, image_id: str, path: Path) -> None:
        if image_id != self.image_id:
            raise HostError(f"There is no image {image_id}.")
        shutil.copyfile(self.image, path)

    def restart(self) -> None:
        self.driver.close()
        self.driver = self.new_driver()

    def nic(self) -> Nic:
        self.taps += 1
        tap = f"tap{self.taps}"
        run("ip", "-n", self.netns, "tuntap", "add", tap, "mode", "tap")
        run("ip", "-n", self.netns, "link", "set", tap, "mtu", "1450", "up")
        return Nic(key=str(uuid.uuid4()), mac=f"02:00:00:00:00:{self.taps:02x}", tap=tap, mtu=1450)

    def volume(self) -> Disk:
        """A volume served by NBD on a unix socket."""
        volume_id = str(uuid.uuid4())
        file, path = self.folder / f"{volume_id}.qcow2", self.folder / volume_id[:8]
        run("qemu-img", "create", "-q", "-f", "qcow2", str(file), "64M")
        server = ["qemu-nbd", "-f", "qcow2", "-t", "-e", "4", "-x", "vol", "-k", str(path), str(file)]
        self.servers.append(subprocess.Popen(server, stdin=subprocess.DEVNULL))
        wait_for(path.exists, "the volume's server")
        return Disk(key=volume_id, device="vdc", source=VolumeDisk(volume_id=volume_id, kind="nbd", path=str(path), export="vol"))

    def qemu(self, machine_id: str) -> int:
        """The process of a machine."""
        return int((self.state_dir / "libvirtd" / "run" / "qemu" / f"{machine_id}.pid").read_text())

    def kill(self, machine_id: str) -> None:
        os.kill(self.qemu(machine_id), signal.SIGKILL)

    def definition(self, machine_id: str) -> ET.Element:
        """What libvirt runs."""
        command = ["virsh", "-q", "-c", self.uri, "dumpxml", machine_id]
        return ET.fromstring(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def end(self) -> None:
        # whatever a failed test left: machines first, then the daemons, then what they stood on
        try:
            self.uri = self.libvirtd.start()
            self.driver.close()
            self.driver = self.new_driver()
            for machine in self.driver.observe():
                self.driver.remove_machine(machine.id)
            self.driver.close()
        finally:
            self.libvirtd.stop()
            for server in self.servers:
                server.kill()
                server.wait()
            run("ip", "netns", "delete", self.netns)
            self.driver.places.short.unlink()


def run(*command: str) -> None:
    subprocess.run(command, check=True)


class Guest:
    """A login on a serial console."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.heard = connection, ""

    def wait_for(self, text: str, within: float = 60) -> str:
        """Listen until the text comes; what came before it."""
        until = time.monotonic() + within
        while text not in self.heard:
            self.connection.settimeout(max(0.1, until - time.monotonic()))
            piece = self.connection.recv(4096)
            assert piece, f"the console ended before {text!r}: {self.heard}"
            self.heard += piece.decode(errors="replace")
        before, _, self.heard = self.heard.partition(text)
        return before

    def first_of(self, *texts: str, within: float = 60) -> str:
        """Listen until one of the texts comes; which it was."""
        until = time.monotonic() + within
        while not (found := [text for text in texts if text in self.heard]):
            self.connection.settimeout(max(0.1, until - time.monotonic()))
            piece = self.connection.recv(4096)
            assert piece, f"the console ended before {texts}: {self.heard}"
            self.heard += piece.decode(errors="replace")
        return found[0]

    def say(self, line: str) -> None:
        self.connection.sendall(f"{line}\n".encode())

    def log_in(self) -> None:
        self.say("")
        self.wait_for("login: ")
        self.say("cirros")
        self.wait_for("Password: ")
        self.say("gocubsgo")
        self.wait_for("$ ")

    def ask(self, command: str, answer: str) -> bool:
        """Whether the command's output has the answer in it, now or a little later: plugging takes the guest a moment."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            self.say(f"{command}; echo said-$((40+2))")
            if answer in self.wait_for("said-42"):
                return True
            time.sleep(0.3)
        return False


@contextlib.contextmanager
def console(rig: LibvirtRig, machine: Machine) -> Iterator[Guest]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(rig.driver.console(machine.id, "serial").path)
        yield Guest(connection)
