"""Periodic work: done every so often by one of the conductors, whichever comes first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import exc

from pilvi.kernel import clock, log
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import PilviError

if TYPE_CHECKING:
    from pilvi.kernel.program import Program


class Periodic(msgspec.Struct, frozen=True):
    """A task: its name, how often (seconds), and the function that does it."""

    name: str
    every: float
    run: Callable[[Program], None]


class Timer:
    """Runs the periodic tasks of a program's services."""

    def __init__(self, program: Program, tasks: Sequence[Periodic]) -> None:
        self.program = program
        self.tasks = tasks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="periodic", daemon=True)

    def start(self) -> None:
        if self.tasks:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _loop(self) -> None:
        while not self._stop.is_set():
            pause = 5.0
            for task in self.tasks:
                try:
                    if self._my_turn(task):
                        task.run(self.program)
                except (PilviError, exc.SQLAlchemyError) as error:
                    log.warning("a periodic task failed", task=task.name, why=str(error))
                except Exception as error:
                    log.defect("", f"periodic {task.name}", error)
                pause = min(pause, task.every)
            self._stop.wait(pause)

    def _my_turn(self, task: Periodic) -> bool:
        """Whether the task is due and no other process took this turn."""
        from pilvi.kernel.workflows.store import PeriodicMark

        now = clock.now()
        with self.program.db.transaction(write=False) as tx:
            mark = tx.get(PeriodicMark, task.name)
            if mark is not None and mark.due_at > now:
                return False

        def take(tx: Transaction) -> bool:
            if mark is None:
                tx.put(PeriodicMark(name=task.name, due_at=now + task.every))
                return True
            return tx.update(PeriodicMark, PeriodicMark.c.name == task.name, PeriodicMark.c.due_at == mark.due_at, due_at=now + task.every) == 1

        return self.program.db.run(take)
