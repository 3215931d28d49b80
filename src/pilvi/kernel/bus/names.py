"""Names on a broker: subjects, routing keys and users, in which any topic and any host name is safe; and who may use them.

All names begin with a root, of which each cloud on a broker has its own.  An address is `<topic>.any`, `<topic>.all` or
`<topic>.host.<host>`.  The broker lets an agent send only under its own name; the control plane sends as `_`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from pilvi.kernel.errors import Invalid

ROOT = "pilvi"
CONTROL = "_"  # the sender's place in an address, for the control plane
AGENT = "host."  # what the users of agents begin with at a broker
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_LONGEST, _LONGEST_PREFIX = 80, 42  # routing keys and names of queues are limited to 255 bytes


class AgentTopics(msgspec.Struct, frozen=True):
    """What agents have to do with: the topics that they may call, and those that they serve."""

    call: Sequence[str] = ()
    serve: Sequence[str] = ()


@lru_cache(4096)
def token(name: str) -> str:
    """The name in letters, digits, '-' and '_': other bytes as `_` and two hexadecimal digits, long names as a digest.

    Different names have different tokens, and none has CONTROL's.
    """
    spelt = "".join(chr(byte) if byte in _PLAIN else f"_{byte:02x}" for byte in name.encode("utf-8", "surrogatepass"))
    if not spelt or len(spelt) > _LONGEST:
        return "__" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return spelt


def root(prefix: str) -> str:
    """What all names of a cloud begin with.  Raises Invalid when the prefix is too long."""
    if len(token(prefix)) > _LONGEST_PREFIX:
        raise Invalid("bus.prefix is too long.", field="bus.prefix")
    return f"{ROOT}-{token(prefix)}" if prefix else ROOT


def sender_token(host: str) -> str:
    """How a sender is named in an address; "" is the control plane."""
    return token(host) if host else CONTROL


def agent_user(host: str) -> str:
    """The user as which the agent of a host is known to the broker."""
    return AGENT + token(host)


def to_any(topic: str) -> str:
    return f"{token(topic)}.any"


def to_all(topic: str) -> str:
    return f"{token(topic)}.all"


def to_host(topic: str, host: str) -> str:
    return f"{token(topic)}.host.{token(host)}"
