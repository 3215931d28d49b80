"""Imports: staged data and data from the web become images'; what must not be fetched is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pilvi.image import web
from pilvi.image.operations import data
from pilvi.kernel.errors import HostError, Invalid
from pilvi.kernel.testing.cloud import Cloud, Told
from tests.image.conftest import SERVICE, TestSettings

OCTETS = {"content-type": "application/octet-stream"}
CONTENT = b"image" * 100_000


class Pages(BaseHTTPRequestHandler):
    """A small site: /image is data, /away leads to another place, the rest is not there."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # noqa: N802
        if self.path == "/image":
            self._say(200, CONTENT)
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:1000])
            self.close_connection = True
        elif self.path.startswith("/away/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/away/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._say(404, b"no")

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def make(cloud: Cloud) -> str:
    return cloud.post("/image/v2/images", {"disk_format": "raw", "container_format": "bare"}).json()["id"]


def start(cloud: Cloud, image_id: str, name: str = "glance-direct", **more: Any) -> Told:
    return cloud.post(f"/image/v2/images/{image_id}/import", {"method": {"name": name, **more}})


def show(cloud: Cloud, image_id: str) -> dict[str, Any]:
    return cloud.get(f"/image/v2/images/{image_id}").json()


def settled(cloud: Cloud, image_id: str) -> dict[str, Any]:
    return cloud.wait(lambda: (found := show(cloud, image_id))["status"] != "importing" and found)


def stage(cloud: Cloud, image_id: str, content: bytes = CONTENT) -> None:
    assert cloud.put(f"/image/v2/images/{image_id}/stage", data=content, headers=OCTETS).status == 204


def test_staged_data_is_imported(cloud: Cloud) -> None:
    image_id = make(cloud)
    assert start(cloud, image_id).status == 409
    stage(cloud, image_id)
    assert show(cloud, image_id)["status"] == "uploading"
    told = start(cloud, image_id)
    assert (told.status, told.content) == (202, b"")
    image = settled(cloud, image_id)
    assert (image["status"], image["size"]) == ("active", len(CONTENT))
    assert cloud.get(f"/image/v2/images/{image_id}/file").content == CONTENT
    cloud.wait(lambda: data.staging(cloud.program).observe() == [])
    (task,) = cloud.get(f"/image/v2/images/{image_id}/tasks").json()["tasks"]
    assert (task["status"], task["request_id"]) == ("success", told.headers["x-openstack-request-id"])
    assert task["input"]["import_req"]["method"]["name"] == "glance-direct"


def test_data_from_the_web_is_imported(make_cloud: Callable[..., Cloud], site: str) -> None:
    cloud = make_cloud(web_download_allow=["127.0.0.1"])
    image_id = make(cloud)
    assert start(cloud, image_id, "web-download", uri=f"{site}/away/{site}/image").status == 202
    assert settled(cloud, image_id)["status"] == "active"
    assert cloud.get(f"/image/v2/images/{image_id}/file").content == CONTENT


@pytest.mark.parametrize("path", ["/absent", "/short", "/away/file:///etc/passwd", "/away/http://10.0.0.1/"])
def test_a_failed_import_says_so_and_may_be_tried_again(make_cloud: Callable[..., Cloud], site: str, path: str) -> None:
    cloud = make_cloud(web_download_allow=["127.0.0.0/8"])
    image_id = make(cloud)
    assert start(cloud, image_id, "web-download", uri=site + path).status == 202
    image = settled(cloud, image_id)
    assert (image["status"], image["os_glance_failed_import"]) == ("queued", "file")
    (task,) = cloud.get(f"/image/v2/images/{image_id}/tasks").json()["tasks"]
    assert task["status"] == "failure"
    assert task["message"]
    assert data.store(cloud.program).observe() == []
    assert start(cloud, image_id, "web-download", uri=f"{site}/image").status == 202
    assert settled(cloud, image_id)["status"] == "active"


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd", "ftp://example.org/x", "http://", "http://127.0.0.1/x", "http://169.254.169.254/latest", "http://[::1]/",
        "http://10.1.2.3/", "http://user@example.org/", "http://example.org/a b", "http://example.org/\r\nHost: x", "http://[::ffff:127.0.0.1]/",
        "http://0.0.0.0/", "http://example.org:99999/",
    ],
)  # fmt: skip
def test_addresses_that_are_not_for_users_are_refused_at_once(cloud: Cloud, uri: str) -> None:
    assert start(cloud, make(cloud), "web-download", uri=uri).status == 400


