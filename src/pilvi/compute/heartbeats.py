"""Heartbeats: a host that is new, changed, or was away is noted at once; all the others together, every second or so."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import sqlalchemy as sa

from pilvi.compute.drivers import HostFacts
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.gather import Gather
from pilvi.kernel.program import Program

_THOROUGH = 300.0  # seconds after which a host that says nothing else is held against placement as well
_MANY = 500  # hosts named in one statement

Note = Callable[[Transaction, str, HostFacts, float], int]  # writes all of it; answers the host's version


class _Known(msgspec.Struct):
    """What this process last wrote of a host."""

    facts: HostFacts
    started_at: float
    version: int
    noted_at: float
    heard_at: float


class Heartbeats:
    """The heartbeats that one conductor hears.

    Another conductor may have heard other things of the same host meanwhile: the row's version tells, and then the
    host is noted anew.
    """

    def __init__(self, program: Program, note: Note) -> None:
        self._program, self._note = program, note
        self._settings = program.settings.compute
        self._known: dict[str, _Known] = {}
        self._gather: Gather[float] = Gather("compute-heartbeats", min(1.0, self._settings.heartbeat / 4), self._write)
        self.stop = self._gather.stop

    def hear(self, host: str, facts: HostFacts, started_at: float) -> None:
        """The host is there and has this."""
        known, now = self._known.get(host), clock.now()
        if known is not None and self._is_nothing_new(known, facts, started_at, now):
            known.heard_at = now
            self._gather.add(host, now)
        else:
            self._gather.drop(host)
            self._write_one(host, facts, started_at)

    def _is_nothing_new(self, known: _Known, facts: HostFacts, started_at: float, now: float) -> bool:
        return (
            known.facts == facts
            and known.started_at == started_at
            and 0 <= now - known.heard_at < self._settings.down_after / 2
            and now - known.noted_at < _THOROUGH
        )

    def _write_one(self, host: str, facts: HostFacts, started_at: float) -> None:
        self._known.pop(host, None)
        version = self._program.db.run(lambda tx: self._note(tx, host, facts, started_at))
        now = clock.now()
        self._known[host] = _Known(facts, started_at, version, now, now)

    def _write(self, waiting: Mapping[str, float]) -> None:
        """One statement for all whose rows are as this process left them."""
        hosts, at = list(waiting), min(waiting.values())
        c = ComputeHost.c
        for start in range(0, len(hosts), _MANY):
            some = hosts[start : start + _MANY]
            with self._program.db.transaction(write=False) as tx:
                found = {row[0]: row for row in tx.rows(sa.select(c.host, c.version, c.heartbeat_at).where(c.host.in_(some)))}
            same = [host for host in some if (known := self._known.get(host)) is not None and self._is_as_known(found.get(host), known, at)]
            if same:
                self._program.db.run(lambda tx, same=same: tx.update(ComputeHost, c.host.in_(same), c.heartbeat_at < at, heartbeat_at=at))
            for host in set(some).difference(same):
                known = self._known.get(host)
                if known is not None:
                    self._write_one(host, known.facts, known.started_at)

    def _is_as_known(self, row: tuple[str, int, float] | None, known: _Known, at: float) -> bool:
        return row is not None and row[1] == known.version and at - row[2] <= self._settings.down_after
