"""How placement speaks: a list of errors with codes, one microversion header, JSON only."""

from __future__ import annotations

from html import escape
from typing import Any

from pilvi.kernel.errors import Invalid, MethodNotAllowed, NotAcceptable, PilviError
from pilvi.kernel.http import Dialect, Request, Version, Versions
from pilvi.kernel.http.dialect import title
from pilvi.placement.errors import code_of

WITH_CODES = Version(1, 23)


class PlacementVersions(Versions):
    """Placement's microversions, in its own words."""

    def negotiate(self, headers: dict[str, str]) -> Version:
        try:
            return super().negotiate(headers)
        except NotAcceptable:
            raise NotAcceptable(f"Unacceptable version header: {self._asked(headers)}") from None
        except Invalid:
            raise Invalid(f"invalid version string: {self._asked(headers)}") from None

    def headers(self, spoken: Version) -> list[tuple[str, str]]:
        return [("OpenStack-API-Version", f"{self.kind} {spoken}"), ("Vary", "openstack-api-version")]

    def _asked(self, headers: dict[str, str]) -> str:
        for part in headers.get("openstack-api-version", "").split(","):
            words = part.split()
            if len(words) == 2 and words[0].lower() in self.kinds:
                return words[1][:100]
            if len(words) != 2:
                return part.strip()[:100]
        return ""


class PlacementDialect(Dialect):
    """Errors are a list; each has a code since 1.23."""

    def error_body(self, status: int, error: PilviError, request: Request) -> Any:
        detail = error.message
        if isinstance(error, MethodNotAllowed):
            detail = f"The method {request.method} is not allowed for this resource."
        if not accepts_json(request):
            return f"<html><head><title>{status} {title(status)}</title></head><body>{escape(detail)}</body></html>".encode()
        told: dict[str, Any] = {"status": status, "title": title(status), "detail": detail, "request_id": request.request_id}
        if request.version is not None and request.version >= WITH_CODES:
            told["code"] = code_of(error)
        if status == 406 and self.versions is not None:
            told |= {"max_version": str(self.versions.highest), "min_version": str(self.versions.lowest)}
        return {"errors": [told]}

    def error_headers(self, status: int, error: PilviError, request: Request) -> dict[str, str]:
        told = super().error_headers(status, error, request)
        if not accepts_json(request):
            told["Content-Type"] = "text/html; charset=UTF-8"
        return told


def accepts_json(request: Request) -> bool:
    """Whether the caller takes JSON for an answer."""
    accept = request.headers.get("accept")
    if not accept:
        return True
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return bool(kinds & {"application/json", "*/*", "application/*"})


DIALECT = PlacementDialect(versions=PlacementVersions("placement", "1.0", "1.39"), body_limit=16 << 20)
