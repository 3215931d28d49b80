"""Hearing: when this process could hear of others; while it could not, their silence says nothing.

Where the database or the bus was away for a minute, or the whole machine stood still, every host's last report is a
minute old when they are back.  That minute does not count, or all hosts would be taken for dead at once.  Nor does the
time in which no process of the cloud ran: who asks for a server at once after a start finds the hosts that there were.
"""

from __future__ import annotations

from collections import deque

from pilvi.kernel import clock

_REMEMBERED = 16  # times of deafness


class Hearing:
    """Told every `every` seconds that others could be heard; a gap of more than three times that was deafness."""

    def __init__(self, every: float) -> None:
        self._gap = 3 * every
        self._began = self._last = clock.now()
        self._deaf: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)  # from when until when, in order

    def resumed(self, last: float) -> None:
        """Before this process began, somebody was last heard of in that moment (Unix time), by whichever process."""
        if self._began - last > self._gap:
            self._deaf.appendleft((last, self._began))

    def heard(self) -> None:
        """Others can be heard in this moment."""
        now = clock.now()
        if now - self._last > self._gap:
            self._deaf.append((self._last, now))
        self._last = now

    def since(self, seconds: float) -> float:
        """The moment (Unix time) since which others could be heard for so many seconds: who last reported before is silent."""
        now = clock.now()
        at = now - seconds
        deaf = list(self._deaf)
        if now - self._last > self._gap:
            deaf.append((self._last, now))
        for began, ended in reversed(deaf):
            if ended <= at:
                break
            at -= ended - began
        return at
