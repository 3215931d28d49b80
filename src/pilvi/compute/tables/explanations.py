"""Explanations: why each host was or was not taken for a server."""

from __future__ import annotations

import msgspec

from pilvi.kernel.db import Key, Row


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the scheduler found about one host: the filter that refused it ("" for none), in a sentence.

    `also`: other hosts of which it found just the same.
    """

    host: str
    filter: str = ""
    sentence: str = ""
    weight: float | None = None
    also: list[str] = []


class Explanation(Row, table="compute_explanations"):
    """The scheduler's last decision about a server, host by host."""

    server_id: Key
    made_at: float
    chosen: str = ""
    verdicts: list[Verdict] = []
