"""Names: what a guest may be called, and how several servers of one request are told apart."""

from __future__ import annotations

import ipaddress
import re
import unicodedata

from pilvi.kernel.errors import Invalid

LONGEST = 63  # of one label of a host name
HOSTNAME = r"^(?=.{2,63}$)[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$"
FQDN = r"^(?=.{2,255}$)([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$"


def hostname(name: str, server_id: str) -> str:
    """A host name made of a server's name: lower case, letters, digits, dots and dashes; of its id when nothing is left."""
    plain = unicodedata.normalize("NFKD", name).encode("latin-1", "ignore").decode("latin-1").lower()
    plain = re.sub(r"[^a-z0-9.-]+", "", re.sub(r"[ _.]", "-", plain))
    plain = plain[:LONGEST].strip(".-")
    return plain or f"server-{server_id}"


def numbered(name: str, number: int, count: int) -> str:
    """The name of one of several servers that were asked for at once."""
    return f"{name}-{number + 1}" if count > 1 else name


def ipv6(text: str, field: str) -> str:
    """The address as RFC 5952 writes it ("" stays ""); raises Invalid, naming the field."""
    if not text:
        return ""
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise Invalid(f"Invalid input for field {field}: '{text}' is not an IPv6 address.", field=field) from None
