"""Names that nobody chose: uuids, request ids and short random words."""

from __future__ import annotations

import random
import re
import secrets
import uuid

_UUID = re.compile(r"\A[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\Z")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_id() -> str:
    """A random uuid with dashes: most services' form of an id."""
    return str(uuid.uuid4())


def new_hex() -> str:
    """A random uuid without dashes: identity's form of an id."""
    return uuid.uuid4().hex


def new_request_id() -> str:
    """An id for one request, as it stands in `x-openstack-request-id`; nobody's secret, so it need not be hard to guess."""
    text = f"{random.getrandbits(128):032x}"
    return f"req-{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def new_word(length: int = 8) -> str:
    """A random word of lower-case letters and digits (reservation ids, admin passwords' parts)."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def is_uuid(text: object) -> bool:
    """Whether the text is a uuid, with or without dashes."""
    return isinstance(text, str) and _UUID.match(text) is not None
