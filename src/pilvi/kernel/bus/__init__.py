"""The bus: rpc call, cast and fanout, to a topic or to one host; in-process, NATS or RabbitMQ.

A message names a method and carries its arguments as msgpack.  A reply is a value, or an error of the house's tree,
which the caller gets as if it had been raised there.  Nothing here is durable: work that must not be lost is a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from pilvi.kernel import errors
from pilvi.kernel.errors import HostError, Invalid, PilviError
from pilvi.kernel.orders import Order

if TYPE_CHECKING:
    from pilvi.kernel.bus.workers import Workers

MAX_BYTES = 8 * 1024 * 1024  # the largest message; a broker may allow less
WAITING = 1024  # messages that may wait at one server for its threads
CAST_SECONDS = 60.0  # how long a cast or fanout that waits is still worth doing


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One message: which method, with which arguments (encoded), under which request id.

    `sender` is filled in by the bus that received it, from what its broker vouches for: "" is the control plane, which is
    trusted; else the name of the agent's host.  `order` is there when a workflow speaks.
    """

    method: str
    arguments: msgspec.Raw
    request_id: str = ""
    sender: str = ""
    order: Order | None = None


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """An answer: a value (encoded), or the error's class name and sentence."""

    value: msgspec.Raw = msgspec.Raw(b"\xc0")
    error: str = ""
    message: str = ""
    elsewhere: bool = True
    field: str | None = None


Handler = Callable[[Message], bytes]  # answers the encoded value; may raise PilviError


class Bus(Protocol):
    """What carries messages.  `host` "" is any one server of the topic."""

    is_up: bool  # whether there is a connection to the broker

    def call(self, topic: str, message: Message, *, host: str = "", timeout: float = 60.0) -> msgspec.Raw:
        """Send and wait for the answer.  Raises what the other side raised.

        A call to anyone is said again when who has got it gives no sign of life: it may be executed by two.

        Unavailable: nobody serves the topic, the server has too much waiting, no answer came within `timeout` seconds, the server gives
        no sign of life, or the broker is away; the message may have been executed all the same.
        Forbidden: the broker does not let this host speak to the topic.
        Invalid: the message is larger than the bus carries; nothing was sent.
        """
        ...

    def cast(self, topic: str, message: Message, *, host: str = "") -> None:
        """Send to one, without an answer.  May be lost: those who need certainty ask again.  Raises Invalid when too large."""
        ...

    def fanout(self, topic: str, message: Message) -> None:
        """Send to all who serve the topic.  May be lost, as a cast.  Raises Invalid when too large."""
        ...

    def serve(self, topic: str, handler: Handler, *, host: str = "", threads: int = 4, workers: Workers | None = None) -> Callable[[], None]:
        """Answer the topic's messages (those to `host`, and those to anyone); answers a function that stops it.

        On a bus of an agent only those to its host and to all arrive: who speaks to anyone speaks to the control plane.
        A message whose caller has given up is not executed any more; at most WAITING messages wait for the threads.
        `workers`: threads that several servers share, instead of `threads` of its own.
        """
        ...

    def close(self) -> None:
        """End all servers and threads; calls that wait fail with Unavailable."""
        ...


def place(topic: str, host: str) -> str:
    """Whom a message is for, in words."""
    return f"{topic} on host {host}" if host else topic


def encode_error(error: PilviError) -> Reply:
    """The reply that carries an error: the nearest kind that every part of the cloud knows."""
    kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    return Reply(error=kind, message=error.message, elsewhere=getattr(error, "elsewhere", True), field=error.field)


def raise_error(reply: Reply) -> None:
    """Raise the error that a reply carries, if it carries one."""
    if not reply.error:
        return
    kind: Any = getattr(errors, reply.error, None)
    error = kind(reply.message) if isinstance(kind, type) and issubclass(kind, PilviError) else PilviError(reply.message)
    if isinstance(error, HostError):
        error.elsewhere = reply.elsewhere
    error.field = reply.field
    raise error


def size_of(message: Message) -> int:
    """Bytes of its arguments, which are all that can make a message large."""
    return memoryview(message.arguments).nbytes


def check_size(topic: str, message: Message, most: int = MAX_BYTES) -> None:
    """Raise Invalid when the message has more than `most` bytes, and so cannot be carried."""
    if (size := size_of(message)) > most:
        raise Invalid(f"The message {topic}.{message.method} has {size} bytes; the bus carries at most {most}.")
