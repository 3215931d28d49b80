"""The tour of docs/tour.md as a program: reads its commands, runs them, and compares or rewrites what stands below them.

A fenced block `console` holds a prompt `$ ` with a command (a `\\` at the end of a line continues it) and below it the output.
Understood are commands of the client, `NAME=$(openstack ...)`, `$NAME`, `export NAME=VALUE ...`,
`eval "$(./pilvi openrc)"` and `truncate`.  A command that ends badly on purpose is followed by the line `(exit code N)`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tests.wire.normal import Normal
from tests.wire.process import ROOT, RealCloud
from tests.wire.stock_client import StockClient

TOUR = ROOT / "docs" / "tour.md"
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


class Step(msgspec.Struct):
    """One command of the tour."""

    prompt: str  # as it stands in the text, continued lines and all, without "$ "
    output: str  # what stands below it

    @property
    def command(self) -> str:
        return self.prompt.replace("\\\n", " ")

    @property
    def text(self) -> str:
        return f"$ {self.prompt}\n{self.output}"


def steps_of(block: str) -> list[Step]:
    """The commands of one block."""
    steps: list[Step] = []
    open_prompt = False
    for line in block.splitlines():
        if open_prompt:
            steps[-1].prompt += "\n" + line
        elif line.startswith("$ "):
            steps.append(Step(line.removeprefix("$ "), ""))
        else:
            assert steps, f"a block must begin with a command, not with {line!r}"
            steps[-1].output += line + "\n"
        open_prompt = line.endswith("\\") and (open_prompt or line.startswith("$ "))
    return steps


def steps(text: str) -> list[Step]:
    """All commands of the tour, in order."""
    return [step for block in _BLOCK.findall(text) for step in steps_of(block)]


def rewritten(text: str, run: Callable[[Step], str]) -> str:
    """The tour with every output made anew."""

    def block(found: re.Match[str]) -> str:
        return "".join(Step(step.prompt, run(step)).text for step in steps_of(found[0]))

    return _BLOCK.sub(block, text)


class Guide:
    """Leads through the tour on one fresh cloud."""

    def __init__(self, cloud: RealCloud, folder: Path) -> None:
        self.cloud = cloud
        self.folder = folder
        self.normal = Normal(cloud.url)
        self.variables: dict[str, str] = {}
        self.exported: dict[str, str] = {}
        self.client = StockClient(cloud.environment, folder)

    def __enter__(self) -> Guide:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def run(self, step: Step) -> str:
        """Run one command; answers its normalised output."""
        command = step.command
        if command == 'eval "$(./pilvi openrc)"':
            self._export(shlex.split(self.cloud.say("openrc").stdout.replace("export ", "")))
            return ""
        if found := re.fullmatch(r"(\w+)=\$\((.*)\)", command):
            code, said = self._client(self._words(found[2]))
            assert code == 0, f"{command}: {said}"
            self.variables[found[1]] = said.strip()
            return ""
        words = self._words(command)
        if words[0] == "export":
            self._export(words[1:])
            return ""
        if words[0] == "truncate":
            subprocess.run(words, cwd=self.folder, check=True)
            return ""
        code, said = self._client(words)
        return self.normal.text(words, said) + (f"(exit code {code})\n" if code else "")

    def _client(self, words: list[str]) -> tuple[int, str]:
        """A command of the client; people are slower than the cloud, so it has done what it was asked for before."""
        assert words[0] == "openstack", f"the tour does not know how to run {words[0]}"
        self.cloud.settle()
        return self.client.run(*words[1:], environment=self.exported)

    def _export(self, pairs: list[str]) -> None:
        for pair in pairs:
            name, _, value = pair.partition("=")
            self.exported[name] = value

    def _words(self, command: str) -> list[str]:
        return [re.sub(r"\$(\w+)", lambda found: self.variables[found[1]], word) for word in shlex.split(command)]


def lead(folder: Path, text: str) -> Iterator[tuple[Step, str]]:
    """The whole tour on a fresh cloud: each command with its output of now."""
    work = folder / "work"
    work.mkdir()
    with RealCloud(folder / "state", PILVI_NETWORK__OUTSIDE="false") as cloud, Guide(cloud, work) as guide:
        for step in steps(text):
            yield step, guide.run(step)
