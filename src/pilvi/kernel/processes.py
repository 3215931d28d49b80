"""Processes: every process of the cloud tells the others every so often which roles it has, and how they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import exc

from pilvi.kernel import agent, clock, log, metrics
from pilvi.kernel.db import LongKey, Row, Transaction, Word
from pilvi.kernel.errors import PilviError
from pilvi.kernel.pulse import Pulse

if TYPE_CHECKING:
    from pilvi.kernel.bus import Bus
    from pilvi.kernel.program import Program

TOPIC = "processes"
_FORGOTTEN = 86400.0  # seconds after which a process that is not heard of is forgotten


class RoleState(msgspec.Struct, frozen=True, kw_only=True):
    """How one role of a process is, in a few words."""

    role: str
    healthy: bool = True
    detail: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a process tells of itself.  Moments are epoch seconds, memory is resident MiB."""

    id: str  # the same for all processes that ever run on one state folder of one host
    host: str
    pid: int
    version: str
    roles: list[RoleState]
    memory_mib: int
    started_at: float


class Process(Row, table="kernel_processes", indexes=[("heartbeat_at",)]):
    """The last that was heard of a process."""

    id: LongKey
    host: str
    pid: int
    version: Word
    roles: list[RoleState] = []
    memory_mib: int = 0
    started_at: float = 0.0
    heartbeat_at: float = 0.0


def report(program: Program) -> Report:
    """What this process can say of itself now."""
    from pilvi import __version__

    return Report(
        id=_id(program), host=program.host, pid=os.getpid(), version=__version__,
        roles=[state_of(program, role) for role in program.roles], memory_mib=memory_mib(), started_at=program.started_at,
    )  # fmt: skip


def state_of(program: Program, role: str) -> RoleState:
    """How a role of this process is."""
    look = program.health.get(role)
    if look is None:
        return RoleState(role=role)
    try:
        return RoleState(role=role, detail=look())
    except PilviError as error:
        return RoleState(role=role, healthy=False, detail=error.message)


def memory_mib() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def known(tx: Transaction) -> list[Process]:
    """All processes of the cloud that were heard of within a day, by host."""
    return tx.all(Process, Process.c.heartbeat_at > clock.now() - _FORGOTTEN, order=[Process.c.host, Process.c.id])


def is_up(program: Program, process: Process) -> bool:
    """Whether the process has been heard of lately."""
    return process.heartbeat_at >= program.hearing.since(program.settings.down_after)


class Processes:
    """Answers the topic `processes`: what programs without a database tell."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def report(self, host: str, told: Report) -> None:
        """A process of that host lives."""
        if told.host == host:
            self._program.db.run(lambda tx: _note(tx, told))

    def moment(self) -> float:
        """What the control plane's clock says (Unix time)."""
        return clock.now()

    def ended(self, host: str, id: str) -> None:
        """A process of that host ended as it should."""
        self._program.db.run(lambda tx: tx.delete(Process, Process.c.id == id, Process.c.host == host))


def _note(tx: Transaction, told: Report) -> None:
    now = clock.now()
    tx.put(Process(**msgspec.structs.asdict(told), heartbeat_at=now))
    tx.delete(Process, Process.c.heartbeat_at < now - _FORGOTTEN)


def ask_moment(bus: Bus) -> float:
    """Now, by the control plane's clock; by this host's when nobody tells."""
    try:
        return agent.remote(bus, Processes, TOPIC, timeout=2).moment()
    except PilviError as error:
        log.info("the control plane does not tell the time", why=error.message)
        return clock.now()


def serve(program: Program) -> Callable[[], None]:
    """Have this process heard of, and (a conductor) hear the others; answers what stops it."""
    stops: list[Callable[[], None]] = []
    if "conductor" in program.roles:
        stops.append(agent.serve(program.bus, TOPIC, Processes(program), contract=Processes, threads=2))
    if "api" in program.roles:
        metrics.table("role_up", lambda: _measured(program))
    afar = agent.remote(program.bus, Processes, TOPIC, timeout=10)

    def beat() -> None:
        told = report(program)
        if not program.has_database:
            afar.report(program.host, told)
            return
        try:
            program.db.run(lambda tx: _note(tx, told))
        except exc.SQLAlchemyError as error:
            log.warning("this process could not be noted", why=type(error).__name__)
            return
        if program.bus.is_up:
            program.hearing.heard()

    pulse = Pulse("processes", program.settings.heartbeat, beat)
    pulse.start()
    stops.append(pulse.stop)

    def stop() -> None:
        while stops:
            stops.pop()()
        try:
            if program.has_database:
                Processes(program).ended(program.host, _id(program))
            else:
                agent.cast_to(program.bus, Processes, TOPIC, "ended", program.host, _id(program))
        except (PilviError, exc.SQLAlchemyError):
            return  # it is missed soon

    return stop


def _measured(program: Program) -> list[tuple[dict[str, str], float]]:
    """For each role of each process 1 when it is well, else 0."""
    with program.db.transaction(write=False) as tx:
        rows = known(tx)
    return [
        ({"host": row.host, "process": row.id, "role": state.role, "version": row.version}, float(state.healthy and is_up(program, row)))
        for row in rows for state in row.roles
    ]  # fmt: skip


def _id(program: Program) -> str:
    return f"{program.host}/{program.digest}"

