"""The in-process bus: messages are encoded as on any other, and handed to threads of this process."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import msgspec

from pilvi.kernel import log
from pilvi.kernel.bus import CAST_SECONDS, Bus, Handler, Message, check_size, place, size_of
from pilvi.kernel.bus.workers import Call, Job, Workers, answer, heard, refusal
from pilvi.kernel.errors import Unavailable


class _Server:
    def __init__(self, topic: str, handler: Handler, host: str, threads: int, workers: Workers | None) -> None:
        self.handler = handler
        self.host = host
        self.workers = workers or Workers(f"{topic}{'@' + host if host else ''}", threads)
        self.shared = workers is not None

    def stop(self) -> None:
        """End its own threads; those that it shares are ended by who made them."""
        if not self.shared:
            self.workers.stop()


class LocalBus:
    """A bus within one process.  All who speak on it are the control plane, except by `acting_as`."""

    is_up = True

    def __init__(self) -> None:
        self._servers: dict[str, list[_Server]] = {}
        self._at: dict[tuple[str, str], list[_Server]] = {}  # the same by topic and host
        self._lock = threading.Lock()

    def call(self, topic: str, message: Message, *, host: str = "", timeout: float = 60.0) -> msgspec.Raw:
        return self._call(topic, _said_by("", message), host, timeout)

    def cast(self, topic: str, message: Message, *, host: str = "") -> None:
        self._cast(topic, _said_by("", message), host)

    def fanout(self, topic: str, message: Message) -> None:
        self._fanout(topic, _said_by("", message))

    def serve(self, topic: str, handler: Handler, *, host: str = "", threads: int = 4, workers: Workers | None = None) -> Callable[[], None]:
        server = _Server(topic, handler, host, threads, workers)
        with self._lock:
            self._servers[topic] = [*self._servers.get(topic, ()), server]
            self._at[topic, host] = [*self._at.get((topic, host), ()), server]

        def stop() -> None:
            with self._lock:
                self._servers[topic] = [one for one in self._servers.get(topic, ()) if one is not server]
                self._at[topic, host] = [one for one in self._at.get((topic, host), ()) if one is not server]
            server.stop()

        return stop

    def close(self) -> None:
        with self._lock:
            servers = [server for several in self._servers.values() for server in several]
            self._servers.clear()
            self._at.clear()
        for server in servers:
            server.stop()

    def acting_as(self, host: str) -> Bus:
        """This bus as the agent of `host` has it: what it says there bears its name."""
        return _AsHost(self, host)

    def _call(self, topic: str, message: Message, host: str, timeout: float) -> msgspec.Raw:
        where = place(topic, host)
        check_size(topic, message)
        server = self._pick(topic, host)
        if server is None:
            raise Unavailable(f"Nobody answers for {where}.")
        call = Call(where)
        end = time.monotonic() + timeout
        server.workers.put(
            Job(lambda: call.settle(answer(server.handler, topic, message)), lambda why: call.settle(refusal(where, why)), end, size_of(message))
        )
        if not call.wait(timeout):
            raise Unavailable(f"No answer from {where} within {timeout:g} s.")
        return call.result()

    def _cast(self, topic: str, message: Message, host: str) -> None:
        check_size(topic, message)
        server = self._pick(topic, host)
        if server is not None:
            self._submit(server, topic, message)

    def _fanout(self, topic: str, message: Message) -> None:
        check_size(topic, message)
        for server in self._servers.get(topic, ()):
            self._submit(server, topic, message)

    def _pick(self, topic: str, host: str) -> _Server | None:
        fit = self._at.get((topic, host), ()) if host else self._servers.get(topic, ())
        return fit[0] if len(fit) == 1 else random.choice(fit) if fit else None

    def _submit(self, server: _Server, topic: str, message: Message) -> None:
        def refuse(why: str) -> None:
            log.warning("a cast was dropped", topic=topic, method=message.method, why=why)

        end = time.monotonic() + CAST_SECONDS
        server.workers.put(Job(lambda: heard(server.handler, topic, message), refuse, end, size_of(message)))


class _AsHost:
    """A view of the bus whose messages bear the name of an agent's host."""

    is_up = True

    def __init__(self, bus: LocalBus, host: str) -> None:
        self._bus, self._host = bus, host

    def call(self, topic: str, message: Message, *, host: str = "", timeout: float = 60.0) -> msgspec.Raw:
        return self._bus._call(topic, _said_by(self._host, message), host, timeout)

    def cast(self, topic: str, message: Message, *, host: str = "") -> None:
        self._bus._cast(topic, _said_by(self._host, message), host)

    def fanout(self, topic: str, message: Message) -> None:
        self._bus._fanout(topic, _said_by(self._host, message))

    def serve(self, topic: str, handler: Handler, *, host: str = "", threads: int = 4, workers: Workers | None = None) -> Callable[[], None]:
        return self._bus.serve(topic, handler, host=host, threads=threads, workers=workers)

    def close(self) -> None:
        """Nothing: the bus belongs to others too."""


def _said_by(sender: str, message: Message) -> Message:
    """The message as its receiver gets it."""
    return message if message.sender == sender else Message(message.method, message.arguments, message.request_id, sender, message.order)
