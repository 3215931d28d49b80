"""Two hosts for tests of moving machines: each with a network namespace, a cloud's namespace in which its libvirtd is, and an agent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from pilvi.compute.drivers import Disk, Machine, Nic, VolumeDisk
from pilvi.compute.drivers.libvirt.libvirtd import Libvirtd
from pilvi.compute.drivers.libvirt.places import short_path
from pilvi.guest import tiny_image

from ..drivers.hypervisor_contract import changed, wait_for
from .libvirt_rig import GUEST_CACHE, console, run


class Agent:
    """A driver in a process of its own, within its host's network namespace; its verbs are this object's methods."""

    def __init__(self, netns: str, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        # nsenter, and not ip netns exec, so that the process is the agent itself
        command = ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-m", "tests.real.moving_host", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=Path(__file__).parents[2])
        self._turn = threading.Lock()
        assert self._hear() == ("ready", None)

    def __getattr__(self, verb: str) -> Any:
        def say(*arguments: Any) -> Any:
            with self._turn:
                assert self.process.stdin is not None
                pickle.dump((verb, arguments), self.process.stdin)
                self.process.stdin.flush()
                state, answer = self._hear()
            if state == "failed":
                raise answer
            return answer

        return say

    def _hear(self) -> tuple[str, Any]:
        assert self.process.stdout is not None
        answer: tuple[str, Any] = pickle.load(self.process.stdout)
        return answer

    def end(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Host:
    """One of the two hosts, a `MovingRig`."""

    image_id = "tiny"

    def __init__(self, pair: Pair, letter: str, address: str) -> None:
        self.pair, self.address = pair, address
        self.tls = ("", "", "")
        self.name = f"host-{letter}"
        self.state_dir = pair.folder / letter / "a state directory with a name that alone is longer than the path of any unix socket may be"
        self.netns, self.cloud_netns = f"{pair.prefix}-{letter}", f"{pair.prefix}-c{letter}"
        self.changes: list[str] = []
        self.checksum = pair.checksum
        self.libvirtd = Libvirtd(self.state_dir / "libvirt", hostname=self.name, netns=self.cloud_netns)
        self.uri = self.libvirtd.uri
        self.driver: Any = None

    def build(self) -> None:
        for netns in (self.netns, self.cloud_netns):
            run("ip", "netns", "add", netns)
            run("ip", "-n", netns, "link", "set", "lo", "up")
        self.libvirtd.start()
        self.driver = self.new_driver()

    @property
    def neighbour(self) -> Host:
        return self.pair.b if self is self.pair.a else self.pair.a

    @property
    def places(self) -> Path:
        """Where the driver keeps things."""
        return self.state_dir / "compute"

    def new_driver(self, *, image: bool = True) -> Any:
        found = str(self.pair.image) if image else ""
        return Agent(self.netns, self.name, str(self.places), self.uri, self.address, found, self.pair.shared, *self.tls)

    def restart(self, *, image: bool = True) -> None:
        self.driver.end(signal.SIGKILL)
        self.driver = self.new_driver(image=image)

    def nic(self) -> Nic:
        """A card whose tap is on both hosts."""
        return self.pair.nic()

    def volume(self) -> Disk:
        return self.pair.volume()

    def kill(self, machine_id: str) -> None:
        os.kill(self.qemu(machine_id), signal.SIGKILL)

    def qemu(self, machine_id: str) -> int:
        """The process of a machine."""
        return int((self.state_dir / "libvirt" / "libvirtd" / "run" / "qemu" / f"{machine_id}.pid").read_text())

    def mark(self, machine_id: str) -> str:
        """The id that the guest's kernel gave to this run of it."""
        with console(self, Machine(id=machine_id, name="", vcpus=1, memory_mib=1)) as guest:  # type: ignore[arg-type]
            guest.say("")
            if guest.first_of("login: ", "$ ") == "login: ":
                guest.log_in()
            guest.say("cat /proc/sys/kernel/random/boot_id; echo said-$((40+2))")
            found = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", guest.wait_for("said-42"))
        assert found is not None
        return found[0]

    def files(self, machine_id: str) -> set[str]:
        """The files of the machine's disks."""
        folder = self.places / "machines" / machine_id / "disks"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def end(self) -> None:
        try:
            self.libvirtd.start()
            if self.driver is not None:
                self.driver.end(signal.SIGKILL)
            self.driver = self.new_driver()
            for machine in self.driver.observe():
                self.driver.remove_machine(machine.id)
            self.driver.end()
        finally:
            self.libvirtd.stop()
            for netns in (self.netns, self.cloud_netns):
                run("ip", "netns", "delete", netns)
            for folder in (self.places, self.state_dir / "libvirt"):
                short_path(folder).unlink()


