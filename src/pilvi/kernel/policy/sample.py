"""The sample policy.yaml: every declared rule, commented out, with what it guards."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import yaml

from pilvi.kernel.policy import Rule

_HEAD = """\
Rules that differ from the defaults below go here: remove the '#' in front of a rule and change its check.
Rules that stay commented out follow the defaults of the running version.
"""


def render(rules: Iterable[Rule]) -> str:
    """The text of the sample file; as it stands it changes nothing."""
    blocks = ["\n".join(_comment(line) for line in _HEAD.splitlines())]
    for rule in rules:
        lines = [_comment(line) for line in textwrap.wrap(" ".join(rule.description.split()), 100)]
        lines += [_comment(f"{route}") for route in rule.routes]
        if rule.scope_types:
            lines.append(_comment(f"Scopes: {', '.join(rule.scope_types)}"))
        lines.append(f"#{_quoted(rule.name)}: {_quoted(rule.check)}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _comment(line: str) -> str:
    return f"# {' '.join(line.split())}"


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style='"', width=10**9, allow_unicode=True).strip()
