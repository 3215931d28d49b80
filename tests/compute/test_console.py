"""The way to a server's screen: a token for a while, a websocket, the host's socket."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pilvi.compute.console import console_socket
from pilvi.compute.tables.consoles import ConsoleToken
from tests.compute.conftest import SERVERS, Nova


def open_console(nova: Nova, ref: str) -> str:
    told = nova.post(f"{SERVERS}/{ref}/remote-consoles", {"remote_console": {"protocol": "vnc", "type": "novnc"}})
    assert told.status == 200, told
    url = urlsplit(told.json()["remote_console"]["url"])
    assert url.path == "/console/vnc.html"
    (path,) = parse_qs(url.query)["path"]
    return parse_qs(urlsplit("/" + path).query)["token"][0]


async def speak(nova: Nova, ref: str, token: str, *, origin: str = "") -> list[dict[str, Any]]:
    """What the proxy sends to a client that greets and then leaves."""
    sent: list[dict[str, Any]] = []
    heard = asyncio.Event()

    async def vnc(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB 003.008\n")
        assert await reader.readexactly(12) == b"RFB 003.008\n"
        writer.write(b"\x01\x01")
        await writer.drain()

    server = await asyncio.start_unix_server(vnc, str(nova.driver.world.folder / f"{ref}.vnc"))
    steps: list[Any] = [{"type": "websocket.connect"}]

    async def receive() -> dict[str, Any]:
        if steps:
            return steps.pop(0)
        if not heard.is_set():
            await heard.wait()
            return {"type": "websocket.receive", "bytes": b"RFB 003.008\n"}
        while not any(message.get("bytes") == b"\x01\x01" for message in sent):
            await asyncio.sleep(0.005)
        return {"type": "websocket.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message.get("bytes", b"").startswith(b"RFB"):
            heard.set()

    headers = [(b"host", b"cloud.test")] + ([(b"origin", origin.encode())] if origin else [])
    scope = {"type": "websocket", "path": "/console", "query_string": f"token={token}".encode(), "headers": headers, "subprotocols": ["binary"]}
    await asyncio.wait_for(console_socket(nova.cloud.program)(scope, receive, send), 10)
    server.close()
    return sent


@pytest.fixture
def ref(nova: Nova) -> str:
    return nova.boot()


def test_bytes_go_both_ways(nova: Nova, ref: str) -> None:
    sent = asyncio.run(speak(nova, ref, open_console(nova, ref), origin="http://cloud.test"))
    assert sent[0] == {"type": "websocket.accept", "subprotocol": "binary"}
    assert [message["bytes"] for message in sent if message["type"] == "websocket.send"] == [b"RFB 003.008\n", b"\x01\x01"]


@pytest.mark.parametrize("how", ["wrong token", "too late", "another page"])
def test_without_the_right_token_there_is_no_way(nova: Nova, ref: str, how: str) -> None:
    token, origin = open_console(nova, ref), ""
    if how == "wrong token":
        token += "x"
    elif how == "too late":
        nova.cloud.program.db.run(lambda tx: tx.update(ConsoleToken, expires_at=1.0))
    else:
        origin = "http://evil.test"
    sent = asyncio.run(speak(nova, ref, token, origin=origin))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_kinds_that_there_are_not(nova: Nova, ref: str) -> None:
    for protocol, kind in (("spice", "spice-html5"), ("vnc", "xvpvnc"), ("spice", "novnc")):
        told = nova.post(f"{SERVERS}/{ref}/remote-consoles", {"remote_console": {"protocol": protocol, "type": kind}})
        assert told.status == 400, told
    told = nova.post(f"{SERVERS}/{ref}/action", {"os-getVNCConsole": {"type": "novnc"}}, version="compute 2.1")
    assert told.json()["console"]["type"] == "novnc"
    assert nova.post(f"{SERVERS}/{ref}/action", {"os-getVNCConsole": {"type": "novnc"}}).status == 400
