"""Switches of the fake drivers: make a verb fail, be slow, hang or lose its effect, for any subject."""

from __future__ import annotations

import fnmatch
import threading
import time
from dataclasses import dataclass, field

from pilvi.kernel.errors import HostError


@dataclass
class Switch:
    """One fault: it strikes when verb and subject match (shell patterns), `times` times (None: for ever)."""

    verb: str
    subject: str = "*"
    times: int | None = None
    fail: str | None = None
    elsewhere: bool = True
    delay: float = 0.0
    struck: int = 0


@dataclass
class Faults:
    """The switches of one fake driver, and the list of verbs that it was told, oldest first."""

    switches: list[Switch] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, verb: str, why: str = "told to fail", *, subject: str = "*", times: int | None = None, elsewhere: bool = True) -> Switch:
        """Make `verb` raise HostError(why)."""
        return self._add(Switch(verb, subject, times, fail=why, elsewhere=elsewhere))

    def slow(self, verb: str, seconds: float, *, subject: str = "*", times: int | None = None) -> Switch:
        """Make `verb` take `seconds` longer."""
        return self._add(Switch(verb, subject, times, delay=seconds))

    def heal(self) -> None:
        """Take all switches back."""
        with self._lock:
            self.switches.clear()

    def strike(self, verb: str, subject: str = "") -> None:
        """Called by a fake at the start of each verb: notes it, then waits or raises as switched."""
        delay, failure = 0.0, None
        with self._lock:
            self.told.append((verb, subject))
            del self.told[:-10_000]
            for switch in self.switches:
                if not (fnmatch.fnmatch(verb, switch.verb) and fnmatch.fnmatch(subject, switch.subject)):
                    continue
                if switch.times is not None and switch.struck >= switch.times:
                    continue
                switch.struck += 1
                delay += switch.delay
                if switch.fail and failure is None:
                    failure = HostError(switch.fail, elsewhere=switch.elsewhere)
        if delay:
            time.sleep(delay)
        if failure:
            raise failure

    def _add(self, switch: Switch) -> Switch:
        with self._lock:
            self.switches.append(switch)
        return switch
