"""Every route as every person: who may not is refused, who may is not, and nobody ever sees a 500."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi import program
from pilvi.kernel.http.resource import Route
from pilvi.kernel.ids import new_hex, new_id
from pilvi.kernel.service import Service
from pilvi.kernel.testing import people
from pilvi.kernel.testing.cloud import Cloud, Told

ROUTES = [(service, route) for service in program.SERVICES for resource in service.resources for route in resource.routes]
IDS = [f"{service.name} {route.name} {route.since.minor or ''}".strip() for service, route in ROUTES]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    running = fake_cloud(tmp_path_factory.mktemp("rights"))
    yield running
    running.stop()


def fake_cloud(state: Path) -> Cloud:
    """The whole program on fake drivers; people are known by their names."""
    fakes = {name: {"driver": "fake"} for name in ("compute", "network", "block_storage")}
    return Cloud(state, program.SERVICES, program.Settings, **fakes).start()


def say(cloud: Cloud, service: Service, route: Route, person: str, body: object = None) -> Told:
    """The route with ids of nothing, in a version that has it."""
    make = new_hex if service.name == "identity" else new_id
    path = re.sub(r"\{[^}]*\}", lambda _: make(), route.path)
    version = ""
    versions = service.dialect.versions
    if versions is not None:
        version = f"{versions.kind} {max(versions.lowest, min(route.until, versions.highest))}"
    if route.action and body is None:
        body = {route.action: None}
    return cloud.say(route.method, service.path + path, body, person=person, version=version)


@pytest.mark.parametrize(("service", "route"), ROUTES, ids=IDS)
def test_rights(cloud: Cloud, service: Service, route: Route) -> None:
    for person, caller in people.PEOPLE.items():
        answer = say(cloud, service, route, person)
        assert answer.status < 500, f"{person}: {answer}"
        if route.rule is None:
            continue
        if person == "nobody":
            assert answer.status == 401, f"{person}: {answer}"
            continue
        assert answer.status != 401, f"{person}: {answer}"
        if not route.precheck:
            continue
        own = {"project_id": caller.project_id, "tenant_id": caller.project_id, "user_id": caller.user_id}
        if cloud.program.policy.allows(route.rule.name, caller.creds(), own):
            if route.method in ("GET", "HEAD"):
                assert answer.status != 403 or b"Policy" not in answer.content, f"{person}: {answer}"
        else:
            assert answer.status == 403, f"{person}: {answer}"


HOSTILE: list[object] = [
    [], "x", 7, {}, {"a": {}}, {"\u0000": None}, {"x": [[[[[]]]]]}, {"name": "\U0001f4a9" * 300}, {"server": None}, {"server": {"name": 1e308}},
]  # fmt: skip


@pytest.mark.parametrize(("service", "route"), [pair for pair in ROUTES if pair[1].method in ("POST", "PUT", "PATCH")],
                         ids=[name for name, pair in zip(IDS, ROUTES, strict=True) if pair[1].method in ("POST", "PUT", "PATCH")])
def test_hostile_bodies_are_4xx(cloud: Cloud, service: Service, route: Route) -> None:
    envelope = route.envelope or ""
    bodies = HOSTILE + [{envelope: body} for body in [*HOSTILE, None, "x" * 70000, -1, True]] if envelope else HOSTILE
    for body in bodies:
        answer = say(cloud, service, route, "admin", body)
        assert answer.status < 500, f"{body!r:.200}: {answer}"


@pytest.mark.parametrize(("service", "route"), [pair for pair in ROUTES if pair[1].method == "GET"],
                         ids=[name for name, pair in zip(IDS, ROUTES, strict=True) if pair[1].method == "GET"])
def test_hostile_queries_are_4xx(cloud: Cloud, service: Service, route: Route) -> None:
    path = service.path + re.sub(r"\{[^}]*\}", "x", route.path)
    for query in ("limit=-1", "limit=x", "limit=99999999999999999999", "marker=%00", "sort_key=%ff", "sort_dir=up", "name=%F0%9F%92%A9", "a=b&a=c",
                  "changes-since=yesterday", "status=%27%3B--", "fields=..%2F..", "=", "&&&", "limit=1&limit=2", "sort=name:up,x:asc,,"):  # fmt: skip
        answer = cloud.get(f"{path}?{query}", person="admin")
        assert answer.status < 500, f"{query}: {answer}"
