"""Who adds to something in identity that another deletes in the same moment leaves nothing behind, and is refused with a sentence."""

from __future__ import annotations

from collections.abc import Iterator
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
from tests.kernel.races import Add, Made, Race, Two, at_once, fill, left, post, programs, put, run, statuses

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
        more = {"domain_id": "default"} if kind in ("project", "user", "group") else {}
        made[kind] = _make(cloud, f"{kind}s", **{kind: {"name": name, **more}})
    made["inner"] = _make(cloud, "projects", project={"name": name, "domain_id": made["domain"]})
    cloud.patch(f"{V3}/domains/{made['domain']}", {"domain": {"enabled": False}}, person="admin")
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


DOMAIN, PROJECT, USER, GROUP, ROLE = (f"{V3}/{kind}s/<{kind}>" for kind in ("domain", "project", "user", "group", "role"))
SERVICE_AT, REGION, ENDPOINT = V3 + "/services/<service>", V3 + "/regions/<region>", V3 + "/endpoints/<endpoint>"
REGISTERED = V3 + "/registered_limits/<registered>"
ENDPOINT_GROUP, TRUST = V3 + "/OS-EP-FILTER/endpoint_groups/<endpoint_group>", V3 + "/OS-TRUST/trusts/<trust>"
APPLICATION, RULE = V3 + "/users/<user>/application_credentials/<application>", V3 + "/users/<user>/access_rules/<rule>"
OWNER = '{"user_id":"<user>","project_id":"<project>"}'
ON_PROJECT, ON_DOMAIN = V3 + "/projects/<project>/users/<user>/roles/<role>", V3 + "/domains/<domain>/users/<user>/roles/<role>"
GIVEN = V3 + "/OS-EP-FILTER/projects/<project>/endpoints/<endpoint>"
GIVEN_GROUP = V3 + "/OS-EP-FILTER/endpoint_groups/<endpoint_group>/projects/<project>"
BY_GROUP = V3 + "/projects/<project>/groups/<group>/roles/<role>"
NEW_APPLICATION = post(
    V3 + "/users/<user>/application_credentials", person=OWNER,
    application_credential={"name": "<number>", "access_rules": [{"service": "s", "method": "GET", "path": "/<number>"}]},
)  # fmt: skip
NEW_ENDPOINT = post(V3 + "/endpoints", endpoint={"service_id": "<service>", "region_id": "<region>", "interface": "public", "url": "http://x"})
NEW_LIMIT = post(V3 + "/limits", limits=[{"service_id": "<service>", "resource_name": "r", "project_id": "<project>", "resource_limit": 1}])
_TRUST = {"trustor_user_id": "<user>", "trustee_user_id": "<other_user>", "impersonation": False}
NEW_TRUST = post(V3 + "/OS-TRUST/trusts", person=OWNER, trust=_TRUST)
LENT_ON = post(V3 + "/OS-TRUST/trusts", person='{"user_id":"<user>","trust_id":"<trust>"}', trust=_TRUST)
ALIVE = Trust.c.deleted_at.is_(None)


def _ec2(**more: str) -> Add:
    return post(V3 + "/users/<user>/credentials/OS-EC2", person=_as(user_id="<user>", project_id="<project>", **more), tenant_id="<project>")


