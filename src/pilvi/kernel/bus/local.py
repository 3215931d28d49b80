"""The in-process bus: messages are encoded as on any other, and handed to threads of this process."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime

import msgspec

from pilvi.kernel import log
from pilvi.kernel.bus import Handler, Message
from pilvi.kernel.errors import PilviError, Unavailable


class _Server:
    def __init__(self, handler: Handler, host: str, threads: int, name: str) -> None:
        self.handler = handler
        self.host = host
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)


class LocalBus:
    """A bus within one process."""

    def __init__(self) -> None:
        self._servers: dict[str, list[_Server]] = {}
        self._lock = threading.Lock()

    def call(self, topic: str, message: Message, *, host: str = "", timeout: float = 60.0) -> msgspec.Raw:
        server = self._pick(topic, host)
        if server is None:
            raise Unavailable(f"Nobody answers for {topic}{' on host ' + host if host else ''}.")
        try:
            future: Future[bytes] = server.pool.submit(server.handler, message)
        except RuntimeError:  # it was stopped in this moment
            raise Unavailable(f"Nobody answers for {topic}{' on host ' + host if host else ''}.") from None
        try:
            return msgspec.Raw(future.result(timeout))
        except NotInTime:
            raise Unavailable(f"No answer from {topic}{' on host ' + host if host else ''} within {timeout:g} s.") from None

    def cast(self, topic: str, message: Message, *, host: str = "") -> None:
        server = self._pick(topic, host)
        if server is not None:
            self._submit(server, message)

    def fanout(self, topic: str, message: Message) -> None:
        for server in self._servers.get(topic, ()):
            self._submit(server, message)

    def serve(self, topic: str, handler: Handler, *, host: str = "", threads: int = 4) -> Callable[[], None]:
        server = _Server(handler, host, threads, f"{topic}{'@' + host if host else ''}")
        with self._lock:
            self._servers[topic] = [*self._servers.get(topic, ()), server]

        def stop() -> None:
            with self._lock:
                self._servers[topic] = [one for one in self._servers.get(topic, ()) if one is not server]
            server.pool.shutdown(wait=False, cancel_futures=True)

        return stop

    def close(self) -> None:
        for servers in list(self._servers.values()):
            for server in servers:
                server.pool.shutdown(wait=False, cancel_futures=True)
        self._servers.clear()

    def _pick(self, topic: str, host: str) -> _Server | None:
        fit = [server for server in self._servers.get(topic, ()) if not host or server.host == host]
        return fit[0] if len(fit) == 1 else random.choice(fit) if fit else None

    def _submit(self, server: _Server, message: Message) -> None:
        def handle() -> None:
            try:
                server.handler(message)
            except PilviError as error:
                log.warning("a cast failed", method=message.method, why=error.message)
            except Exception as error:
                log.defect(message.request_id, f"cast {message.method}", error)

        try:
            server.pool.submit(handle)
        except RuntimeError:
            log.debug("a cast came too late", method=message.method)
