"""Credentials: secrets kept encrypted; those of EC2 stand for a user in a project."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from cryptography.fernet import InvalidToken

from pilvi.identity import keys
from pilvi.identity.logic.payload import PROJECT
from pilvi.identity.memory import Memory
from pilvi.identity.operations.standing import standing
from pilvi.identity.operations.tokens import issue, told
from pilvi.identity.tables import ApplicationCredential, Credential, Trust
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Forbidden, Invalid, Unauthenticated

EC2 = "ec2"


def ec2_id(access: str) -> str:
    """The id of the credential with this access key."""
    return hashlib.sha256(access.encode()).hexdigest()


def ec2_pair(blob: str) -> tuple[str, str]:
    """Access and secret of an EC2 credential; raises Invalid when the blob holds none."""
    try:
        data = msgspec.json.decode(blob.encode())
    except msgspec.DecodeError:
        data = None
    if not isinstance(data, dict) or not all(isinstance(data.get(name), str) and data[name] for name in ("access", "secret")):
        raise Invalid('The blob of an ec2 credential must be JSON with "access" and "secret".', field="blob")
    return data["access"], data["secret"]


def sealed(memory: Memory, tx: Transaction, blob: str) -> str:
    """A blob as it is kept."""
    return memory.keys_of(keys.CREDENTIAL, tx).encrypt(blob.encode()).decode()


def opened(memory: Memory, tx: Transaction, row: Credential) -> str:
    """A credential's blob as it was given; raises Invalid when the key is lost."""
    try:
        return memory.keys_of(keys.CREDENTIAL, tx).decrypt(row.blob.encode()).decode()
    except InvalidToken:
        raise Invalid(f"Credential {row.id} was encrypted with a key that this cloud no longer has.") from None


def hold_what_narrows(ctx: Context) -> None:
    """Have the trust or application credential that the caller came by stay until what is made by it is there; raises Forbidden when it is gone."""
    trust_id, application_id = ctx.caller.trust_id, ctx.caller.application_credential_id
    trust = ctx.db.get_to_build_on(Trust, trust_id) if trust_id else None
    if trust_id and (trust is None or trust.deleted_at is not None):
        raise Forbidden("The trust by which this is asked is gone.")
    if application_id and ctx.db.get_to_build_on(ApplicationCredential, application_id) is None:
        raise Forbidden("The application credential by which this is asked is gone.")


def new_ec2(
    memory: Memory, tx: Transaction, user_id: str, project_id: str, *, trust_id: str = "", application_credential_id: str = ""
) -> tuple[Credential, str, str]:
    """A new pair of keys: the credential, its access and its secret."""
    access, secret = secrets.token_hex(16), secrets.token_hex(16)
    blob = msgspec.json.encode({"access": access, "secret": secret}).decode()
    row = Credential(
        id=ec2_id(access), user_id=user_id, project_id=project_id, type=EC2, blob=sealed(memory, tx, blob), trust_id=trust_id or None,
        application_credential_id=application_credential_id or None,
    )  # fmt: skip
    return tx.insert(row), access, secret


def token_by_signature(memory: Memory, access: str, fits: Callable[[str], bool]) -> tuple[str, bytes]:
    """A token for the owner of EC2 keys, if the signature fits their secret, and what tells of it; raises Unauthenticated."""
    recall = memory.recall
    with memory.program.db.transaction(write=False) as tx:
        row = tx.get(Credential, ec2_id(access))
        if row is None or row.type != EC2 or row.project_id is None:
            raise Unauthenticated
        kept_access, secret = ec2_pair(opened(memory, tx, row))
        if kept_access != access or not fits(secret):
            raise Unauthenticated
        limits: dict[str, Any] = {"trust_id": row.trust_id or "", "application_credential_id": row.application_credential_id or ""}
        who = standing(tx, recall, row.user_id, PROJECT, row.project_id, **limits)
        token, vouched = issue(memory, tx, who, ("ec2credential",))
        return token, told(tx, recall, vouched)
