"""Who adds to something in identity that another deletes in the same moment leaves nothing behind, and is refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilvi.identity.service import SERVICE
from pilvi.identity.settings import Settings
from pilvi.identity.tables import (
    AccessRule,
    Assignment,
    Credential,
    Endpoint,
    Group,
    GroupMember,
    Limit,
    Project,
    Region,
    RegisteredLimit,
    Role,
    Trust,
    User,
)
from pilvi.identity.tables import ApplicationCredential as Application
from pilvi.identity.tables import RoleImplication as Implication
from pilvi.identity.tables.catalog import ProjectEndpoint, ProjectEndpointGroup
from pilvi.identity.tables.kept import DomainConfig
from pilvi.kernel.context import Caller
from pilvi.kernel.ids import new_hex
from pilvi.kernel.testing import people
from pilvi.kernel.testing.cloud import Cloud, Told
from tests.kernel.races import Made, Race, Two, at_once, programs, rows, run, statuses

V3 = "/identity/v3"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with programs(tmp_path, [SERVICE], {"identity": Settings}, roles=["api"], identity={"hash_memory_kib": 64, "hash_time_cost": 1}) as clouds:
        for cloud in clouds:
            cloud.program.authenticate = _who
        yield clouds


def _who(token: str) -> Caller:
    """A token is a person's name, or the JSON of what differs from a member."""
    return msgspec.structs.replace(people.PEOPLE["member"], **msgspec.json.decode(token)) if token.startswith("{") else people.authenticate(token)


def _as(**of: str) -> str:
    return msgspec.json.encode(of).decode()


def _make(cloud: Cloud, path: str, **body: Any) -> str:
    told = cloud.post(f"{V3}/{path}", body, person="admin")
    assert told.status == 201, told
    made = next(iter(told.json().values()))
    return str((made[0] if isinstance(made, list) else made)["id"])


def _world(cloud: Cloud) -> Made:
    """One thing of each kind, with names that nothing else has."""
    name = new_hex()
    made = {"name": name, "region": name}
    for kind in ("project", "user", "group", "role", "domain"):
        more = {"enabled": False} if kind == "domain" else {"domain_id": "default"} if kind != "role" else {}
        made[kind] = _make(cloud, f"{kind}s", **{kind: {"name": name, **more}})
    made["other_user"] = _make(cloud, "users", user={"name": f"other {name}", "domain_id": "default"})
    made["other_role"] = _make(cloud, "roles", role={"name": f"other {name}"})
    made["service"] = _make(cloud, "services", service={"type": "t"})
    _make(cloud, "regions", region={"id": name})
    made["endpoint"] = _make(cloud, "endpoints", endpoint={"service_id": made["service"], "interface": "public", "url": "http://x"})
    made["endpoint_group"] = _make(cloud, "OS-EP-FILTER/endpoint_groups", endpoint_group={"name": name, "filters": {}})
    made["registered"] = _make(
        cloud, "registered_limits", registered_limits=[{"service_id": made["service"], "resource_name": "r", "default_limit": 1}]
    )
    lent = {"trustor_user_id": made["user"], "trustee_user_id": made["other_user"], "impersonation": True, "allow_redelegation": True}
    told = cloud.post(f"{V3}/OS-TRUST/trusts", {"trust": lent}, person=_as(user_id=made["user"]))
    made["trust"] = told.json()["trust"]["id"]
    call = {"service": "image", "method": "GET", "path": "/"}
    body = {"application_credential": {"name": name, "access_rules": [call]}}
    owner = _as(user_id=made["user"], project_id=made["project"])
    told = cloud.post(f"{V3}/users/{made['user']}/application_credentials", body, person=owner)
    made["application"] = told.json()["application_credential"]["id"]
    made["rule"] = told.json()["application_credential"]["access_rules"][0]["id"]
    return made


