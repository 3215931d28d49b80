"""Projects and domains as clients get them."""

from __future__ import annotations

from typing import Any

from pilvi.identity.dialect import root
from pilvi.identity.tables import Project
from pilvi.kernel.context import Context


def project_view(ctx: Context, row: Project) -> dict[str, Any]:
    """A project, or a domain seen as one."""
    return {
        **row.extra,
        "id": row.id, "name": row.name, "domain_id": row.domain_id or None, "description": row.description, "enabled": row.enabled,
        "parent_id": row.parent_id or None, "is_domain": row.is_domain, "tags": row.tags, "options": row.options,
        "links": {"self": f"{root(ctx.base_url)}/v3/projects/{row.id}"},
    }  # fmt: skip


def domain_view(ctx: Context, row: Project) -> dict[str, Any]:
    """A domain."""
    return {
        **row.extra,
        "id": row.id, "name": row.name, "description": row.description, "enabled": row.enabled, "tags": row.tags, "options": row.options,
        "links": {"self": f"{root(ctx.base_url)}/v3/domains/{row.id}"},
    }  # fmt: skip
