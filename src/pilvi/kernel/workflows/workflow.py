"""A workflow as it is written: a class whose fields are its memory and whose decorated methods are its steps, in order.

`@transaction` steps only write to the database: their writes and "this step is done" are one commit, exactly once.
`@effect` steps touch the world, at least once, with verbs that may be repeated; they may read, and keep what they
learn in the workflow's fields.  An effect that has begun something long raises `Wait`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec

if TYPE_CHECKING:
    from pilvi.kernel.context import Context

F = TypeVar("F", bound=Callable[..., None])


class Wait(Exception):
    """Raised by an effect: what it began is not done; run the step again after `seconds`, or when woken."""

    def __init__(self, seconds: float = 1.0) -> None:
        super().__init__(f"wait {seconds} s")
        self.seconds = seconds


class Back(Exception):
    """Raised by an effect: go on from the step of this name, earlier or later (another host, a road not needed).

    `write` is committed with it, to take back what was done; whoever still carries out what was ordered before is overtaken then.
    """

    def __init__(self, step: str, write: Callable[[Context], None] | None = None) -> None:
        super().__init__(step)
        self.step, self.write = step, write


class Step(msgspec.Struct, frozen=True):
    """One step: how it is counted in traces and said in words, and how long it may take in all (seconds)."""

    name: str
    run: Callable[..., None]
    kind: str  # "effect" or "transaction"
    within: float
    number: str
    title: str


def effect(*, within: float = 300, number: str = "", title: str = "") -> Callable[[F], F]:
    """The method below touches the world; its deadline is `within` seconds, all repetitions counted."""

    def mark(method: F) -> F:
        method.__step__ = Step(method.__name__, method, "effect", within, number, title or _words(method))  # type: ignore[attr-defined]
        return method

    return mark


def transaction(method: F | None = None, *, number: str = "", title: str = "") -> Any:
    """The method below writes to the database, in one commit with the note that it is done."""

    def mark(method: F) -> F:
        method.__step__ = Step(method.__name__, method, "transaction", 60, number, title or _words(method))  # type: ignore[attr-defined]
        return method

    return mark if method is None else mark(method)


def _words(method: Callable[..., None]) -> str:
    return (method.__doc__ or method.__name__.replace("_", " ")).strip().splitlines()[0].rstrip(".")


class Workflow(msgspec.Struct):
    """Base of all workflows.  `subject` says on whose behalf: one workflow at a time for each subject, in order."""

    preempts: ClassVar[bool] = False  # takes the place of all others of its subject (delete)
    traced: ClassVar[bool] = False  # every effect is a span of the subject's trace, not only the counted ones
    steps: ClassVar[tuple[Step, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        found: dict[str, Step] = {}
        for base in reversed(cls.__mro__):
            for name, member in vars(base).items():
                step = getattr(member, "__step__", None)
                if isinstance(step, Step):
                    found[name] = step
        cls.steps = tuple(found.values())

    @property
    def subject(self) -> str:
        """The id of what this work is about."""
        raise TypeError(f"{type(self).__name__} does not say its subject")

    @property
    def where(self) -> str:
        """The host that the work is about now, for traces; "" when it is about none."""
        return ""

    def preempted(self, ctx: Context) -> None:
        """Another takes its place: give back what nobody but this workflow knows of, in one commit with the other's start."""

    def failed(self, ctx: Context, why: str) -> None:
        """A step failed for good: write what that means, in one commit with the end of the workflow."""
        raise TypeError(f"{type(self).__name__} does not say what failure means")
