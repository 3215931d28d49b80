"""Standing: who a user is and what they may be called in a scope, as of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pilvi.identity.logic.payload import DOMAIN, PROJECT, SYSTEM
from pilvi.identity.operations.effective import held_on, held_on_project, role_graph
from pilvi.identity.tables import AccessRule, ApplicationCredential, Project, Trust, User
from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Unauthenticated

if TYPE_CHECKING:
    from pilvi.identity.memory import Recall


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The user in a scope: what is in a token beside its times and names."""

    user_id: str
    user_name: str
    user_domain_id: str
    user_domain_name: str
    password_expires_at: float | None = None
    default_project_id: str | None = None
    factors: tuple[frozenset[str], ...] = ()  # sets of methods, one of which the user must have shown
    scope: str = ""
    scope_id: str = ""
    scope_name: str = ""
    scope_domain_id: str = ""
    scope_domain_name: str = ""
    is_domain: bool = False
    roles: tuple[tuple[str, str], ...] = ()  # (id, name), with the implied ones
    trust: Trust | None = None
    application: ApplicationCredential | None = None
    access_rules: tuple[AccessRule, ...] | None = None  # the only calls that may be made; None: all


def standing(
    tx: Transaction, recall: Recall, user_id: str, scope: str, scope_id: str, *, trust_id: str = "", application_credential_id: str = ""
) -> Standing:
    """The standing, remembered; raises Unauthenticated where there is none: disabled, gone, or without any role there."""
    key = (user_id, scope, scope_id, trust_id, application_credential_id)
    found = recall.standings.get(key)
    if found is None:
        found = _read(tx, recall, user_id, scope, scope_id, trust_id, application_credential_id)
        recall.keep(recall.standings, key, found)
    now = clock.now()
    for lent in (found.trust, found.application):
        if lent is not None and lent.expires_at is not None and lent.expires_at <= now:
            raise Unauthenticated
    return found


def living_user(tx: Transaction, user_id: str) -> tuple[User, Project]:
    """An enabled user of an enabled domain; raises Unauthenticated."""
    user = tx.get(User, user_id)
    domain = tx.get(Project, user.domain_id) if user is not None else None
    if user is None or not user.enabled or domain is None or not domain.enabled:
        raise Unauthenticated
    return user, domain


def _read(tx: Transaction, recall: Recall, user_id: str, scope: str, scope_id: str, trust_id: str, application_credential_id: str) -> Standing:
    user, user_domain = living_user(tx, user_id)
    who = Standing(
        user_id=user.id, user_name=user.name, user_domain_id=user_domain.id, user_domain_name=user_domain.name,
        password_expires_at=user.password_expires_at, default_project_id=user.default_project_id, factors=_factors(user),
    )  # fmt: skip
    trust = _living_trust(tx, trust_id) if trust_id else None
    application = tx.get(ApplicationCredential, application_credential_id) if application_credential_id else None
    if application_credential_id and (application is None or application.user_id != user_id or application.project_id != scope_id):
        raise Unauthenticated
    if not scope:
        return msgspec.structs.replace(who, trust=trust)
    place = tx.get(Project, scope_id) if scope != SYSTEM else None
    above = tx.get(Project, place.domain_id) if place is not None and place.domain_id else None
    if scope != SYSTEM and (place is None or not place.enabled or (above is not None and not above.enabled)):
        raise Unauthenticated
    lender = trust.trustor_user_id if trust is not None else user_id
    if scope == PROJECT and place is not None:
        held = held_on_project(tx, lender, place)
    elif scope == SYSTEM or (place is not None and place.is_domain):
        held = held_on(tx, lender, scope, scope_id)
    else:
        raise Unauthenticated
    graph = role_graph(tx, recall)
    lent = trust or application
    if lent is not None:
        closed = {one for role_id in held for one in graph.implied(role_id)}
        if trust is not None and not set(trust.roles) <= closed:
            raise Unauthenticated
        held = closed & set(lent.roles)
    roles = tuple((role.id, role.name) for role in graph.expand(held))
    if not roles:
        raise Unauthenticated
    return msgspec.structs.replace(
        who, scope=scope, scope_id="all" if scope == SYSTEM else scope_id, scope_name=place.name if place else "",
        scope_domain_id=(above.id if above else place.id) if place and scope != DOMAIN else "",
        scope_domain_name=(above.name if above else place.name) if place and scope != DOMAIN else "",
        is_domain=bool(place and place.is_domain and scope == PROJECT), roles=roles, trust=trust, application=application,
        access_rules=_access_rules(tx, application),
    )  # fmt: skip


def _living_trust(tx: Transaction, trust_id: str) -> Trust:
    trust = tx.get(Trust, trust_id)
    if trust is None or trust.deleted_at is not None:
        raise Unauthenticated
    for user_id in (trust.trustor_user_id, trust.trustee_user_id):
        living_user(tx, user_id)
    return trust


def _factors(user: User) -> tuple[frozenset[str], ...]:
    if user.options.get("multi_factor_auth_enabled") is False:
        return ()
    return tuple(frozenset(rule) for rule in user.options.get("multi_factor_auth_rules", ()))


def _access_rules(tx: Transaction, application: ApplicationCredential | None) -> tuple[AccessRule, ...] | None:
    if application is None or application.access_rules is None:
        return None
    return tuple(tx.by(AccessRule, AccessRule.c.id, application.access_rules))
