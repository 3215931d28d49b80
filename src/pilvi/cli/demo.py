"""pilvi demo: bring up a cloud and boot a real server in it, with the stock openstack client, step by step.

Each step looks whether its thing is there; so the command may be interrupted anywhere and said again.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pilvi import clone
from pilvi.cli import up
from pilvi.cli.place import Place, parser
from pilvi.kernel.errors import PilviError

GROUPS = ("compute", "network", "storage", "guest", "demo")


def main(arguments: list[str]) -> int:
    options = parser("demo", "Bring up a cloud and boot a real server in it, step by step.")
    options.add_argument("--image", metavar="FILE", help="a qcow2 or raw image to boot instead of the tiny one that is built here")
    options.add_argument("--user", default="cirros", help="the user to log in as (default cirros, the tiny image's)")
    options.add_argument("--ram", type=int, default=128, help="MiB of memory of the server (default 128)")
    options.add_argument("--login-timeout", type=int, default=180, help="seconds to wait for the login (default 180)")
    options.add_argument("--hosts", type=int, metavar="N", help="several hosts on this machine: a controller, and N - 1 that join it (root only)")
    chosen = options.parse_args(arguments)
    place = Place(chosen)
    if chosen.hosts:
        from pilvi.cli.demo_hosts import HostsDemo

        HostsDemo(place, chosen).run()
    else:
        Demo(place, chosen).run()
    return 0


def install_packages(groups: tuple[str, ...]) -> None:
    """Install the system packages that are missing, showing what is done."""
    from pilvi import packages

    missing = packages.missing(groups)
    if missing:
        say(f"installing {len(missing)} system packages: {' '.join(missing)}")
        packages.install(missing, progress=say)


class Demo:
    """The demo's steps, and what they have found or made."""

    def __init__(self, place: Place, options: Any) -> None:
        self.place = place
        self.options = options
        self.folder = place.state / "demo"
        self.began = time.monotonic()
        self.client = str(Path(sys.executable).with_name("openstack"))
        self.cloud: Any = None

    def run(self) -> None:
        """All steps, from the packages to the login."""
        head("1. What the machine needs")
        install_packages(GROUPS)
        image = self._guest_image()
        self._console_page()
        head("2. The cloud")
        self._start()
        head("3. What a cloud's admin makes once")
        self._admin_things(image)
        head("4. What a user makes")
        self._user_things()
        head("5. The server")
        self._server()
        self._log_in()
        head("6. What happened, step by step")
        subprocess.run([sys.executable, "-m", "pilvi", "trace", "--state", str(self.place.state), "demo"], check=False)
        self._farewell()

    # -- the steps -------------------------------------------------------------------------------

    def _guest_image(self) -> Path:
        if self.options.image:
            path = Path(self.options.image).resolve()
            if not path.exists():
                raise PilviError(f"there is no image file {path}.")
            return path
        from pilvi import guest

        return guest.tiny_image(self.place.state / "guest", progress=say)

    def _console_page(self) -> None:
        """noVNC's page, so that a browser shows the server's screen; the cloud works without it."""
        from pilvi.guest.archive import fetch_files

        try:
            fetch_files("novnc", self.place.state / "novnc", say)
        except PilviError as error:
            say(f"no page for consoles in a browser: {error.message}")

    def _start(self) -> None:
        if self.place.pid() is None:
            say(f"starting the cloud in {self.place.state}")
            up.start(self.place, [])
        told = self.place.ask("/status")
        say(f"up: {told['url']}, {told['memory_mib']} MiB of memory")
        os.environ.update(OS_CLIENT_CONFIG_FILE=str(self.place.state / "clouds.yaml"), OS_CLOUD="pilvi")
        import openstack

        self.cloud = openstack.connect(cloud="pilvi", config_files=[str(self.place.state / "clouds.yaml")])

    def _admin_things(self, image: Path) -> None:
        cloud = self.cloud
        kind = "raw" if image.suffix in (".raw", ".img") else "qcow2"
        self._ensure(
            "image guest", lambda: any(one.status == "active" for one in cloud.image.images(name="guest")),
            ["image", "create", "--file", str(image), "--disk-format", kind, "--container-format", "bare", "--public", "guest"],
        )  # fmt: skip
        name = f"demo.{self.options.ram}"
        self._ensure(
            f"flavor {name}", lambda: cloud.compute.find_flavor(name),
            ["flavor", "create", "--ram", str(self.options.ram), "--disk", "1", "--vcpus", "1", name],
        )  # fmt: skip
        self._ensure(
            "network public", lambda: cloud.network.find_network("public"),
            ["network", "create", "--external", "--provider-network-type", "flat", "--provider-physical-network", "public", "public"],
        )  # fmt: skip
        self._ensure(
            "subnet public", lambda: cloud.network.find_subnet("public"),
            ["subnet", "create", "--network", "public", *self._outside_subnet(), "--no-dhcp", "public"],
        )  # fmt: skip

    def _user_things(self) -> None:
        cloud = self.cloud
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = self.folder / "id"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", "demo", "-f", str(key)], check=True)
        self._ensure("key pair demo", lambda: cloud.compute.find_keypair("demo"), ["keypair", "create", "--public-key", f"{key}.pub", "demo"])
        self._ensure("network demo", lambda: cloud.network.find_network("demo"), ["network", "create", "demo"])
        self._ensure(
            "subnet demo", lambda: cloud.network.find_subnet("demo"),
            ["subnet", "create", "--network", "demo", "--subnet-range", "10.20.0.0/24", "demo"],
        )  # fmt: skip
        self._ensure("router demo", lambda: cloud.network.find_router("demo"), ["router", "create", "--external-gateway", "public", "demo"])
        self._ensure("the router's leg in demo", self._has_leg, ["router", "add", "subnet", "demo", "demo"])
        for protocol, more in (("tcp", ["--dst-port", "22"]), ("icmp", [])):
            self._ensure(
                f"rule that lets {protocol} in", lambda p=protocol: self._has_rule(p),
                ["security", "group", "rule", "create", "--ingress", "--protocol", protocol, *more, self._group()],
            )  # fmt: skip
        self._ensure("volume demo", lambda: cloud.block_storage.find_volume("demo"), ["volume", "create", "--size", "1", "demo"])
        self._until("the volume is available", lambda: cloud.block_storage.find_volume("demo").status in ("available", "in-use"), 60)

    def _server(self) -> None:
        cloud = self.cloud
        found = cloud.compute.find_server("demo")
        if found is not None and found.status == "ERROR":
            say("the server of an earlier run is in ERROR; it is made anew")
            self._openstack(["server", "delete", "--wait", "demo"])
        self._ensure(
            "server demo", lambda: cloud.compute.find_server("demo"),
            ["server", "create", "--image", "guest", "--flavor", f"demo.{self.options.ram}", "--network", "demo", "--key-name", "demo", "demo"],
        )  # fmt: skip
        self.requested = time.monotonic()
        server = self._until("the server is ACTIVE", self._active, 120)
        self._ensure("floating IP", self._floating, ["floating", "ip", "create", "public"])
        address = self._floating()
        if not address.fixed_ip_address:
            self._openstack(["server", "add", "floating", "ip", "demo", address.floating_ip_address])
        if not list(cloud.compute.volume_attachments(server)):
            self._openstack(["server", "add", "volume", "demo", "demo"])
        self._until("the volume is attached", lambda: cloud.block_storage.find_volume("demo").status == "in-use", 60)
        self.address = address.floating_ip_address

    def _log_in(self) -> None:
        say(f"logging in: ssh -i {self.folder / 'id'} {self.options.user}@{self.address}")
        said = self._until("the login succeeds", lambda: self._ssh("true") is not None, self.options.login_timeout)
        assert said
        say(f"first login {time.monotonic() - self.requested:.1f} s after the request")
        for title, command in (
            ("host name", "hostname"),
            ("instance id by the metadata service", "curl -s http://169.254.169.254/latest/meta-data/instance-id; echo"),
            ("addresses", "ip -o -4 addr | awk '{print $2, $4}'"),
            ("disks", "lsblk -b -d -o NAME,SIZE,TYPE 2>/dev/null || cat /proc/partitions"),
        ):
            print(f"     {title}: " + " | ".join((self._ssh(command) or "").split("\n")))

    def _farewell(self) -> None:
        told = self.place.ask("/status")
        print(f"\nDone in {time.monotonic() - self.began:.0f} s.  The API is at {told['url']}/identity/v3")
        print(f"clouds.yaml and openrc are in {self.place.state}")
        print("\nThree commands to try next:")
        pilvi, state = clone.command(), shlex.quote(str(self.place.state))
        print(f'  eval "$({pilvi} openrc --state {state})"; {self.client} server list')
        print(f"  ssh -i {self.folder / 'id'} {self.options.user}@{self.address}")
        print(f"  {pilvi} why --state {state} demo")

    # -- how things are looked for and made ------------------------------------------------------

    def _ensure(self, what: str, there: Callable[[], Any], command: list[str]) -> None:
        if there():
            say(f"{what}: there already")
        else:
            self._openstack(command)

    def _openstack(self, command: list[str]) -> None:
        print(f"   $ openstack {shlex.join(command)}", flush=True)
        done = subprocess.run([self.client, *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise PilviError(f"`openstack {shlex.join(command)}` failed: {(done.stderr or done.stdout).strip()[-600:]}")

    def _until(self, what: str, true: Callable[[], Any], within: float) -> Any:
        """Wait, showing that we do; raises PilviError when it takes too long."""
        began = time.monotonic()
        shown = 0.0
        while True:
            value = true()
            if value:
                return value
            waited = time.monotonic() - began
            if waited > within:
                raise PilviError(f"waited {within:g} s, but {what} did not come true; `pilvi trace demo` and `pilvi logs` tell more.")
            if waited - shown >= 5:
                shown = waited
                say(f"waiting until {what} ({waited:.0f} s)")
            time.sleep(0.3)

    def _active(self) -> Any:
        server = self.cloud.compute.find_server("demo", ignore_missing=False)
        server = self.cloud.compute.get_server(server.id)
        if server.status == "ERROR":
            raise PilviError(f"the server is in ERROR: {(server.fault or {}).get('message', 'no reason was given')}")
        return server if server.status == "ACTIVE" else None

    def _group(self) -> str:
        project = self.cloud.current_project_id
        return next(one.id for one in self.cloud.network.security_groups(name="default", project_id=project))

    def _has_rule(self, protocol: str) -> bool:
        rules = self.cloud.network.security_group_rules(security_group_id=self._group(), direction="ingress", protocol=protocol)
        return any(True for _ in rules)

    def _has_leg(self) -> bool:
        router = self.cloud.network.find_router("demo", ignore_missing=False)
        return any(True for _ in self.cloud.network.ports(device_id=router.id, device_owner="network:router_interface"))

    def _floating(self) -> Any:
        return next(iter(self.cloud.network.ips(project_id=self.cloud.current_project_id)), None)

    def _ssh(self, command: str) -> str | None:
        """What the command prints in the guest; None when one cannot log in (yet)."""
        done = subprocess.run([*self._ssh_words(), command], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return done.stdout.strip() if done.returncode == 0 else None

    def _ssh_words(self) -> list[str]:
        known = f"UserKnownHostsFile={self.folder / 'known_hosts'}"
        options = ["StrictHostKeyChecking=no", known, "BatchMode=yes", "ConnectTimeout=5", "LogLevel=ERROR"]
        words = [part for option in options for part in ("-o", option)]
        return ["ssh", *words, "-i", str(self.folder / "id"), f"{self.options.user}@{self.address}"]

    def _outside_subnet(self) -> list[str]:
        """Arguments for the subnet of floating addresses."""
        return ["--subnet-range", _free_range()]


def _free_range() -> str:
    """A range for floating addresses that meets nothing that this machine can reach already."""
    told = json.loads(subprocess.run(["ip", "-j", "-4", "route", "show", "table", "all"], capture_output=True, text=True, check=True).stdout)
    taken = [ipaddress.ip_network(one["dst"], strict=False) for one in told if one.get("dst", "default") not in ("default",)]
    for third in range(4, 256):
        wanted = ipaddress.ip_network(f"172.24.{third}.0/24")
        if not any(wanted.overlaps(other) for other in taken):
            return str(wanted)
    raise PilviError("this machine has routes to all of 172.24.0.0/16; make a subnet of the network public by hand.")


def say(text: str) -> None:
    print(f"   {text}", flush=True)


def head(text: str) -> None:
    print(f"\n{text}", flush=True)
