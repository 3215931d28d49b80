"""The context: who asks, for which project, with which roles, in which transaction, under which request id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from pilvi.kernel.errors import Forbidden, NotFound, Unauthenticated
from pilvi.kernel.ids import new_request_id
from pilvi.kernel.policy import Creds

if TYPE_CHECKING:
    from pilvi.kernel.bus import Bus
    from pilvi.kernel.db import Transaction
    from pilvi.kernel.http.versions import Version
    from pilvi.kernel.program import Program
    from pilvi.kernel.trace import Trace
    from pilvi.kernel.workflows import Workflow

T = TypeVar("T")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, as identity vouches for them; the empty caller is nobody."""

    user_id: str = ""
    user_name: str = ""
    user_domain_id: str = ""
    user_domain_name: str = ""
    project_id: str = ""
    project_name: str = ""
    project_domain_id: str = ""
    project_domain_name: str = ""
    domain_id: str = ""
    domain_name: str = ""
    system_scope: str = ""
    roles: frozenset[str] = frozenset()  # names, implied ones included
    methods: tuple[str, ...] = ()
    token_id: str = ""  # the token's audit id, never the token
    issued_at: float = 0.0
    expires_at: float = 0.0
    trust_id: str = ""
    application_credential_id: str = ""
    access_rules: tuple[tuple[str, str, str], ...] | None = None  # (service type, method, path) that may be called; None: all

    def creds(self) -> Creds:
        """What policy rules see."""
        return Creds(
            user_id=self.user_id or None, project_id=self.project_id or None, domain_id=self.domain_id or None,
            system_scope=self.system_scope or None, roles=self.roles,
            user_domain_id=self.user_domain_id or None, project_domain_id=self.project_domain_id or None,
        )  # fmt: skip


NOBODY = Caller()


class Context:
    """Carried by every operation: `ctx.db` to read and write, `ctx.allow` to ask whether one may.

    A context belongs to one thread and one transaction.
    """

    def __init__(
        self, program: Program, db: Transaction, caller: Caller = NOBODY, *, request_id: str = "", version: Version | None = None,
        rule: str = "", trace: Trace | None = None,
    ) -> None:  # fmt: skip
        self.program = program
        self.db = db
        self.caller = caller
        self.request_id = request_id or new_request_id()
        self.version = version
        self.rule = rule  # of the route that is being answered
        self.token = ""  # as sent; for calls on the user's behalf, never logged or stored
        self.address = ""  # where the request came from
        self.base_url = ""  # scheme, host and port by which the caller reached us
        self.trace = trace
        self._creds: Creds | None = None

    # -- the caller ------------------------------------------------------------------------------

    @property
    def user_id(self) -> str:
        return self.caller.user_id

    @property
    def project_id(self) -> str:
        return self.caller.project_id

    @property
    def creds(self) -> Creds:
        if self._creds is None:
            self._creds = self.caller.creds()
        return self._creds

    @property
    def is_admin(self) -> bool:
        """Whether the caller holds the admin role in what the token is for."""
        return "admin" in self.caller.roles

    @property
    def bus(self) -> Bus:
        return self.program.bus

    def own(self) -> dict[str, Any]:
        """The policy target of something that belongs to the caller."""
        return {"project_id": self.caller.project_id, "tenant_id": self.caller.project_id, "user_id": self.caller.user_id}

    def allowed(self, rule: str, target: Mapping[str, Any] | None = None) -> bool:
        """Whether the caller may do what `rule` guards to `target` (None: to something of their own)."""
        return self.program.policy.allows(rule, self.creds, self.own() if target is None else target)

    def allow(self, rule: str, target: Mapping[str, Any] | None = None) -> None:
        """Raise Forbidden unless the caller may; the sentence names the rule."""
        if not self.allowed(rule, target):
            if not self.caller.user_id:
                raise Unauthenticated
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.")

    def see(self, thing: T | None, kind: str, ref: str, *, rule: str = "", project: str | None = None) -> T:
        """The thing, if it is there and the caller may act on it by `rule` (default: the route's own).

        What belongs to another project, and may not be acted on, is NotFound like what is absent; what is the
        caller's own but not theirs to act on is Forbidden.
        """
        if thing is None:
            raise NotFound(kind=kind, ref=ref)
        owner = project if project is not None else getattr(thing, "project_id", "")
        target = {"project_id": owner, "tenant_id": owner, "user_id": getattr(thing, "user_id", "")}
        if not self.allowed(rule or self.rule, target):
            if owner and owner == self.caller.project_id:
                raise Forbidden(f"Policy doesn't allow {rule or self.rule} to be performed.")
            raise NotFound(kind=kind, ref=ref)
        return thing

    def system(self) -> Context:
        """The same transaction and request, acting as the cloud itself: for work on the user's behalf that needs more rights."""
        caller = msgspec.structs.replace(self.caller, roles=self.caller.roles | {"admin", "service"})
        other = Context(self.program, self.db, caller, request_id=self.request_id, version=self.version, rule=self.rule, trace=self.trace)
        other.token, other.address, other.base_url = self.token, self.address, self.base_url
        return other

    # -- what the commit carries -----------------------------------------------------------------

    def publish(self, event: msgspec.Struct) -> None:
        """Tell a fact upwards: those who hear it act within this transaction."""
        self.program.events.tell(self, event)

    def start(self, workflow: Workflow) -> int:
        """Write down durable work; a worker takes it up once this transaction is committed.  Answers its number."""
        return self.program.workflows.start(self, workflow)

    def after_commit(self, work: Callable[[], None]) -> None:
        self.db.after_commit(work)
