"""Microversions: parsed, ordered, negotiated, and announced in answers."""

from __future__ import annotations

import re
from typing import NamedTuple

from pilvi.kernel.errors import Invalid, NotAcceptable

_FORM = re.compile(r"\A(\d+)\.(\d{1,4})\Z")


class Version(NamedTuple):
    """A microversion such as 2.90; ordered."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def version(text: str) -> Version:
    """The version that the text names; raises Invalid."""
    match = _FORM.match(text)
    if match is None:
        raise Invalid(f"API Version String '{text}' is of invalid format. It must be of format 'major.minor'.")
    return Version(int(match[1]), int(match[2]))


class Versions:
    """The microversions that one service speaks.

    `kind` is its name in `OpenStack-API-Version: kind 2.90`; `legacy` an older header of its own.
    """

    def __init__(self, kind: str, lowest: str, highest: str, *, legacy: str = "", aliases: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.lowest, self.highest = version(lowest), version(highest)
        self.legacy = legacy
        self.kinds = (kind, *aliases)

    def negotiate(self, headers: dict[str, str]) -> Version:
        """The version that a request asks for; raises Invalid or NotAcceptable."""
        asked = ""
        header = headers.get("openstack-api-version")
        if header:
            for part in header.split(","):
                words = part.split()
                if len(words) == 2 and words[0].lower() in self.kinds:
                    asked = words[1]
                elif self.kind == "placement" and (len(words) != 2):
                    raise Invalid(f"invalid version string: {part.strip()}")
        if not asked and self.legacy:
            asked = headers.get(self.legacy, "").strip()
        if not asked:
            return self.lowest
        if asked.lower() == "latest":
            return self.highest
        wanted = version(asked)
        if not self.lowest <= wanted <= self.highest:
            raise NotAcceptable(
                f"Version {wanted} is not supported by the API. Minimum is {self.lowest} and maximum is {self.highest}."
            )
        return wanted

    def headers(self, spoken: Version) -> list[tuple[str, str]]:
        """What an answer in that version says of itself."""
        told = [("OpenStack-API-Version", f"{self.kind} {spoken}"), ("Vary", "OpenStack-API-Version")]
        if self.legacy:
            told += [(self.legacy, str(spoken)), ("Vary", self.legacy)]
        return told
