"""What all records of the network service carry: owner, name, description, moments, revision, tags."""

from __future__ import annotations

from pilvi.kernel.db import Key, Ref, Row


class Owned(Row):
    """A row that belongs to a project."""

    id: Key
    project_id: Ref


class Record(Owned):
    """A row with the attributes that the API calls standard."""

    name: str = ""
    description: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    revision_number: int = 0
    tags: list[str] = []
