"""The keys: kept in the database for all nodes, wrapped in a secret that is not in the database."""

from __future__ import annotations

import base64
import os
import secrets
import time
from itertools import pairwise
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pilvi.identity.logic.payload import envelope
from pilvi.identity.settings import Settings
from pilvi.identity.tables import KeyRow
from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Invalid

TOKEN, CREDENTIAL = "token", "credential"
_SPREAD = 30.0  # seconds that a new key is known before it signs, so that all nodes have learnt it


def wrapper(settings: Settings, state: Path) -> Fernet:
    """What wraps the keys: made from the setting, or from a secret in the state folder."""
    secret = settings.secret.encode() or written_once(state / "identity-secret", secrets.token_urlsafe(32)).encode()
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"pilvi identity keys").derive(secret)
    return Fernet(base64.urlsafe_b64encode(derived))


def written_once(path: Path, text: str) -> str:
    """The text of a file that only we may read; with `text`, if there was none.  Of two writers the first one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}-*"):  # by a program that was killed while it wrote
        if left.stat().st_mtime < time.time() - 60:
            left.unlink(missing_ok=True)
    if not path.exists():
        fresh = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, text.encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text(encoding="utf-8").strip()


def ensure(tx: Transaction, wrap: Fernet) -> None:
    """Have a key for each purpose."""
    for purpose in (TOKEN, CREDENTIAL):
        if tx.one(KeyRow, KeyRow.c.purpose == purpose) is None:
            _add(tx, wrap, purpose, clock.now())


def rotate(tx: Transaction, wrap: Fernet, settings: Settings) -> None:
    """Sign with a new token key when the newest is old, and forget those whose last tokens have expired."""
    now = clock.now()
    rows = tx.all(KeyRow, KeyRow.c.purpose == TOKEN, order=[KeyRow.c.active_at.desc()])
    if not rows or rows[0].active_at < now - settings.key_rotation:
        _add(tx, wrap, TOKEN, now + _SPREAD if rows else now)
    for successor, row in pairwise(rows):
        if successor.active_at < now - settings.token_lifetime - settings.expired_window - _SPREAD:
            tx.remove(row)


def ring(tx: Transaction, wrap: Fernet, purpose: str) -> MultiFernet:
    """The keys of a purpose: what seals is the newest active one, what unseals any."""
    now = clock.now()
    rows = tx.all(KeyRow, KeyRow.c.purpose == purpose, order=[KeyRow.c.active_at.desc(), KeyRow.c.id.desc()])
    rows.sort(key=lambda row: row.active_at > now)  # those that do not sign yet come last
    try:
        return envelope([wrap.decrypt(row.wrapped) for row in rows])
    except InvalidToken:
        raise Invalid(
            "The keys in the database were wrapped in another secret: give all nodes the same identity.secret, or the same identity-secret "
            "file in their state folder."
        ) from None


def _add(tx: Transaction, wrap: Fernet, purpose: str, active_at: float) -> None:
    tx.insert(KeyRow(purpose=purpose, wrapped=wrap.encrypt(Fernet.generate_key()), active_at=active_at))