def _post(path: str, person: str = "admin", **body: Any) -> Callable[[Cloud, Made, int], Told]:
    """To post this; in path, person and body {name} stands for an id, {number} for a number of one's own."""
    template = msgspec.json.encode(body).decode()

    def add(cloud: Cloud, made: Made, number: int) -> Told:
        return cloud.post(V3 + path.format(**made), msgspec.json.decode(_fill(template, made, number)), person=_fill(person, made, number))

    return add


def _put(path: str, **body: Any) -> Callable[[Cloud, Made, int], Told]:
    return lambda cloud, made, number: cloud.put(V3 + path.format(**made), body or None, person="admin")


def _fill(text: str, made: Made, number: int) -> str:
    for name, value in {**made, "number": str(number)}.items():
        text = text.replace("<" + name + ">", value)
    return text


def _left(column: Any, of: str, *where: Any) -> Callable[[Cloud, Made], list[Any]]:
    """The rows that refer to what is gone."""
    return lambda cloud, made: rows(cloud, column == made[of], *where)


def _without_domain(cloud: Cloud, made: Made) -> Told:
    """A domain is disabled, then deleted."""
    cloud.patch(f"{V3}/domains/{made['domain']}", {"domain": {"enabled": False}}, person="admin")
    return cloud.delete(f"{V3}/domains/{made['domain']}", person="admin")


DOMAIN, PROJECT, USER, GROUP, ROLE = (f"{V3}/{kind}s/{{{kind}}}" for kind in ("domain", "project", "user", "group", "role"))
SERVICE_AT, REGION, ENDPOINT = V3 + "/services/{service}", V3 + "/regions/{region}", V3 + "/endpoints/{endpoint}"
REGISTERED = V3 + "/registered_limits/{registered}"
ENDPOINT_GROUP, TRUST = V3 + "/OS-EP-FILTER/endpoint_groups/{endpoint_group}", V3 + "/OS-TRUST/trusts/{trust}"
APPLICATION, RULE = V3 + "/users/{user}/application_credentials/{application}", V3 + "/users/{user}/access_rules/{rule}"
OWNER = '{"user_id":"<user>","project_id":"<project>"}'
ON_PROJECT, ON_DOMAIN = "/projects/{project}/users/{user}/roles/{role}", "/domains/{domain}/users/{user}/roles/{role}"
GIVEN, GIVEN_GROUP = "/OS-EP-FILTER/projects/{project}/endpoints/{endpoint}", "/OS-EP-FILTER/endpoint_groups/{endpoint_group}/projects/{project}"
BY_GROUP = "/projects/{project}/groups/{group}/roles/{role}"
NEW_APPLICATION = _post(
    "/users/{user}/application_credentials", OWNER,
    application_credential={"name": "<number>", "access_rules": [{"service": "s", "method": "GET", "path": "/<number>"}]},
)  # fmt: skip
NEW_ENDPOINT = _post("/endpoints", endpoint={"service_id": "<service>", "region_id": "<region>", "interface": "public", "url": "http://x"})
NEW_LIMIT = _post("/limits", limits=[{"service_id": "<service>", "resource_name": "r", "project_id": "<project>", "resource_limit": 1}])
_TRUST = {"trustor_user_id": "<user>", "trustee_user_id": "<other_user>", "impersonation": False}
NEW_TRUST = _post("/OS-TRUST/trusts", OWNER, trust=_TRUST)
LENT_ON = _post("/OS-TRUST/trusts", '{"user_id":"<user>","trust_id":"<trust>"}', trust=_TRUST)
ALIVE = Trust.c.deleted_at.is_(None)


def _ec2(**more: str) -> Callable[[Cloud, Made, int], Told]:
    return _post("/users/{user}/credentials/OS-EC2", _as(user_id="<user>", project_id="<project>", **more), tenant_id="<project>")


