"""Handlers that speak with agents: they hold no transaction while they wait, and open short ones around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pilvi.kernel.context import Context


@contextmanager
def inside(ctx: Context, *, write: bool = False) -> Iterator[Context]:
    """The same request in a transaction of its own."""
    with ctx.program.db.transaction(write=write) as tx:
        within = Context(
            ctx.program, tx, ctx.caller, request_id=ctx.request_id, version=ctx.version, rule=ctx.rule, trace=ctx.trace
        )  # fmt: skip
        within.token, within.address, within.base_url = ctx.token, ctx.address, ctx.base_url
        yield within
