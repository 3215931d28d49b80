"""The Linux network driver keeps the contract, survives its own restart, mends half-made things and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from pilvi.network.drivers import Dhcp, FabricState, FloatingIp, Router, Segment
from pilvi.network.drivers.linux import LinuxFabric, MetadataRequest, dnsmasq, links, names
from tests.drivers.fabric_contract import (
    OPEN,
    FabricContract,
    a_dhcp,
    a_port,
    a_router,
    a_segment,
    an_external,
    new_id,
)

from .guests import answers, connect, echo, until
from .hosts import UNIQUE, Host, numbers


class TestLinuxContract(FabricContract):
    @pytest.fixture
    def fabric(self, host: Host) -> LinuxFabric:
        return host.fabric


def test_a_new_agent_finds_all_and_changes_nothing(host: Host) -> None:
    segment, external = a_segment(), an_external()
    port, other = a_port(segment, rules=OPEN), a_port(segment, "10.0.1.12", rules=OPEN)
    dhcp, router = a_dhcp(segment, port), a_router(segment, external)
    router = msgspec.structs.replace(router, floating_ips=[FloatingIp(id=new_id(), floating="198.51.100.50", fixed="10.0.1.11")])

    def say_all() -> None:
        host.fabric.ensure_segment(segment), host.fabric.ensure_segment(external)
        host.fabric.ensure_outside("public", "198.51.100.0/24", "198.51.100.1")
        host.fabric.ensure_dhcp(dhcp), host.fabric.ensure_router(router), host.fabric.ensure_port(port)

    def facts() -> object:
        server = host.fabric._dhcp._server(segment.id)
        spaces = (host.netns, host.machine, host.fabric.reach(segment.id), host.fabric.reach(router.id))
        numbers = [(name, link["ifindex"], link.get("master")) for space in spaces for name, link in links.devices(space).items()]
        return server.pid(), numbers, host.fabric.observe()

    say_all()
    guest, neighbour = host.guest(port, gateway="10.0.1.1"), host.guest(other)
    seen = facts()
    with echo(guest.name, 22, "one"), connect(host.machine, "198.51.100.50", 22) as held, connect(neighbour.name, "10.0.1.11", 22) as near:
        assert answers(held) == "one 198.51.100.1"
        assert answers(near) == "one 10.0.1.12"
        host.restart()
        assert facts() == seen
        links.ip(["route add 169.254.169.254/32 via 10.0.1.2"], namespace=guest.name)
        assert msgspec.json.decode(guest.fetch("http://169.254.169.254/x"), type=MetadataRequest).network_id == segment.id
        links.ip(["route del 169.254.169.254/32"], namespace=guest.name)
        assert msgspec.json.decode(guest.fetch("http://169.254.169.254/x"), type=MetadataRequest).router_id == router.id
        say_all()
        assert facts() == seen
        assert answers(held) == "one 198.51.100.1"
        assert answers(near) == "one 10.0.1.12"


def test_half_made_things_are_mended_and_purge_leaves_nothing(host: Host, tmp_path: Path) -> None:
    segment, external = a_segment(), an_external()
    port = a_port(segment, rules=OPEN)
    # as if killed between the first commands of each verb
    links.add_namespace(host.netns)
    (links.NAMESPACES / f"{host.netns}-d-{segment.id}").touch()
    links.ip([f"tuntap add dev {port.tap} mode tap vnet_hdr"], namespace=host.netns)
    host.fabric.remove_port(port.id)
    assert port.tap not in links.devices(host.netns)
    links.ip([f"tuntap add dev {port.tap} mode tap vnet_hdr"], namespace=host.netns)
    for _ in range(2):
        host.fabric.ensure_port(port)
        host.fabric.ensure_dhcp(a_dhcp(segment, port))
        host.fabric.ensure_router(a_router(segment, external))
        host.fabric.ensure_outside("public", "198.51.100.0/24", "198.51.100.1")
        links.ip([f"link del {name}" for name in links.devices(host.netns) if name.startswith(("dh-", "qr-"))], namespace=host.netns)
    assert names.short(port.id) in links.run(["nft", "list", "ruleset"], namespace=host.netns)
    # a tap that somebody took away is made again, with another index; none of its rules outlives the port
    for again in (True, False):
        links.ip([f"link del {port.tap}"], namespace=host.netns)
        if again:
            host.fabric.ensure_port(port)
    for _ in range(2):
        host.fabric.remove_port(port.id)
        assert names.short(port.id) not in links.run(["nft", "list", "ruleset"], namespace=host.netns)
    # a name and a zone that were another's
    host.fabric.ensure_port(port)
    links.ip([f"link del {port.tap}"], namespace=host.netns)
    heir = msgspec.structs.replace(a_port(segment, rules=OPEN, zone=9), tap=port.tap)
    host.fabric.ensure_port(heir)
    host.fabric.remove_port(port.id)
    assert host.fabric.observe().ports == [heir.id]
    left = links.run(["nft", "list", "ruleset"], namespace=host.netns)
    assert f"guard_{names.short(heir.id)}" in left
    assert names.short(port.id) not in left
    # a filter that somebody emptied
    links.run(["nft", "flush", "ruleset"], namespace=host.netns)
    host.fabric.ensure_port(heir)
    assert f"guard_{names.short(heir.id)}" in links.run(["nft", "list", "ruleset"], namespace=host.netns)
    host.fabric.remove_port(heir.id)
    (links.NAMESPACES / f"{host.netns}-r-{new_id()}").touch()
    assert host.fabric.observe().ports == []
    pid = host.fabric._dhcp._server(segment.id).pid()
    for _ in range(2):
        host.fabric.purge()
    assert not [name for name in links.namespaces(half_made=True) if name.startswith(host.netns)]
    assert set(links.devices(host.machine)) == {"lo"}
    assert not dnsmasq._arguments(pid)
    assert not (dnsmasq.RUN / host.netns).exists()
    assert not list((tmp_path / host.netns).glob("*"))


def test_the_outside_never_takes_a_range_that_the_machine_has(host: Host) -> None:
    links.ip(["link add other type veth peer name rehto", "addr add 198.51.100.200/25 dev other"], namespace=host.machine)
    with pytest.raises(links.HostError, match="choose another range"):
        host.fabric.ensure_outside("public", "198.51.100.0/24", "198.51.100.1")
    host.fabric.ensure_outside("public", "198.51.100.0/26", "198.51.100.1")
    host.fabric.ensure_outside("public", "203.0.113.0/24", "203.0.113.1")
    leg = next(name for name in links.devices(host.machine) if name.startswith("po-"))
    assert links.addresses(links.addressed(host.machine)[leg]) == {"198.51.100.1/26", "203.0.113.1/24"}
    host.fabric.remove_outside("public", "198.51.100.0/26")
    assert links.addresses(links.addressed(host.machine)[leg]) == {"203.0.113.1/24"}
    host.fabric.remove_outside("public", "203.0.113.0/24")
    assert leg not in links.devices(host.machine)


def test_an_interface_of_the_machine_is_lent_and_given_back(tmp_path: Path) -> None:
    machine = f"{UNIQUE}m{next(numbers)}"
    links.add_namespace(machine)
    links.ip(["link add wire type veth peer name far", "addr add 192.0.2.9/24 dev wire"], namespace=machine)
    with links.inside(machine):
        fabric = LinuxFabric("host", tmp_path, cloud="test", netns=machine + "h", bridge_mappings={"public": "wire"})
    try:
        with pytest.raises(links.HostError, match="carries addresses of the machine"):
            fabric.ensure_segment(an_external())
        links.ip(["addr del 192.0.2.9/24 dev wire"], namespace=machine)
        external = an_external()
        for _ in range(2):
            fabric.ensure_segment(external)
        assert "wire" not in links.devices(machine)
        with pytest.raises(links.HostError, match="already carries the network"):
            fabric.ensure_segment(an_external())
        fabric.remove_segment(external.id)
        assert "wire" in links.devices(machine)
        tagged = Segment(id=new_id(), kind="vlan", physical_network="public", segmentation_id=7)
        try:
            fabric.ensure_segment(tagged)
        except links.HostError as problem:
            assert "no VLAN devices (module 8021q)" in problem.message  # noqa: PT017
        fabric.remove_segment(tagged.id)
        assert "wire" in links.devices(machine)
        fabric.ensure_segment(external)
    finally:
        fabric.purge()
        assert "wire" in links.devices(machine)
        fabric.close()
        links.remove_namespace(machine)


def test_a_server_that_died_is_seen_and_started_again(host: Host) -> None:
    segment = a_segment()
    dhcp = a_dhcp(segment, a_port(segment))
    host.fabric.ensure_dhcp(dhcp)
    first = host.fabric._dhcp._server(segment.id).pid()
    assert first
    os.kill(first, signal.SIGKILL)
    until(lambda: not host.fabric.observe().dhcp, "the loss of dnsmasq")
    host.fabric.ensure_dhcp(dhcp)
    assert host.fabric.observe().dhcp == [segment.id]


_AGENT = """
import sys, msgspec
from pathlib import Path
from pilvi.network.drivers import Dhcp, Port, Router, Segment
from pilvi.network.drivers.linux import LinuxFabric

