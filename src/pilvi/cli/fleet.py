"""pilvi fleet: many fake hosts in a few processes, which join a running cloud over its bus."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import msgspec

from pilvi import program
from pilvi.cli import down, up
from pilvi.cli.place import Place, parser
from pilvi.kernel.bus.broker import Broker
from pilvi.kernel.bus.names import AgentTopics
from pilvi.kernel.config import BusSettings
from pilvi.kernel.errors import Invalid, PilviError


def main(arguments: list[str]) -> int:
    options = parser("fleet", "Start many fake hosts, fake-0001 and so on, in processes without a database; they join this machine's cloud.")
    options.add_argument("--hosts", type=int, default=1000, help="how many (default 1000)")
    options.add_argument("--processes", type=int, default=4, help="in how many processes (default 4)")
    options.add_argument("--first", type=int, default=1, help="the number of the first (default 1)")
    options.add_argument("--down", action="store_true", help="stop them; the cloud takes them for dead until they come back")
    chosen = options.parse_args(arguments)
    place = Place(chosen)
    if chosen.down:
        return _stop(place)
    if not 1 <= chosen.processes <= chosen.hosts or chosen.first < 1:
        raise Invalid("--hosts and --processes: each process has one host at the least; --first is 1 or more.")
    settings = program.settings(place.state, place.config)
    bus = _bus(place, settings)
    began = chosen.first
    for number in range(1, chosen.processes + 1):
        count = chosen.hosts // chosen.processes + (number <= chosen.hosts % chosen.processes)
        own = _place(place, number)
        if own.pid() is None:
            _write(own, bus, settings, first=began, hosts=count)
            up.start(own, ["--fake", "--roles", "compute"])
        print(f"fake-{began:04} to fake-{began + count - 1:04}: process {own.pid()}")
        began += count
    return 0


def _stop(place: Place) -> int:
    stopped = 0
    for folder in sorted(_folder(place).glob("[0-9]*")):
        own = _place(place, int(folder.name))
        pid = own.pid()
        if pid is not None:
            down.stop(own, pid)
            stopped += 1
    print(f"stopped {stopped} processes")
    return 0


def _folder(place: Place) -> Path:
    return place.state / "fleet"


def _place(place: Place, number: int) -> Place:
    """One process' own state folder."""
    return Place(argparse.Namespace(state=str(_folder(place) / str(number)), config=None))


def _bus(place: Place, settings: Any) -> BusSettings:
    """How the processes reach the cloud's bus: as the control plane, since one connection speaks for many hosts.

    Raises Invalid when the bus cannot be reached from another process.
    """
    bus = settings.bus
    if bus.serve:
        if place.pid() is None:
            raise PilviError(f"no cloud runs on {place.state}, and with it no bus; `pilvi up` starts it.")
        bus = Broker(bus, place.state / "bus", AgentTopics()).client()
    elif bus.url.startswith("local:"):
        raise Invalid(
            'the bus of this cloud is within its one process: write `serve = "127.0.0.1:4222"` under [bus] in its settings, '
            "or have the hosts in that process, by `hosts` under [compute.fake].", field="bus.url",
        )  # fmt: skip
    own_authority = place.state / "tls" / "ca.pem"
    if settings.tls.enabled and not bus.ca_file:
        bus = msgspec.structs.replace(bus, url=bus.url.replace("nats://", "tls://"), ca_file=settings.tls.ca_file or str(own_authority))
    return bus


def _write(own: Place, bus: BusSettings, settings: Any, *, first: int, hosts: int) -> None:
    """The settings of one process; a password is written to a file of its own, which only its owner may read."""
    own.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    reached: dict[str, str] = {"url": bus.url, "user": bus.user, "password_file": bus.password_file, "ca_file": bus.ca_file, "prefix": bus.prefix}
    if bus.password and not bus.password_file:
        secret = own.state / "bus-password"
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(bus.password)
        reached["password_file"] = str(secret)
    compute, fake = settings.compute, settings.compute.fake
    sections: dict[str, dict[str, object]] = {
        "": {"host": f"fleet-{first:04}"},
        "bus": {name: value for name, value in reached.items() if value},
        "compute": {"heartbeat": compute.heartbeat, "down_after": compute.down_after},
        "compute.fake": {"hosts": hosts, "first": first, "vcpus": fake.vcpus, "memory_mib": fake.memory_mib, "disk_gib": fake.disk_gib},
        "network": {"heartbeat_every": settings.network.heartbeat_every},
    }
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]"] if section else []
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()] + [""]
    own.config.write_text("\n".join(lines), encoding="utf-8")
