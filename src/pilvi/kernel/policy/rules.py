"""The compiler of the policy language: a rule's text becomes one plain function of credentials and target.

    role:NAME                     the caller has the role; names are compared without regard to case
    rule:NAME                     what another rule says; an unknown one says no
    FIELD:VALUE                   a field of the credentials equals the value
    LITERAL:VALUE                 a Python literal ('text', True, None, 5) equals the value
    @   !   (empty)               always, never, always
    not  and  or  ( )             in the usual order of binding; `and` before `or`

A VALUE may hold `%(key)s`, replaced from the target; a check whose key is missing says no.  A dotted key is looked
up as it stands, then as a path through nested mappings.  The older form, a list (or) of lists (and) of checks, is
read as well.  Verdicts are those of oslo.policy; a text that it would silently read as "no" is refused here.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from pilvi.kernel.errors import Invalid
from pilvi.kernel.policy.credentials import Creds

RuleText = str | Sequence[str | Sequence[str]]
Target = Mapping[str, object]
Verdict = Callable[[Creds, Target], bool]
Value = Callable[[Target], "str | None"]

DEEPEST = 60
_SUBSTITUTION = re.compile(r"%(?:\((?P<key>[^()%]+)\)s|(?P<percent>%))?")
# how services' older rules name fields of the credentials
_ALIASES = {"tenant": "project_id", "tenant_id": "project_id", "user": "user_id", "domain": "domain_id", "system": "system_scope"}
_FIELDS = frozenset(Creds.__struct_fields__) - {"folded_roles"}


def always(creds: Creds, target: Target) -> bool:
    """The rule that says yes."""
    return True


def never(creds: Creds, target: Target) -> bool:
    """The rule that says no."""
    return False


class Compiler:
    """Compiles a set of rules; `rule:` references are linked as they are met, each rule once."""

    def __init__(self, texts: Mapping[str, RuleText]) -> None:
        self._texts = texts
        self._done: dict[str, Verdict] = {}
        self._underway: list[str] = []

    def compile(self, name: str) -> Verdict:
        """The function of one rule.  Raises Invalid, naming rule and position, for a text that is no rule."""
        if name in self._done:
            return self._done[name]
        if name not in self._texts:
            return never
        if name in self._underway:
            circle = " -> ".join([*self._underway[self._underway.index(name) :], name])
            raise Invalid(f"Policy rules refer to each other in a circle: {circle}.", field=name)
        if len(self._underway) >= DEEPEST:
            raise Invalid(f"Policy rule '{name}' is reached through more than {DEEPEST} references.", field=name)
        self._underway.append(name)
        try:
            text = self._texts[name]
            verdict = _Parser(self, name, text).parse() if isinstance(text, str) else self._lists(name, text)
        finally:
            self._underway.pop()
        self._done[name] = verdict
        return verdict

    def _lists(self, name: str, lists: object) -> Verdict:
        """The older form: an outer list joined by `or`, of strings or lists joined by `and`."""
        if not isinstance(lists, (list, tuple)):
            raise Invalid(f"Policy rule '{name}' must be a string or a list of lists.", field=name)
        if not lists:
            return always
        either: list[Verdict] = []
        for index, inner in enumerate(lists):
            checks = [inner] if isinstance(inner, str) else inner
            if not isinstance(checks, (list, tuple)) or not all(isinstance(check, str) for check in checks):
                raise Invalid(f"Policy rule '{name}', entry {index + 1}: expected a check or a list of checks.", field=name)
            if checks and inner != "":
                either.append(all_of([self.check(name, check, f"entry {index + 1}") for check in checks]))
        return any_of(either) if either else never

    def check(self, name: str, text: str, where: str) -> Verdict:
        """One check, `kind:value`, of the rule `name`."""
        if text == "@":
            return always
        if text == "!":
            return never
        kind, colon, value = text.partition(":")
        if not colon:
            _refuse(name, where, f"'{text}' is not a check; write it as kind:value")
        if kind == "rule":
            return self.compile(value)
        if kind in ("http", "https"):
            _refuse(name, where, f"checks by a remote server ({kind}:) are not supported")
        template = _template(name, where, value)
        if kind == "role":
            return _role(template)
        if kind.isidentifier() and not keyword.iskeyword(kind):  # most are; Python's parser is slow for so little
            return _field(kind, template)
        try:
            literal = str(ast.literal_eval(kind))
        except ValueError:
            return _field(kind, template)
        except (SyntaxError, RecursionError, MemoryError):
            _refuse(name, where, f"'{kind}' is neither a field of the credentials nor a literal")
        if isinstance(template, str):
            return always if template == literal else never
        return lambda creds, target: template(target) == literal


def _refuse(name: str, where: str, why: str) -> NoReturn:
    raise Invalid(f"Policy rule '{name}', {where}: {why}.", field=name)


# -- from text to checks ---------------------------------------------------------------------------


class _Parser:
    """Recursive descent over the words of one rule: either := both {or both}; both := one {and one}."""

    def __init__(self, compiler: Compiler, name: str, text: str) -> None:
        self._compiler, self._name = compiler, name
        self._words = list(_words(text))
        self._at = 0
        self._depth = 0
        self._end = len(text) + 1

    def parse(self) -> Verdict:
        if not self._words:
            return always
        verdict = self._either()
        if self._at < len(self._words):
            word, position = self._words[self._at]
            self._refuse(position, f"'{word}' is out of place; expected 'and', 'or' or the end")
        return verdict

    def _either(self) -> Verdict:
        verdicts = [self._both()]
        while self._next_is("or"):
            verdicts.append(self._both())
        return any_of(verdicts)

    def _both(self) -> Verdict:
        verdicts = [self._one()]
        while self._next_is("and"):
            verdicts.append(self._one())
        return all_of(verdicts)

    def _one(self) -> Verdict:
        word, position = self._words[self._at] if self._at < len(self._words) else ("", self._end)
        self._at += 1
        self._depth += 1
        if self._depth > DEEPEST:
            self._refuse(position, f"more than {DEEPEST} levels of 'not' and parentheses")
        if word.lower() == "not":
            verdict = _negation(self._one())
        elif word == "(":
            verdict = self._either()
            if not self._next_is(")"):
                self._refuse(position, "this '(' is never closed")
        elif not word or word == ")" or word.lower() in ("and", "or"):
            self._refuse(position, f"expected a check, found {repr(word) if word else 'the end'}")
        else:
            verdict = self._compiler.check(self._name, word, f"character {position}")
        self._depth -= 1
        return verdict

    def _next_is(self, wanted: str) -> bool:
        found = self._at < len(self._words) and self._words[self._at][0].lower() == wanted
        self._at += found
        return found

    def _refuse(self, position: int, why: str) -> NoReturn:
        _refuse(self._name, f"character {position}", why)


def _words(text: str) -> list[tuple[str, int]]:
    """The words of a rule with their positions from 1; parentheses at a word's ends are words of their own."""
    words: list[tuple[str, int]] = []
    for found in re.finditer(r"\S+", text):
        word, position = found.group(), found.start() + 1
        opened = word.lstrip("(")
        words += [("(", position + i) for i in range(len(word) - len(opened))]
        position += len(word) - len(opened)
        core = opened.rstrip(")")
        if core:
            words.append((core, position))
        words += [(")", position + len(core) + i) for i in range(len(opened) - len(core))]
    return words


