"""Key pairs: public keys that people put into their servers."""

from __future__ import annotations

from pilvi.kernel.db import LongKey, Row, Text, Word


class KeyPair(Row, table="compute_keypairs"):
    """A user's public key, by its name."""

    user_id: LongKey
    name: LongKey
    public_key: Text
    fingerprint: str
    type: Word = "ssh"
    created_at: float = 0.0
