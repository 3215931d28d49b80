"""What compute's API once had and has no more: said with 410, so that old clients know."""

from __future__ import annotations

from pilvi.compute import policy
from pilvi.kernel.errors import Gone
from pilvi.kernel.http import Resource

ASK = policy.everyone("gone", "Ask for what the API has no more.")

_PATHS = (
    "os-agents", "os-cells", "os-certificates", "os-cloudpipe", "os-fixed-ips", "os-floating-ip-dns", "os-floating-ips-bulk", "os-fping",
    "os-security-group-default-rules", "os-virtual-interfaces",
)  # fmt: skip


def _resource(name: str) -> Resource:
    resource = Resource(f"/v2.1/{name}", tag="gone")

    def gone() -> None:
        """Not there any more."""
        raise Gone(f"The API {name} was removed; there is nothing that answers in its place.")

    for method, path in (("GET", ""), ("POST", ""), ("GET", "/{ref}"), ("PUT", "/{ref}"), ("DELETE", "/{ref}")):
        resource.route(method, path, rule=ASK, write=None)(gone)
    return resource


RESOURCES = [_resource(name) for name in _PATHS]
