"""Compute's way of speaking: nova's error form, its microversions, and the links that stand in its answers."""

from __future__ import annotations

from typing import Any

from pilvi.kernel import errors
from pilvi.kernel.http import Dialect, Request, Versions
from pilvi.kernel.http.dialect import title

PATH = "/compute"
PORT = 8774
VERSIONS = Versions("compute", "2.1", "2.101", legacy="x-openstack-nova-api-version", aliases=("nova",))

_FAULTS = {
    400: "badRequest", 403: "forbidden", 404: "itemNotFound", 405: "badMethod", 409: "conflictingRequest", 410: "gone",
    413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable",
}  # fmt: skip


class ComputeDialect(Dialect):
    """Errors stand under the name of their kind: {"badRequest": {"code": 400, "message": ...}}."""

    def error_body(self, status: int, error: errors.PilviError, request: Request) -> Any:
        if status == 401:  # said by the token's check, before nova sees the request
            return {"error": {"code": status, "title": title(status), "message": error.message}}
        told: dict[str, Any] = {"code": status, "message": error.message}
        if isinstance(error, errors.TooManyRequests):
            told["retryAfter"] = str(error.retry_after)
        return {_FAULTS.get(status, "computeFault"): told}

    def next_url(self, request: Request, at: str, marker: str) -> str:
        return super().next_url(request, home(request.base_url) + request.path, marker)


DIALECT = ComputeDialect(versions=VERSIONS, lax=True, request_id_header="x-compute-request-id")


def home(base_url: str) -> str:
    """Where compute stands, without a version: below its path, or alone on its classic port."""
    return base_url if base_url.endswith(f":{PORT}") else base_url + PATH


def links(base_url: str, collection: str, ref: str) -> list[dict[str, str]]:
    """The `self` and `bookmark` links of a thing."""
    at = home(base_url)
    return [{"rel": "self", "href": f"{at}/v2.1/{collection}/{ref}"}, {"rel": "bookmark", "href": f"{at}/{collection}/{ref}"}]


def bookmark(base_url: str, collection: str, ref: str) -> list[dict[str, str]]:
    """The `bookmark` link alone, as it stands beside a server's image and flavor."""
    return [{"rel": "bookmark", "href": f"{home(base_url)}/{collection}/{ref}"}]