def test_names_that_lead_to_private_addresses_are_not_fetched(site: str) -> None:
    inside = site.replace("127.0.0.1", "localhost") + "/image"
    with pytest.raises(HostError, match="does not pass filtering"):
        next(web.fetch(inside, []))
    assert b"".join(web.fetch(inside, ["localhost"])) == CONTENT
    with pytest.raises(Invalid):
        web.require_fetchable("gopher://example.org/", ["example.org"])


def test_refused_methods(cloud: Cloud) -> None:
    image_id = make(cloud)
    assert start(cloud, image_id, "copy-image").status == 403
    assert start(cloud, image_id, "teleport").status == 400
    assert cloud.post(f"/image/v2/images/{image_id}/import", {}).status == 400
    assert cloud.get("/image/v2/info/import").json()["import-methods"]["value"] == ["glance-direct", "web-download"]
    assert cloud.get("/image/v2/info/stores").json()["stores"][0]["id"] == "file"


def test_staged_data_that_is_refused_fails_the_import(cloud: Cloud) -> None:
    image_id = make(cloud)
    stage(cloud, image_id, b"QFI\xfb" + b"\0" * 600)
    assert start(cloud, image_id).status == 202
    assert settled(cloud, image_id)["status"] == "queued"
    cloud.wait(lambda: (data.store(cloud.program).observe(), data.staging(cloud.program).observe()) == ([], []))


def test_an_image_deleted_during_its_import_leaves_nothing(cloud: Cloud) -> None:
    image_id = make(cloud)
    stage(cloud, image_id)
    assert start(cloud, image_id).status == 202
    assert cloud.delete(f"/image/v2/images/{image_id}").status == 204
    cloud.wait(lambda: cloud.get("/image/v2/tasks", person="admin").json()["tasks"][0]["status"] in ("success", "failure"))
    cloud.wait(lambda: data.store(cloud.program).observe() == data.staging(cloud.program).observe() == [])


def test_tasks_are_for_admins(make_cloud: Callable[..., Cloud], site: str) -> None:
    cloud = make_cloud(web_download_allow=["127.0.0.1"])
    body = {"type": "import", "input": {"import_from": f"{site}/image", "image_properties": {"disk_format": "raw", "container_format": "bare"}}}
    assert cloud.post("/image/v2/tasks", body).status == 403
    told = cloud.post("/image/v2/tasks", body, person="admin")
    assert told.status == 201
    at = f"/image/v2/tasks/{told.json()['id']}"
    done = cloud.wait(lambda: (found := cloud.get(at, person="admin").json())["status"] == "success" and found)
    assert show_as_admin(cloud, done["result"]["image_id"])["status"] == "active"
    assert cloud.get(at).status == 403


def show_as_admin(cloud: Cloud, image_id: str) -> dict[str, Any]:
    return cloud.get(f"/image/v2/images/{image_id}", person="admin").json()


def test_an_import_goes_on_in_another_process(tmp_path: Any, make_cloud: Callable[..., Cloud]) -> None:
    first = Cloud(tmp_path, [SERVICE], TestSettings, roles=["api"]).start()  # no conductor: nobody takes the work up
    image_id = make(first)
    stage(first, image_id)
    assert start(first, image_id).status == 202
    half = data.store(first.program).begin(image_id)
    half.write(CONTENT[:1000])  # as a worker that was killed left it
    assert show(first, image_id)["status"] == "importing"
    first.stop()
    second = make_cloud()
    assert settled(second, image_id)["status"] == "active"
    assert second.get(f"/image/v2/images/{image_id}/file").content == CONTENT
