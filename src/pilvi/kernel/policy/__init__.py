"""Policy: who may do what, by the rules that services declare and operators override."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pilvi.kernel.policy.credentials import Creds
from pilvi.kernel.policy.rules import Compiler, RuleText, Target, Verdict

__all__ = ["Creds", "Policies", "Policy", "Rule", "RuleText", "Target"]


class Rule(msgspec.Struct, frozen=True):
    """A right as a service declares it: its OpenStack name, the check, and what the sample file says of it.

    A rule with `scope_types` (system, domain, project) denies callers of other scopes, whatever its check says.
    """

    name: str
    check: str
    description: str = ""
    scope_types: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


class Policy:
    """The declared rules with the operator's overrides, compiled."""

    def __init__(self, defaults: Mapping[str, Rule], overrides: Mapping[str, RuleText] | None = None) -> None:
        """Raises Invalid, naming rule and position, when a text is no rule or rules refer to each other in a circle."""
        texts: dict[str, RuleText] = {name: rule.check for name, rule in defaults.items()}
        texts.update(overrides or {})
        compiler = Compiler(texts)
        self._verdicts: dict[str, tuple[Verdict, frozenset[str] | None]] = {}
        for name in texts:
            scopes = frozenset(defaults[name].scope_types) if name in defaults else frozenset()
            self._verdicts[name] = compiler.compile(name), scopes or None

    def allows(self, name: str, creds: Creds, target: Target) -> bool:
        """Whether the rule `name` lets the caller act on the target.  An unknown rule lets nobody."""
        found = self._verdicts.get(name)
        if found is None:
            return False
        verdict, scopes = found
        if scopes is not None and creds.scope not in scopes:
            return False
        return verdict(creds, target)


class Policies:
    """The policies of all services: each has its own names for what its rules share, as OpenStack's services do.

    A name that means different things in different services (`admin_or_owner`) is known within each of them only.
    """

    def __init__(self, services: Mapping[str, Mapping[str, Rule]], overrides: Mapping[str, RuleText] | None = None) -> None:
        """`overrides` change a rule wherever it is declared; new names in them may be used by all.  Raises Invalid."""
        given = overrides or {}
        declared = {name for rules in services.values() for name in rules}
        new = {name: text for name, text in given.items() if name not in declared}
        self._homes: dict[str, Policy | None] = {}
        checks: dict[str, str] = {}
        for rules in services.values():
            policy = Policy(rules, new | {name: text for name, text in given.items() if name in rules})
            for name, rule in rules.items():
                same = checks.setdefault(name, rule.check) == rule.check
                self._homes[name] = policy if same and self._homes.get(name, policy) is not None else None

    def allows(self, name: str, creds: Creds, target: Target) -> bool:
        """Whether the rule `name` lets the caller act on the target.  An unknown or ambiguous rule lets nobody."""
        policy = self._homes.get(name)
        return policy is not None and policy.allows(name, creds, target)
