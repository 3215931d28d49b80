"""Structs are learned before there are threads: msgspec learns one when it first decodes it, and two that are both the first crash the process."""

from __future__ import annotations

import threading

import msgspec

_learning = threading.Lock()
_learned: set[type[msgspec.Struct]] = set()


def learn(kind: type[msgspec.Struct]) -> None:
    """Have msgspec know the struct, and what it is made of; one that it could not decode is never decoded."""
    with _learning:
        try:
            msgspec.json.Decoder(kind)
        except (TypeError, NameError):
            return


def learn_all() -> None:
    """Have it know every struct that there is by now."""
    waiting: list[type[msgspec.Struct]] = [msgspec.Struct]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind not in _learned:
                _learned.add(kind)
                learn(kind)
