"""Streams between hosts: who has a pass gets the channel it is for, everybody else gets nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from pilvi.compute.drivers.libvirt.tls import Files, Identity, Pass, read_pass
from pilvi.compute.drivers.libvirt.tunnel import Tunnels, to_socket
from pilvi.kernel.errors import HostError, Invalid

from ..real.authority import Authority

Make = Callable[..., Tunnels]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes the tunnels of one more host."""
    made: list[Tunnels] = []

    def one(*files: str) -> Tunnels:
        folder = tmp_path / f"host-{len(made)}"
        folder.mkdir()
        given = Files(ca=files[0], cert=files[1], key=files[2]) if files else Files()
        made.append(Tunnels(Identity(given, folder), "127.0.0.1"))
        return made[-1]

    yield one
    for tunnels in made:
        tunnels.close()


async def echo(channel: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve any channel by its own name, then all that is said."""
    writer.write(f"ok\n{channel}\n".encode())
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


def heard(tunnels: Tunnels, to: Pass, channel: str = "letters") -> str:
    with tunnels.call(to, channel) as stream, stream.makefile("rb") as source:
        return source.readline().decode().strip()


def test_a_pass_survives_being_written_down(make: Make) -> None:
    handed_out = make().admit(echo)
    assert read_pass(str(handed_out)) == handed_out
    six = msgspec.structs.replace(handed_out, host="fd00::1")
    assert read_pass(str(six)) == six
    assert handed_out.secret not in handed_out.place


@pytest.mark.parametrize("text", ["", "http://x/", "pilvi://host:1/?pin=12#34", "pilvi://[::1:4/", "fake://there", "pilvi://h:99999999/?pin=#"])
def test_what_is_no_pass_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a pass"):
        read_pass(text)


def test_who_has_the_pass_is_served_until_it_is_dismissed(make: Make) -> None:
    here, there = make(), make()
    handed_out = there.admit(echo)
    other = there.admit(echo)
    assert (handed_out.port, handed_out.secret != other.secret) == (other.port, True)
    assert heard(here, handed_out) == "letters"
    with here.call(handed_out, "letters") as stream:
        there.dismiss(handed_out)
        stream.settimeout(10)
        with suppress(ConnectionError, ssl.SSLError):
            while stream.recv(1 << 16):
                pass
    with pytest.raises(HostError, match="does not let us in"):
        heard(here, handed_out)
    assert heard(here, other) == "letters"
    there.dismiss(other)
    with pytest.raises(HostError, match="cannot be reached"):
        heard(here, other)


def test_a_pass_outlives_who_handed_it_out(make: Make) -> None:
    here, there = make(), make()
    handed_out = there.admit(echo)
    there.close()
    later = Tunnels(there.identity, "127.0.0.1")
    assert later.admit(echo, handed_out) == handed_out
    assert heard(here, handed_out) == "letters"
    later.close()


def test_a_wrong_secret_and_a_wrong_host_are_noticed(make: Make) -> None:
    here, there, elsewhere = make(), make(), make()
    handed_out, another = there.admit(echo), elsewhere.admit(echo)
    with pytest.raises(HostError, match="does not let us in"):
        heard(here, msgspec.structs.replace(handed_out, secret="0" * 64))
    # somebody else answers at the address: the secret is not said to them
    with pytest.raises(HostError, match="certificate is not the one"):
        heard(here, msgspec.structs.replace(handed_out, port=another.port))


@pytest.mark.parametrize("said", [b"", b"\n", b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe letters\n", b"x" * (1 << 20)])
def test_noise_is_answered_by_nothing(make: Make, said: bytes) -> None:
    there = make()
    handed_out = there.admit(echo)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection((handed_out.host, handed_out.port), timeout=10)
    with context.wrap_socket(plain) as stream:
        answer = b""
        with suppress(ConnectionError, ssl.SSLError):
            stream.sendall(said)
            if not said:
                stream.unwrap().shutdown(socket.SHUT_RDWR)
            answer = stream.recv(100)
        assert answer == b""
    assert heard(make(), handed_out) == "letters", "others are not disturbed"


def test_with_certificates_of_a_cloud_strangers_do_not_even_come_to_speak(make: Make, tmp_path: Path) -> None:
    cloud, other_cloud = Authority(tmp_path / "cloud"), Authority(tmp_path / "other")
    there = make(*cloud.files("there"))
    handed_out = there.admit(echo)
    assert heard(make(*cloud.files("here")), handed_out) == "letters"
    for stranger in (make(), make(*other_cloud.files("here"))):
        with pytest.raises(HostError):
            heard(stranger, handed_out)
    with pytest.raises(HostError, match="safe connection"):
        heard(make(*cloud.files("again")), make(*other_cloud.files("else")).admit(echo))


def test_files_of_certificates_that_cannot_be_used_are_told_of(make: Make, tmp_path: Path) -> None:
    ca, cert, key = Authority(tmp_path / "cloud").files("here")
    with pytest.raises(Invalid, match="belong together"):
        Identity(Files(ca=ca, cert=cert), tmp_path)
    with pytest.raises(HostError, match="cannot be used"):
        make(ca, cert, str(tmp_path / "missing")).admit(echo)
    with pytest.raises(HostError, match="cannot be used"):
        make(ca, ca, key).admit(echo)


def test_sockets_are_carried_whole_both_ways(make: Make, tmp_path: Path) -> None:
    here, there = make(), make()
    content = os.urandom(20 << 20)
    service, near = tmp_path / "service", tmp_path / "near"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(service))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                got = bytearray()
                while len(got) < len(content):
                    got += connection.recv(1 << 20)
                connection.sendall(got[::-1])

        server = threading.Thread(target=serve)
        server.start()
        handed_out = there.admit(lambda _, reader, writer: to_socket(service, reader, writer))
        with here.carrying(handed_out, {"x": near}):
            assert near.stat().st_mode & 0o777 == 0o600
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(near))
                client.sendall(content)
                back = bytearray()
                while piece := client.recv(1 << 20):
                    back += piece
        server.join()
    assert back == content[::-1]
    assert not near.exists()


def test_what_nobody_serves_ends_at_once(make: Make, tmp_path: Path) -> None:
    here, there = make(), make()
    handed_out = there.admit(lambda _, reader, writer: to_socket(tmp_path / "nothing", reader, writer))
    with pytest.raises(HostError, match="Nothing listens"):
        heard(here, handed_out)
    with here.carrying(handed_out, {"x": tmp_path / "near"}), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(tmp_path / "near"))
        assert client.recv(1) == b""


def test_nobody_can_listen_at_the_address_of_another(make: Make) -> None:
    there = make()
    there.address = "192.0.2.1"
    with pytest.raises(HostError, match=r"look at compute\.address"):
        there.admit(echo)
