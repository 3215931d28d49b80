"""Stories: a server's trace and the scheduler's reasons, as the command line and the dashboard tell them."""

from __future__ import annotations

from typing import Any

from pilvi.compute.logic import explain, states
from pilvi.compute.operations import moves
from pilvi.compute.tables.explanations import Explanation
from pilvi.compute.tables.servers import Server
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, NotFound
from pilvi.kernel.program import Program
from pilvi.kernel.trace import Span


def find(tx: Transaction, ref: str) -> Server:
    """A server by id or name, the living before the deleted; raises NotFound, or Conflict when several bear the name."""
    server = tx.get(Server, ref)
    if server is not None:
        return server
    named = tx.all(Server, Server.c.name == ref, order=[Server.c.created_at.desc()])
    living = [one for one in named if one.deleted_at is None]
    if len(living) > 1:
        raise Conflict(f"{len(living)} servers are named {ref}: {', '.join(one.id for one in living)}; give an id.")
    if not named:
        raise NotFound(f"there is no server {ref}.")
    return (living or named)[0]


def _head(server: Server) -> dict[str, Any]:
    status = "DELETED" if server.deleted_at is not None else states.status(server.vm_state, server.task_state)
    return {"id": server.id, "name": server.name, "status": status, "host": server.host or "", "fault": server.fault.message if server.fault else ""}


def story(tx: Transaction, ref: str) -> dict[str, Any]:
    """A server's steps, request by request, in the order in which they began."""
    server = find(tx, ref)
    spans = tx.all(Span, Span.c.subject == server.id, order=[Span.c.started_at, Span.c.id])
    requests: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        requests.setdefault(span.request_id, []).append(
            {
                "number": span.number, "name": span.name, "seconds": span.seconds, "started_at": span.started_at, "outcome": span.outcome,
                "host": span.host, "why": span.why,
            }
        )  # fmt: skip
    return _head(server) | {"requests": [{"request_id": request_id, "spans": told} for request_id, told in requests.items()]}


def reasons(tx: Transaction, ref: str) -> dict[str, Any]:
    """For every host that was considered: chosen, fit, or which filter refused it, and in which words."""
    server = find(tx, ref)
    found = tx.get(Explanation, server.id)
    hosts: list[dict[str, str]] = []
    for host, refused_by, sentence in explain.table(found.verdicts) if found is not None else []:
        verdict = f"refused by {refused_by}" if refused_by else "chosen" if found is not None and host == found.chosen else "would do"
        hosts.append({"host": host, "verdict": verdict, "sentence": sentence})
    return _head(server) | {"hosts": hosts}


def why_move(program: Program, tx: Transaction, ref: str) -> dict[str, Any]:
    """For every host whether the server could move there at this moment (running when it runs), and why not; nothing is begun."""
    server = find(tx, ref)
    if not server.host:
        raise Conflict(f"server {ref} is on no host.")
    kind = moves.kind_for(server)
    verdicts = moves.verdicts(program.system_context(tx), server, kind)
    hosts: list[dict[str, str]] = []
    for host, refused_by, sentence in explain.table(verdicts):
        hosts.append({"host": host, "verdict": f"refused by {refused_by}" if refused_by else "would do", "sentence": sentence})
    return _head(server) | {"move": kind, "hosts": hosts}
