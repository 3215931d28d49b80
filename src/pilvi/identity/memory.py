"""What a process remembers of identity between requests, and when it forgets."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from cryptography.fernet import MultiFernet

from pilvi.identity import keys
from pilvi.identity.logic.passwords import Hasher
from pilvi.identity.settings import Settings
from pilvi.identity.tables import Failure, Mark
from pilvi.kernel import clock
from pilvi.kernel.db import Transaction

if TYPE_CHECKING:
    from pilvi.identity.operations.catalog import Catalog
    from pilvi.identity.operations.effective import RoleGraph
    from pilvi.identity.operations.revocations import Revoked
    from pilvi.identity.operations.standing import Standing
    from pilvi.identity.operations.tokens import Vouched
    from pilvi.kernel.program import Program

LOOK_EVERY = 1.0  # seconds between looks at what other processes changed
KEYS_EVERY = 60.0  # seconds after which keys are read again: one may have become active meanwhile
MOST = 20_000  # entries in one memory
LOGINS = 2000  # logins whose duration is remembered
_CHANGES = "changes"
# tables whose rows nothing remembered is made from
_UNREMEMBERED = frozenset({Failure.t.name, Mark.t.name})


class Recall:
    """What is true since the last change; thrown away as a whole.

    Who computes something takes the recall first, reads then, and stores into what they took: what a change has
    overtaken is stored where nobody looks any more.
    """

    def __init__(self) -> None:
        self.tokens: dict[bytes, Vouched] = {}
        self.standings: dict[tuple[str, ...], Standing] = {}
        self.places: dict[tuple[str, str], str] = {}  # (domain, name) -> project
        self.catalogs: dict[tuple[str, str], bytes] = {}
        self.catalog: Catalog | None = None
        self.roles: RoleGraph | None = None
        self.revoked: Revoked | None = None
        self.keys: dict[str, tuple[MultiFernet, float]] = {}  # by purpose, with when they were read

    @staticmethod
    def keep(where: dict[Any, Any], key: Any, value: Any) -> None:
        """Remember, within bounds."""
        if len(where) >= MOST:
            where.clear()
        where[key] = value


class Memory:
    """One program's memory of identity; `program.parts["identity"]`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.settings: Settings = program.settings.identity
        self.wrap = keys.wrapper(self.settings, program.state)
        self.hasher = Hasher(self.settings)
        self.recall = Recall()
        self.attempts: dict[tuple[str, str], tuple[int, float]] = {}  # (user, address) -> wrong passwords in a row, when the last
        self.logins: OrderedDict[str, tuple[float, float]] = OrderedDict()  # audit id -> when the token was asked for, seconds it took
        self.lock = threading.Lock()
        self._seen = -1
        self._looked = 0.0
        program.db.before_commit.append(_mark)
        program.db.after_commit.append(self._after_commit)

    def note_login(self, audit_id: str, started: float) -> None:
        """Remember for a while how long the making of a token took, for the traces of what is done with it."""
        self.logins[audit_id] = (started, clock.now() - started)
        while len(self.logins) > LOGINS:
            self.logins.popitem(last=False)

    def look(self) -> None:
        """Forget when another process has changed something; costs nothing but once in a while."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        with self.program.db.transaction(write=False) as tx:
            mark = tx.get(Mark, _CHANGES)
        seen = mark.value if mark else 0
        if seen != self._seen:
            self._seen = seen
            self.recall = Recall()

    def forget(self) -> None:
        """Believe nothing that was true until now."""
        self.recall = Recall()

    def keys_of(self, purpose: str, tx: Transaction | None = None) -> MultiFernet:
        """The keys of a purpose, remembered."""
        recall = self.recall
        known, read_at = recall.keys.get(purpose, (None, 0.0))
        if known is not None and time.monotonic() - read_at < KEYS_EVERY:
            return known
        if tx is None:
            with self.program.db.transaction(write=False) as own:
                found = keys.ring(own, self.wrap, purpose)
        else:
            found = keys.ring(tx, self.wrap, purpose)
        recall.keys[purpose] = found, time.monotonic()
        return found

    def _after_commit(self, tx: Transaction) -> None:
        if _matters(tx):
            self.recall = Recall()


def _matters(tx: Transaction) -> bool:
    return any(name.startswith("identity_") and name not in _UNREMEMBERED for name in tx.wrote)


def _mark(tx: Transaction) -> None:
    """Tell other processes, in the same commit, that something has changed."""
    if _matters(tx) and Mark.t.name not in tx.wrote and not tx.update(Mark, Mark.c.name == _CHANGES, value=Mark.c.value + 1):
        tx.insert(Mark(name=_CHANGES, value=1))


def of(program: Program) -> Memory:
    """The memory of this program."""
    found = program.parts.get("identity")
    if found is None:
        found = program.parts.setdefault("identity", Memory(program))
    return found
