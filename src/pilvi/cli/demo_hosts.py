"""pilvi demo --hosts N: a cloud of several hosts on this machine, each in namespaces of its own, and a server that moves between two of them.

Each step looks whether its thing is there, as the demo's do.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pilvi import clone
from pilvi.cli.demo import GROUPS, Demo, head, install_packages, say
from pilvi.cli.place import Place
from pilvi.kernel.errors import Invalid, PilviError
from pilvi.laboratory import EXTERNAL, GATEWAY, Laboratory
from pilvi.laboratory.cloud import Cloud

_FEWEST, _MOST = 3, 9


class HostsDemo(Demo):
    """The demo's steps on several hosts: a controller, and hosts n1, n2, ... that join it."""

    def __init__(self, place: Place, options: Any) -> None:
        super().__init__(place, options)
        if not _FEWEST <= options.hosts <= _MOST:
            raise Invalid(f"--hosts takes {_FEWEST} (a controller and two hosts) to {_MOST}.", field="hosts")
        if os.geteuid() != 0:
            raise PilviError("several hosts on one machine are namespaces with networks of their own: they need root rights; run it with sudo.")
        self.laboratory = Laboratory(place.state / "laboratory")
        self.hosts = [f"n{number}" for number in range(1, options.hosts)]
        self.lab_cloud = Cloud(self.laboratory)
        self.addresses: dict[str, str] = {}

    def run(self) -> None:
        """All steps, from the packages to the move."""
        head("1. What the machine needs")
        install_packages((*GROUPS, "bus", "test"))
        image = self._guest_image()
        head("2. The hosts")
        self._boot_hosts()
        head("3. The cloud")
        self._start_cloud()
        with self.lab_cloud.controller.network():
            self._connect()
            head("4. What a cloud's admin makes once")
            self._admin_things(image)
            head("5. What a user makes")
            self._user_things()
            head("6. A server on each host")
            self._servers()
            self._meet()
            head("7. A server moves while it is being talked to")
            self._move()
        head("8. What happened, step by step")
        print(self.lab_cloud.controller.pilvi("trace", self._name(self.hosts[1]), check=False).stdout, end="")
        self._farewell()

    # -- the steps -------------------------------------------------------------------------------

    def _boot_hosts(self) -> None:
        names = [self.lab_cloud.controller.name, *self.hosts]
        self.laboratory.start(names)
        for name in names:
            say(f"{name}: {self.laboratory.address(name)} on the hosts' network; its state folder is {self.laboratory.host(name).state}")
        say(f"outside of the cloud: {GATEWAY} on the external network")

    def _start_cloud(self) -> None:
        say("controller $ pilvi up")
        say(self.lab_cloud.up())
        for name in self.hosts:
            joined = (self.laboratory.host(name).state / "pilvi.toml").exists()
            if not joined:
                say(f"controller $ pilvi host add {name}")
            say(f"{name} $ pilvi {'up' if joined else 'join https://... --token ...'}")
            self.lab_cloud.join(name)
        self._until("all hosts are well", lambda: self.lab_cloud.controller.pilvi("host", "list", check=False).returncode == 0, 120)
        for line in self.lab_cloud.controller.pilvi("host", "list").stdout.splitlines():
            say(line)

    def _connect(self) -> None:
        import openstack
        import yaml

        state = self.lab_cloud.controller.state
        told = yaml.safe_load((state / "clouds.yaml").read_text(encoding="utf-8"))["clouds"]["pilvi"]
        self.cloud = openstack.connect(
            load_yaml_config=False, load_envvars=False, auth=told["auth"], region_name=told["region_name"], cacert=str(state / "tls" / "ca.pem")
        )

    def _servers(self) -> None:
        for host in self.hosts:
            name = self._name(host)
            found = self.cloud.compute.find_server(name)
            if found is not None and self.cloud.compute.get_server(found.id).status == "ERROR":
                say(f"the server {name} of an earlier run is in ERROR; it is made anew")
                self._openstack(["server", "delete", "--wait", name])
            self._ensure(
                f"server {name}", lambda name=name: self.cloud.compute.find_server(name),
                ["server", "create", "--image", "guest", "--flavor", f"demo.{self.options.ram}", "--network", "demo", "--key-name", "demo",
                 "--availability-zone", f"nova:{host}", name],
            )  # fmt: skip
        for host in self.hosts:
            server = self._until(f"the server {self._name(host)} is ACTIVE", lambda host=host: self._on(self._name(host)), 180)
            self.addresses[host] = self._reachable(server)
        for host in self.hosts:
            self.address = self.addresses[host]
            self._until(f"one can log in to {self._name(host)}", lambda: self._ssh("true") is not None, self.options.login_timeout)
            say(f"{self._name(host)} at {self.address}: {self._ssh('hostname')}, {self._ssh(_OWN_ADDRESS)}")

    def _on(self, name: str) -> Any:
        """The server when it is ACTIVE; one that was shut off with its host is started."""
        server = self.cloud.compute.get_server(self.cloud.compute.find_server(name, ignore_missing=False).id)
        if server.status == "ERROR":
            raise PilviError(f"the server {name} is in ERROR: {(server.fault or {}).get('message', 'no reason was given')}")
        if server.status == "SHUTOFF" and not server.task_state:
            self._openstack(["server", "start", name])
        return server if server.status == "ACTIVE" else None

    def _reachable(self, server: Any) -> str:
        """A floating address of the server."""
        port = next(iter(self.cloud.network.ports(device_id=server.id)))
        held = next(iter(self.cloud.network.ips(port_id=port.id)), None)
        if held is None:
            free = next((one for one in self.cloud.network.ips() if not one.port_id), None)
            if free is None:
                self._openstack(["floating", "ip", "create", "public"])
                free = next(one for one in self.cloud.network.ips() if not one.port_id)
            self._openstack(["server", "add", "floating", "ip", server.name, free.floating_ip_address])
            held = free
        return str(held.floating_ip_address)

    def _meet(self) -> None:
        """Ping from each server to the next, over the tunnel between their hosts."""
        for host, other in zip(self.hosts, self.hosts[1:] + self.hosts[:1], strict=True):
            self.address = self.addresses[host]
            port = next(iter(self.cloud.network.ports(device_id=self.cloud.compute.find_server(self._name(other)).id)))
            said = self._ssh(f"ping -c 3 {port.fixed_ips[0]['ip_address']} | tail -2") or "no answer"
            say(f"{self._name(host)} pings {self._name(other)}: " + " | ".join(said.splitlines()))

    def _move(self) -> None:
        name, address = self._name(self.hosts[1]), self.addresses[self.hosts[1]]
        before = self._where(name)
        target = next(host for host in self.hosts if host != before)
        with self._pinging(address) as told:
            self._openstack(["server", "migrate", "--live-migration", "--host", target, name])
            began = time.monotonic()
            self._until(f"{name} is on {target}", lambda: self._where(name) == target and self._on(name), 180)
            took = time.monotonic() - began
            time.sleep(1)
        say(f"{name} moved from {before} to {target} in {took:.1f} s; of {told['sent']} pings, ten a second, {told['sent'] - told['back']} were lost")
        self.address = address
        say(f"and it is the same one still: {self._ssh('uptime')}")

    def _where(self, name: str) -> str:
        server = self.cloud.compute.find_server(name, ignore_missing=False)
        return str(self.cloud.compute.get_server(server.id).compute_host)

    @contextmanager
    def _pinging(self, address: str) -> Iterator[dict[str, int]]:
        """Ping from outside meanwhile; afterwards the answer holds how many were sent, and how many came back."""
        told = {"sent": 0, "back": 0}
        running = self.laboratory.outside.start(["ping", "-i", "0.1", address], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            yield told
        finally:
            os.killpg(running.pid, signal.SIGINT)
            said, _ = running.communicate(timeout=30)
            if found := re.search(r"(\d+) packets transmitted, (\d+) (?:packets )?received", said):
                told.update(sent=int(found[1]), back=int(found[2]))

    def _farewell(self) -> None:
        pilvi = clone.command()
        state = f"--state {shlex.quote(str(self.place.state))}"
        print(f"\nDone in {time.monotonic() - self.began:.0f} s.  The hosts go on; `{pilvi} lab {state}` lists them.")
        print("\nTry next:")
        for words, what in (
            ("controller openstack server list --long", "any client command"),
            (f"outside ssh -i {self.folder / 'id'} {self.options.user}@{self.addresses[self.hosts[0]]}", "a login from outside"),
            ("controller pilvi host list", "the hosts and how they are"),
            (f"controller pilvi host drain {self.hosts[0]} --wait", "move all servers away from a host"),
            (f"{self.hosts[1]}", "a shell on a host"),
        ):
            print(f"  {pilvi} lab {state} {words}    # {what}")
        print(f"\nTo take all of it down: {pilvi} down --all {state}")

    # -- how things are done in the laboratory ------------------------------------------------------

    @staticmethod
    def _name(host: str) -> str:
        return f"demo-{host}"

    def _outside_subnet(self) -> list[str]:
        return ["--subnet-range", EXTERNAL, "--gateway", GATEWAY]

    def _openstack(self, command: list[str]) -> None:
        print(f"   $ openstack {shlex.join(command)}", flush=True)
        done = self.lab_cloud.controller.run([self.client, *command], check=False, within=600)
        if done.returncode:
            raise PilviError(f"`openstack {shlex.join(command)}` failed: {(done.stderr or done.stdout).strip()[-600:]}")

    def _ssh(self, command: str) -> str | None:
        done = self.laboratory.outside.run(["timeout", "30", *self._ssh_words(), command], check=False)
        return done.stdout.strip() if done.returncode == 0 else None


_OWN_ADDRESS = "ip -o -4 addr show dev eth0 | awk '{print $4}'"
