"""Several real hosts: they join by the real commands over TLS, servers on them meet, and losing one of them loses no more.

The tests stand on each other, in the order in which they are written.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nats
import nats.errors
import pytest
from websockets.sync.client import connect as connect_websocket

from pilvi.laboratory import GATEWAY

from .laboratory import HOSTS, Rig, until

pytestmark = pytest.mark.filterwarnings("ignore")  # openstacksdk warns of its own future
MARK = "mark-of-this-boot"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("rig"))
    try:
        made.start()
        with made.calling():
            made.one, made.two = made.server("one", "n1"), made.server("two", "n2")
        yield made
    finally:
        made.end()


@pytest.fixture(autouse=True)
def _calling(rig: Rig) -> Iterator[None]:
    with rig.calling():
        yield


@pytest.fixture(scope="module")
def addresses(rig: Rig) -> tuple[str, str]:
    """The floating addresses of both servers, at which one can log in."""
    with rig.calling():
        for server in (rig.one, rig.two):
            rig.active(server.id)
        found = rig.floating(rig.one.id), rig.floating(rig.two.id)
        for address in found:
            rig.login(address)
            rig.ssh(address, f"echo {MARK} > /tmp/mark")
    return found


def test_hosts_that_have_joined_are_seen(rig: Rig) -> None:
    listed = rig.controller.pilvi("host", "list").stdout.splitlines()
    assert [(line.split()[0], line.split()[1], line.split()[2]) for line in listed] == [
        (name, "well", rig.laboratory.address(name)) for name in HOSTS
    ]
    told = rig.controller.pilvi("status").stdout
    for name in HOSTS:
        assert f"host {name}: process" in told
        for binary in ("nova-compute", "neutron-l3-agent", "neutron-dhcp-agent"):
            assert rig.agents()[binary, name]
    shown = rig.controller.run(["openstack", "compute", "service", "list", "-f", "value", "-c", "Binary", "-c", "Host", "-c", "State"]).stdout
    assert {f"nova-compute {name} up" for name in HOSTS} <= set(shown.splitlines())


def test_a_token_is_good_once(rig: Rig) -> None:
    told = rig.controller.pilvi("host", "add", "n3").stdout
    _, _, url, _, token = next(line for line in told.splitlines() if "pilvi join" in line).split()
    here = ["--state", "/run/other", "--no-start"]
    assert "somebody else answers" in rig.outside.pilvi("join", url, "--token", token[:-1] + "x", *here, check=False).stderr
    rig.outside.pilvi("join", url, "--token", token, *here)
    again = rig.outside.pilvi("join", url, "--token", token, "--state", "/run/another", "--no-start", check=False)
    assert "was used before" in again.stderr
    rig.controller.pilvi("host", "remove", "n3")


def test_one_logs_in_to_a_server_on_each_host(rig: Rig, addresses: tuple[str, str]) -> None:
    for server, name, host, address in ((rig.one, "one", "n1", addresses[0]), (rig.two, "two", "n2", addresses[1])):
        assert rig.api.compute.get_server(server.id).compute_host == host
        assert rig.ssh(address, "hostname") == name
        assert str(rig.ssh(address, "curl -s http://169.254.169.254/latest/meta-data/local-hostname")).startswith(name)
    assert rig.router_host() in HOSTS, "one of the servers is on another host than the router, and is reached by it"


def test_servers_on_two_hosts_reach_each_other(rig: Rig, addresses: tuple[str, str]) -> None:
    assert rig.pings(addresses[0], rig.fixed(rig.two.id))
    assert rig.pings(addresses[1], rig.fixed(rig.one.id))
    assert rig.pings(addresses[1], GATEWAY)
    big = rig.ssh(addresses[0], f"ping -c 2 -W 2 -s 1400 {rig.fixed(rig.two.id)} >/dev/null && echo yes")
    assert big == "yes", "what fills the network's MTU fits into the tunnel"


def test_servers_on_two_hosts_reach_each_other_by_addresses_that_the_router_announces(rig: Rig, addresses: tuple[str, str]) -> None:
    modes = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
    subnet = rig.api.network.create_subnet(network_id=rig.network_id, ip_version=6, cidr="fd00:20::/64", **modes)
    rig.allow("ipv6-icmp", ether_type="IPv6")
    rig.api.network.add_interface_to_router(rig.router_id, subnet_id=subnet.id)
    for server, address in zip((rig.one, rig.two), addresses):
        own = rig.fixed(server.id, 6)
        has_it = f"ip -6 addr show dev eth0 | grep -q '{own}/64' && echo yes"
        until(f"the guest has {own}", lambda address=address, has_it=has_it: rig.ssh(address, has_it) == "yes", 60)
    assert rig.pings(addresses[0], rig.fixed(rig.two.id, 6))
    assert rig.pings(addresses[1], rig.fixed(rig.one.id, 6))
    assert rig.pings(addresses[1], "fd00:20::1"), "the router is on one of the hosts"


def test_security_groups_hold_across_hosts(rig: Rig, addresses: tuple[str, str]) -> None:
    near, far = rig.api.network.create_security_group(name="near"), rig.api.network.create_security_group(name="far")
    rig.allow("tcp", port=22, group=far.id)
    one, two = (next(iter(rig.api.network.ports(device_id=server.id))) for server in (rig.one, rig.two))
    rig.api.network.update_port(one, security_groups=[rig.group_id, near.id])
    rig.api.network.update_port(two, security_groups=[far.id])
    until("ping is refused", lambda: not rig.pings(addresses[0], rig.fixed(rig.two.id), 1), 20)
    rig.allow("icmp", group=far.id, remote_group_id=near.id)
    until("ping is let in from the members of the group", lambda: rig.pings(addresses[0], rig.fixed(rig.two.id), 1), 20)
    rig.api.network.update_port(two, security_groups=[rig.group_id])
    rig.api.network.update_port(one, security_groups=[rig.group_id])


def test_consoles_are_seen_through_the_controller(rig: Rig, addresses: tuple[str, str]) -> None:
    trusted = ssl.create_default_context(cafile=str(rig.controller.state / "tls" / "ca.pem"))
    for server in (rig.one, rig.two):
        assert "login" in rig.api.compute.get_server_console_output(server)["output"]
        asked = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
        url = urlsplit(rig.api.compute.post(f"/servers/{server.id}/remote-consoles", json=asked).json()["remote_console"]["url"])
        (path,) = parse_qs(url.query)["path"]
        with connect_websocket(f"wss://{url.netloc}/{path}", ssl=trusted, subprotocols=["binary"]) as screen:  # type: ignore[list-item]
            assert screen.recv(timeout=20) == b"RFB 003.008\n"
            screen.send(b"RFB 003.008\n")
            assert screen.recv(timeout=20) == b"\x01\x01", "the screen asks for no password: the token was it"


def test_a_volume_of_one_host_serves_a_guest_on_the_other(rig: Rig, addresses: tuple[str, str]) -> None:
    volume = rig.api.block_storage.create_volume(name="volume", size=1)

    def status() -> str:
        return str(rig.api.block_storage.get_volume(volume.id).status)

    until("the volume is available", lambda: status() == "available", 60)
    home = rig.api.block_storage.get_volume(volume.id).host.partition("@")[0]
    server, address = (rig.two, addresses[1]) if home == "n1" else (rig.one, addresses[0])
    rig.api.compute.create_volume_attachment(server, volume_id=volume.id)
    until("it is attached", lambda: status() == "in-use", 60)
    told = rig.ssh(
        address, "until [ -b /dev/vdb ]; do sleep 0.3; done; echo over-the-gate | sudo dd of=/dev/vdb bs=512 conv=sync,fsync 2>/dev/null; "
        "echo 3 | sudo tee /proc/sys/vm/drop_caches >/dev/null; sudo head -c 13 /dev/vdb", within=60,
    )  # fmt: skip
    assert told == "over-the-gate"
    rig.api.compute.delete_volume_attachment(server, volume.id)
    until("it is detached", lambda: status() == "available", 90)
    assert not rig.check()


def test_strangers_cannot_speak_on_the_bus(rig: Rig) -> None:
    address = f"tls://{rig.laboratory.address('controller')}:4222"
    trusted = ssl.create_default_context(cafile=str(rig.controller.state / "tls" / "ca.pem"))
    said: list[str] = []

    async def heard(error: Exception) -> None:
        said.append(str(error))

    async def speak(subject: str, **credentials: str) -> None:
        client = await nats.connect(address, tls=trusted, allow_reconnect=False, connect_timeout=5, error_cb=heard, **credentials)
        await client.publish(subject, b"\xc0")
        await client.flush()
        await asyncio.sleep(0.2)
        await client.close()

    with pytest.raises((nats.errors.Error, ConnectionError)):
        asyncio.run(speak("anything"))
    assert "authorization violation" in " ".join(said).lower()
    secret = (rig.laboratory.host("n1").state / "bus-password").read_text().strip()
    told = (rig.laboratory.host("n1").state / "pilvi.toml").read_text()
    assert 'user = "host.n1"' in told
    for subject in ("pilvi.n2.network-conductor.any", "pilvi._.compute.host.n2", "pilvi.n1.compute.host.n2"):
        said.clear()
        asyncio.run(speak(subject, user="host.n1", password=secret))
        assert "permissions violation" in " ".join(said).lower(), subject


def test_a_host_that_is_cut_off_goes_on_and_comes_back(rig: Rig, addresses: tuple[str, str]) -> None:
    lost = rig.router_host()
    left = next(name for name in HOSTS if name != lost)
    rig.laboratory.cut(lost)
    until("it is seen to be down", lambda: not any(up for (_, host), up in rig.agents().items() if host == lost), 60)

    def not_well() -> list[str]:
        listed = rig.controller.pilvi("host", "list", check=False)
        found = [line.split()[0] for line in listed.stdout.splitlines() if "NOT WELL" in line]
        assert listed.returncode == (1 if found else 0)
        return found

    until("it is listed as not well", lambda: not_well() == [lost], 4)  # two of its heartbeats
    until("another has its router", lambda: rig.router_host() == left, 60)
    rig.laboratory.restore(lost)
    until("all agents are back", lambda: all(rig.agents().values()), 60)
    until("it has let go of the router", lambda: rig.router_id not in rig.laboratory.host(lost).run(["ip", "netns"]).stdout, 20)
    for address in addresses:
        until("one finds the servers again", lambda address=address: rig.ssh(address, "cat /tmp/mark") == MARK, 60)
    until("the servers meet again", lambda: rig.pings(addresses[0], rig.fixed(rig.two.id), 1), 60)
    until("nothing is amiss", lambda: not rig.check(), 60)


def test_programs_that_are_killed_disturb_nothing(rig: Rig, addresses: tuple[str, str]) -> None:
    two = rig.fixed(rig.two.id)
    rig.kill(rig.controller)
    assert rig.pings(addresses[0], two, 1), "servers do not need the controller"
    rig.cloud.up()
    for name in HOSTS:
        rig.kill(rig.laboratory.host(name))
    for address in addresses:
        assert rig.ssh(address, "cat /tmp/mark") == MARK
    for name in HOSTS:
        rig.cloud.join(name)
    until("all agents are back", lambda: all(rig.agents().values()), 60)
    for address in addresses:
        assert rig.ssh(address, "cat /tmp/mark") == MARK
        assert rig.ssh(address, "curl -s http://169.254.169.254/latest/meta-data/local-hostname")
    until("nothing is amiss", lambda: not rig.check(), 60)


def test_router_and_dhcp_leave_a_host_that_died(rig: Rig, addresses: tuple[str, str]) -> None:
    lost = rig.router_host()
    (left,) = [name for name in HOSTS if name != lost]
    address = addresses[HOSTS.index(left)]
    rig.laboratory.host(lost).kill()

    def dhcp_hosts() -> list[str]:
        return [port.binding_host_id for port in rig.api.network.ports(device_owner="network:dhcp")]

    until("the router has moved", lambda: rig.router_host() == left, 90)
    until("DHCP has moved", lambda: dhcp_hosts() == [left], 30)
    until("the floating address leads to the server that is left", lambda: rig.ssh(address, "cat /tmp/mark") == MARK, 60)
    assert rig.pings(address, GATEWAY)
    server = rig.active(rig.server("three", left).id)
    rig.login(rig.floating(server.id))
    rig.laboratory.boot(lost)
    rig.cloud.join(lost)
    until("the host is back", lambda: all(rig.agents().values()), 60)
    assert rig.router_host() == left
    until("nothing is amiss", lambda: not rig.check(), 90)


def test_nothing_is_left_behind(rig: Rig) -> None:
    rig.end()
    folder = str(rig.folder).encode()
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if folder in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