segment, external, dhcp, router, port = map(msgspec.json.decode, sys.argv[3:])
fabric = LinuxFabric("host", Path(sys.argv[2]), cloud="test", netns=sys.argv[1], bridge_mappings={"public": ""})
print("go", flush=True)
while True:
    fabric.ensure_segment(msgspec.convert(segment, Segment))
    fabric.ensure_segment(msgspec.convert(external, Segment))
    fabric.ensure_port(msgspec.convert(port, Port))
    fabric.ensure_dhcp(msgspec.convert(dhcp, Dhcp))
    fabric.ensure_router(msgspec.convert(router, Router))
    fabric.ensure_outside("public", "198.51.100.0/24", "198.51.100.1")
    fabric.remove_outside("public", "198.51.100.0/24")
    fabric.remove_router(router["id"])
    fabric.remove_dhcp(segment["id"])
    fabric.remove_port(port["id"])
    fabric.remove_segment(external["id"])
    fabric.remove_segment(segment["id"])
"""


def test_an_agent_killed_at_any_moment_loses_and_leaks_nothing(host: Host) -> None:
    segment, external = a_segment(), an_external()
    port = a_port(segment)
    wishes = (segment, external, a_dhcp(segment, port), a_router(segment, external), port)
    told = [msgspec.json.encode(wish).decode() for wish in wishes]
    for moment in (0.02, 0.07, 0.11, 0.16, 0.23, 0.31):
        with links.inside(host.machine):
            argv = [sys.executable, "-c", _AGENT, host.netns, str(host.folder / host.netns), *told]
            agent = subprocess.Popen(argv, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
        with agent:
            assert agent.stdout
            assert agent.stdout.readline() == b"go\n"
            # not a wait for something: the moment of death is what varies
            time.sleep(moment)
            agent.kill()
        host.fabric.observe()
    dhcp, router = wishes[2], wishes[3]
    assert isinstance(dhcp, Dhcp)
    assert isinstance(router, Router)
    host.fabric.ensure_port(port)
    host.fabric.ensure_dhcp(dhcp)
    host.fabric.ensure_router(router)
    host.fabric.ensure_outside("public", "198.51.100.0/24", "198.51.100.1")
    seen = host.fabric.observe()
    assert (seen.ports, seen.dhcp, seen.routers) == ([port.id], [segment.id], [router.id])
    assert host.guest(port, by_hand=False).lease()["ip"] == "10.0.1.11"
    host.fabric.remove_router(router.id)
    host.fabric.remove_dhcp(segment.id)
    host.fabric.remove_port(port.id)
    host.fabric.remove_outside("public", "198.51.100.0/24")
    for each in (segment, external):
        host.fabric.remove_segment(each.id)
    assert host.fabric.observe() == FabricState()
    assert set(links.devices(host.netns)) == {"lo"}
    assert set(links.devices(host.machine)) == {"lo"}