RACES = {
    "user in a domain": Race(DOMAIN, post(V3 + "/users", user={"name": "<number>", "domain_id": "<domain>"}), left(User.c.domain_id, "domain")),
    "group in a domain": Race(DOMAIN, post(V3 + "/groups", group={"name": "<number>", "domain_id": "<domain>"}), left(Group.c.domain_id, "domain")),
    "role in a domain": Race(DOMAIN, post(V3 + "/roles", role={"name": "<number>", "domain_id": "<domain>"}), left(Role.c.domain_id, "domain")),
    "project in a project of a domain": Race(
        DOMAIN, post(V3 + "/projects", project={"name": "<number>", "parent_id": "<inner>"}), left(Project.c.domain_id, "domain")
    ),
    "settings of a domain": Race(
        DOMAIN, put(V3 + "/domains/<domain>/config", config={"ldap": {"url": "u"}}), left(DomainConfig.c.domain_id, "domain")
    ),
    "grant on a domain": Race(DOMAIN, put(ON_DOMAIN), left(Assignment.c.target_id, "domain")),
    "project below a project": Race(
        PROJECT, post(V3 + "/projects", project={"name": "<name> <number>", "parent_id": "<project>"}), left(Project.c.parent_id, "project")
    ),
    "grant on a project": Race(PROJECT, put(ON_PROJECT), left(Assignment.c.target_id, "project")),
    "grant to a user": Race(USER, put(ON_PROJECT), left(Assignment.c.actor_id, "user")),
    "grant to a group": Race(GROUP, put(BY_GROUP), left(Assignment.c.actor_id, "group")),
    "grant of a role": Race(ROLE, put(ON_PROJECT), left(Assignment.c.role_id, "role")),
    "role of the system to a user": Race(USER, put(V3 + "/system/users/<user>/roles/<role>"), left(Assignment.c.actor_id, "user")),
    "role that implies": Race(ROLE, put(V3 + "/roles/<role>/implies/<other_role>"), left(Implication.c.prior_id, "role")),
    "role that is implied": Race(ROLE, put(V3 + "/roles/<other_role>/implies/<role>"), left(Implication.c.implied_id, "role")),
    "member of a group": Race(GROUP, put(V3 + "/groups/<group>/users/<user>"), left(GroupMember.c.group_id, "group")),
    "user in a group": Race(USER, put(V3 + "/groups/<group>/users/<user>"), left(GroupMember.c.user_id, "user")),
    "application credential of a user": Race(USER, NEW_APPLICATION, left(Application.c.user_id, "user")),
    "access rule of a user": Race(USER, NEW_APPLICATION, left(AccessRule.c.user_id, "user")),
    "application credential in a project": Race(PROJECT, NEW_APPLICATION, left(Application.c.project_id, "project")),
    "ec2 keys of a user": Race(USER, _ec2(), left(Credential.c.user_id, "user")),
    "ec2 keys in a project": Race(PROJECT, _ec2(), left(Credential.c.project_id, "project")),
    "ec2 keys by a trust": Race(TRUST, _ec2(trust_id="<trust>"), left(Credential.c.trust_id, "trust")),
    "ec2 keys by an application credential": Race(
        APPLICATION, _ec2(application_credential_id="<application>"), left(Credential.c.application_credential_id, "application")
    ),
    "trust of a user": Race(USER, NEW_TRUST, left(Trust.c.trustor_user_id, "user", ALIVE)),
    "trust for a user": Race(
        USER,
        post(
            V3 + "/OS-TRUST/trusts", person=_as(user_id="<other_user>"),
            trust={"trustor_user_id": "<other_user>", "trustee_user_id": "<user>", "impersonation": False},
        ),
        left(Trust.c.trustee_user_id, "user", ALIVE),
    ),
    "trust that is lent on": Race(TRUST, LENT_ON, left(Trust.c.redelegated_trust_id, "trust", ALIVE)),
    "trust that is lent on, of a user": Race(USER, LENT_ON, left(Trust.c.trustor_user_id, "user", ALIVE)),
    "endpoint of a service": Race(SERVICE_AT, NEW_ENDPOINT, left(Endpoint.c.service_id, "service")),
    "endpoint in a region": Race(REGION, NEW_ENDPOINT, left(Endpoint.c.region_id, "region")),
    "region in a region": Race(REGION, post(V3 + "/regions", region={"parent_region_id": "<region>"}), left(Region.c.parent_region_id, "region")),
    "registered limit of a service": Race(
        SERVICE_AT, post(V3 + "/registered_limits", registered_limits=[{"service_id": "<service>", "resource_name": "<number>", "default_limit": 1}]),
        left(RegisteredLimit.c.service_id, "service"),
    ),
    "limit of a registered limit": Race(REGISTERED, NEW_LIMIT, left(Limit.c.registered_limit_id, "registered")),
    "limit of a service": Race(SERVICE_AT, NEW_LIMIT, left(Limit.c.registered_limit_id, "registered")),
    "limit of a project": Race(PROJECT, NEW_LIMIT, left(Limit.c.project_id, "project")),
    "endpoint for a project": Race(ENDPOINT, put(GIVEN), left(ProjectEndpoint.c.endpoint_id, "endpoint")),
    "project with an endpoint": Race(PROJECT, put(GIVEN), left(ProjectEndpoint.c.project_id, "project")),
    "endpoint group for a project": Race(
        ENDPOINT_GROUP, put(GIVEN_GROUP),
        left(ProjectEndpointGroup.c.endpoint_group_id, "endpoint_group"),
    ),
    "project with an endpoint group": Race(
        PROJECT, put(GIVEN_GROUP), left(ProjectEndpointGroup.c.project_id, "project")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RACES)
def test_nothing_is_left_behind(two: Two, name: str) -> None:
    run(two, RACES[name], _world)


def test_an_access_rule_that_is_used_stays(two: Two) -> None:
    """Or it is gone, and no application credential names it."""
    wanted = {"name": "<number>", "access_rules": [{"id": "<rule>"}]}
    new = post(V3 + "/users/<user>/application_credentials", person=OWNER, application_credential=wanted)

    def unused(cloud: Cloud) -> Made:
        made = _world(cloud)
        cloud.delete(fill(APPLICATION, made), person="admin")
        return made

    run(two, Race(RULE, new, left(Application.c.user_id, "user")), unused)


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
