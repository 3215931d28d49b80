"""Version discovery: what versions of compute stand here."""

from __future__ import annotations

from typing import Any

from pilvi.compute.dialect import VERSIONS, home
from pilvi.kernel.http import Request, Resource

versions = Resource("", tag="versions")


def _versions(base_url: str) -> dict[str, dict[str, Any]]:
    """The versions by their place below the service: the one without microversions is the lowest of the other."""
    at = home(base_url)
    return {
        "v2": {
            "id": "v2.0", "status": "SUPPORTED", "version": "", "min_version": "", "updated": "2011-01-21T11:33:21Z",
            "links": [{"rel": "self", "href": f"{at}/v2/"}],
        },
        "v2.1": {
            "id": "v2.1", "status": "CURRENT", "version": str(VERSIONS.highest), "min_version": str(VERSIONS.lowest),
            "updated": "2013-07-23T11:33:21Z", "links": [{"rel": "self", "href": f"{at}/v2.1/"}],
        },
    }  # fmt: skip


@versions.get("", rule=None)
def index(request: Request) -> dict[str, Any]:
    """List the versions."""
    return {"versions": list(_versions(request.base_url).values())}


@versions.get("/v2", rule=None)
@versions.get("/v2.1", rule=None)
def show(request: Request) -> dict[str, Any]:
    """Show a version."""
    told = _versions(request.base_url)[request.path.strip("/")]
    told["links"].append({"rel": "describedby", "type": "application/json", "href": f"{home(request.base_url)}/openapi.json"})
    told["media-types"] = [{"base": "application/json", "type": f"application/vnd.openstack.compute+json;version={told['id'][1:]}"}]
    return {"version": told}
