"""Said once: routes, rights, tables, drivers and documents of the whole program fit together."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from pilvi import program
from pilvi.block_storage import drivers as volume_drivers
from pilvi.cli.test import THE_SAME
from pilvi.compute import drivers as compute_drivers
from pilvi.image import stores
from pilvi.kernel.db import metadata
from pilvi.kernel.http.mount import Mount
from pilvi.kernel.http.openapi import document
from pilvi.kernel.service import Service
from pilvi.network import drivers as network_drivers

SERVICES = program.SERVICES
IDS = [service.name for service in SERVICES]


@pytest.mark.parametrize("service", SERVICES, ids=IDS)
def test_every_route_has_a_right_or_is_known_to_be_open(service: Service) -> None:
    open_routes = {route.name for resource in service.resources for route in resource.routes if route.rule is None}
    allowed = {name for name in open_routes if is_discovery(name)}
    assert open_routes == allowed, f"open to everyone without a reason: {sorted(open_routes - allowed)}"


def is_discovery(name: str) -> bool:
    """Version documents, and the one route by which one becomes somebody."""
    method, path = name.split(" ")[:2]
    return (
        (method in ("GET", "HEAD") and path.strip("/").split("/")[-1] in ("", "versions", "v3", "v2.0", "v2", "v2.1"))
        or (method == "POST" and path in ("/v3/auth/tokens", "/v3/ec2tokens", "/v3/s3tokens"))
        or (method == "POST" and path == "/v3/users/{user_id}/password")
    )


@pytest.mark.parametrize("service", SERVICES, ids=IDS)
def test_its_openapi_document_is_valid(service: Service) -> None:
    Mount(service)  # binds the routes
    told = document(service, "0")
    OpenAPIV31SpecValidator(told).validate()
    assert told["paths"]


@pytest.mark.parametrize("service", SERVICES, ids=IDS)
def test_every_operation_has_a_name_of_its_own(service: Service) -> None:
    Mount(service)
    seen: dict[str, str] = {}
    for resource in service.resources:
        for route in resource.routes:
            key = f"{route.name} {route.since}"
            assert key not in seen, f"{key} is answered by both {seen[key]} and {route.handler.__qualname__}"
            seen[key] = route.handler.__qualname__


def test_tables_are_named_after_their_service() -> None:
    names = {service.name for service in SERVICES} | {"kernel"}
    strangers = [table for table in metadata.tables if not table.startswith("things_") and not any(table.startswith(f"{name}_") for name in names)]
    assert not strangers, strangers


DRIVERS: list[tuple[str, type, str]] = [
    (name, contract, path)
    for contract, table in (
        (compute_drivers.Hypervisor, compute_drivers.DRIVERS), (network_drivers.Fabric, network_drivers.DRIVERS),
        (volume_drivers.Backend, volume_drivers.DRIVERS), (stores.Store, stores.STORES),
    )
    for name, path in table.items()
]  # fmt: skip


@pytest.mark.parametrize(("name", "contract", "path"), DRIVERS, ids=[f"{contract.__name__}-{name}" for name, contract, _ in DRIVERS])
def test_no_driver_lacks_a_verb(name: str, contract: type, path: str) -> None:
    module, _, cls = path.partition(":")
    driver: Any = getattr(importlib.import_module(module), cls)
    for verb, declared in inspect.getmembers(contract, inspect.isfunction):
        if verb.startswith("_"):
            continue
        offered = getattr(driver, verb, None)
        assert callable(offered), f"driver {name} lacks {verb}"
        assert list(inspect.signature(offered).parameters) == list(inspect.signature(declared).parameters), f"{name}.{verb} takes other parameters"


def test_what_a_second_run_of_the_tests_leaves_out_is_there() -> None:
    root = Path(__file__).resolve().parents[2]
    assert [path for path in THE_SAME if not (root / path).exists()] == []
