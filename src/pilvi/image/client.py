"""What agents use to move images' data over HTTP: streamed, and checked against the image's own hash."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pilvi.kernel import certificates
from pilvi.kernel.errors import HostError
from pilvi.kernel.ids import new_hex

_PIECE = 1 << 20
_SILENCE = 120.0  # seconds
_AGAIN = (0.3, 1.0, 3.0)  # seconds until a download that broke off is begun anew: another process answers then, or the same one again
_AWAY = (502, 503, 504)  # statuses of a service that is not there


class _Lost(HostError):
    """The image service is not there, or went away."""


def upload_file(url: str, token: str, image_id: str, path: str | os.PathLike[str]) -> None:
    """Upload a file as an image's data.  `url` is image's endpoint.  Raises HostError."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            _, connection = _ask(url, token, "PUT", f"/v2/images/{image_id}/file", headers, file)
            connection.close()
    except OSError as error:
        raise HostError(f"The data of image {image_id} could not be uploaded: {str(error)[:200]}.") from error


def download_file(url: str, token: str, image_id: str, path: str | os.PathLike[str]) -> None:
    """Download an image's data to a file, which is there whole and right, or not at all.  Raises HostError.

    Who answers may be replaced by another meanwhile: it is tried a few times.
    """
    for pause in _AGAIN:
        try:
            return _download(url, token, image_id, Path(path))
        except _Lost:
            time.sleep(pause)
    return _download(url, token, image_id, Path(path))


def _download(url: str, token: str, image_id: str, final: Path) -> None:
    answer, connection = _ask(url, token, "GET", f"/v2/images/{image_id}", {}, None)
    try:
        image: dict[str, Any] = json.loads(answer.read())
    except ValueError:
        raise HostError(f"The image service at {url} does not speak JSON.") from None
    finally:
        connection.close()
    algorithm, expected = image.get("os_hash_algo"), image.get("os_hash_value")
    if image.get("status") != "active" or not algorithm or not expected:
        raise HostError(f"Image {image_id} has no data yet: it is {image.get('status')}.")
    temporary = final.with_name(f".{final.name}.{new_hex()}")
    try:
        _fetch(url, token, image_id, temporary, str(algorithm), str(expected))
        temporary.rename(final)
        _sync_folder(final.parent)
    except OSError as error:
        raise HostError(f"The data of image {image_id} could not be downloaded to {final.parent}: {str(error)[:200]}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _fetch(url: str, token: str, image_id: str, into: Path, algorithm: str, expected: str) -> None:
    """Write the data to a file and compare its hash."""
    hashed = hashlib.new(algorithm)
    answer, connection = _ask(url, token, "GET", f"/v2/images/{image_id}/file", {}, None)
    try:
        if answer.length is None and not answer.chunked:  # so ends what broke off within the headers
            raise _Lost(f"The download of image {image_id} broke off before it began.")
        with into.open("xb", buffering=0) as file:
            while piece := _read(answer, image_id):
                hashed.update(piece)
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
            os.fsync(file.fileno())
    finally:
        connection.close()
    if hashed.hexdigest() != expected:
        raise HostError(f"The data of image {image_id} came damaged: its {algorithm} is not the image's.")


def _read(answer: http.client.HTTPResponse, image_id: str) -> bytes:
    """The next piece of the data; b"" at its end."""
    try:
        piece = answer.read(_PIECE)
    except (http.client.HTTPException, OSError) as error:
        raise _Lost(f"The download of image {image_id} broke off: {type(error).__name__}.") from error
    if not piece and answer.length:
        raise _Lost(f"The download of image {image_id} broke off: {answer.length} bytes did not come.")
    return piece


def _ask(
    url: str, token: str, method: str, path: str, headers: dict[str, str], body: Any
) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
    """Send a request; the answer is a good one, or HostError is raised."""
    parts = urlsplit(url)
    prefix = parts.path.rstrip("/").removesuffix("/v2")
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=_SILENCE, blocksize=_PIECE, context=certificates.client_context()
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SILENCE, blocksize=_PIECE)
    try:
        connection.request(method, prefix + path, body=body, headers={"X-Auth-Token": token, "User-Agent": "pilvi", **headers})
        answer = connection.getresponse()
        if answer.status >= 300 or answer.status == 204 and method == "GET":
            said = answer.read(2000).decode("utf-8", "replace")
            kind = _Lost if answer.status in _AWAY else HostError
            raise kind(f"The image service answers {answer.status} to {method} {path}: {said[:300]}")
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise _Lost(f"The image service at {parts.netloc} cannot be reached: {str(error)[:200] or type(error).__name__}.") from error
    except HostError:
        connection.close()
        raise
    return answer, connection


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
