"""Policy rules: the same verdicts as oslo.policy, and clear refusals of what is no rule."""

from __future__ import annotations

import timeit
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_policy import policy as oracle

from pilvi.kernel.errors import Invalid
from pilvi.kernel.policy import Creds, Policy, Rule
from pilvi.kernel.policy.sample import render

IDS = st.sampled_from(["a", "b", "c1", "None", "True", "all", "5"])
ROLES = st.sampled_from(["admin", "Admin", "member", "READER", "service"])
KEYS = ["user_id", "project_id", "enabled", "role", "target.project.domain_id", "target.user.id", "attribute"]
FIELDS = ["user_id", "project_id", "domain_id", "user_domain_id", "project_domain_id", "system_scope", "is_admin"]

creds_ = st.builds(
    Creds,
    user_id=IDS | st.none(),
    project_id=IDS | st.none(),
    domain_id=IDS | st.none(),
    user_domain_id=IDS | st.none(),
    project_domain_id=IDS | st.none(),
    system_scope=st.sampled_from([None, "all"]),
    roles=st.frozensets(ROLES),
    is_admin=st.booleans(),
    is_admin_project=st.booleans(),
    service_roles=st.frozensets(ROLES),
)
targets = st.dictionaries(st.sampled_from(KEYS), IDS | st.none() | st.booleans() | ROLES | st.integers(0, 5))
values = st.one_of(
    IDS,
    ROLES,
    st.sampled_from([f"%({key})s" for key in KEYS]),
    st.sampled_from(["x-%(user_id)s", "%(user_id)s/%(project_id)s", "100%%", "%(missing)s", ""]),
)
checks = st.one_of(
    st.sampled_from(["@", "!"]),
    st.builds("role:{}".format, st.one_of(ROLES, st.sampled_from(["%(role)s", "%(missing)s", "none"]))),
    st.builds("rule:{}".format, st.sampled_from(["r0", "r1", "r2", "unknown"])),
    st.builds(
        "{}:{}".format,
        st.sampled_from([*FIELDS, "is_admin_project", "roles", "service_roles", "system", "nothing", "no.such", "os-x"]),
        values,
    ),
    st.builds("{}:{}".format, st.sampled_from(["'admin'", "'a'", "True", "False", "None", "5", '"b"']), values),
)


