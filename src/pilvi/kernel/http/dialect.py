"""The dialect: how one OpenStack service phrases errors, links, pages and versions.

`STATUS` is the one table from the house's errors to HTTP; a dialect overrides single lines of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pilvi.kernel import errors

if TYPE_CHECKING:
    from pilvi.kernel.http.request import Request
    from pilvi.kernel.http.versions import Versions

STATUS: dict[type[errors.PilviError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.NotAcceptable: 406,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.RangeNotSatisfiable: 416,
    errors.QuotaExceeded: 403,
    errors.TooManyRequests: 429,
    errors.NotSupported: 400,
    errors.Unavailable: 503,
    errors.HostError: 503,
    errors.NoValidHost: 400,
    errors.PilviError: 500,
}


def title(status: int) -> str:
    """Not Found, Bad Request, ..."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


class Dialect:
    """One service's way of speaking.  Services subclass it where theirs differs."""

    def __init__(
        self, *, versions: Versions | None = None, statuses: Mapping[type[errors.PilviError], int] | None = None, lax: bool = False,
        body_limit: int = 1 << 20, lax_envelope: bool = False, request_id_header: str = "",
    ) -> None:  # fmt: skip
        self.versions = versions
        self.statuses = dict(statuses or {})
        self.lax = lax  # numbers and booleans may come as text
        self.body_limit = body_limit  # bytes
        self.lax_envelope = lax_envelope  # other keys beside a body's envelope are let pass

        self.request_id_header = request_id_header  # an older name beside x-openstack-request-id

    def status(self, error: errors.PilviError) -> int:
        """The HTTP status of an error."""
        for kind in type(error).__mro__:
            found = self.statuses.get(kind) or STATUS.get(kind)
            if found:
                return found
        return 500

    def error_body(self, status: int, error: errors.PilviError, request: Request) -> Any:
        """The body of an error answer."""
        return {"error": {"code": status, "title": title(status), "message": error.message}}

    def error_headers(self, status: int, error: errors.PilviError, request: Request) -> dict[str, str]:
        """Headers of an error answer beside the usual ones."""
        told: dict[str, str] = {}
        if status == 401:
            told["WWW-Authenticate"] = f"Keystone uri=\"{request.base_url}/identity\""
        if isinstance(error, errors.MethodNotAllowed) and error.allowed:
            told["Allow"] = ", ".join(error.allowed)
        if isinstance(error, errors.TooManyRequests):
            told["Retry-After"] = str(error.retry_after)
        return told

    def trim(self, body: Any, out: str, request: Request) -> Any:
        """A last look at an answer before it is encoded, for services where the caller may choose fields."""
        return body

    def list_body(self, key: str, items: list[Any], *, more: bool, marker: str | None, request: Request, at: str) -> dict[str, Any]:
        """The body of a list: the items under `key`, and how to go on.  `at` is the URL of this list without query."""
        body: dict[str, Any] = {key: items}
        if more and marker is not None:
            body[f"{key}_links"] = [{"rel": "next", "href": self.next_url(request, at, marker)}]
        return body

    def next_url(self, request: Request, at: str, marker: str) -> str:
        """The URL of the page behind `marker`."""
        pairs = [(name, value) for name, value in request.query if name != "marker"]
        return f"{at}?{urlencode([*pairs, ('marker', marker)])}"
