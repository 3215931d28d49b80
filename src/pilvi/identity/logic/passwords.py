"""Passwords and other shared secrets, hashed with argon2id; a few at a time, never within a transaction."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TypeVar

from pilvi.identity.settings import Settings
from pilvi.kernel.errors import Invalid, Unavailable

T = TypeVar("T")
LONGEST = 4096  # characters of a password


class Hasher:
    """Hashes and compares; waits when too many do so at once."""

    def __init__(self, settings: Settings) -> None:
        from argon2 import PasswordHasher

        self._settings = settings
        self._hasher = PasswordHasher(time_cost=settings.hash_time_cost, memory_cost=settings.hash_memory_kib, parallelism=1)
        self._room = threading.BoundedSemaphore(max(1, settings.hash_parallel))
        self._nobody = ""

    def hash(self, password: str) -> str:
        """The hash to remember of a password."""
        return self._in_turn(lambda: self._hasher.hash(password))

    def fits(self, hashed: str | None, password: str) -> bool:
        """Whether the password is that of the hash; as slow where there is none (None, "") as where there is one."""
        from argon2.exceptions import InvalidHashError, VerificationError

        if not hashed:
            self._nobody = self._nobody or self.hash("nobody has this password")
        reference = hashed or self._nobody

        def compare() -> bool:
            try:
                return self._hasher.verify(reference, password[:LONGEST])
            except (VerificationError, InvalidHashError):
                return False

        return self._in_turn(compare) and bool(hashed)

    def accept(self, password: str) -> None:
        """Raise Invalid for a password that the settings do not allow."""
        if not password:
            raise Invalid("The password may not be empty.", field="password")
        if len(password) > LONGEST:
            raise Invalid(f"The password may not be longer than {LONGEST} characters.", field="password")
        pattern = self._settings.password_regex
        if pattern and not re.match(pattern, password):
            why = self._settings.password_regex_description or "it does not have the form that this cloud asks for"
            raise Invalid(f"The password does not match the requirements: {why}.", field="password")

    def _in_turn(self, work: Callable[[], T]) -> T:
        if not self._room.acquire(timeout=20):
            raise Unavailable("Too many passwords are being checked at the moment; try again later.")
        try:
            return work()
        finally:
            self._room.release()
