"""Authentication: from what a client shows to a token for the scope it asks for."""

from __future__ import annotations

from typing import NamedTuple

from pilvi.identity.logic.payload import DOMAIN, PROJECT, SYSTEM, UNSCOPED, Payload
from pilvi.identity.memory import Memory, Recall
from pilvi.identity.operations.password_login import find_user, login
from pilvi.identity.operations.standing import Standing, standing
from pilvi.identity.operations.tokens import Vouched, issue, subject, told
from pilvi.identity.tables import ApplicationCredential, Project, Trust
from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Forbidden, Invalid, NotFound, Unauthenticated
from pilvi.kernel.http import UNSET, Body, Given, wire


class DomainName(Body, extra=True):
    """A domain by id or name."""

    id: str | None = None
    name: str | None = None


class PasswordUser(Body, extra=True):
    """Who, and their password."""

    id: str | None = None
    name: str | None = None
    domain: DomainName | None = None
    password: str


class UserName(Body, extra=True):
    """A user by id, or by name and domain."""

    id: str | None = None
    name: str | None = None
    domain: DomainName | None = None


class PasswordMethod(Body, extra=True):
    user: PasswordUser


class TokenMethod(Body, extra=True):
    id: str


class ApplicationMethod(Body, extra=True):
    """An application credential by id, or by name and user, and its secret."""

    id: str | None = None
    name: str | None = None
    secret: str
    user: UserName | None = None


class Shown(Body, extra=True):
    """What the client shows, by method."""

    methods: list[str]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None
    application_credential: ApplicationMethod | None = None


class ScopedProject(Body, extra=True):
    """A project by id, or by name and domain."""

    id: str | None = None
    name: str | None = None
    domain: DomainName | None = None


class ScopedTrust(Body, extra=True):
    id: str


class WantedScope(Body, extra=True):
    """What the token is wanted for: one of these."""

    project: ScopedProject | Given = UNSET
    domain: DomainName | Given = UNSET
    system: dict[str, bool] | Given = UNSET
    trust: ScopedTrust | Given = wire("OS-TRUST:trust", default=UNSET)
    unscoped: dict[str, str] | Given = UNSET


class Identified(NamedTuple):
    """Who was shown to be asking, and by what."""

    user_id: str
    parent: Payload | None = None  # of the token that was shown
    application: ApplicationCredential | None = None


def authenticate(memory: Memory, shown: Shown, scope: WantedScope | str | None, address: str, *, catalog: bool = True) -> tuple[str, bytes]:
    """A token and the JSON that tells of it; raises Unauthenticated, and says no more than that."""
    started = clock.now()
    found = [_identify(memory, shown, method, address) for method in dict.fromkeys(shown.methods)]
    if not found:
        raise Invalid("Name at least one method of authentication.", field="auth.identity.methods")
    if len({one.user_id for one in found}) > 1:
        raise Unauthenticated
    user_id = found[0].user_id
    parent = next((one.parent for one in found if one.parent is not None), None)
    application = next((one.application for one in found if one.application is not None), None)
    methods = tuple(dict.fromkeys([*shown.methods, *(parent.methods if parent is not None else ())]))
    if parent is not None and parent.trust_id:
        raise Forbidden("A token made by a trust cannot be exchanged for another.")
    recall = memory.recall
    with memory.program.db.transaction(write=False) as tx:
        _refuse_few_factors(tx, recall, user_id, methods)
        if application is not None or (parent is not None and parent.application_credential_id):
            who = _lent(tx, recall, user_id, application, parent, scope)
        else:
            who, spent = _stand(tx, recall, user_id, scope)
            if spent is not None:
                return _issue_by_trust(memory, who, spent, methods, catalog=catalog, then=tx)
        token, vouched = issue(memory, tx, who, methods, parent=parent)
        memory.note_login(vouched.payload.audit_ids[0], started)
        return token, told(tx, recall, vouched, catalog=catalog)


