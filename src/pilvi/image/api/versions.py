"""The versions that image speaks."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.http import Answer, Request, Resource

versions = Resource("", tag="versions")

HIGHEST = 16


def _told(request: Request) -> dict[str, Any]:
    link = [{"rel": "self", "href": f"{request.base_url}{request.prefix}/v2/"}]
    return {
        "versions": [
            {"id": f"v2.{minor}", "status": "CURRENT" if minor == HIGHEST else "SUPPORTED", "links": link} for minor in range(HIGHEST, -1, -1)
        ]
    }


@versions.get("/", rule=None)
def choices(request: Request) -> Answer:
    """Tell which versions there are to choose from."""
    return Answer(300, _told(request))


@versions.get("/versions", rule=None)
def listed(request: Request) -> Answer:
    """List the versions."""
    return Answer(200, _told(request))


@versions.get("/v2", rule=None)
def second(request: Request) -> Answer:
    """Tell the versions to who asks at version 2 itself."""
    return Answer(300, _told(request))
