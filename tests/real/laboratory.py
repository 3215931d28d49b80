"""A cloud of several hosts for tests, in a laboratory: what is asked of it over the API, and what guests say when one logs in."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openstack
import yaml

from pilvi.guest import tiny_image
from pilvi.laboratory import EXTERNAL, GATEWAY, Host, Laboratory
from pilvi.laboratory.cloud import Cloud

GUEST_CACHE = Path(os.environ.get("PILVI_TEST_GUESTS", "/var/tmp/pilvi-test-guests"))
HOSTS = ("n1", "n2")
# signs of life often, so that death is noticed soon
SETTINGS = {
    "PILVI_HEARTBEAT": "2", "PILVI_DOWN_AFTER": "10", "PILVI_NETWORK__HEARTBEAT_EVERY": "2", "PILVI_NETWORK__AGENT_DOWN_AFTER": "10",
    "PILVI_NETWORK__HEAL_EVERY": "10", "PILVI_COMPUTE__HEARTBEAT": "2", "PILVI_COMPUTE__DOWN_AFTER": "10",
    "PILVI_COMPUTE__LIBVIRT__TB_CACHE_MIB": "32", "PILVI_BLOCK_STORAGE__HEARTBEAT": "2", "PILVI_BLOCK_STORAGE__DOWN_AFTER": "10",
}  # fmt: skip


class Rig:
    """A controller and two hosts that have joined it, with an image, a flavor, a network, a router to the outside and a key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.laboratory = Laboratory(folder / "laboratory", follow=True)
        self.cloud = Cloud(self.laboratory, environment=SETTINGS)
        self.controller, self.outside = self.cloud.controller, self.laboratory.outside
        self.key = folder / "key"
        self.api: Any = None
        self.one: Any = None
        self.two: Any = None

    def start(self) -> None:
        """Bring all of it up."""
        self.laboratory.start(["controller", *HOSTS])
        self.cloud.up()
        for name in HOSTS:
            self.cloud.join(name)
        with self.calling():
            self.api = self.connect()
            self._things()

    def connect(self) -> Any:
        """A connection of the admin's."""
        told = yaml.safe_load((self.controller.state / "clouds.yaml").read_text())["clouds"]["pilvi"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library speaks of its own future
            return openstack.connect(
                load_yaml_config=False, load_envvars=False, region_name=told["region_name"], cacert=str(self.controller.state / "tls" / "ca.pem"),
                auth=told["auth"], compute_default_microversion="2.96",
            )  # fmt: skip

    def _things(self) -> None:
        api = self.api
        subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", "test", "-f", str(self.key)], check=True)
        api.compute.create_keypair(name="key", public_key=self.key.with_suffix(".pub").read_text())
        image = api.image.create_image(
            name="guest", filename=str(tiny_image(GUEST_CACHE)), disk_format="qcow2", container_format="bare", wait=True, allow_duplicates=True
        )  # fmt: skip
        self.image_id = image.id
        self.flavor_id = api.compute.create_flavor(name="tiny", ram=128, vcpus=1, disk=1).id
        public = api.network.create_network(
            name="public", **{"router:external": True, "provider:network_type": "flat", "provider:physical_network": "public"}
        )
        api.network.create_subnet(network_id=public.id, ip_version=4, cidr=EXTERNAL, gateway_ip=GATEWAY, enable_dhcp=False)
        self.network_id = api.network.create_network(name="lan").id
        subnet = api.network.create_subnet(network_id=self.network_id, ip_version=4, cidr="10.20.0.0/24")
        self.router_id = api.network.create_router(name="router", external_gateway_info={"network_id": public.id}).id
        api.network.add_interface_to_router(self.router_id, subnet_id=subnet.id)
        self.public_id = public.id
        self.group_id = api.network.create_security_group(name="open").id
        self.allow("tcp", port=22)
        self.allow("icmp")

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Within this the test speaks to the API: from the controller's network."""
        with self.controller.network():
            yield

    def allow(self, protocol: str, *, port: int | None = None, group: str = "", ether_type: str = "IPv4", **more: Any) -> None:
        """A rule that lets something in."""
        ports = {"port_range_min": port, "port_range_max": port} if port else {}
        self.api.network.create_security_group_rule(
            security_group_id=group or self.group_id, direction="ingress", ether_type=ether_type, protocol=protocol, **ports, **more
        )

    def server(self, name: str, host: str, *, group: str = "open", **more: Any) -> Any:
        """Ask for a server on that host; it is not waited for."""
        return self.api.compute.create_server(
            name=name, image_id=self.image_id, flavor_id=self.flavor_id, key_name="key", networks=[{"uuid": self.network_id}],
            security_groups=[{"name": group}], availability_zone=f"nova:{host}", **more,
        )  # fmt: skip

    def active(self, server_id: str, within: float = 90) -> Any:
        """The server when it is ACTIVE."""

        def look() -> Any:
            found = self.api.compute.get_server(server_id)
            assert found.status != "ERROR", (found.fault or {}).get("message")
            return found if found.status == "ACTIVE" else None

        return until(f"server {server_id} is ACTIVE", look, within)

    def floating(self, server_id: str) -> str:
        """A floating address that leads to the server."""
        port = next(iter(self.api.network.ports(device_id=server_id)))
        return str(self.api.network.create_ip(floating_network_id=self.public_id, port_id=port.id).floating_ip_address)

    def fixed(self, server_id: str, version: int = 4) -> str:
        """The server's address in its network."""
        port = next(iter(self.api.network.ports(device_id=server_id)))
        found = [str(one["ip_address"]) for one in port.fixed_ips]
        return next(one for one in found if ipaddress.ip_address(one).version == version)

    def ssh(self, address: str, command: str, *, within: float = 20) -> str | None:
        """What a command prints in a guest, logged in to from outside; None when that is not possible."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=8", "LogLevel=ERROR"]
        words = [word for option in options for word in ("-o", option)]
        done = self.outside.run(["timeout", str(within), "ssh", *words, "-i", str(self.key), f"cirros@{address}", command], check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def login(self, address: str, within: float = 150) -> None:
        """Wait until one can log in."""
        until(f"one can log in at {address}", lambda: self.ssh(address, "true") is not None, within, every=1)

    def pings(self, address: str, target: str, count: int = 3) -> bool:
        """Whether a guest reaches a target."""
        return self.ssh(address, f"ping -c {count} -W 2 {target} >/dev/null && echo yes", within=30) == "yes"

    def check(self) -> str:
        """What `pilvi check` finds; "" when nothing is amiss."""
        done = self.controller.pilvi("check", check=False)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def router_host(self) -> str:
        """The host on which the router is."""
        return str(next(iter(self.api.network.routers_hosting_l3_agents(self.router_id))).host)

    def kill(self, host: Host) -> int:
        """End the program of a host as a crash would; answers what was its process, as seen within the host."""
        pid = int((host.state / "pilvi.pid").read_text())
        host.run(["kill", "-9", str(pid)])
        return pid

    def agents(self) -> dict[tuple[str, str], bool]:
        """Which agents are seen to live: (program, host)."""
        found = {(one.binary, one.host): one.state == "up" for one in self.api.compute.services()}
        found |= {(one.binary, one.host): bool(one.is_alive) for one in self.api.network.agents()}
        return found

    def end(self) -> None:
        """Have nothing of it running."""
        if self.api is not None:
            self.api.close()
        self.laboratory.end()


def until(what: str, true: Callable[[], Any], within: float, *, every: float = 0.3) -> Any:
    """Wait until something is true, and answer it."""
    end = time.monotonic() + within
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < end, f"waited {within:g} s, but not: {what}"
        time.sleep(every)