def _identify(memory: Memory, shown: Shown, method: str, address: str) -> Identified:
    if method == "password":
        if shown.password is None:
            raise Invalid("The method password needs auth.identity.password.", field="auth.identity.password")
        user = shown.password.user
        _must_name(user, "auth.identity.password.user")
        domain = user.domain or DomainName()
        row = login(memory, user.password, address, user_id=user.id, name=user.name, domain_id=domain.id, domain_name=domain.name)
        return Identified(row.id)
    if method == "token":
        if shown.token is None:
            raise Invalid("The method token needs auth.identity.token.", field="auth.identity.token")
        vouched: Vouched = subject(memory, shown.token.id)
        return Identified(vouched.payload.user_id, vouched.payload)
    if method == "application_credential":
        if shown.application_credential is None:
            field = "auth.identity.application_credential"
            raise Invalid(f"The method application_credential needs {field}.", field=field)
        return _identify_application(memory, shown.application_credential)
    raise Unauthenticated


def _identify_application(memory: Memory, shown: ApplicationMethod) -> Identified:
    with memory.program.db.transaction(write=False) as tx:
        if shown.id is not None:
            found = tx.get(ApplicationCredential, shown.id)
        else:
            owner = shown.user or UserName()
            _must_name(owner, "auth.identity.application_credential.user")
            domain = owner.domain or DomainName()
            user, _ = find_user(tx, user_id=owner.id, name=owner.name, domain_id=domain.id, domain_name=domain.name)
            columns = ApplicationCredential.c
            found = tx.one(ApplicationCredential, columns.user_id == user.id, columns.name == shown.name) if user is not None else None
    fits = memory.hasher.fits(found.secret_hash if found is not None else None, shown.secret)
    if found is None or not fits or (found.expires_at is not None and found.expires_at <= clock.now()):
        raise Unauthenticated
    return Identified(found.user_id, None, found)


def _must_name(user: PasswordUser | UserName, field: str) -> None:
    if user.id is None and (user.name is None or user.domain is None or (user.domain.id is None and user.domain.name is None)):
        raise Invalid(f"{field} must have an id, or a name and a domain.", field=field)


def _refuse_few_factors(tx: Transaction, recall: Recall, user_id: str, methods: tuple[str, ...]) -> None:
    """A user may be asked for several methods at once; a token stands for those that it was made by."""
    factors = standing(tx, recall, user_id, UNSCOPED, "").factors
    if factors and not any(factor <= set(methods) for factor in factors):
        raise Unauthenticated


def _lent(
    tx: Transaction, recall: Recall, user_id: str, application: ApplicationCredential | None, parent: Payload | None, scope: WantedScope | str | None
) -> Standing:
    """The standing of an application credential: its own project, and no other."""
    if application is not None:
        project_id, application_id = application.project_id, application.id
        if scope is not None and scope != "unscoped":
            raise Unauthenticated("An application credential has its scope; no other can be asked for.")
    else:
        assert parent is not None
        project_id, application_id = parent.scope_id, parent.application_credential_id
        if scope is not None and not isinstance(scope, str):
            kind, scope_id, _ = _find_scope(tx, recall, scope)
            if (kind, scope_id) != (PROJECT, project_id):
                raise Unauthenticated
    return standing(tx, recall, user_id, PROJECT, project_id, application_credential_id=application_id)


