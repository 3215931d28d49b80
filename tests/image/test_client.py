"""What agents move data with, against a real server: streamed, checked, whole or not at all."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from pilvi import image as door
from pilvi.image import client
from pilvi.image.operations import data
from pilvi.kernel.errors import HostError
from pilvi.kernel.http.server import App
from pilvi.kernel.testing.cloud import Cloud


@pytest.fixture
def endpoint(cloud: Cloud) -> Iterator[str]:
    """Image's address on a port of this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(App(cloud.program, cloud.program.mounts), log_level="error", lifespan="off", http="httptools", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    cloud.wait(lambda: server.started)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/image"
    server.should_exit = True
    thread.join()
    listening.close()


def make(cloud: Cloud) -> str:
    return cloud.post("/image/v2/images", {"disk_format": "raw", "container_format": "bare"}).json()["id"]


def test_a_file_there_and_back(cloud: Cloud, endpoint: str, tmp_path: Path) -> None:
    image_id, source, target = make(cloud), tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3_000_001))
    with pytest.raises(HostError, match="queued"):
        door.download_file(endpoint, "member", image_id, target)
    door.upload_file(endpoint, "member", image_id, source)
    door.download_file(endpoint + "/v2", "member", image_id, target)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(HostError, match="409"):
        door.upload_file(endpoint, "member", image_id, source)
    with pytest.raises(HostError, match="401"):
        door.download_file(endpoint, "nobody-known", image_id, target)


def test_damaged_data_is_not_taken(cloud: Cloud, endpoint: str, tmp_path: Path) -> None:
    image_id, source, target = make(cloud), tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"good" * 1000)
    door.upload_file(endpoint, "member", image_id, source)
    path = data.store(cloud.program).path(image_id)
    assert path is not None
    Path(path).write_bytes(b"evil" * 1000)
    with pytest.raises(HostError, match="damaged"):
        door.download_file(endpoint, "member", image_id, target)
    assert [one.name for one in tmp_path.iterdir() if "target" in one.name] == []


def test_an_upload_whose_sender_dies_leaves_nothing(cloud: Cloud, endpoint: str) -> None:
    image_id = make(cloud)
    host, _, port = endpoint.removeprefix("http://").removesuffix("/image").partition(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"PUT /image/v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: member\r\nContent-Length: 9000000\r\n\r\n"
        line.sendall(head.encode() + b"x" * 2_000_000)
        cloud.wait(lambda: cloud.get(f"/image/v2/images/{image_id}").json()["status"] == "saving")
    cloud.wait(lambda: cloud.get(f"/image/v2/images/{image_id}").json()["status"] == "queued")
    assert list(Path(cloud.program.state / "images").iterdir()) == []


class Feeble:
    """Passes connections on to a server, but lets the first few of them die: at once, before the answer, or in the midst of it."""

    def __init__(self, port: int, deaths: list[int]) -> None:
        self.target, self.deaths = port, deaths  # bytes of the answer that come through
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            with near, socket.create_connection(("127.0.0.1", self.target)) as far:
                asked = near.recv(1 << 16)
                left = self.deaths.pop(0) if self.deaths and b"/file" in asked else 1 << 60
                far.sendall(asked)
                while left > 0 and (piece := far.recv(min(left, 1 << 16))):
                    near.sendall(piece)
                    left -= len(piece)


def test_a_download_survives_that_who_answers_is_replaced(cloud: Cloud, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_AGAIN", (0.01, 0.01, 0.01))
    image_id, source, target = make(cloud), tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3_000_001))
    door.upload_file(endpoint, "member", image_id, source)
    port = int(endpoint.rpartition(":")[2].partition("/")[0])
    feeble = Feeble(port, [0, 100, 1_000_000])
    near = f"http://127.0.0.1:{feeble.port}/image"
    door.download_file(near, "member", image_id, target)
    assert target.read_bytes() == source.read_bytes()
    feeble.deaths[:] = [2_000_000] * 4
    with pytest.raises(HostError, match="broke off"):
        door.download_file(near, "member", image_id, tmp_path / "another")
    assert [one.name for one in tmp_path.iterdir() if "another" in one.name] == []
    feeble.listening.close()


def test_a_server_that_is_not_there_is_a_host_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_AGAIN", (0.01,))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(HostError, match="cannot be reached"):
        door.download_file(f"http://127.0.0.1:{port}/image", "t", "i", tmp_path / "x")
