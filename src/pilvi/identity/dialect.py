"""Identity's way of speaking: Keystone's errors, links and pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pilvi.kernel.errors import Unauthenticated
from pilvi.kernel.http import Dialect, Request

PATH = "/identity"
PORT = 5000


def root(base_url: str) -> str:
    """The URL of identity as this caller reached it; on its classic port it stands at the top."""
    return base_url if base_url.endswith(f":{PORT}") else base_url + PATH


class IdentityDialect(Dialect):
    """Lists carry `links`; errors are {"error": {"code", "title", "message"}}."""

    def list_body(self, key: str, items: list[Any], *, more: bool, marker: str | None, request: Request, at: str) -> dict[str, Any]:
        at = root(request.base_url) + quote(request.path)
        here = f"{at}?{request.query_string}" if request.query_string else at
        following = self.next_url(request, at, marker) if more and marker is not None else None
        return {key: items, "links": {"next": following, "self": here, "previous": None}}

    def error_headers(self, status: int, error: Any, request: Request) -> dict[str, str]:
        told = super().error_headers(status, error, request)
        if isinstance(error, Unauthenticated):
            told["WWW-Authenticate"] = f'Keystone uri="{root(request.base_url)}"'
            told["Vary"] = "X-Auth-Token"
        return told


DIALECT = IdentityDialect(lax_envelope=True)
