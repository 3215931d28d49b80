"""Rights to single attributes, and what policy sees of a thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from pilvi.kernel.context import Context
from pilvi.kernel.http.shape import REQUIRED, Shape, fields
from pilvi.network.errors import PolicyNotAuthorized
from pilvi.network.policy import RULES


class Target(Mapping[str, object]):
    """What policy sees of a thing; what costs a query is looked up when a rule asks for it."""

    __slots__ = ("_known", "_lazy")

    def __init__(self, project_id: str, lazy: Mapping[str, Callable[[], object]] | None = None, **known: object) -> None:
        self._known: dict[str, object] = {"project_id": project_id, "tenant_id": project_id, **known}
        self._lazy = lazy or {}

    def __getitem__(self, key: str) -> object:
        if key not in self._known and key in self._lazy:
            self._known[key] = self._lazy[key]()
        return self._known[key]

    def __contains__(self, key: object) -> bool:
        return key in self._known or key in self._lazy

    def __iter__(self) -> Iterator[str]:
        return iter({**self._known, **self._lazy})

    def __len__(self) -> int:
        return len({**self._known, **self._lazy})

    def with_known(self, **known: object) -> Target:
        """The same with more."""
        other = Target("", self._lazy)
        other._known = {**self._known, **known}
        return other


def optimist(ctx: Context) -> Target:
    """The best that a thing could be to the caller: who may not even act on this may not act at all."""
    own = ctx.project_id
    return Target(own, **{"network:tenant_id": own, "ext_parent:tenant_id": own, "security_group:tenant_id": own, "shared": True})


class Attributes:
    """The attributes of one kind and action that have a rule of their own."""

    def __init__(self, rules: dict[str, str], parts: dict[str, dict[str, str]], shape: type[Shape] | None) -> None:
        self.rules, self.parts = rules, parts
        self.defaults: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        for field in fields(shape) if shape else ():
            self.names[field.wire] = field.name
            if field.factory is not None:
                self.defaults[field.wire] = field.factory()
            elif field.default not in (REQUIRED, msgspec.UNSET):
                self.defaults[field.wire] = field.default

    def __bool__(self) -> bool:
        return bool(self.rules or self.parts)

    @classmethod
    def of_reading(cls, one: str) -> Attributes:
        """Those that not everyone may see."""
        return cls(*_declared(f"get_{one}"), None)

    @classmethod
    def of_writing(cls, verb: str, one: str, shape: type[Shape]) -> Attributes:
        """Those that not everyone may set."""
        return cls(*_declared(f"{verb}_{one}"), shape)

    def refused(self, ctx: Context, target: Target) -> tuple[str, ...]:
        """The attributes that the caller may not see."""
        return tuple(name for name, rule in self.rules.items() if not ctx.allowed(rule, target))

    def check(self, ctx: Context, data: Mapping[str, Any], target: Target, row: Any = None) -> None:
        """Raise PolicyNotAuthorized for the first attribute that the caller may not set to what they sent.

        What says the same as the default (in an update: as the row) is not held to set it.
        """
        for name, value in data.items():
            if value is None and row is None and name not in self.defaults:
                continue
            rule = self.rules.get(name)
            if rule and not self._same(name, value, row) and not ctx.allowed(rule, target):
                raise PolicyNotAuthorized(rule)
            parts = self.parts.get(name)
            if parts:
                for item in value if isinstance(value, list) else [value]:
                    for part in item if isinstance(item, dict) else ():
                        if part in parts and not ctx.allowed(parts[part], target):
                            raise PolicyNotAuthorized(parts[part])

    def _same(self, name: str, value: Any, row: Any) -> bool:
        if row is not None:
            return False
        return name in self.defaults and self.defaults[name] == value


def _declared(action: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    rules: dict[str, str] = {}
    parts: dict[str, dict[str, str]] = {}
    for name in RULES:
        if not name.startswith(action + ":"):
            continue
        attribute = name.removeprefix(action + ":")
        parent = next((known for known in ("fixed_ips", "allowed_address_pairs", "external_gateway_info") if attribute.startswith(known + ":")), "")
        if parent:
            parts.setdefault(parent, {})[attribute.removeprefix(parent + ":")] = name
        else:
            rules[attribute] = name
    return rules, parts
