"""How the network API speaks: its errors, its links to further pages, its one version."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from pilvi.kernel import errors
from pilvi.kernel.http.dialect import Dialect, title
from pilvi.kernel.http.request import Request

_PLAIN = {
    errors.Invalid: "HTTPBadRequest", errors.NotFound: "HTTPNotFound", errors.Forbidden: "PolicyNotAuthorized",
    errors.Conflict: "HTTPConflict", errors.QuotaExceeded: "OverQuota", errors.MethodNotAllowed: "HTTPMethodNotAllowed",
    errors.Unavailable: "HTTPServiceUnavailable", errors.PreconditionFailed: "HTTPPreconditionFailed",
    errors.PilviError: "HTTPInternalServerError",
}  # fmt: skip


class NetworkDialect(Dialect):
    """Errors stand in a NeutronError with a type's name."""

    def error_body(self, status: int, error: errors.PilviError, request: Request) -> Any:
        if status == 401:
            return {"error": {"code": 401, "title": title(401), "message": error.message}}
        kind = _PLAIN.get(type(error)) or type(error).__name__
        return {"NeutronError": {"type": kind, "message": error.message, "detail": ""}}

    def page_links(self, key: str, request: Request, at: str, *, following: str | None, before: str | None) -> dict[str, Any]:
        """Links to the next and the previous page, as far as there are such."""
        links = []
        kept = [(name, value) for name, value in request.query if name not in ("marker", "page_reverse")]
        if following is not None:
            links.append({"rel": "next", "href": f"{at}?{urlencode([*kept, ('marker', following)])}"})
        if before is not None:
            links.append({"rel": "previous", "href": f"{at}?{urlencode([*kept, ('marker', before), ('page_reverse', 'True')])}"})
        return {f"{key}_links": links} if links else {}


DIALECT = NetworkDialect(statuses={errors.QuotaExceeded: 409, errors.NotSupported: 501}, lax=True, body_limit=4 << 20)
