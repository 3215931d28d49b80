"""Logs: one JSON object a line, on standard error or in a file; secrets never reach them."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

if TYPE_CHECKING:
    from pilvi.kernel.context import Caller
    from pilvi.kernel.http.request import Request

_formatting = threading.Lock()
_out: TextIO | None = None
_level = 20
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRETS = ("password", "token", "secret", "adminpass", "key", "credential", "authorization")


def configure(path: Path | None, level: str = "info") -> None:
    """Write from now on to the file (None: standard error), from this level up."""
    global _out, _level
    _level = _LEVELS.get(level, 20)
    if path is None:
        _out = sys.stderr
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        _out = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (open for the life of the program)
    logging.basicConfig(level=logging.WARNING, handlers=[_Bridge()], force=True)


def info(event: str, **facts: Any) -> None:
    _write("info", event, facts)


def debug(event: str, **facts: Any) -> None:
    _write("debug", event, facts)


def warning(event: str, **facts: Any) -> None:
    _write("warning", event, facts)


def error(event: str, **facts: Any) -> None:
    _write("error", event, facts)


def defect(request_id: str, event: str, error_: BaseException) -> None:
    """A defect of the program: with the traceback, for those who mend it."""
    _write("error", event, {"request_id": request_id, "traceback": _told(error_)})


def _told(error_: BaseException) -> str:
    """The traceback; Python 3.11 may fail to format two at once in two threads, so one after the other."""
    with _formatting:
        try:
            return "".join(traceback.format_exception(error_))
        except SystemError:
            return f"{type(error_).__name__}: {error_}"


def access(request: Request, status: int, seconds: float, caller: Caller) -> None:
    """One line a request; the query is left out, since secrets may stand in it."""
    if _out is None or _level > 20:
        return
    line = {
        "at": time.time(), "level": "info", "event": "request", "method": request.method, "path": request.path, "status": status,
        "ms": round(seconds * 1000, 2), "request_id": request.request_id, "user": caller.user_id, "project": caller.project_id,
        "from": request.address,
    }  # fmt: skip
    _out.write(msgspec.json.encode(line).decode() + "\n")


def _write(level: str, event: str, facts: dict[str, Any]) -> None:
    if _out is None or _LEVELS[level] < _level:
        return
    told = {name: "***" if any(word in name.lower() for word in _SECRETS) else value for name, value in facts.items()}
    _out.write(msgspec.json.encode({"at": time.time(), "level": level, "event": event, **told}, enc_hook=str).decode() + "\n")


class _Bridge(logging.Handler):
    """What libraries log, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            facts["traceback"] = _told(record.exc_info[1])
        level = "error" if record.levelno >= 40 else "warning"
        _write(level, record.getMessage(), facts)
