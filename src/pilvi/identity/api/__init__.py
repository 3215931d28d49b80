"""Identity's API: the list of its resources."""

from pilvi.identity.api import (
    application_credentials,
    assignments,
    credentials,
    domain_configs,
    domains,
    ec2,
    endpoint_filters,
    grants,
    groups,
    limits,
    policies,
    project_tags,
    projects,
    regions,
    revocations,
    roles,
    services,
    tokens,
    trusts,
    users,
    versions,
)

RESOURCES = [
    versions.versions, tokens.tokens, tokens.scopes, users.users, groups.groups, projects.projects, project_tags.tags, domains.domains,
    roles.roles, roles.inferences, grants.grants, assignments.assignments, regions.regions, services.services, services.endpoints,
    credentials.credentials, ec2.ec2, ec2.signed, application_credentials.applications, application_credentials.access_rules,
    trusts.trusts, limits.registered, limits.limits, revocations.revocations, endpoint_filters.filters, policies.policies,
    domain_configs.configs,
]  # fmt: skip
# rights that no route names as its own
RULES = [*roles.DOMAIN_RULES, *trusts.RULES, assignments.LIST_TREE]
