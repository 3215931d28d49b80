"""Gathering: what many say one by one is done together, a moment later: a thousand heartbeats in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from sqlalchemy import exc

from pilvi.kernel import log
from pilvi.kernel.errors import PilviError

T = TypeVar("T")


class Gather(Generic[T]):
    """Hands over what was added, by key and the last of each, at most every `every` seconds; its thread sleeps while there is nothing."""

    def __init__(self, name: str, every: float, work: Callable[[Mapping[str, T]], None]) -> None:
        self._name, self._every, self._work = name, every, work
        self._waiting: dict[str, T] = {}
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, key: str, value: T) -> None:
        """Have this done with the others; what was added before under the same key is forgotten."""
        with self._lock:
            self._waiting[key] = value
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
                self._thread.start()
        self._some.set()

    def drop(self, key: str) -> None:
        """Forget what waits under the key: it is being done otherwise."""
        with self._lock:
            self._waiting.pop(key, None)

    def stop(self) -> None:
        """End the thread; what waits is lost, and will be said again."""
        self._stop.set()
        self._some.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(10)

    def _loop(self) -> None:
        while True:
            self._some.wait()
            if self._stop.wait(self._every):
                return
            self._some.clear()
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            if not waiting:  # all was dropped
                continue
            try:
                self._work(waiting)
            except PilviError as error:
                log.warning("what was gathered could not be done", of=self._name, why=error.message)
            except exc.SQLAlchemyError as error:
                log.warning("what was gathered could not be written", of=self._name, why=type(error).__name__)
            except Exception as error:
                log.defect("", self._name, error)
