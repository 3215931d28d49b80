"""What a token carries: who, for what, since when; a few dozen bytes inside of a Fernet envelope."""

from __future__ import annotations

import base64
import secrets
from typing import Any

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from pilvi.kernel.errors import Unauthenticated

METHODS = ("password", "token", "application_credential", "totp", "external", "oauth1", "mapped", "ec2credential")
UNSCOPED, PROJECT, DOMAIN, SYSTEM = "", "project", "domain", "system"
_KINDS = (UNSCOPED, PROJECT, DOMAIN, SYSTEM)


class Payload(msgspec.Struct, frozen=True):
    """A token's content.  Moments are epoch seconds; ids of users and projects as in the tables."""

    user_id: str
    methods: tuple[str, ...]
    scope: str  # UNSCOPED, PROJECT, DOMAIN or SYSTEM
    scope_id: str
    issued_at: float
    expires_at: float
    audit_ids: tuple[str, ...]  # its own, and that of the first of its chain
    trust_id: str = ""
    application_credential_id: str = ""


class _Wire(msgspec.Struct, array_like=True, omit_defaults=True):
    """The payload in little room: ids as bytes where they are uuids, methods as bits, moments as microseconds."""

    user: Any
    methods: int
    kind: int
    scope: Any
    issued: int
    lasts: int
    audit: bytes
    chain: bytes = b""
    trust: Any = ""
    application: Any = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Wire).decode


def new_audit_id() -> str:
    """A random name for a token that may be told: 22 letters of URL-safe base64."""
    return _audit_text(secrets.token_bytes(16))


def seal(keys: MultiFernet, payload: Payload) -> str:
    """The token of a payload."""
    issued = round(payload.issued_at * 1_000_000)
    bits = sum(1 << METHODS.index(method) for method in payload.methods)
    own, *chain = payload.audit_ids
    data = _encode(_Wire(
        _small(payload.user_id), bits, _KINDS.index(payload.scope), _small(payload.scope_id), issued,
        round(payload.expires_at * 1_000_000) - issued, _audit_bytes(own), _audit_bytes(chain[0]) if chain else b"",
        _small(payload.trust_id), _small(payload.application_credential_id),
    ))  # fmt: skip
    return keys.encrypt_at_time(data, int(payload.issued_at)).decode().rstrip("=")


def unseal(keys: MultiFernet, token: str) -> Payload:
    """The payload of a token; raises Unauthenticated when it isn't one of ours.  Its times are not looked at."""
    try:
        wire = _decode(keys.decrypt((token + "=" * (-len(token) % 4)).encode("ascii")))
        chain = (_audit_text(wire.chain),) if wire.chain else ()
        return Payload(
            _large(wire.user), tuple(name for bit, name in enumerate(METHODS) if wire.methods >> bit & 1), _KINDS[wire.kind],
            _large(wire.scope), wire.issued / 1_000_000, (wire.issued + wire.lasts) / 1_000_000, (_audit_text(wire.audit), *chain),
            _large(wire.trust), _large(wire.application),
        )  # fmt: skip
    except (InvalidToken, msgspec.DecodeError, UnicodeError, IndexError):
        raise Unauthenticated from None


def envelope(keys: list[bytes]) -> MultiFernet:
    """What seals with the first of the keys, and unseals with any."""
    return MultiFernet([Fernet(key) for key in keys])


def _small(name: str) -> bytes | str:
    if len(name) == 32:
        try:
            small = bytes.fromhex(name)
        except ValueError:
            return name
        return small if small.hex() == name else name
    return name


def _large(name: bytes | str) -> str:
    return name.hex() if isinstance(name, bytes) else name


def _audit_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _audit_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")
