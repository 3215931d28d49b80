"""Traces: what a request did, step by step, with durations and outcomes; kept for the owner of the request.

A trace belongs to one subject (a server) and one request.  Spans of the request itself are gathered in memory and
written by the commit that starts the work; spans of workflow steps are written with the step.  They go when they are old.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pilvi.kernel import clock
from pilvi.kernel.db import Ref, Row, Serial, Text

if TYPE_CHECKING:
    from pilvi.kernel.db import Transaction
    from pilvi.kernel.program import Program

_AT_ONCE = 500  # rows in one commit


class Span(Row, table="kernel_spans", indexes=[("subject",), ("started_at",)]):
    """One step: `number` as it is counted in the documentation ("8", "16-18"), in words, on a host."""

    id: Serial = 0
    subject: Ref
    request_id: Ref
    number: str
    name: Text
    started_at: float
    seconds: float
    outcome: str = "ok"  # ok, or failed
    host: str = ""
    why: Text = ""


class Trace:
    """The spans gathered so far in one request or one run of a workflow."""

    def __init__(self, request_id: str, subject: str = "") -> None:
        self.request_id = request_id
        self.subject = subject
        self.spans: list[Span] = []

    def add(self, number: str, name: str, *, started: float, seconds: float, outcome: str = "ok", host: str = "", why: str = "") -> None:
        """Note a step that has been measured already."""
        self.spans.append(
            Span(
                subject=self.subject, request_id=self.request_id, number=number, name=name, started_at=started, seconds=seconds,
                outcome=outcome, host=host, why=why,
            )
        )  # fmt: skip

    @contextmanager
    def span(self, number: str, name: str, host: str = "") -> Iterator[None]:
        """Measure the block as one step; what it raises is noted and goes on."""
        started = clock.now()
        try:
            yield
        except BaseException as error:
            self.add(number, name, started=started, seconds=clock.now() - started, outcome="failed", host=host, why=str(error))
            raise
        self.add(number, name, started=started, seconds=clock.now() - started, host=host)

    def write(self, tx: Transaction, subject: str = "") -> None:
        """Write the gathered spans; once that is committed they are forgotten here."""
        for span in self.spans:
            span.subject = span.subject or subject or self.subject
        written = [span for span in self.spans if span.subject]
        if written:
            tx.insert_all(written)
            tx.after_commit(self.spans.clear)


def forget(program: Program) -> None:
    """Drop the spans that are older than `traces_kept`."""
    kept = program.settings.traces_kept
    while kept and program.db.run(lambda tx: _forget_some(tx, clock.now() - kept)) == _AT_ONCE:
        pass


def _forget_some(tx: Transaction, before: float) -> int:
    ids = [row[0] for row in tx.rows(sa.select(Span.c.id).where(Span.c.started_at < before).limit(_AT_ONCE))]
    return tx.delete(Span, Span.c.id.in_(ids)) if ids else 0
