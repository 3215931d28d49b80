"""/ and /v3/: which versions of the API there are."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage.dialect import VERSIONS, home
from pilvi.kernel.http import Answer, Request, Resource

versions = Resource("")


def _v3(request: Request) -> dict[str, Any]:
    return {
        "id": "v3.0", "status": "CURRENT", "version": str(VERSIONS.highest), "min_version": str(VERSIONS.lowest),
        "updated": "2023-08-31T00:00:00Z",
        "links": [
            {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
            {"rel": "self", "href": f"{home(request.base_url)}/v3/"},
        ],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}],
    }  # fmt: skip


@versions.get("/", rule=None, write=None)
def index(request: Request) -> Answer:
    """All versions."""
    return Answer(300, {"versions": [_v3(request)]})


@versions.get("/v3/", rule=None, write=None)
def show(request: Request) -> Answer:
    """Version 3."""
    return Answer(200, {"versions": [_v3(request)]})