RACES = {
    "user in a domain": Race(DOMAIN, _post("/users", user={"name": "<number>", "domain_id": "<domain>"}), _left(User.c.domain_id, "domain")),
    "group in a domain": Race(DOMAIN, _post("/groups", group={"name": "<number>", "domain_id": "<domain>"}), _left(Group.c.domain_id, "domain")),
    "role in a domain": Race(DOMAIN, _post("/roles", role={"name": "<number>", "domain_id": "<domain>"}), _left(Role.c.domain_id, "domain")),
    "project in a domain": Race(
        DOMAIN, _post("/projects", project={"name": "<number>", "domain_id": "<domain>"}), _left(Project.c.domain_id, "domain"), _without_domain
    ),
    "settings of a domain": Race(DOMAIN, _put("/domains/{domain}/config", config={"ldap": {"url": "u"}}), _left(DomainConfig.c.domain_id, "domain")),
    "grant on a domain": Race(DOMAIN, _put(ON_DOMAIN), _left(Assignment.c.target_id, "domain")),
    "project below a project": Race(
        PROJECT, _post("/projects", project={"name": "<name> <number>", "parent_id": "<project>"}), _left(Project.c.parent_id, "project")
    ),
    "grant on a project": Race(PROJECT, _put(ON_PROJECT), _left(Assignment.c.target_id, "project")),
    "grant to a user": Race(USER, _put(ON_PROJECT), _left(Assignment.c.actor_id, "user")),
    "grant to a group": Race(GROUP, _put(BY_GROUP), _left(Assignment.c.actor_id, "group")),
    "grant of a role": Race(ROLE, _put(ON_PROJECT), _left(Assignment.c.role_id, "role")),
    "role of the system to a user": Race(USER, _put("/system/users/{user}/roles/{role}"), _left(Assignment.c.actor_id, "user")),
    "role that implies": Race(ROLE, _put("/roles/{role}/implies/{other_role}"), _left(Implication.c.prior_id, "role")),
    "role that is implied": Race(ROLE, _put("/roles/{other_role}/implies/{role}"), _left(Implication.c.implied_id, "role")),
    "member of a group": Race(GROUP, _put("/groups/{group}/users/{user}"), _left(GroupMember.c.group_id, "group")),
    "user in a group": Race(USER, _put("/groups/{group}/users/{user}"), _left(GroupMember.c.user_id, "user")),
    "application credential of a user": Race(USER, NEW_APPLICATION, _left(Application.c.user_id, "user")),
    "access rule of a user": Race(USER, NEW_APPLICATION, _left(AccessRule.c.user_id, "user")),
    "application credential in a project": Race(PROJECT, NEW_APPLICATION, _left(Application.c.project_id, "project")),
    "ec2 keys of a user": Race(USER, _ec2(), _left(Credential.c.user_id, "user")),
    "ec2 keys in a project": Race(PROJECT, _ec2(), _left(Credential.c.project_id, "project")),
    "ec2 keys by a trust": Race(TRUST, _ec2(trust_id="<trust>"), _left(Credential.c.trust_id, "trust")),
    "ec2 keys by an application credential": Race(
        APPLICATION, _ec2(application_credential_id="<application>"), _left(Credential.c.application_credential_id, "application")
    ),
    "trust of a user": Race(USER, NEW_TRUST, _left(Trust.c.trustor_user_id, "user", ALIVE)),
    "trust for a user": Race(
        USER, _post("/OS-TRUST/trusts", _as(user_id="<other_user>"), trust=_TRUST | {"trustor_user_id": "<other_user>", "trustee_user_id": "<user>"}),
        _left(Trust.c.trustee_user_id, "user", ALIVE),
    ),
    "trust that is lent on": Race(TRUST, LENT_ON, _left(Trust.c.redelegated_trust_id, "trust", ALIVE)),
    "trust that is lent on, of a user": Race(USER, LENT_ON, _left(Trust.c.trustor_user_id, "user", ALIVE)),
    "endpoint of a service": Race(SERVICE_AT, NEW_ENDPOINT, _left(Endpoint.c.service_id, "service")),
    "endpoint in a region": Race(REGION, NEW_ENDPOINT, _left(Endpoint.c.region_id, "region")),
    "region in a region": Race(REGION, _post("/regions", region={"parent_region_id": "<region>"}), _left(Region.c.parent_region_id, "region")),
    "registered limit of a service": Race(
        SERVICE_AT, _post("/registered_limits", registered_limits=[{"service_id": "<service>", "resource_name": "<number>", "default_limit": 1}]),
        _left(RegisteredLimit.c.service_id, "service"),
    ),
    "limit of a registered limit": Race(REGISTERED, NEW_LIMIT, _left(Limit.c.registered_limit_id, "registered")),
    "limit of a service": Race(SERVICE_AT, NEW_LIMIT, _left(Limit.c.registered_limit_id, "registered")),
    "limit of a project": Race(PROJECT, NEW_LIMIT, _left(Limit.c.project_id, "project")),
    "endpoint for a project": Race(ENDPOINT, _put(GIVEN), _left(ProjectEndpoint.c.endpoint_id, "endpoint")),
    "project with an endpoint": Race(PROJECT, _put(GIVEN), _left(ProjectEndpoint.c.project_id, "project")),
    "endpoint group for a project": Race(
        ENDPOINT_GROUP, _put(GIVEN_GROUP),
        _left(ProjectEndpointGroup.c.endpoint_group_id, "endpoint_group"),
    ),
    "project with an endpoint group": Race(
        PROJECT, _put(GIVEN_GROUP), _left(ProjectEndpointGroup.c.project_id, "project")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RACES)
def test_nothing_is_left_behind(two: Two, name: str) -> None:
    run(two, RACES[name], _world, person="admin")


def test_an_access_rule_that_is_used_stays(two: Two) -> None:
    """Or it is gone, and no application credential names it."""
    new = _post("/users/{user}/application_credentials", OWNER, application_credential={"name": "<number>", "access_rules": [{"id": "<rule>"}]})

    def unused(cloud: Cloud) -> Made:
        made = _world(cloud)
        cloud.delete(APPLICATION.format(**made), person="admin")
        return made

    run(two, Race(RULE, new, _left(Application.c.user_id, "user")), unused, person="admin")


NAMES = {
    "users": ("user", {"domain_id": "default"}), "groups": ("group", {"domain_id": "default"}), "roles": ("role", {}), "domains": ("domain", {}),
    "projects": ("project", {"domain_id": "default"}),
}  # fmt: skip


@pytest.mark.parametrize("collection", NAMES)
def test_a_name_is_given_once(two: Two, collection: str) -> None:
    kind, more = NAMES[collection]
    told = at_once(two, lambda cloud, _: cloud.post(f"{V3}/{collection}", {kind: {"name": "one", **more}}, person="admin"), times=1)
    assert statuses(told) == {201: 1, 409: 15}


def test_two_roles_never_imply_each_other(two: Two) -> None:
    for _ in range(5):
        made = _world(two[0])
        ways = ("role", "other_role"), ("other_role", "role")
        told = at_once(two, lambda cloud, number, ids=[[made[one] for one in way] for way in ways]: cloud.put(
            "{}/roles/{}/implies/{}".format(V3, *ids[number // 2 % 2]), person="admin"), times=1)  # fmt: skip
        assert statuses(told) == {201: 8, 400: 8}


def test_two_regions_are_never_within_each_other(two: Two) -> None:
    for turn in range(5):
        names = [f"north {turn}", f"south {turn}"]
        for name in names:
            _make(two[0], "regions", region={"id": name})

        def act(cloud: Cloud, number: int, names: list[str] = names) -> Told:
            inner, outer = names if number // 2 % 2 else reversed(names)
            return cloud.patch(f"{V3}/regions/{inner.replace(' ', '%20')}", {"region": {"parent_region_id": outer}}, person="admin")

        assert statuses(at_once(two, act, times=1)) == {200: 8, 400: 8}
