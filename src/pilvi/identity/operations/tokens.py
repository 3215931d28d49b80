"""Tokens: issued, vouched for and told about."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from pilvi.identity import keys
from pilvi.identity.logic.payload import DOMAIN, METHODS, PROJECT, SYSTEM, Payload, new_audit_id, seal, unseal
from pilvi.identity.memory import Memory, Recall, of
from pilvi.identity.operations.catalog import catalog_for
from pilvi.identity.operations.revocations import revoked
from pilvi.identity.operations.standing import Standing, standing
from pilvi.kernel import clock
from pilvi.kernel.clock import iso_micro_z
from pilvi.kernel.context import Caller
from pilvi.kernel.errors import NotFound, Unauthenticated

if TYPE_CHECKING:
    from pilvi.kernel.db import Transaction
    from pilvi.kernel.program import Program


class Vouched:
    """A token that was found good, with all that it says."""

    __slots__ = ("bodies", "caller", "expires_at", "payload", "standing")

    def __init__(self, payload: Payload, who: Standing) -> None:
        self.payload = payload
        self.standing = who
        self.expires_at = payload.expires_at
        self.caller = _caller(payload, who)
        self.bodies: dict[bool, bytes] = {}  # with the catalog or without -> the JSON


def authenticate(program: Program, token: str) -> Caller:
    """Who a token's bearer is; raises Unauthenticated.  Remembered, until anything in identity changes.

    May open transactions of its own, so it is asked before the caller opens one.
    """
    return vouch(of(program), token).caller


def vouch(memory: Memory, token: str, *, late: float = 0.0) -> Vouched:
    """The token's content as it holds now; raises Unauthenticated.  `late`: accept it so many seconds after its end."""
    memory.look()
    recall = memory.recall
    key = hashlib.blake2b(token.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    found = recall.tokens.get(key)
    if found is None:
        payload = unseal(memory.keys_of(keys.TOKEN), token)
        if payload.expires_at + late <= clock.now():
            raise Unauthenticated
        with memory.program.db.transaction(write=False) as tx:
            found = _check(tx, recall, payload)
        if not late:
            recall.keep(recall.tokens, key, found)
    if found.expires_at + late <= clock.now():
        raise Unauthenticated
    return found


def subject(memory: Memory, token: str, *, late: float = 0.0) -> Vouched:
    """As `vouch`, for a token that is asked about: NotFound when it is not good."""
    try:
        return vouch(memory, token, late=late)
    except Unauthenticated:
        raise NotFound("The token is not valid, or not any more.") from None


def issue(
    memory: Memory, tx: Transaction, who: Standing, methods: tuple[str, ...], *, parent: Payload | None = None, expires_at: float | None = None
) -> tuple[str, Vouched]:
    """A new token.  Made from another one it ends with it, and belongs to its chain."""
    now = clock.now()
    ends = expires_at if expires_at is not None else parent.expires_at if parent is not None else now + memory.settings.token_lifetime
    for lent in (who.trust, who.application):
        if lent is not None and lent.expires_at is not None:
            ends = min(ends, lent.expires_at)
    audit = (new_audit_id(),) if parent is None else (new_audit_id(), parent.audit_ids[-1])
    payload = Payload(
        who.user_id, tuple(sorted(set(methods), key=METHODS.index)), who.scope, who.scope_id, round(now, 6), round(ends, 6), audit,
        who.trust.id if who.trust else "", who.application.id if who.application else "",
    )  # fmt: skip
    return seal(memory.keys_of(keys.TOKEN, tx), payload), Vouched(payload, who)


def told(tx: Transaction, recall: Recall, vouched: Vouched, *, catalog: bool = True) -> bytes:
    """The JSON that tells of a token."""
    found = vouched.bodies.get(catalog)
    if found is None:
        found = vouched.bodies[catalog] = msgspec.json.encode({"token": _view(tx, recall, vouched, catalog)})
    return found


def _check(tx: Transaction, recall: Recall, payload: Payload) -> Vouched:
    void = revoked(tx, recall)
    if void.covers(payload):
        raise Unauthenticated
    who = standing(
        tx, recall, payload.user_id, payload.scope, payload.scope_id,
        trust_id=payload.trust_id, application_credential_id=payload.application_credential_id,
    )  # fmt: skip
    if void.covers(payload, user_domain_id=who.user_domain_id, project_domain_id=who.scope_domain_id):
        raise Unauthenticated
    for user_id in (who.trust.trustor_user_id, who.trust.trustee_user_id) if who.trust is not None else ():
        if void.covers(msgspec.structs.replace(payload, user_id=user_id)):
            raise Unauthenticated
    return Vouched(payload, who)


def _caller(payload: Payload, who: Standing) -> Caller:
    in_project, in_domain = who.scope == PROJECT, who.scope == DOMAIN
    return Caller(
        user_id=who.user_id, user_name=who.user_name, user_domain_id=who.user_domain_id, user_domain_name=who.user_domain_name,
        project_id=who.scope_id if in_project else "", project_name=who.scope_name if in_project else "",
        project_domain_id=who.scope_domain_id if in_project else "", project_domain_name=who.scope_domain_name if in_project else "",
        domain_id=who.scope_id if in_domain else "", domain_name=who.scope_name if in_domain else "",
        system_scope="all" if who.scope == SYSTEM else "", roles=frozenset(name for _, name in who.roles), methods=payload.methods,
        token_id=payload.audit_ids[0], issued_at=payload.issued_at, expires_at=payload.expires_at,
        trust_id=payload.trust_id, application_credential_id=payload.application_credential_id,
        access_rules=None if who.access_rules is None else tuple((rule.service, rule.method, rule.path) for rule in who.access_rules),
    )  # fmt: skip


def _view(tx: Transaction, recall: Recall, vouched: Vouched, catalog: bool) -> dict[str, Any]:
    payload, who = vouched.payload, vouched.standing
    expires = who.password_expires_at
    view: dict[str, Any] = {
        "methods": list(payload.methods),
        "user": {
            "domain": {"id": who.user_domain_id, "name": who.user_domain_name}, "id": who.user_id, "name": who.user_name,
            "password_expires_at": None if expires is None else iso_micro_z(expires)[:-1],
        },
        "audit_ids": list(payload.audit_ids), "expires_at": iso_micro_z(payload.expires_at), "issued_at": iso_micro_z(payload.issued_at),
    }  # fmt: skip
    if who.scope:
        view["roles"] = [{"id": role_id, "name": name} for role_id, name in who.roles]
    if who.scope == PROJECT:
        domain = {"id": who.scope_domain_id, "name": who.scope_domain_name}
        view["project"] = {"domain": domain, "id": who.scope_id, "name": who.scope_name}
        view["is_domain"] = who.is_domain
    elif who.scope == DOMAIN:
        view["domain"] = {"id": who.scope_id, "name": who.scope_name}
    elif who.scope == SYSTEM:
        view["system"] = {"all": True}
    if who.trust is not None:
        view["OS-TRUST:trust"] = {
            "id": who.trust.id, "impersonation": who.trust.impersonation,
            "trustor_user": {"id": who.trust.trustor_user_id}, "trustee_user": {"id": who.trust.trustee_user_id},
        }  # fmt: skip
    if who.application is not None:
        view["application_credential"] = {
            "id": who.application.id, "name": who.application.name, "restricted": not who.application.unrestricted,
        }  # fmt: skip
        if who.access_rules is not None:
            view["application_credential"]["access_rules"] = [
                {"id": rule.id, "service": rule.service, "path": rule.path, "method": rule.method} for rule in who.access_rules
            ]
    if catalog and who.scope:
        view["catalog"] = msgspec.Raw(catalog_for(tx, recall, who.user_id, who.scope_id if who.scope == PROJECT else ""))
    return view
