"""Console tokens: short-lived rights to look at one server's screen."""

from __future__ import annotations

from pilvi.kernel.db import Key, Ref, Row, Word


class ConsoleToken(Row, table="compute_console_tokens", indexes=[("expires_at",), ("server_id",)]):
    """A right to a console; `digest` is the sha256 of the token, which only its owner has."""

    digest: Key
    server_id: Ref
    kind: Word  # novnc, serial
    expires_at: float
