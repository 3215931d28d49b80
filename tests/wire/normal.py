"""Outputs made alike: what differs from run to run is replaced by words that stay.

An id becomes what it names, once that is known (`<server kettle>`), else a number (`<id 3>`).  Moments, addresses of
network cards, fingerprints and random words have one fixed look each.  Tables get new widths afterwards.
"""

from __future__ import annotations

import re
from itertools import pairwise

_ID = re.compile(
    r"(?<![0-9a-f-])(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])", re.IGNORECASE
)
_ALWAYS = [
    (re.compile(r"\breq-[0-9a-f-]{36}"), "<request>"),
    (re.compile(r"\binstance-[0-9a-f]{8}\b"), "instance-0"),
    (re.compile(r"\br-[0-9a-z]{8}\b"), "<reservation>"),
    (re.compile(r"\b[0-9a-f]{56,128}\b"), "<digest>"),
    (re.compile(r"\b(?:[0-9a-f]{2}:){15}[0-9a-f]{2}\b"), "<fingerprint>"),
    (re.compile(r"\bfa:16:3e(?::[0-9a-f]{2}){3}\b"), "<mac>"),
    (re.compile(r"token%3D[\w-]+"), "token%3D<token>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:?00)?"), "<moment>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "<day>"),
]  # fmt: skip
_VERBS = {"create", "list", "show", "set", "add", "accept", "restore", "rebuild", "issue"}


class Normal:
    """Remembers which id is whose through one tour."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.names: dict[str, str] = {}
        self.numbers: dict[str, int] = {}

    def text(self, words: list[str], said: str) -> str:
        """What the command said, made alike."""
        kind = _kind(words)
        lines = said.replace("\r", "\n").splitlines()
        made: list[str] = []
        while lines:
            if lines[0].startswith("+-"):
                end = next((at for at, line in enumerate(lines) if not line.startswith(("+", "|"))), len(lines))
                made += self._table(kind, lines[:end])
                lines = lines[end:]
            else:
                line = self._plain(lines.pop(0)).rstrip()
                made += [line] if line else []
        return "".join(f"{line}\n" for line in made)

    def _table(self, kind: str, lines: list[str]) -> list[str]:
        rows = _cells(lines)
        self._learn(kind, rows)
        rows = [[self._plain(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        right = [_is_right(lines, column) for column in range(len(widths))]
        border = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
        made = []
        for row in rows:
            cells = [cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in zip(row, widths, right, strict=True)]
            made.append("| " + " | ".join(cells) + " |")
        return [border, made[0], border, *made[1:], *([border] if len(made) > 1 else [])]

    def _learn(self, kind: str, rows: list[list[str]]) -> None:
        """Which id bears which name."""
        head = [cell.lower() for cell in rows[0]]
        if head == ["field", "value"]:
            told = {row[0].lower(): row[1] for row in rows[1:]}
            self._call(told.get("id") or told.get("uuid") or "", kind, told.get("name", ""))
            return
        key = next((name for name in ("id", "uuid") if name in head), None)
        label = next((name for name in ("name", "hypervisor hostname", "interface", "agent type") if name in head), None)
        for row in rows[1:] if key else []:
            self._call(row[head.index(key or "")], kind, row[head.index(label)] if label else "")

    def _call(self, ident: str, kind: str, name: str) -> None:
        if _ID.fullmatch(ident) and _plain_id(ident) not in self.names:
            self.names[_plain_id(ident)] = f"<{kind} {name}>" if name and not _ID.fullmatch(name) else f"<{kind} {self._number(kind)}>"

    def _number(self, kind: str) -> int:
        self.numbers[kind] = self.numbers.get(kind, 0) + 1
        return self.numbers[kind]

    def _plain(self, text: str) -> str:
        text = text.replace(self.url, "http://127.0.0.1:8765")
        for pattern, word in _ALWAYS:
            text = pattern.sub(word, text)
        return _ID.sub(self._id, text)

    def _id(self, found: re.Match[str]) -> str:
        ident = _plain_id(found[0])
        if ident not in self.names:
            self.names[ident] = f"<id {self._number('id')}>"
        return self.names[ident]


def _plain_id(ident: str) -> str:
    return ident.replace("-", "").lower()


def _kind(words: list[str]) -> str:
    """What the command is about: `volume snapshot` of `openstack volume snapshot create ...`."""
    kind: list[str] = []
    for word in words[1:]:
        if word in _VERBS or word.startswith("-"):
            break
        kind.append(word)
    return " ".join(kind) or "id"


def _borders(lines: list[str]) -> list[int]:
    return [at for at, letter in enumerate(lines[0]) if letter == "+"]


def _cells(lines: list[str]) -> list[list[str]]:
    """The cells of a table, cut where its border says."""
    cuts = _borders(lines)
    return [[line[left + 1 : right].strip() for left, right in pairwise(cuts)] for line in lines if line.startswith("|")]


def _is_right(lines: list[str], column: int) -> bool:
    """Whether a column is flush right, as numbers are."""
    left, right = _borders(lines)[column : column + 2]
    cells = [line[left + 1 : right] for line in lines[3:] if line.startswith("|")]
    return any(cell.startswith("  ") and not cell.endswith("  ") and cell.strip() for cell in cells)