def word(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from([name, name.upper(), name.capitalize()])


expressions = st.recursive(
    checks,
    lambda inner: st.one_of(
        st.builds("{} {}".format, word("not"), inner),
        st.builds("{} {} {}".format, inner, word("and"), inner),
        st.builds("{} {} {}".format, inner, word("or"), inner),
        st.builds("({})".format, inner),
        st.builds("( {} )".format, inner),
    ),
    max_leaves=8,
)
lists = st.lists(st.one_of(checks, st.lists(checks, max_size=3)), max_size=3)
rules = st.one_of(expressions, st.just(""), lists)


def without_circles(texts: dict[str, Any]) -> dict[str, Any]:
    """Let r0 refer to r1 and r2, r1 to r2 only."""

    def cut(value: object, names: list[str]) -> object:
        if isinstance(value, list):
            return [cut(inner, names) for inner in value]
        for name in names:
            value = str(value).replace(f"rule:{name}", "rule:unknown")
        return value

    return {"r0": cut(texts["r0"], ["r0"]), "r1": cut(texts["r1"], ["r0", "r1"]), "r2": cut(texts["r2"], ["r0", "r1", "r2"])}


def their_verdict(texts: dict[str, Any], creds: Creds, target: dict[str, Any]) -> bool:
    conf = cfg.ConfigOpts()
    conf([])
    enforcer = oracle.Enforcer(conf, use_conf=False)
    enforcer.set_rules(oracle.Rules.from_dict(texts), use_conf=False)
    held = msgspec.structs.asdict(creds)
    del held["folded_roles"]
    held |= {"roles": sorted(creds.roles), "service_roles": sorted(creds.service_roles)}
    return bool(enforcer.enforce("r0", target, held))


@settings(max_examples=600, deadline=None)
@given(st.fixed_dictionaries({"r0": rules, "r1": rules, "r2": rules}), creds_, targets)
def test_verdicts_are_those_of_oslo_policy(texts: dict[str, Any], creds: Creds, target: dict[str, Any]) -> None:
    texts = without_circles(texts)
    ours = Policy({}, texts).allows("r0", creds, target)
    assert ours == their_verdict(texts, creds, target)


@pytest.mark.parametrize(
    ("text", "creds", "target", "allowed"),
    [
        ("role:admin", Creds(roles=frozenset({"ADMIN"})), {}, True),
        ("role:admin or role:member and role:x", Creds(roles=frozenset({"member"})), {}, False),
        ("not role:admin and role:member", Creds(roles=frozenset({"member"})), {}, True),
        ("project_id:%(target.project.id)s", Creds(project_id="p"), {"target": {"project": {"id": "p"}}}, True),
        ("project_id:%(target.project.id)s", Creds(project_id="p"), {"target": {"project": "p"}}, False),
        ("project_id:%(target.project.id)s", Creds(project_id="p"), {"target.project.id": "p"}, True),
        ("tenant_id:%(project_id)s", Creds(project_id="p"), {"project_id": "p"}, True),
        ("system_scope:all", Creds(system_scope="all"), {}, True),
        ("True:%(enabled)s", Creds(), {"enabled": True}, True),
        ("True:%(enabled)s", Creds(), {}, False),
        ("'public':%(visibility)s", Creds(), {"visibility": "public"}, True),
        ("is_admin:True", Creds(is_admin=True), {}, True),
    ],
)
def test_verdicts(text: str, creds: Creds, target: dict[str, Any], allowed: bool) -> None:
    assert Policy({"x": Rule("x", text)}).allows("x", creds, target) is allowed


def test_unknown_rules_are_closed() -> None:
    policy = Policy({"x": Rule("x", "rule:nowhere")})
    assert not policy.allows("x", Creds(), {})
    assert not policy.allows("nowhere", Creds(is_admin=True, roles=frozenset({"admin"})), {})


def test_overrides_replace_defaults_and_are_linked() -> None:
    defaults = {"owner": Rule("owner", "project_id:%(project_id)s"), "x": Rule("x", "rule:owner")}
    policy = Policy(defaults, {"owner": "user_id:%(user_id)s", "mine": "rule:x"})
    assert policy.allows("x", Creds(user_id="u"), {"user_id": "u", "project_id": "p"})
    assert not policy.allows("x", Creds(project_id="p"), {"user_id": "u", "project_id": "p"})
    assert policy.allows("mine", Creds(user_id="u"), {"user_id": "u"})


def test_scope_types_bind_whatever_the_check_says() -> None:
    policy = Policy({"x": Rule("x", "@", scope_types=("system", "project"))}, {"x": ""})
    assert policy.allows("x", Creds(project_id="p"), {})
    assert policy.allows("x", Creds(system_scope="all"), {})
    assert not policy.allows("x", Creds(domain_id="d"), {})


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("role:admin and", "character 15"),
        ("role:admin role:member", "character 12"),
        ("(role:admin", "character 1"),
        ("role:admin)", "character 11"),
        ("or role:x", "character 1"),
        ("nonsense", "character 1"),
        ("role:a and nonsense", "character 12"),
        ("'quoted'", "character 1"),
        ("role:%(x", "character 1"),
        ("role:50%", "character 1"),
        ("role:%d", "character 1"),
        ("http://example.org/check", "character 1"),
        ("'a:%(x)s", "character 1"),
        ("not " * 500 + "@", "character"),
        ("(" * 500 + "@" + ")" * 500, "character"),
        ([["role:a", "oops"]], "entry 1"),
        ([3], "entry 1"),
        (7, "string"),
        (None, "string"),
    ],
)
def test_what_is_no_rule_is_refused_by_name_and_position(text: Any, where: str) -> None:
    with pytest.raises(Invalid) as refused:
        Policy({}, {"os_compute_api:servers:show": text})
    assert "os_compute_api:servers:show" in refused.value.message
    assert where in refused.value.message


def test_circles_are_refused() -> None:
    with pytest.raises(Invalid, match="a -> b -> c -> a"):
        Policy({}, {"a": "rule:b", "b": "not rule:c", "c": "role:x or rule:a"})


def test_a_simple_check_is_quick() -> None:
    policy = Policy({"owner": Rule("owner", "project_id:%(project_id)s"), "x": Rule("x", "role:admin or rule:owner")})
    creds, target = Creds(project_id="p", roles=frozenset({"member"})), {"project_id": "p"}
    best = min(timeit.repeat(lambda: policy.allows("x", creds, target), number=2000, repeat=20)) / 2000
    assert best < 3e-6


def test_the_sample_changes_nothing_and_uncommented_says_the_defaults() -> None:
    declared = [
        Rule("identity:get_user", "role:admin or 'x':%(y)s", "Show a\nuser.", ("system",), ("GET /v3/users/{user_id}",)),
        Rule("weird: \"name\"", "", "x" * 300),
    ]
    text = render(declared)
    assert yaml.safe_load(text) is None
    loud = "\n".join(line[1:] for line in text.splitlines() if line.startswith('#"'))
    assert yaml.safe_load(loud) == {rule.name: rule.check for rule in declared}
    assert "# GET /v3/users/{user_id}" in text and "# Scopes: system" in text and "# Show a user." in text
