"""Agents: serve an object's methods on the bus, and call such an object from afar; types are taken from its hints.

    stop = serve(bus, "compute", agent, host="node1")
    remote(bus, ComputeAgent, "compute", host="node1").ensure_machine(server_id)
"""

from __future__ import annotations

import inspect
import threading
import time
import typing
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from pilvi.kernel import clock, log, orders
from pilvi.kernel.bus import Bus, Message
from pilvi.kernel.bus.workers import Workers
from pilvi.kernel.errors import Forbidden, Invalid, PilviError, Unavailable

T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode
_AGAIN = 0.5  # seconds until somebody is asked again
_sender: ContextVar[str] = ContextVar("sender", default="")


def sender() -> str:
    """Who sent the message that is being handled: "" is the control plane, else the name of an agent's host."""
    return _sender.get()


class _Verb(msgspec.Struct, frozen=True):
    name: str
    parameters: tuple[str, ...]
    decode_arguments: Callable[[bytes], dict[str, Any]]
    decode_answer: Callable[[bytes], Any]


@cache
def verbs(contract: type) -> dict[str, _Verb]:
    """The public methods of a class or Protocol, with how their arguments and answers are encoded."""
    found: dict[str, _Verb] = {}
    for name, method in inspect.getmembers(contract, inspect.isfunction):
        if name.startswith("_"):
            continue
        hints = typing.get_type_hints(method)
        answer = hints.pop("return", None)
        fields: list[Any] = []
        for parameter in list(inspect.signature(method).parameters.values())[1:]:
            kind = hints.get(parameter.name, Any)
            fields.append((parameter.name, kind) if parameter.default is parameter.empty else (parameter.name, kind, parameter.default))
        shape = msgspec.defstruct(f"{name}_arguments", fields, kw_only=True, forbid_unknown_fields=True)
        decoder = msgspec.msgpack.Decoder(shape)
        names = tuple(field[0] for field in fields)
        found[name] = _Verb(name, names, _arguments(decoder, names), msgspec.msgpack.Decoder(answer).decode)
    return found


def _arguments(decoder: msgspec.msgpack.Decoder[Any], names: tuple[str, ...]) -> Callable[[bytes], dict[str, Any]]:
    def decode(data: bytes) -> dict[str, Any]:
        given = decoder.decode(data)
        return {name: getattr(given, name) for name in names}

    return decode


def serve(
    bus: Bus, topic: str, server: object, *, host: str = "", threads: int = 4, contract: type | None = None, workers: Workers | None = None,
    since: float = 0.0,
) -> Callable[[], None]:  # fmt: skip
    """Answer the topic with the object's public methods (those of `contract`, when named); answers a stop function.

    What workflows say to a host is done in the order in which they say it, and once (`kernel/orders.py`); who serves a topic
    of no host asks the database whether the order still holds.
    An agent speaks for its own host only: Forbidden when it calls a method whose parameter named `host` is another.
    `workers`: threads that several servers share, instead of `threads` of its own.
    `since`: the moment (Unix time) by the clock of those who give orders; 0: now, by this host's clock.
    """
    known = verbs(contract or type(server))
    taken = orders.Taken(since or clock.now())

    def handle(message: Message) -> bytes:
        verb = known.get(message.method)
        if verb is None:
            raise Invalid(f"{topic} has no method {message.method}.")
        try:
            arguments = verb.decode_arguments(message.arguments)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{topic}.{message.method}: {error}") from None
        if message.sender and str(arguments.get("host", message.sender)).partition("@")[0] != message.sender:
            raise Forbidden(f"{topic}.{message.method}: {message.sender} may not speak for {arguments['host']}.")
        token = _sender.set(message.sender)
        try:
            with orders.taking(taken, None if message.sender else message.order, once=bool(host)):
                return _encode(getattr(server, message.method)(**arguments))
        except orders.StaleOrder:
            log.info("what was asked too late, or twice, was not done", topic=topic, method=message.method, request_id=message.request_id)
            raise
        except PilviError:
            raise
        except Exception as error:
            log.defect(message.request_id, f"{topic}.{message.method}", error)
            raise PilviError(f"{topic}.{message.method} failed unexpectedly; the log of that host tells more.") from error
        finally:
            _sender.reset(token)

    return bus.serve(topic, handle, host=host, threads=threads, workers=workers)


class _Remote:
    """Looks like the contract; every method is a call over the bus."""

    def __init__(
        self, bus: Bus, contract: type, topic: str, host: str, timeout: float, request_id: str, patience: float, stop: threading.Event | None
    ) -> None:
        self._bus, self._verbs, self._topic, self._host = bus, verbs(contract), topic, host
        self._timeout, self._request_id = timeout, request_id
        self._patience, self._stop = patience, stop or threading.Event()

    def __getattr__(self, name: str) -> Any:
        verb = self._verbs.get(name)
        if verb is None:
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = self._ask(lambda: message(verb, args, kwargs, self._request_id, orders.give()))
            try:
                return verb.decode_answer(answer)
            except msgspec.DecodeError as error:
                raise PilviError(f"The answer of {self._topic}.{name} was not understood: {error}.") from None

        return call

    def _ask(self, said: Callable[[], Message]) -> msgspec.Raw:
        """The answer; as long as there is patience, whoever died with the question is followed by one who is asked again."""
        end = time.monotonic() + self._patience
        while True:
            try:
                return self._bus.call(self._topic, said(), host=self._host, timeout=self._timeout)
            except Unavailable:
                if time.monotonic() > end or self._stop.wait(_AGAIN):
                    raise


def message(
    verb: _Verb, args: tuple[Any, ...], kwargs: dict[str, Any], request_id: str = "", order: orders.Order | None = None
) -> Message:
    """The message that says this verb."""
    arguments = dict(zip(verb.parameters, args, strict=False)) | kwargs
    return Message(verb.name, msgspec.Raw(_encode(arguments)), request_id, "", order)


def remote(
    bus: Bus, contract: type[T], topic: str, *, host: str = "", timeout: float = 60.0, request_id: str = "", patience: float = 0.0,
    stop: threading.Event | None = None,
) -> T:  # fmt: skip
    """The object that serves `topic` (on `host`), as if it were here.

    Its methods raise what they raise there, and Unavailable when nobody answers within `timeout` seconds.  With `patience` they are
    said again for so many seconds when that happens, unless `stop` is set: for methods that may be said twice, by those who have
    nobody that would ask them again.
    """
    return cast(T, _Remote(bus, contract, topic, host, timeout, request_id, patience, stop))


def cast_to(bus: Bus, contract: type, topic: str, method: str, *args: Any, host: str = "", everyone: bool = False, **kwargs: Any) -> None:
    """Say a verb without waiting, to one or to everyone who serves the topic."""
    said = message(verbs(contract)[method], args, kwargs)
    if everyone:
        bus.fanout(topic, said)
    else:
        bus.cast(topic, said, host=host)
