"""Births: what a new cloud was given once, so that it is not given again when someone has taken it away."""

from __future__ import annotations

from pilvi.kernel.db import Key, Row


class Birth(Row, table="compute_births"):
    """A gift and when it was made."""

    name: Key
    at: float