# -- values and fields -----------------------------------------------------------------------------


def _template(name: str, where: str, text: str) -> str | Value:
    """The value of a check: a constant, or a function of the target that answers None when a key is missing."""
    parts: list[tuple[str, str]] = []  # (text before, key)
    before, end = "", 0
    for found in _SUBSTITUTION.finditer(text):
        before += text[end : found.start()]
        end = found.end()
        if found["percent"]:
            before += "%"
        elif found["key"]:
            parts.append((before, found["key"]))
            before = ""
        else:
            _refuse(name, where, f"'{text}' has a '%' that is neither %(key)s nor %%")
    after = before + text[end:]
    if not parts:
        return after
    if len(parts) == 1 and not parts[0][0] and not after:
        return _lookup(parts[0][1])
    lookups = [(before, _lookup(key)) for before, key in parts]

    def joined(target: Target) -> str | None:
        out: list[str] = []
        for before, lookup in lookups:
            value = lookup(target)
            if value is None:
                return None
            out += before, value
        return "".join(out) + after

    return joined


def _lookup(key: str) -> Value:
    """A function that finds `key` in the target, as text; None when it is not there."""
    path = key.split(".")

    def plain(target: Target) -> str | None:
        if key in target:
            return str(target[key])
        return None

    def nested(target: Target) -> str | None:
        if key in target:
            return str(target[key])
        value: object = target
        for step in path:
            if not isinstance(value, Mapping) or step not in value:
                return None
            value = value[step]
        return str(value)

    return nested if len(path) > 1 else plain


def _role(template: str | Value) -> Verdict:
    if isinstance(template, str):
        wanted = template.lower()
        return lambda creds, target: wanted in creds.folded_roles

    def check(creds: Creds, target: Target) -> bool:
        wanted = template(target)
        return wanted is not None and wanted.lower() in creds.folded_roles

    return check


def _field(kind: str, template: str | Value) -> Verdict:
    """A field of the credentials equals the value; of a field that is a set, any member does."""
    field = _ALIASES.get(kind, kind)
    if field not in _FIELDS:
        return never
    constant = template if isinstance(template, str) else None
    value = template if callable(template) else None

    if field in ("roles", "service_roles"):

        def among(creds: Creds, target: Target) -> bool:
            wanted = constant if value is None else value(target)
            return wanted in getattr(creds, field)

        return among

    def equal(creds: Creds, target: Target) -> bool:
        wanted = constant if value is None else value(target)
        if wanted is None:
            return False
        held = getattr(creds, field)
        return wanted == held if type(held) is str else wanted == str(held)

    if kind == "system":
        return lambda creds, target: bool(creds.system_scope) and equal(creds, target)
    return equal


# -- joining ---------------------------------------------------------------------------------------


def _negation(verdict: Verdict) -> Verdict:
    if verdict is always:
        return never
    if verdict is never:
        return always
    return lambda creds, target: not verdict(creds, target)


def any_of(verdicts: list[Verdict]) -> Verdict:
    """Yes when any of them says yes."""
    if always in verdicts:
        return always
    verdicts = [verdict for verdict in verdicts if verdict is not never]
    if not verdicts:
        return never
    if len(verdicts) == 1:
        return verdicts[0]
    if len(verdicts) == 2:
        first, second = verdicts
        return lambda creds, target: first(creds, target) or second(creds, target)

    def check(creds: Creds, target: Target) -> bool:
        for verdict in verdicts:
            if verdict(creds, target):
                return True
        return False

    return check


def all_of(verdicts: list[Verdict]) -> Verdict:
    """Yes when all of them say yes."""
    if never in verdicts:
        return never
    verdicts = [verdict for verdict in verdicts if verdict is not always]
    if not verdicts:
        return always
    if len(verdicts) == 1:
        return verdicts[0]
    if len(verdicts) == 2:
        first, second = verdicts
        return lambda creds, target: first(creds, target) and second(creds, target)

    def check(creds: Creds, target: Target) -> bool:
        for verdict in verdicts:
            if not verdict(creds, target):
                return False
        return True

    return check
