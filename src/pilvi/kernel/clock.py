"""The clock: epoch seconds as floats, ISO 8601 at the edges; tests move it by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from pilvi.kernel.errors import Invalid

_source: Callable[[], float] = time.time


def now() -> float:
    """Seconds since 1970 as every part of the house understands them."""
    return _source()


def use(source: Callable[[], float] | None) -> None:
    """Take the time from `source` (tests), or from the machine again."""
    global _source
    _source = source or time.time


@lru_cache(maxsize=8192)
def _whole(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso(moment: float) -> str:
    """2026-11-20T09:30:00Z: compute's, image's and network's form."""
    return _whole(int(moment)) + "Z"


def iso_or_none(moment: float | None) -> str | None:
    """As `iso`, where there may be no moment."""
    return None if moment is None else _whole(int(moment)) + "Z"


def iso_micro(moment: float) -> str:
    """2026-11-20T09:30:00.123456, without a zone: block storage's form."""
    second, micro = divmod(round(moment * 1_000_000), 1_000_000)
    return f"{_whole(second)}.{micro:06d}"


def iso_micro_z(moment: float) -> str:
    """2026-11-20T09:30:00.123456Z: identity's form."""
    return iso_micro(moment) + "Z"


def parse(text: str, field: str = "time") -> float:
    """Epoch seconds of an ISO 8601 text, UTC when it names no zone.

    Raises Invalid, naming `field`.
    """
    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
    except ValueError:
        raise Invalid(f"Invalid {field}: '{text}' is not a date and time in ISO 8601 form.", field=field) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
