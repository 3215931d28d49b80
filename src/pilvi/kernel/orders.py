"""Orders: what a workflow says to a host is numbered, so that the host does nothing for one who was overtaken, and nothing twice.

A worker that stood still, or a message that came late, may speak when others have long gone on with the subject.  The
number is a sequencer (Burrows, "The Chubby lock service", 2006, section 2.4): the fence of the worker's lease, and a count within it.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from pilvi.kernel.errors import Unavailable

_REMEMBERED = 10_000  # subjects, for each server: those of which it has heard last


class StaleOrder(Unavailable):
    """Raised when an order is of somebody who was overtaken, or was taken before."""

    def __init__(self) -> None:
        super().__init__("Somebody else has gone on with this; nothing was done.")


class Order(msgspec.Struct, frozen=True, array_like=True):
    """The subject that a message is about, the fence of the lease under which it was said, and its number under that lease, from 1."""

    subject: str
    fence: int
    number: int

    @property
    def rank(self) -> tuple[int, int]:
        return self.fence, self.number


class _Giver:
    def __init__(self, subject: str, fence: int) -> None:
        self.subject, self.fence, self.count = subject, fence, itertools.count(1)


_giver: ContextVar[_Giver | None] = ContextVar("giver", default=None)


@contextmanager
def giving(subject: str, fence: int) -> Iterator[None]:
    """Within this, what the thread says to hosts is under this lease of the subject."""
    token = _giver.set(_Giver(subject, fence))
    try:
        yield
    finally:
        _giver.reset(token)


def give() -> Order | None:
    """The next order of the workflow that this thread runs; None when it runs none."""
    giver = _giver.get()
    return None if giver is None else Order(giver.subject, giver.fence, next(giver.count))


def lease() -> tuple[str, int] | None:
    """The subject and fence of the lease under which this thread acts: of the order that it carries out, or of the workflow that it runs."""
    order, giver = current(), _giver.get()
    if order is not None:
        return order.subject, order.fence
    return None if giver is None else (giver.subject, giver.fence)


def fence_of(moment: float) -> int:
    """The least fence of a lease that begins at this moment (Unix time)."""
    return round(moment * 1e6)


class Taken:
    """What one server has been told last of each subject.

    Orders under leases that began before `since` (Unix time) are refused too: the server may have taken a later one before it
    was started.  Whoever still holds such a lease asks again under a new one.
    """

    def __init__(self, since: float = 0.0) -> None:
        self._forgotten = fence_of(since), 0  # of subjects of which nothing is remembered, none later than this was taken
        self._last: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, order: Order) -> None:
        """Note the order.  Raises StaleOrder when this one, or a later one, was taken before."""
        with self._lock:
            if self._last.get(order.subject, self._forgotten) >= order.rank:
                raise StaleOrder
            self._last[order.subject] = order.rank
            self._last.move_to_end(order.subject)
            if len(self._last) > _REMEMBERED:
                self._forgotten = max(self._forgotten, self._last.popitem(last=False)[1])

    def holds(self, order: Order) -> bool:
        """Whether no later one was taken."""
        with self._lock:
            return self._last.get(order.subject, self._forgotten) <= order.rank


_at: ContextVar[tuple[Taken, Order] | None] = ContextVar("at", default=None)


@contextmanager
def taking(taken: Taken, order: Order | None, *, once: bool) -> Iterator[None]:
    """Within this the thread does what the order says; None: an order of nobody.  `once`: raises as `take` does."""
    if order is None:
        yield
        return
    if once:
        taken.take(order)
    token = _at.set((taken, order))
    try:
        yield
    finally:
        _at.reset(token)


def current() -> Order | None:
    """The order that this thread carries out; None when it is nobody's."""
    at = _at.get()
    return None if at is None else at[1]


def check() -> None:
    """For verbs that have waited for their turn: raises StaleOrder when the host was told something later of the same subject meanwhile."""
    at = _at.get()
    if at is not None and not at[0].holds(at[1]):
        raise StaleOrder
