"""Revocation events: which tokens are void, for those who check tokens themselves."""

from __future__ import annotations

from typing import Any

from pilvi.identity.api.lists import Page
from pilvi.identity.tables import Revocation
from pilvi.kernel.clock import iso_micro_z, parse
from pilvi.kernel.context import Context
from pilvi.kernel.http import Listing, Resource
from pilvi.kernel.policy import Rule

LIST = Rule("identity:list_revoke_events", "rule:service_or_admin", "List revocation events.")

revocations = Resource("/v3/OS-REVOKE")


class EventsQuery(Page, extra=True):
    """Since when."""

    since: str | None = None


@revocations.get("/events", rule=LIST, out="events")
def index(ctx: Context, query: EventsQuery) -> Listing:
    """List revocation events."""
    where = [Revocation.c.revoked_at >= parse(query.since, "since")] if query.since is not None else []
    return Listing([_view(row) for row in ctx.db.all(Revocation, *where, order=[Revocation.c.id])])


def _view(row: Revocation) -> dict[str, Any]:
    told: dict[str, Any] = {"issued_before": iso_micro_z(row.issued_before), "revoked_at": iso_micro_z(row.revoked_at)}
    for field in ("audit_id", "audit_chain_id", "user_id", "project_id", "domain_id"):
        if getattr(row, field):
            told[field] = getattr(row, field)
    if row.trust_id:
        told["OS-TRUST:trust_id"] = row.trust_id
    return told
