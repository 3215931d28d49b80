"""Where workflows are kept: started with the wish, leased by one worker at a time, fenced against overtaken ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import sqlalchemy as sa

from pilvi.kernel import clock, orders
from pilvi.kernel.context import Caller
from pilvi.kernel.db import Database, Key, Ref, Row, Serial, Text, Transaction
from pilvi.kernel.workflows.workflow import Workflow

if TYPE_CHECKING:
    from pilvi.kernel.context import Context

T = TypeVar("T")

LEASE = 30.0  # seconds that a lease lasts unless renewed


class Work(Row, table="kernel_workflows", indexes=[("subject",), ("wake_at",)]):
    """A workflow that is not finished."""

    id: Serial = 0
    kind: Ref
    subject: Ref
    state: Text
    step: int = 0
    step_began: float = 0.0
    attempts: int = 0
    wake_at: float = 0.0
    woken: int = 0  # grows with each wake, so that a wake is not lost while a step runs
    owner: str = ""  # who holds the lease: host, state folder, and a word of its own
    lease_until: float = 0.0
    fence: int = 0  # grows with each lease, also from one workflow of a subject to the next: an overtaken worker's writes miss
    request_id: Ref = ""
    caller: Text = ""
    created_at: float = 0.0


# the first of its subject: numbers are given before commits, so that one may come to light behind a later one that has begun
_other = Work.t.alias("other")
_begun, _other_begun = sa.case((Work.c.fence > 0, 1), else_=0), sa.case((_other.c.fence > 0, 1), else_=0)
_before = sa.or_(_other_begun > _begun, sa.and_(_other_begun == _begun, _other.c.id < Work.c.id))
_FIRST = ~sa.exists().where(_other.c.subject == Work.c.subject, _other.c.id != Work.c.id, _before)

_HELD = sa.select(Work.c.id).where(Work.c.subject == sa.bindparam("about"), Work.c.fence == sa.bindparam("under")).with_for_update()


class PeriodicMark(Row, table="kernel_periodic"):
    """When a periodic task is due next; whoever moves it forward runs the task."""

    name: Key
    due_at: float


class Store:
    """All unfinished workflows of the cloud."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.kinds: dict[str, type[Workflow]] = {}
        self.alarms: list[Callable[[], None]] = []  # workers of this process: called when there may be work

    def register(self, kinds: Sequence[type[Workflow]]) -> None:
        """Make these classes known by their names."""
        for kind in kinds:
            if not kind.steps:
                raise TypeError(f"{kind.__name__} has no steps")
            self.kinds[kind.__name__] = kind

    # -- said by operations ----------------------------------------------------------------------

    def start(self, ctx: Context, workflow: Workflow) -> int:
        """Write the workflow down in the caller's transaction; answers its number."""
        if type(workflow).__name__ not in self.kinds:
            raise TypeError(f"{type(workflow).__name__} is in no manifest")
        if workflow.preempts:
            # locked: a step that is being committed is waited for, so that what it took is seen and given back; any later one is overtaken
            held = sa.select(Work.t).where(Work.c.subject == workflow.subject).order_by(Work.c.id).with_for_update()
            for work in ctx.db.load(Work, held):
                self.load(work).preempted(ctx)
            ctx.db.delete(Work, Work.c.subject == workflow.subject)
        now = clock.now()
        work = ctx.db.insert(
            Work(
                kind=type(workflow).__name__, subject=workflow.subject, state=_encode(workflow), step_began=now, wake_at=now,
                request_id=ctx.request_id, caller=_encode(ctx.caller), created_at=now,
            )
        )  # fmt: skip
        ctx.after_commit(self.alarm)
        return work.id

    def wake(self, tx: Transaction, subject: str) -> None:
        """Have the subject's waiting workflow look again at once."""
        tx.update(Work, Work.c.subject == subject, wake_at=0.0, woken=Work.c.woken + 1)
        tx.after_commit(self.alarm)

    def pending(self, tx: Transaction, subject: str) -> list[Work]:
        """The subject's unfinished workflows, in order."""
        return tx.all(Work, Work.c.subject == subject, order=[Work.c.id])

    def forget(self, tx: Transaction, subject: str) -> None:
        """Drop the subject's unfinished workflows."""
        tx.delete(Work, Work.c.subject == subject)

    def alarm(self) -> None:
        """Tell this process' workers that there may be work."""
        for ring in self.alarms:
            ring()

    # -- said by workers -------------------------------------------------------------------------

    def lease(self, owner: str, most: int) -> list[Work]:
        """Take up to `most` workflows that are due, each the first of its subject.

        Several conductors do this at the same time: what one of them looks at, the others pass over.
        """
        now = clock.now()
        due = sa.select(Work.t).where(Work.c.wake_at <= now, Work.c.lease_until < now, _FIRST).order_by(Work.c.id).limit(most)
        with self.database.transaction(write=False) as tx:
            if not tx.load(Work, due):
                return []

        def take(tx: Transaction) -> list[Work]:
            seen = tx.load(Work, due.with_for_update(skip_locked=True))
            if not self.database.embedded:
                seen = _alone(tx, seen)
            begins = clock.now()  # not before the turn to write: a host that has begun since, and has woken the work, would refuse its orders
            for work in seen:
                work.fence = max(work.fence + 1, orders.fence_of(begins))
                work.owner = owner
                tx.update(Work, Work.c.id == work.id, fence=work.fence, owner=owner, lease_until=begins + LEASE)
            return seen

        return self.database.run(take)

    def renew(self, works: Sequence[Work]) -> None:
        """Hold the leases of works that are still being run."""
        until = clock.now() + LEASE

        def hold(tx: Transaction) -> None:
            for work in works:
                tx.update(Work, Work.c.id == work.id, Work.c.fence == work.fence, lease_until=until)

        self.database.run(hold)

    def give_back(self, works: Sequence[Work]) -> None:
        """Give up the leases of works as their last commits left them; whoever comes first takes them up."""

        def let_go(tx: Transaction) -> None:
            for work in works:
                tx.update(Work, Work.c.id == work.id, Work.c.fence == work.fence, lease_until=0.0)

        self.database.run(let_go)

    def release_dead(self, place: str, owner: str) -> None:
        """Take the leases of those who worked in this place (a host's state folder) before `owner` did: they are dead."""
        before = sa.and_(Work.c.owner.startswith(place, autoescape=True), Work.c.owner != owner)
        self.database.run(lambda tx: tx.update(Work, before, lease_until=0.0))

    def advance(self, tx: Transaction, work: Work, workflow: Workflow, step: int) -> bool:
        """Note that all before `step` is done; False when this worker was overtaken and must write nothing."""
        found = tx.update(
            Work, Work.c.id == work.id, Work.c.fence == work.fence,
            step=step, state=_encode(workflow), step_began=clock.now(), attempts=0,
        )  # fmt: skip
        work.step, work.attempts, work.step_began = step, 0, clock.now()
        return found == 1

    def finish(self, tx: Transaction, work: Work) -> bool:
        """Note that all is done; False when overtaken."""
        return tx.delete(Work, Work.c.id == work.id, Work.c.fence == work.fence) == 1

    def confirm(self, tx: Transaction) -> None:
        """Raise StaleOrder unless the lease under which this thread acts is still held; until `tx` ends it is.

        For those who write for a workflow outside of its transaction steps.  Said last, as the works' rows are locked after all others.
        """
        lease = orders.lease()
        if lease is not None and tx.execute(_HELD, {"about": lease[0], "under": lease[1]}).first() is None:
            raise orders.StaleOrder

    def write(self, work: Callable[[Transaction], T]) -> T:
        """A commit in the midst of an effect; StaleOrder, and nothing is written, when the workflow was overtaken or pre-empted meanwhile."""

        def held(tx: Transaction) -> T:
            result = work(tx)
            self.confirm(tx)
            return result

        return self.database.run(held)

    def rest(self, tx: Transaction, work: Work, workflow: Workflow, seconds: float, *, attempts: int) -> bool:
        """Give the lease back until `seconds` from now, or until a wake, also one that came meanwhile."""
        until = sa.case((Work.c.woken == work.woken, clock.now() + seconds), else_=0.0)
        return tx.update(
            Work, Work.c.id == work.id, Work.c.fence == work.fence,
            wake_at=until, lease_until=0.0, state=_encode(workflow), step=work.step, attempts=attempts,
        ) == 1  # fmt: skip

    def next_due(self, tx: Transaction) -> float | None:
        """When the next workflow is due, or a lease runs out; those that stand behind another of their subject do not count."""
        when = sa.case((Work.c.lease_until > Work.c.wake_at, Work.c.lease_until), else_=Work.c.wake_at)
        due = tx.scalar(sa.select(sa.func.min(when)).where(_FIRST))
        return None if due is None else float(due)

    def load(self, work: Work) -> Workflow:
        """The workflow as its last commit left it."""
        return msgspec.json.decode(work.state, type=self.kinds[work.kind])

    @staticmethod
    def caller(work: Work) -> Caller:
        """Who asked for it."""
        return msgspec.json.decode(work.caller, type=Caller)


def _alone(tx: Transaction, works: list[Work]) -> list[Work]:
    """Those of the works with whose subject nobody else deals in this moment; all that is known of their subjects is locked."""
    subjects = {work.subject for work in works}
    if not subjects:
        return []
    known = tx.by(Work, Work.c.subject, subjects)
    locked = tx.load(Work, sa.select(Work.t).where(Work.c.subject.in_(subjects)).with_for_update(skip_locked=True))
    passed = {work.subject for work in known if work.id not in {one.id for one in locked}}
    begun = {work.subject: work.id for work in locked if work.fence > 0}
    return [work for work in works if work.subject not in passed and begun.get(work.subject, work.id) == work.id]


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