def _stand(tx: Transaction, recall: Recall, user_id: str, scope: WantedScope | str | None) -> tuple[Standing, Trust | None]:
    """The user's standing in the scope that is asked for; without one, in their default project if they may."""
    if isinstance(scope, str):
        if scope != "unscoped":
            raise Invalid("auth.scope is not known.", field="auth.scope")
        return standing(tx, recall, user_id, UNSCOPED, ""), None
    if scope is None:
        plain = standing(tx, recall, user_id, UNSCOPED, "")
        if plain.default_project_id:
            try:
                return standing(tx, recall, user_id, PROJECT, plain.default_project_id), None
            except Unauthenticated:  # a default that cannot be had is no default
                return plain, None
        return plain, None
    kind, scope_id, trust = _find_scope(tx, recall, scope)
    if trust is None:
        return standing(tx, recall, user_id, kind, scope_id), None
    if trust.trustee_user_id != user_id:
        raise Forbidden("The trust was not made for this user.")
    acting = trust.trustor_user_id if trust.impersonation else user_id
    who = standing(tx, recall, acting, PROJECT if trust.project_id else UNSCOPED, trust.project_id or "", trust_id=trust.id)
    return who, trust


def _find_scope(tx: Transaction, recall: Recall, scope: WantedScope) -> tuple[str, str, Trust | None]:
    """Kind and id of a scope; raises Unauthenticated when there is no such place."""
    given = [name for name in ("project", "domain", "system", "trust", "unscoped") if getattr(scope, name) is not UNSET]
    if len(given) != 1:
        raise Invalid("auth.scope must name exactly one of project, domain, system, OS-TRUST:trust and unscoped.", field="auth.scope")
    if scope.trust is not UNSET:
        trust = tx.get(Trust, scope.trust.id)
        if trust is None or trust.deleted_at is not None or trust.remaining_uses == 0:
            raise Unauthenticated
        return PROJECT, trust.project_id or "", trust
    if scope.system is not UNSET:
        if scope.system.get("all") is not True:
            raise Invalid('auth.scope.system must be {"all": true}.', field="auth.scope.system")
        return SYSTEM, "all", None
    if scope.domain is not UNSET:
        return DOMAIN, _domain_id(tx, recall, scope.domain, "auth.scope.domain"), None
    if scope.project is not UNSET:
        return PROJECT, _project_id(tx, recall, scope.project), None
    return UNSCOPED, "", None


def _project_id(tx: Transaction, recall: Recall, wanted: ScopedProject) -> str:
    if wanted.id is not None:
        return wanted.id
    if wanted.name is None or wanted.domain is None:
        raise Invalid("auth.scope.project must have an id, or a name and a domain.", field="auth.scope.project")
    return _place(tx, recall, _domain_id(tx, recall, wanted.domain, "auth.scope.project.domain"), wanted.name)


def _domain_id(tx: Transaction, recall: Recall, wanted: DomainName, field: str) -> str:
    if wanted.id is not None:
        return wanted.id
    if wanted.name is None:
        raise Invalid(f"{field} must have an id or a name.", field=field)
    return _place(tx, recall, "", wanted.name)


def _place(tx: Transaction, recall: Recall, domain_id: str, name: str) -> str:
    """The id of a project by its domain and name, of a domain by its name alone; remembered."""
    found = recall.places.get((domain_id, name))
    if found is None:
        row = tx.one(Project, Project.c.domain_id == domain_id, Project.c.name == name)
        if row is None:
            raise Unauthenticated
        found = row.id
        recall.keep(recall.places, (domain_id, name), found)
    return found


def _issue_by_trust(
    memory: Memory, who: Standing, trust: Trust, methods: tuple[str, ...], *, catalog: bool, then: Transaction
) -> tuple[str, bytes]:
    """A token by a trust; one that may be used so many times is used once more."""
    token, vouched = issue(memory, then, who, methods)
    body = told(then, memory.recall, vouched, catalog=catalog)
    if trust.remaining_uses is not None:
        uses = trust.remaining_uses
        then.after_commit(lambda: memory.program.db.run(lambda tx: _use(tx, trust, uses)))
    return token, body


def _use(tx: Transaction, trust: Trust, uses: int) -> None:
    if not tx.update(Trust, Trust.c.id == trust.id, Trust.c.remaining_uses == uses, remaining_uses=uses - 1):
        raise NotFound("The trust has been used up.")