class Pair:
    """Two hosts, joined by a cable; between the namespaces of their clouds there is no way at all.

    `shared`: the folder in which both keep the disks of machines; "": each in its own.
    """

    a: Host
    b: Host

    def __init__(self, folder: Path, shared: str = "") -> None:
        self.folder, self.shared, self.prefix = folder, shared, f"pilvi-mv-{os.getpid()}"
        self.image = tiny_image(GUEST_CACHE)
        self.checksum = hashlib.sha256(self.image.read_bytes()).hexdigest()
        self.servers: list[subprocess.Popen[bytes]] = []
        self.taps = 0
        self.hosts: list[Host] = []

    def build(self) -> None:
        self.a, self.b = Host(self, "a", "192.168.77.1"), Host(self, "b", "192.168.77.2")
        for host in (self.a, self.b):
            self.hosts.append(host)
            host.build()
        run("ip", "-n", self.a.netns, "link", "add", "cable0", "type", "veth", "peer", "name", "cable0", "netns", self.b.netns)
        for host in (self.a, self.b):
            run("ip", "-n", host.netns, "address", "add", f"{host.address}/24", "dev", "cable0")
            run("ip", "-n", host.netns, "link", "set", "cable0", "up")

    def nic(self) -> Nic:
        self.taps += 1
        tap = f"tap{self.taps}"
        for host in (self.a, self.b):
            run("ip", "-n", host.cloud_netns, "tuntap", "add", tap, "mode", "tap")
            run("ip", "-n", host.cloud_netns, "link", "set", tap, "mtu", "1450", "up")
        return Nic(key=str(uuid.uuid4()), mac=f"02:00:00:00:07:{self.taps:02x}", tap=tap, mtu=1450)

    def volume(self) -> Disk:
        """A volume served by NBD on a unix socket."""
        volume_id = str(uuid.uuid4())
        file, path = self.folder / f"{volume_id}.qcow2", self.folder / volume_id[:8]
        run("qemu-img", "create", "-q", "-f", "qcow2", str(file), "64M")
        server = ["qemu-nbd", "-f", "qcow2", "-t", "-e", "4", "-x", "vol", "-k", str(path), str(file)]
        self.servers.append(subprocess.Popen(server, stdin=subprocess.DEVNULL))
        wait_for(path.exists, "the volume's server")
        return Disk(key=volume_id, device="vdc", source=VolumeDisk(volume_id=volume_id, kind="nbd", path=str(path), export="vol"))

    def by_tcp(self, volume: Disk) -> Disk:
        """The volume as the other host reaches it: by TCP within its cloud's namespace."""
        source = volume.source
        assert isinstance(source, VolumeDisk)
        server = ["ip", "netns", "exec", self.b.cloud_netns, "qemu-nbd", "-f", "raw", "-t", "-e", "4", "-x", "vol", "-b", "127.0.0.1", "-p", "10809"]
        self.servers.append(subprocess.Popen([*server, f"nbd+unix:///vol?socket={source.path}"], stdin=subprocess.DEVNULL))
        ask = ["ip", "netns", "exec", self.b.cloud_netns, "qemu-img", "info", "nbd://127.0.0.1:10809/vol"]
        wait_for(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, "the volume's second server")
        return changed(volume, source=changed(source, path="", host="127.0.0.1", port=10809))

    def end(self) -> None:
        with contextlib.ExitStack() as ends:
            for server in self.servers:
                ends.callback(server.wait)
                ends.callback(server.kill)
            for host in self.hosts:
                ends.callback(host.end)
