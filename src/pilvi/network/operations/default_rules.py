"""The template of new security groups' rules."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.context import Context
from pilvi.network.operations import default_groups, records, security_groups
from pilvi.network.security_errors import DefaultSecurityGroupRuleExists
from pilvi.network.tables import DefaultRule


def create(ctx: Context, body: Any, project_id: str) -> DefaultRule:
    """One more rule that new groups are born with."""
    values = security_groups.rule_values(ctx, body, project_id)
    values.pop("normalized_cidr")
    row = DefaultRule(
        **records.born("", body), used_in_default_sg=body.used_in_default_sg, used_in_non_default_sg=body.used_in_non_default_sg, **values
    )
    for other in default_groups.template(ctx):
        for_same = (row.used_in_default_sg and other.used_in_default_sg) or (row.used_in_non_default_sg and other.used_in_non_default_sg)
        if for_same and security_groups.same_rule(row, other) and row.remote_ip_prefix == other.remote_ip_prefix:
            raise DefaultSecurityGroupRuleExists(f"Default Security group rule template already exists. Rule id is {other.id}.")
    return ctx.db.insert(row)


def delete(ctx: Context, row: DefaultRule) -> None:
    """New groups are born without it; those that are there keep theirs."""
    ctx.db.remove(row)
