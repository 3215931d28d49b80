"""Block storage's way of speaking: cinder's error form, its microversions, its links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilvi.kernel import errors
from pilvi.kernel.http import Dialect, Request, Versions
from pilvi.kernel.http.dialect import title

PATH = "/volume"
PORT = 8776
VERSIONS = Versions("volume", "3.0", "3.71")

_FAULTS = {
    400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod", 409: "conflictingRequest",
    413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable",
}  # fmt: skip


class BlockStorageDialect(Dialect):
    """Errors stand under the name of their kind: {"itemNotFound": {"code": 404, "message": ...}}."""

    def error_body(self, status: int, error: errors.PilviError, request: Request) -> Any:
        if status == 401:  # said by the token's check, before cinder sees the request
            return {"error": {"code": status, "title": title(status), "message": error.message}}
        told: dict[str, Any] = {"code": status, "message": error.message}
        if status in (413, 429):
            told["retryAfter"] = str(getattr(error, "retry_after", 0))
        return {_FAULTS.get(status, "computeFault"): told}

    def error_headers(self, status: int, error: errors.PilviError, request: Request) -> dict[str, str]:
        told = super().error_headers(status, error, request)
        if isinstance(error, errors.QuotaExceeded):
            told["Retry-After"] = "0"
        return told

    def next_url(self, request: Request, at: str, marker: str) -> str:
        """The page behind the marker: an offset has been used up by the page before it."""
        left = Request(request.method, request.path, "", request.headers)
        left._query = [(name, value) for name, value in request.query if name != "offset"]
        return super().next_url(left, home(request.base_url) + request.path, marker)


DIALECT = BlockStorageDialect(versions=VERSIONS, statuses={errors.QuotaExceeded: 413}, lax=True, lax_envelope=True)


def home(base_url: str) -> str:
    """Where block storage stands, without a version: below its path, or alone on its classic port."""
    return base_url if base_url.endswith(f":{PORT}") else base_url + PATH


def links(base_url: str, project_id: str, collection: str, ref: str) -> list[dict[str, str]]:
    """The `self` and `bookmark` links of a thing."""
    return linker(base_url, project_id, collection)(ref)


def linker(base_url: str, project_id: str, collection: str) -> Callable[[str], list[dict[str, str]]]:
    """A function from ids to their links, for long lists."""
    at = home(base_url)
    itself, bookmark = f"{at}/v3/{project_id}/{collection}/", f"{at}/{project_id}/{collection}/"
    return lambda ref: [{"rel": "self", "href": itself + ref}, {"rel": "bookmark", "href": bookmark + ref}]
