"""A mount: one service's routes where they stand, by path prefix on the one port or on a port of its own."""

from __future__ import annotations

from pilvi.kernel.http.router import Router
from pilvi.kernel.service import Service


class Mount:
    """A service's router and where it stands."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.prefix = service.path
        self.router = Router()
        for resource in service.resources:
            for route in resource.routes:
                route.bind()
                self.router.add(route.path, route)
                for old, path in service.path_aliases.items():
                    if route.path.startswith(path + "/"):
                        self.router.add(old + route.path.removeprefix(path), route)
                versioned = service.project_paths
                if versioned and route.path.startswith(versioned + "/"):
                    self.router.add(f"{versioned}/{{_}}{route.path.removeprefix(versioned)}", route)
