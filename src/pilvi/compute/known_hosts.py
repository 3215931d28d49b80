"""Known hosts: what the scheduler remembers of every host between two choices, held true by marks in the database.

A host's row has another `version` whenever something changes that decides where servers go: its facts, its switches,
its failed builds, its aggregates.  The sum of all versions tells in one cheap query whether the memory is still true;
placement tells in the same way what is free.  Heartbeats leave the versions alone: who is silent is asked each time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

import msgspec
import sqlalchemy as sa

from pilvi import placement
from pilvi.compute.logic.host_filters import HostState
from pilvi.compute.operations.zones import aggregates_of_hosts, zone_of
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.kernel.db import Transaction

_MARK = sa.select(sa.func.count(), sa.func.sum(ComputeHost.c.version), sa.func.min(ComputeHost.c.heartbeat_at))
_VERSIONS = sa.select(ComputeHost.c.host, ComputeHost.c.version)
_SILENT = sa.select(ComputeHost.c.host, ComputeHost.c.heartbeat_at).where(ComputeHost.c.heartbeat_at < sa.bindparam("since"))
_THESE = sa.select(ComputeHost.t).where(ComputeHost.c.host.in_(sa.bindparam("these", expanding=True)))
_MANY = 200  # changed hosts from which on all are read at once


class Look(msgspec.Struct, frozen=True):
    """The hosts at one moment.  `silent`: host -> its last report; `closed`, `kept`: whether there are such hosts at all."""

    hosts: list[HostState]
    silent: dict[str, float]
    closed: bool
    kept: bool


class KnownHosts:
    """The hosts of a cloud as one scheduler remembers them; any thread may look."""

    def __init__(self, default_zone: str) -> None:
        self._default_zone = default_zone
        self._lock = threading.Lock()
        self._mark: tuple[int, int] = (-1, -1)
        self._versions: dict[str, int] = {}
        self._rows: dict[str, HostState] = {}  # as their rows say, without what is free
        self._rooms: Mapping[str, placement.Room] = {}
        self._states: dict[str, HostState] = {}
        self._closed = self._kept = False

    def look(self, tx: Transaction, silent_since: float) -> Look:
        """All hosts as this transaction sees them; silent are those that have not reported since that moment."""
        count, total, oldest = tx.execute(_MARK).one()
        mark = (int(count), int(total or 0))
        silent: dict[str, float] = {}
        if oldest is not None and oldest < silent_since:
            silent = dict(tx.rows(_SILENT, {"since": silent_since}))
        rooms = placement.rooms(tx)
        with self._lock:
            stale = self._read(tx, mark) if mark != self._mark else set()
            if stale or rooms is not self._rooms:
                self._fill(stale, rooms)
            return Look(list(self._states.values()), silent, self._closed, self._kept)

    def _read(self, tx: Transaction, mark: tuple[int, int]) -> set[str]:
        """Bring up to date what the hosts' rows say; answers which have changed or gone."""
        versions: dict[str, int] = dict(tx.rows(_VERSIONS))
        changed = [host for host, version in versions.items() if self._versions.get(host) != version]
        gone = self._versions.keys() - versions.keys()
        for host in gone:
            del self._rows[host]
        if changed:
            aggregates = aggregates_of_hosts(tx)
            for row in tx.all(ComputeHost) if len(changed) > _MANY else tx.load(ComputeHost, _THESE, {"these": changed}):
                mine = aggregates.get(row.host, [])
                self._rows[row.host] = HostState(
                    name=row.host, node=row.id, facts=row.facts, disabled=row.disabled, disabled_reason=row.disabled_reason or "",
                    forced_down=row.forced_down, failed_builds=row.failed_builds, zone=zone_of(mine, self._default_zone),
                    aggregates=[one.metadata for one in mine],
                )  # fmt: skip
        self._mark, self._versions = mark, {host: version for host, version in versions.items() if host in self._rows}
        return {*changed, *gone}

    def _fill(self, stale: set[str], rooms: Mapping[str, placement.Room]) -> None:
        """Bring up to date what is free; states are replaced, never altered: others are looking at them."""
        rows, before = self._rows, self._rooms
        changed = [name for name, row in rows.items() if rooms.get(row.node) is not before.get(row.node)]
        states = dict(self._states)
        for name in {*changed, *stale}:
            row = rows.get(name)
            if row is None:
                del states[name]
                continue
            room = rooms.get(row.node)
            states[name] = replace(row, room=room.classes, traits=room.traits) if room is not None else row
        if stale:
            self._closed = any(row.disabled or row.forced_down for row in rows.values())
            self._kept = any(row.kept_for for row in rows.values())
        self._rooms, self._states = rooms, states
