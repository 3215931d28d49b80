"""What goes to and fro between a bus and its broker: requests on the wire, letters to be sent, the servers that they come to."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pilvi.kernel.bus import CAST_SECONDS, Handler
from pilvi.kernel.bus.workers import Workers
from pilvi.kernel.errors import PilviError
from pilvi.kernel.orders import Order

ENVELOPE = 2048  # bytes that a message may have beside its arguments


class Request(msgspec.Struct, frozen=True, array_like=True):
    """A message on its way: beside it who claims to have sent it, and for how many seconds it is worth executing."""

    method: str
    arguments: msgspec.Raw
    request_id: str
    sender: str
    seconds: float
    order: Order | None = None


class Letter(msgspec.Struct, frozen=True):
    """What is to be sent: to an address of `names`, or as the reply to `address`."""

    kind: Literal["call", "cast", "fanout", "reply"]
    address: str
    data: bytes
    call: str = ""  # the call's id; of a reply, the one that it answers
    seconds: float = CAST_SECONDS


class Server(msgspec.Struct, eq=False):
    """Who answers a topic here; `link` is what the driver keeps for it on the present connection."""

    topic: str
    handler: Handler
    host: str
    workers: Workers
    shared: bool = False  # its threads are ended by who made them
    stopped: bool = False
    link: Any = None

    def stop(self) -> None:
        self.stopped = True
        if not self.shared:
            self.workers.stop()


encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Request).decode


def reason(error: BaseException) -> str:
    """Why a broker could not do something, in words that end a sentence."""
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, PilviError):
        return error.message.rstrip(".")
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split()).rstrip(".")
