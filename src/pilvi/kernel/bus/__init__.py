"""The bus: rpc call, cast and fanout, to a topic or to one host; in-process, NATS or RabbitMQ.

A message names a method and carries its arguments as msgpack.  A reply is a value, or an error of the house's tree,
which the caller gets as if it had been raised there.  Nothing here is durable: work that must not be lost is a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from pilvi.kernel import errors
from pilvi.kernel.errors import HostError, PilviError


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One message: which method, with which arguments (encoded), under which request id."""

    method: str
    arguments: msgspec.Raw
    request_id: str = ""


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """An answer: a value (encoded), or the error's class name and sentence."""

    value: msgspec.Raw = msgspec.Raw(b"\xc0")
    error: str = ""
    message: str = ""
    elsewhere: bool = True


Handler = Callable[[Message], bytes]  # answers the encoded value; may raise PilviError


class Bus(Protocol):
    """What carries messages.  `host` "" is any one server of the topic."""

    def call(self, topic: str, message: Message, *, host: str = "", timeout: float = 60.0) -> msgspec.Raw:
        """Send and wait for the answer.  Raises what the other side raised; Unavailable when nobody answers in time."""
        ...

    def cast(self, topic: str, message: Message, *, host: str = "") -> None:
        """Send to one, without an answer.  May be lost: those who need certainty ask again."""
        ...

    def fanout(self, topic: str, message: Message) -> None:
        """Send to all who serve the topic."""
        ...

    def serve(self, topic: str, handler: Handler, *, host: str = "", threads: int = 4) -> Callable[[], None]:
        """Answer the topic's messages (those to `host`, and those to anyone); answers a function that stops it."""
        ...

    def close(self) -> None: ...


def encode_error(error: PilviError) -> Reply:
    """The reply that carries an error."""
    return Reply(error=type(error).__name__, message=error.message, elsewhere=getattr(error, "elsewhere", True))


def raise_error(reply: Reply) -> None:
    """Raise the error that a reply carries, if it carries one."""
    if not reply.error:
        return
    kind: Any = getattr(errors, reply.error, None)
    if kind is HostError:
        raise HostError(reply.message, elsewhere=reply.elsewhere)
    if isinstance(kind, type) and issubclass(kind, PilviError):
        raise kind(reply.message)
    raise PilviError(reply.message)
