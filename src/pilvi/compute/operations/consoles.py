"""Consoles: what the guest writes, and short-lived rights to its screen."""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import quote

from pilvi.compute.agent import TOPIC, ComputeAgent
from pilvi.compute.operations.servers import guard
from pilvi.compute.tables.consoles import ConsoleToken
from pilvi.compute.tables.servers import Server
from pilvi.kernel import agent, clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, Invalid
from pilvi.kernel.program import Program

KINDS = {"novnc": "vnc"}  # type -> protocol


def host_agent(program: Program, server: Server, *, timeout: float = 20.0) -> ComputeAgent:
    """The agent of the server's host.  Raises Conflict when the server is on none."""
    if not server.host:
        raise Conflict(f"Instance {server.id} is not ready: it is on no host.")
    return agent.remote(program.bus, ComputeAgent, TOPIC, host=server.host, timeout=timeout)


def log(program: Program, server: Server, length: int | None) -> str:
    """What the guest wrote on its serial console: its last `length` lines (None or -1: all that is kept)."""
    text = host_agent(program, server).console_log(server.id).decode("utf-8", "replace")
    if length is not None and length >= 0:
        lines = text.splitlines()
        text = "\n".join(lines[len(lines) - min(length, len(lines)) :])
    return "".join(letter for letter in text if letter in "\n\r\t" or ord(letter) >= 32)


def open_console(ctx: Context, server: Server, kind: str) -> str:
    """A URL at which the server's screen can be seen for a while."""
    guard(ctx, server, "get_vnc_console", unlocked=False)
    if kind not in KINDS:
        raise Invalid(f"Unavailable console type {kind}.", field="type")
    if not server.host:
        raise Conflict(f"Instance {server.id} is not ready: it is on no host.")
    settings = ctx.program.settings.compute
    token = secrets.token_urlsafe(32)
    now = clock.now()
    ctx.db.delete(ConsoleToken, ConsoleToken.c.expires_at < now)
    ctx.db.insert(ConsoleToken(digest=digest(token), server_id=server.id, kind=kind, expires_at=now + settings.console_token_ttl))
    page = settings.console_url or f"{ctx.base_url}/console/vnc.html"
    return f"{page}?path={quote(f'console?token={token}', safe='')}"


def server_of(tx: Transaction, token: str) -> Server | None:
    """The server that a token opens, while it does."""
    row = tx.get(ConsoleToken, digest(token))
    if row is None or row.expires_at < clock.now():
        return None
    server = tx.get(Server, row.server_id)
    return server if server is not None and server.deleted_at is None and server.host else None


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()
