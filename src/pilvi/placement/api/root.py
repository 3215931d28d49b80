"""The versions that placement speaks."""

from __future__ import annotations

from pilvi.kernel.context import Context
from pilvi.kernel.http import Answer, Request, Resource
from pilvi.placement.api.wire import tell
from pilvi.placement.dialect import DIALECT

root = Resource("", tag="versions")


@root.get("/", rule=None)
def versions(ctx: Context, request: Request) -> Answer:
    """Tell which microversions are spoken."""
    assert DIALECT.versions is not None
    spoken = DIALECT.versions
    told = {
        "id": "v1.0", "min_version": str(spoken.lowest), "max_version": str(spoken.highest), "status": "CURRENT",
        "links": [{"rel": "self", "href": request.prefix}],
    }  # fmt: skip
    return tell(ctx, request, {"versions": [told]})
