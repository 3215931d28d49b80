"""The worker: leases workflows and runs their steps; the conductor role is some of these.

A step's commit carries the fence of the lease: a worker that was overtaken, or whose workflow was pre-empted by a
delete, finds that its commit misses and stops without having written anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sqlalchemy import exc

from pilvi.kernel import clock, log, metrics
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction, Uncertain
from pilvi.kernel.errors import NotFound, PilviError, Unavailable
from pilvi.kernel.ids import new_word
from pilvi.kernel.orders import giving
from pilvi.kernel.trace import Trace
from pilvi.kernel.workflows.knock import listen
from pilvi.kernel.workflows.store import LEASE, Work
from pilvi.kernel.workflows.workflow import Back, Step, Wait, Workflow

if TYPE_CHECKING:
    from pilvi.kernel.program import Program

_IDLE = 5.0  # seconds after which a worker looks even when nobody told it of work
_DEFECTS = 3  # times that a step may fail by a defect of the program before the workflow fails


class Overtaken(Exception):
    """This worker's lease is not its own any more."""


class Worker:
    """Threads that run the workflows of a program."""

    def __init__(self, program: Program, *, threads: int = 8) -> None:
        self.program = program
        self.store = program.workflows
        self._place = f"{program.host}/{program.digest}-"  # one process at a time works there
        self.owner = self._place + new_word()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="workflow")
        self._running: dict[int, Work] = {}
        self._left: list[Work] = []  # whose leases are still to be given back: the database was away
        self._lock = threading.Lock()
        self._ring = threading.Event()
        self._stopping = False
        self._deaf: Callable[[], None] = lambda: None
        self._dispatcher = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)
        self._keeper = threading.Thread(target=self._keep_leases, name="leases", daemon=True)

    def start(self) -> None:
        """Begin to take up work, also what a dead predecessor left."""
        self.store.release_dead(self._place, self.owner)
        self.store.alarms.append(self._ring.set)
        self._deaf = listen(self.program.bus, self._ring.set)
        self._dispatcher.start()
        self._keeper.start()

    def stop(self) -> None:
        """Take up nothing more and let running steps end."""
        self._stopping = True
        self._ring.set()
        if self._ring.set in self.store.alarms:
            self.store.alarms.remove(self._ring.set)
        self._deaf()
        if self._dispatcher.is_alive():
            self._dispatcher.join()
        self._pool.shutdown(wait=True)

    @property
    def busy(self) -> int:
        """How many workflows are being run now."""
        return len(self._running)

    # -- taking up -------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while not self._stopping:
            self._ring.clear()
            free = self._threads - len(self._running)
            try:
                self._give_back()
                taken = self.store.lease(self.owner, free) if free > 0 else []
                for work in taken:
                    with self._lock:
                        self._running[work.id] = work
                    self._pool.submit(self._run_safely, work)
                free -= len(taken)
                if taken and free <= 0 and not self.program.db.embedded:
                    self.program.knocker.ring()  # there may be more than this worker can take: others may have a thread free
                due = self._next_due() if free > 0 else None
            except exc.SQLAlchemyError as error:
                log.warning("the database does not answer; workflows wait", why=type(error).__name__)
                due = clock.now() + 1
            except PilviError as error:
                log.warning("workflows wait", why=error.message)
                due = clock.now() + 1
            pause = _IDLE if due is None else min(max(due - clock.now(), 0.005), _IDLE)
            self._ring.wait(pause if free > 0 else _IDLE)

    def _next_due(self) -> float | None:
        with self.program.db.transaction(write=False) as tx:
            return self.store.next_due(tx)

    def _keep_leases(self) -> None:
        while not self._stopping:
            time.sleep(LEASE / 3)
            with self._lock:
                running = list(self._running.values())
            if running:
                try:
                    self.store.renew(running)
                except (exc.SQLAlchemyError, PilviError) as error:
                    log.warning("leases could not be renewed", why=type(error).__name__)

    def _run_safely(self, work: Work) -> None:
        try:
            with giving(work.subject, work.fence):
                self.run(work)
        except Overtaken:
            log.info("a workflow was taken over", workflow=work.kind, subject=work.subject)
        except Uncertain:  # what was committed is seen when it is taken up again
            log.warning("the database was lost during a commit; the workflow waits", workflow=work.kind, subject=work.subject)
            self._leave(work)
        except (exc.SQLAlchemyError, PilviError) as error:
            log.warning("a workflow could not go on", workflow=work.kind, subject=work.subject, why=str(error))
            self._rest_after_defect(work)
        except Exception as error:
            log.defect(work.request_id, f"{work.kind} of {work.subject}", error)
            self._rest_after_defect(work)
        finally:
            with self._lock:
                if self._running.get(work.id) is work:  # it may have been taken up again meanwhile
                    del self._running[work.id]
            self._ring.set()

    def _rest_after_defect(self, work: Work) -> None:
        try:
            self._commit(work, lambda tx: self.store.rest(tx, work, self.store.load(work), 2.0, attempts=work.attempts + 1))
        except Overtaken:
            log.info("a workflow was taken over", workflow=work.kind, subject=work.subject)
        except (exc.SQLAlchemyError, PilviError):
            log.warning("a workflow waits for the database", workflow=work.kind, subject=work.subject)
            self._leave(work)

    def _leave(self, work: Work) -> None:
        """Have the lease given back as soon as the database is there."""
        with self._lock:
            self._left.append(work)

    def _give_back(self) -> None:
        """Give back the leases of works that could not go on; raises what the database says when it is still away."""
        with self._lock:
            left = self._left[:]
        if left:
            self.store.give_back(left)
            with self._lock:
                del self._left[: len(left)]

    # -- running ---------------------------------------------------------------------------------

    def run(self, work: Work) -> None:
        """Run the workflow's steps from where it stands until it ends or waits."""
        workflow = self.store.load(work)
        trace = Trace(work.request_id, work.subject)
        steps = workflow.steps
        place = work.step
        done_to = work.step  # all before this place is committed as done
        while place < len(steps):
            step = steps[place]
            if step.kind == "transaction":
                if not self._transact(work, workflow, step, place, trace):
                    return
                place = done_to = place + 1
                continue
            try:
                self._touch(work, workflow, step, trace)
            except Wait as wait:
                self._commit(work, lambda tx, s=wait.seconds: trace.write(tx) or self.store.rest(tx, work, workflow, s, attempts=0))
                return
            except Back as back:
                place = done_to = [one.name for one in steps].index(back.step)
                if back.write is not None:
                    self._commit(work, lambda tx, b=back, p=place: self._turn_back(tx, work, workflow, trace, p, b.write))
                    return
                self._commit(work, lambda tx, p=place: trace.write(tx) or self.store.advance(tx, work, workflow, p))
                continue
            except Unavailable as error:
                if clock.now() - work.step_began > step.within:
                    self._fail(work, workflow, trace, error.message)
                    return
                pause = min(0.5 * 2**work.attempts, 5.0)
                tries = work.attempts + 1
                self._commit(work, lambda tx, s=pause, n=tries: trace.write(tx) or self.store.rest(tx, work, workflow, s, attempts=n))
                return
            except PilviError as error:
                self._fail(work, workflow, trace, error.message)
                return
            place += 1
            if place == len(steps):
                self._commit(work, lambda tx: trace.write(tx) or self.store.finish(tx, work))
                return
            if steps[place].kind == "effect":  # before a transaction, its commit notes this one too
                self._commit(work, lambda tx, p=place: trace.write(tx) or self.store.advance(tx, work, workflow, p))
                done_to = place
            else:
                work.step = done_to

    def _turn_back(
        self, tx: Transaction, work: Work, workflow: Workflow, trace: Trace, place: int, write: Callable[[Context], None]
    ) -> bool:
        """Take back what was done, and give the lease back: what was ordered under it is not done any more."""
        write(self._context(work, tx, trace))
        trace.write(tx)
        return self.store.advance(tx, work, workflow, place) and self.store.rest(tx, work, workflow, 0.0, attempts=0)

    def _touch(self, work: Work, workflow: Workflow, step: Step, trace: Trace) -> None:
        """Run an effect, measured and with its deadline."""
        if clock.now() - work.step_began > step.within:
            raise PilviError(f"{step.title} did not end within {step.within:g} s.")
        self._hook(work, step, "before")
        began = min(work.step_began or clock.now(), clock.now())
        try:
            step.run(workflow, self._context(work, None, trace))
        except (Wait, Back, Unavailable):
            raise
        except PilviError as error:
            self._note(work, workflow, step, trace, began, "failed", error.message)
            raise
        except Exception as error:
            if work.attempts + 1 < _DEFECTS:
                raise
            log.defect(work.request_id, f"{work.kind}.{step.name} of {work.subject}", error)
            self._note(work, workflow, step, trace, began, "failed", "an unexpected error")
            raise PilviError(f"{step.title} failed unexpectedly.") from error
        self._note(work, workflow, step, trace, began)
        self._hook(work, step, "after")

    def _transact(self, work: Work, workflow: Workflow, step: Step, place: int, trace: Trace) -> bool:
        """Run a transaction step: its writes and the note that it is done are one commit.  False when the workflow has ended."""
        memory = {name: getattr(workflow, name) for name in workflow.__struct_fields__}
        spans = len(trace.spans)
        last = place + 1 == len(workflow.steps)
        self._hook(work, step, "before")

        def attempt(tx: Transaction) -> bool:
            for name, value in memory.items():
                setattr(workflow, name, value)
            del trace.spans[spans:]
            started = clock.now()
            step.run(workflow, self._context(work, tx, trace))
            self._note(work, workflow, step, trace, started)
            trace.write(tx)
            return self.store.finish(tx, work) if last else self.store.advance(tx, work, workflow, place + 1)

        try:
            self._commit(work, attempt)
        except Unavailable:
            raise
        except PilviError as error:
            del trace.spans[spans:]
            self._note(work, workflow, step, trace, clock.now(), "failed", error.message)
            self._fail(work, workflow, trace, error.message)
            return False
        self._hook(work, step, "after")
        return not last

    def _fail(self, work: Work, workflow: Workflow, trace: Trace, why: str) -> None:
        log.info("a workflow failed", workflow=work.kind, subject=work.subject, why=why)
        metrics.count("workflows_failed", workflow=work.kind)

        def give_up(tx: Transaction) -> bool:  # the work's row last, as steps and requests do: else they would wait for each other
            workflow.failed(self._context(work, tx, trace), why)
            trace.write(tx)
            return self.store.finish(tx, work)

        try:
            self._commit(work, give_up)
        except NotFound:  # what it was about is gone, so there is nothing to be written but its end
            self._commit(work, lambda tx: self.store.finish(tx, work))

    def _commit(self, work: Work, write: object) -> None:
        """One commit under the fence; `write` answers whether the lease still held."""

        def fenced(tx: Transaction) -> None:
            if not write(tx):  # type: ignore[operator]
                raise Overtaken

        self.program.db.run(fenced)

    def _context(self, work: Work, tx: Transaction | None, trace: Trace) -> Context:
        return Context(self.program, tx, self.store.caller(work), request_id=work.request_id, trace=trace)  # type: ignore[arg-type]

    def _note(self, work: Work, workflow: Workflow, step: Step, trace: Trace, began: float, outcome: str = "ok", why: str = "") -> None:
        """Add the step to the trace, if it is counted there, and to the metrics."""
        metrics.count("workflow_steps", workflow=work.kind, step=step.name, outcome=outcome)
        if step.number or why or (workflow.traced and step.kind == "effect"):
            seconds = clock.now() - began
            trace.add(step.number or "-", step.title, started=began, seconds=seconds, outcome=outcome, host=workflow.where, why=why)

    def _hook(self, work: Work, step: Step, when: str) -> None:
        """Where tests kill a workflow before and after each of its steps."""
        if self.program.crash_hook is not None:
            self.program.crash_hook(work.kind, step.name, when)
