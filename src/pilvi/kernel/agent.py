"""Agents: serve an object's methods on the bus, and call such an object from afar; types are taken from its hints.

    stop = serve(bus, "compute", agent, host="node1")
    remote(bus, ComputeAgent, "compute", host="node1").ensure_machine(server_id)
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from pilvi.kernel import log
from pilvi.kernel.bus import Bus, Message
from pilvi.kernel.errors import Invalid, PilviError

T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode


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


def serve(bus: Bus, topic: str, server: object, *, host: str = "", threads: int = 4, contract: type | None = None) -> Callable[[], None]:
    """Answer the topic with the object's public methods (those of `contract`, when named); answers a stop function."""
    known = verbs(contract or type(server))

    def handle(message: Message) -> bytes:
        verb = known.get(message.method)
        if verb is None:
            raise Invalid(f"{topic} has no method {message.method}.")
        try:
            arguments = verb.decode_arguments(message.arguments)
        except msgspec.DecodeError as error:
            raise Invalid(f"{topic}.{message.method}: {error}") from None
        try:
            return _encode(getattr(server, message.method)(**arguments))
        except PilviError:
            raise
        except Exception as error:
            log.defect(message.request_id, f"{topic}.{message.method}", error)
            raise PilviError(f"{topic}.{message.method} failed unexpectedly; the log of that host tells more.") from error

    return bus.serve(topic, handle, host=host, threads=threads)


class _Remote:
    """Looks like the contract; every method is a call over the bus."""

    def __init__(self, bus: Bus, contract: type, topic: str, host: str, timeout: float, request_id: str) -> None:
        self._bus, self._verbs, self._topic, self._host = bus, verbs(contract), topic, host
        self._timeout, self._request_id = timeout, request_id

    def __getattr__(self, name: str) -> Any:
        verb = self._verbs.get(name)
        if verb is None:
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = self._bus.call(self._topic, message(verb, args, kwargs, self._request_id), host=self._host, timeout=self._timeout)
            return verb.decode_answer(answer)

        return call


def message(verb: _Verb, args: tuple[Any, ...], kwargs: dict[str, Any], request_id: str = "") -> Message:
    """The message that says this verb."""
    arguments = dict(zip(verb.parameters, args, strict=False)) | kwargs
    return Message(verb.name, msgspec.Raw(_encode(arguments)), request_id)


def remote(bus: Bus, contract: type[T], topic: str, *, host: str = "", timeout: float = 60.0, request_id: str = "") -> T:
    """The object that serves `topic` (on `host`), as if it were here.

    Its methods raise what they raise there, and Unavailable when nobody answers within `timeout` seconds.
    """
    return cast(T, _Remote(bus, contract, topic, host, timeout, request_id))


def cast_to(bus: Bus, contract: type, topic: str, method: str, *args: Any, host: str = "", everyone: bool = False, **kwargs: Any) -> None:
    """Say a verb without waiting, to one or to everyone who serves the topic."""
    said = message(verbs(contract)[method], args, kwargs)
    if everyone:
        bus.fanout(topic, said)
    else:
        bus.cast(topic, said, host=host)
