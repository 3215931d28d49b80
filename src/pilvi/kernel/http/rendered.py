"""Rendered answers kept in memory: lists that everyone reads often and that operators change rarely."""

from __future__ import annotations

from collections.abc import Callable

from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.http.request import Answer, Request
from pilvi.kernel.program import Program

_MOST = 16 << 20  # bytes of answers kept


class Rendered:
    """Answers as bytes, by who asked for what; all are forgotten when one of the tables is written.

    Only where this process is the database's one writer: elsewhere nothing is kept.
    """

    def __init__(self, program: Program, tables: frozenset[str]) -> None:
        self._tables = tables
        self._kept: dict[tuple[object, ...], bytes] = {}
        self._size = 0
        program.db.after_commit.append(self._written)

    def _written(self, tx: Transaction) -> None:
        if not tx.wrote.isdisjoint(self._tables):
            self._size = 0
            self._kept = {}  # another one: what is being rendered now goes into the old one, and with it

    def answer(self, ctx: Context, request: Request, *rights: bool, render: Callable[[], bytes]) -> Answer:
        """The answer to this request as it was rendered last, or rendered now; `rights` are those that shape it."""
        kept = self._kept
        key = (request.path, request.query_string, request.base_url, ctx.version, ctx.project_id, ctx.is_admin, rights)
        body = kept.get(key)
        if body is None:
            body = render()
            size = len(body) + len(request.query_string) + 1024
            if ctx.program.db.embedded and self._size + size <= _MOST:
                self._size += size
                kept[key] = body
        return Answer(200, body, {"Content-Type": "application/json"})


def rendered(program: Program, name: str, tables: frozenset[str]) -> Rendered:
    """The program's kept answers of that name."""
    found = program.parts.get(name)
    if found is None:
        found = program.parts[name] = Rendered(program, tables)
    return found
