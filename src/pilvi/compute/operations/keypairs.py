"""Key pairs: public keys that people put into their servers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from cryptography.x509 import ObjectIdentifier

from pilvi.compute.operations.quotas import quotas
from pilvi.compute.tables.keypairs import KeyPair
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.db.pages import Page, Window, page
from pilvi.kernel.errors import Conflict, Invalid, NotFound

_KINDS = re.compile(r"\A(ssh-(rsa|dss|ed25519)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)\Z")
_OLD_NAME = re.compile(r"\A[A-Za-z0-9 _-]{1,255}\Z")
_NEW_NAME = re.compile(r"\A[A-Za-z0-9 @._-]{1,255}\Z")


_PRINCIPAL = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")  # the user principal name, in Microsoft's numbering


def fingerprint(public_key: str, kind: str) -> str:
    """The MD5 fingerprint of an SSH key (RFC 4716), or the SHA-1 of a certificate; raises Invalid when it is neither."""
    if kind == "x509":
        return _certificate(public_key)
    words = public_key.strip().split(None, 2)
    if len(words) < 2 or not _KINDS.match(words[0]):
        raise Invalid("Keypair data is invalid: failed to generate fingerprint", field="keypair.public_key")
    try:
        blob = base64.b64decode(words[1].encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Invalid("Keypair data is invalid: failed to generate fingerprint", field="keypair.public_key") from None
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length].decode("ascii", "replace") != words[0]:
        raise Invalid("Keypair data is invalid: failed to generate fingerprint", field="keypair.public_key")
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[place : place + 2] for place in range(0, 32, 2))


def _certificate(text: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        digest = x509.load_pem_x509_certificate(text.encode()).fingerprint(hashes.SHA1()).hex()  # noqa: S303 (as clients show it)
    except ValueError:
        raise Invalid("Keypair data is invalid: failed to generate X509 fingerprint.", field="keypair.public_key") from None
    return ":".join(digest[place : place + 2] for place in range(0, 40, 2))


def generate() -> tuple[str, str]:
    """A new RSA key of 2048 bits: private (PEM) and public (OpenSSH) text.  Slow: never within a writing transaction."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode() + " Generated-by-Nova"


def generate_certificate(user_id: str) -> tuple[str, str]:
    """A new key and a certificate of it for logging in to Windows as this user: both PEM.  Slow, as `generate`."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id[:64])])
    principal = f"{user_id[:64]}@localhost".encode()
    now = datetime.fromtimestamp(clock.now(), UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.OtherName(_PRINCIPAL, bytes([0x0C, len(principal)]) + principal)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()


def create(ctx: Context, *, user_id: str, name: str, public_key: str, kind: str, wider_names: bool) -> KeyPair:
    """Keep a public key under a name."""
    if not (_NEW_NAME if wider_names else _OLD_NAME).match(name) or name != name.strip():
        letters = "letters, digits, spaces, '@', '.', '_' and '-'" if wider_names else "letters, digits, spaces, '_' and '-'"
        raise Invalid(f"Keypair data is invalid: Keypair name may hold {letters}.", field="keypair.name")
    print_ = fingerprint(public_key, kind)
    if ctx.db.get(KeyPair, user_id, name):
        raise Conflict(f"Key pair '{name}' already exists.")
    limits = quotas(ctx.program)
    limits.turn(ctx.db, user_id)
    limits.check(ctx.db, ctx.project_id, "key_pairs", used=ctx.db.count(KeyPair, KeyPair.c.user_id == user_id), asked=1)
    return ctx.db.insert(KeyPair(user_id=user_id, name=name, public_key=public_key, fingerprint=print_, type=kind, created_at=clock.now()))


def get(tx: Transaction, user_id: str, name: str) -> KeyPair:
    """The user's key pair of that name; raises NotFound."""
    pair = tx.get(KeyPair, user_id, name)
    if pair is None:
        raise NotFound(f"Keypair {name} not found for user {user_id}")
    return pair


def index(tx: Transaction, user_id: str, window: Window) -> Page[KeyPair]:
    """The user's key pairs by name."""
    return page(tx, KeyPair, KeyPair.c.user_id == user_id, window=window, key="name")


def delete(tx: Transaction, user_id: str, name: str) -> None:
    """Forget a key pair; servers that have it keep it."""
    tx.remove(get(tx, user_id, name))
