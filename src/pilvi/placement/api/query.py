"""What callers ask for behind the question mark: resources, traits, aggregates and trees, in groups or for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Request
from pilvi.kernel.ids import is_uuid
from pilvi.placement import names
from pilvi.placement.api import schema, wire
from pilvi.placement.candidates import Group, Traits
from pilvi.placement.picture import Picture, Provider

_TEXT = {"type": "string"}
_FORM = "?resources=VCPU:2,MEMORY_MB:1024"


def _refuse(what: str) -> Invalid:
    return Invalid(f"Invalid query string parameters: {what}")


def resources(value: str) -> dict[str, int]:
    """VCPU:2,MEMORY_MB:1024 as amounts by class; raises Invalid."""
    found: dict[str, int] = {}
    for part in value.split(","):
        name, colon, amount = part.partition(":")
        if not colon:
            got = part if value else "empty string"
            raise Invalid(f"Badly formed resources parameter. Expected resources query string parameter in form: {_FORM}. Got: {got}.")
        try:
            found[name] = int(amount)
        except ValueError:
            raise Invalid(f"Requested resource {name} expected positive integer amount. Got: {amount}.") from None
        if found[name] < 1:
            raise Invalid(f"Requested resource {name} requires amount >= 1. Got: {amount}.")
    return found


def traits(values: Iterable[str], minor: int, key: str = "required") -> Traits:
    """T1,!T2 and in:T3,T4 as what is wanted; raises Invalid for a form that the version does not have."""
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        if value.startswith("in:"):
            if minor < 39 or key == "root_required":
                raise _refuse(f"The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only supported since microversion 1.39. Got: {value}")
            some = [part.strip() for part in value.removeprefix("in:").split(",")]
            if not all(some) or any(one.startswith("!") for one in some):
                raise _refuse(f"Expected '{key}' parameter value of the form: in:HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: {value}")
            required.append(frozenset(some))
            continue
        for one in (part.strip() for part in value.split(",")):
            if not one or one == "!" or (one.startswith("!") and minor < 22):
                form = "HW_CPU_X86_VMX,CUSTOM_MAGIC" if minor < 22 else "HW_CPU_X86_VMX,!CUSTOM_MAGIC"
                raise _refuse(f"Expected '{key}' parameter value of the form: {form}. Got: {value}")
            if one.startswith("!"):
                forbidden.add(one[1:])
            else:
                required.append(frozenset((one,)))
    return Traits(required=tuple(required), forbidden=frozenset(forbidden))


def require_traits(ctx: Context, wanted: Iterable[Traits]) -> None:
    """Raise Invalid for traits that do not exist."""
    named: set[str] = set()
    for one in wanted:
        named |= one.forbidden.union(*one.required)
    missing = names.unknown_traits(ctx.db, named)
    if missing:
        raise Invalid(f"No such trait(s): {', '.join(missing)}.")


def aggregates(values: list[str], minor: int) -> tuple[tuple[frozenset[str], ...], frozenset[str]]:
    """member_of parameters as the sets of which one each must be had, and those of which none; raises Invalid."""
    if len(values) > 1 and minor < 24:
        raise _refuse("Multiple member_of parameters are not supported in the specified microversion.")
    wanted: list[frozenset[str]] = []
    barred: set[str] = set()
    for value in values:
        against = value.startswith("!")
        if against and minor < 32:
            raise _refuse("Forbidden member_of parameters are not supported in the specified microversion.")
        text = value.removeprefix("!") if against else value
        several = text.startswith("in:")
        uuids = text.removeprefix("in:").split(",")
        if not several and len(uuids) > 1:
            raise _refuse("Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid microversion.")
        if not all(is_uuid(uuid) for uuid in uuids):
            raise _refuse(f"Expected 'member_of' parameter to contain valid UUID(s). Got: {value}")
        if against:
            barred.update(uuids)
        else:
            wanted.append(frozenset(uuids))
    return tuple(wanted), frozenset(barred)


# -- the list of providers -----------------------------------------------------------------------


@lru_cache(maxsize=64)
def _providers_schema(minor: int) -> schema.Schema:
    known = {"name": (_TEXT, 0), "uuid": ({"type": "string", "format": "uuid"}, 0), "member_of": (_TEXT, 3), "resources": (_TEXT, 4)}
    known |= {"in_tree": ({"type": "string", "format": "uuid"}, 14), "required": (_TEXT, 18)}
    return schema.obj({name: one for name, (one, since) in known.items() if minor >= since})


def provider_filter(ctx: Context, request: Request) -> Callable[[Picture], list[Provider]]:
    """The function that finds in a picture the providers that the query asks for; raises Invalid."""
    assert ctx.version is not None
    minor = ctx.version.minor
    asked = wire.asked(request, _providers_schema(minor))
    wanted = resources(asked["resources"]) if "resources" in asked else {}
    unknown = names.unknown_classes(ctx.db, wanted)
    if unknown:
        raise Invalid(f"Invalid resource class in resources parameter: No such resource class {', '.join(unknown)}.")
    placed, barred = aggregates([value for name, value in request.query if name == "member_of"], minor)
    given = [value for name, value in request.query if name == "required"]
    marked = traits(given if minor >= 39 else given[-1:], minor)
    require_traits(ctx, [marked])
    conflicting = marked.forbidden & frozenset().union(*(some for some in marked.required if len(some) == 1))
    if conflicting:
        raise Invalid(f"Conflicting required and forbidden traits found in required: {', '.join(sorted(conflicting))}")
    group = Group(resources=wanted, traits=marked, member_of=placed, not_member_of=barred)

    def find(picture: Picture) -> list[Provider]:
        within = picture.providers.get(asked["in_tree"]) if "in_tree" in asked else None
        if "uuid" in asked:
            one = picture.providers.get(asked["uuid"])
            pool: Iterable[Provider] = [one] if one is not None else []
        elif "in_tree" in asked:
            pool = picture.trees[within.root] if within is not None else []
        else:
            pool = picture.providers.values()
        return [one for one in pool if ("name" not in asked or one.name == asked["name"]) and _fits(group, one, asked.get("in_tree"), within)]

    return find


def _fits(group: Group, one: Provider, in_tree: str | None, within: Provider | None) -> bool:
    if in_tree is not None and (within is None or one.root != within.root):
        return False
    if not group.traits.fit(one.traits) or not group.is_placed(one) or group.is_barred(one):
        return False
    return all(name in one.stock and one.stock[name].has_room(amount) for name, amount in group.resources.items())
