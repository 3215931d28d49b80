"""Progress: what a verb that takes long answers; begin it, come back, ask again by the same verb."""

from __future__ import annotations

from typing import Literal

import msgspec


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a long verb stands.

    `state`: "working" (ask again), "done" or "failed" (then `why` is a sentence for the user and `elsewhere`
    tells whether another host may succeed).  `percent` is 0 to 100 where it is known.
    """

    state: Literal["working", "done", "failed"] = "done"
    percent: int | None = None
    why: str = ""
    elsewhere: bool = True


DONE = Progress()
