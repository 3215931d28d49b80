"""Health: each role gives a sign of life whenever its work went well; who gives none for long is not well."""

from __future__ import annotations

import time

from pilvi.kernel.errors import Unavailable


class Sign:
    """The last sign of life of one part; `within` is how many seconds may pass until the next."""

    def __init__(self, what: str, within: float) -> None:
        self.what, self.within = what, within
        self._at = time.monotonic()
        self._detail = "starting"

    def give(self, detail: str = "") -> None:
        """All went well just now."""
        self._at, self._detail = time.monotonic(), detail

    def ask(self) -> str:
        """What it last said; raises Unavailable when that is too long ago."""
        silent = time.monotonic() - self._at
        if silent > self.within:
            raise Unavailable(f"{self.what} has not reported for {silent:.0f} s; `pilvi logs` tells why.")
        return self._detail
