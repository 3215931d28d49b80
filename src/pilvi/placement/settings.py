"""Settings of placement."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """`[placement]`."""

    # who is said to own what was allocated through microversions that name no owner
    incomplete_consumer_project_id: str = "00000000-0000-0000-0000-000000000000"
    incomplete_consumer_user_id: str = "00000000-0000-0000-0000-000000000000"
    randomize_candidates: bool = False
