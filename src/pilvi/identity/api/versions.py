"""Which versions of the API there are."""

from __future__ import annotations

from typing import Any

from pilvi.identity.dialect import root
from pilvi.kernel.context import Context
from pilvi.kernel.http import Answer, Resource

versions = Resource("")


def _v3(ctx: Context) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{root(ctx.base_url)}/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


@versions.get("/", rule=None)
def index(ctx: Context) -> Answer:
    """List the versions of the API."""
    return Answer(300, {"versions": {"values": [_v3(ctx)]}}, {"Vary": "X-Auth-Token", "Location": f"{root(ctx.base_url)}/v3/"})


@versions.get("/v3", rule=None)
def show(ctx: Context) -> Answer:
    """Show version 3."""
    return Answer(200, {"version": _v3(ctx)}, {"Vary": "X-Auth-Token"})
