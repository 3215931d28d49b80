"""Projects; a domain is a project that stands at the top."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.db import Key, Ref, Row, Text


class Project(Row, table="identity_projects", unique=[("domain_id", "name")], indexes=[("parent_id",)]):
    """Whose things are.  A domain has neither domain nor parent ("")."""

    id: Key
    domain_id: Ref = ""
    parent_id: Ref = ""
    name: str
    description: Text = ""
    enabled: bool = True
    is_domain: bool = False
    tags: list[str] = []
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}
