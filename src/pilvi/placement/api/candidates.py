"""Allocation candidates: where what one needs could be allocated."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotAcceptable
from pilvi.kernel.http import Answer, Request, Resource
from pilvi.kernel.ids import is_uuid
from pilvi.placement import candidates, names, policy
from pilvi.placement import picture as pictures
from pilvi.placement.api import query, schema, wire
from pilvi.placement.candidates import Candidate, Group, Traits, Wish
from pilvi.placement.dialect import accepts_json
from pilvi.placement.errors import BadValue, DuplicateKey, MissingValue
from pilvi.placement.picture import Picture, Provider

resource = Resource("/allocation_candidates", since="1.10")

_TEXT = {"type": "string"}
_LIMIT = {"type": "string", "pattern": "^[1-9][0-9]*$", "maxLength": 9}
_encode = msgspec.json.encode


@lru_cache(maxsize=64)
def _schema(minor: int) -> schema.Schema:
    known: dict[str, Any] = {"resources": _TEXT}
    for name, kind, since in (("limit", _LIMIT, 16), ("required", _TEXT, 17), ("member_of", _TEXT, 21)):
        if minor >= since:
            known[name] = kind
    if minor < 25:
        return schema.obj(known, required=("resources",))
    suffix = "([a-zA-Z0-9_-]{1,64})?$" if minor >= 33 else "([1-9][0-9]*)?$"
    patterns = {f"^{name}{suffix}": _TEXT for name in ("resources", "required", "member_of", *(["in_tree"] if minor >= 31 else []))}
    others: dict[str, Any] = {"limit": _LIMIT, "group_policy": {"type": "string", "enum": ["none", "isolate"]}}
    if minor >= 35:
        others["root_required"] = _TEXT
    if minor >= 36:
        others["same_subtree"] = _TEXT
    return schema.obj(others, patterns=patterns)


def _wish(ctx: Context, request: Request) -> Wish:
    """What the query asks for; raises Invalid."""
    assert ctx.version is not None
    minor = ctx.version.minor
    asked = wire.asked(request, _schema(minor))
    given = _by_suffix(request, minor)
    suffixes = [suffix for suffix in given if suffix]
    if minor >= 36:
        if given and not any("resources" in one for one in given.values()):
            raise MissingValue("There must be at least one resources or resources[$S] parameter.")
        if "" in given:
            _refuse_orphans({"": given[""]})
    else:
        _refuse_orphans(given)
    if not given:
        raise Invalid("At least one request group (`resources` or `resources{$S}`) is required.")
    subtrees = _subtrees(request, given) if minor >= 36 else ()
    if len(suffixes) > 1 and "group_policy" not in asked:
        raise MissingValue('The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.')
    groups = tuple(_group(suffix, one, minor) for suffix, one in given.items())
    root = _root_traits(request) if "root_required" in asked else None
    _refuse_conflicts(groups)
    query.require_traits(ctx, [*(group.traits for group in groups), *([root] if root else [])])
    unknown = names.unknown_classes(ctx.db, {name for group in groups for name in group.resources})
    if unknown:
        raise Invalid(f"Invalid resource class in resources parameter: No such resource class {', '.join(unknown)}.")
    limit = _first(request, "limit")
    return Wish(
        groups=groups, isolate=_first(request, "group_policy") == "isolate", root=root, subtrees=subtrees, nested=minor >= 29,
        limit=int(limit) if limit else None,
    )  # fmt: skip


def _first(request: Request, wanted: str) -> str | None:
    """The first of several parameters of that name."""
    return next((value for name, value in request.query if name == wanted), None)


def _by_suffix(request: Request, minor: int) -> dict[str, dict[str, list[str]]]:
    """suffix -> name -> values."""
    form = _form(minor)
    found: dict[str, dict[str, list[str]]] = {}
    for key, value in request.query:
        match = form.match(key)
        if match is not None:
            found.setdefault(match[2] or "", {}).setdefault(match[1], []).append(value)
    return found


@lru_cache(maxsize=4)
def _form(minor: int) -> re.Pattern[str]:
    return re.compile(r"\A(resources|required|member_of|in_tree)" + (r"([a-zA-Z0-9_-]{1,64})?\Z" if minor >= 33 else r"([1-9][0-9]*)?\Z"))


def _refuse_orphans(given: dict[str, dict[str, list[str]]]) -> None:
    """Raise Invalid for conditions on resources that are not asked for."""
    for name, what in (("required", "traits"), ("member_of", "member_of")):
        orphans = sorted(name + suffix for suffix, one in given.items() if name in one and "resources" not in one)
        if orphans:
            raise Invalid(
                f"All {what} parameters must be associated with resources. Found the following orphaned {what} keys: {', '.join(orphans)}"
            )
    if any("resources" not in one for one in given.values()):
        raise Invalid("All request groups must specify resources.")


def _group(suffix: str, given: dict[str, list[str]], minor: int) -> Group:
    wanted = query.resources(given["resources"][-1]) if "resources" in given else {}
    required = given.get("required", [])
    placed, barred = query.aggregates(given.get("member_of", []), minor)
    tree = given.get("in_tree", [None])[-1]
    if tree is not None and not is_uuid(tree):
        raise Invalid(f"Expected 'in_tree' parameter to be a format of uuid. Got: {tree[:100]}")
    return Group(
        suffix=suffix, resources=wanted, traits=query.traits(required if minor >= 39 else required[-1:], minor), member_of=placed,
        not_member_of=barred, in_tree=tree,
    )  # fmt: skip


def _conflicts(traits: Traits) -> list[str]:
    """Traits that are both required and forbidden."""
    return sorted({name for some in traits.required if some <= traits.forbidden for name in some})


def _refuse_conflicts(groups: tuple[Group, ...]) -> None:
    told = [f"required{group.suffix}: ({', '.join(found)})" for group in groups if (found := _conflicts(group.traits))]
    if told:
        raise Invalid(f"Conflicting required and forbidden traits found in the following traits keys: {', '.join(told)}")


def _root_traits(request: Request) -> Traits:
    values = [value for name, value in request.query if name == "root_required"]
    if len(values) > 1:
        raise DuplicateKey("Query parameter 'root_required' may be specified only once.")
    found = query.traits(values, 39, "root_required")
    conflicting = _conflicts(found)
    if conflicting:
        raise BadValue(f"Conflicting required and forbidden traits found in root_required: {', '.join(conflicting)}")
    return found


def _subtrees(request: Request, given: dict[str, dict[str, list[str]]]) -> tuple[frozenset[str], ...]:
    found = tuple(frozenset(part.strip() for part in value.split(",")) for name, value in request.query if name == "same_subtree")
    named = frozenset().union(*found)
    if "" in named:
        raise BadValue("Empty string (unsuffixed group) can not be specified in `same_subtree`.")
    strange = sorted(named - set(given))
    if strange:
        raise BadValue(f"Real suffixes should be specified in `same_subtree`: {', '.join(strange)} are not in the request.")
    bare = sorted(suffix for suffix, one in given.items() if suffix and "resources" not in one and suffix not in named)
    if bare:
        raise BadValue(f"Resourceless suffixed group request should be specified in `same_subtree` query param: bad group(s) - {', '.join(bare)}.")
    return found


@resource.get("", rule=policy.CANDIDATES_LIST)
def index(ctx: Context, request: Request) -> Answer:
    """List combinations of providers that could serve the request, and what those providers have."""
    assert ctx.version is not None
    if not accepts_json(request):
        raise NotAcceptable("Only application/json is provided")
    wish = _wish(ctx, request)
    picture = pictures.look(ctx.db)
    shuffled = ctx.program.settings.placement.randomize_candidates
    found = candidates.find(picture, msgspec.structs.replace(wish, limit=None) if shuffled else wish)
    if shuffled:
        random.shuffle(found)
        found = found[: wish.limit]
    minor = ctx.version.minor
    requests = b",".join(_requests(found, picture, minor))
    summaries = b",".join(_summaries(found, picture, wish, minor))
    return wire.tell(ctx, request, b'{"allocation_requests":[%s],"provider_summaries":{%s}}' % (requests, summaries))


def _requests(found: list[Candidate], picture: Picture, minor: int) -> list[bytes]:
    """The candidates as JSON."""
    if minor < 12:
        return [
            _encode({"allocations": [{"resource_provider": {"uuid": uuid}, "resources": amounts} for uuid, amounts in one.amounts.items()]})
            for one in found
        ]
    told: list[bytes] = []
    same: dict[int, bytes] = {}
    mapped = minor >= 34
    for one in found:
        if len(one.amounts) == 1 and len(one.mappings) == 1:
            ((uuid, amounts),) = one.amounts.items()
            resources = same.get(id(amounts)) or same.setdefault(id(amounts), _encode(amounts))
            key = picture.providers[uuid].key
            tail = b'},"mappings":{%s:[%s]}}' % (_encode(next(iter(one.mappings))), key) if mapped else b"}}"
            told.append(b'{"allocations":{%s:{"resources":%s}%s' % (key, resources, tail))
            continue
        view: dict[str, Any] = {"allocations": {uuid: {"resources": amounts} for uuid, amounts in one.amounts.items()}}
        if mapped:
            view["mappings"] = one.mappings
        told.append(_encode(view))
    return told


def _summaries(found: list[Candidate], picture: Picture, wish: Wish, minor: int) -> list[bytes]:
    """What the providers of the candidates' trees have, as JSON."""
    used: dict[str, None] = {uuid: None for one in found for uuid in one.amounts}
    if minor >= 29 and not picture.flat:
        roots = {picture.providers[uuid].root for uuid in used} | {one.anchor for one in found}
        used = {one.uuid: None for root in roots for one in picture.trees[root]}
    asked = None if minor >= 27 else frozenset(name for group in wish.groups for name in group.resources)
    render = _renderer(minor, asked)
    return [render(picture.providers[uuid]) for uuid in used]


def _renderer(minor: int, asked: frozenset[str] | None) -> Callable[[Provider], bytes]:
    """The function that writes a provider's summary, kept with the provider where it does not depend on the request."""
    form = f"summary {minor >= 17} {minor >= 29}"

    def render(provider: Provider) -> bytes:
        known = provider.kept.get(form) if asked is None else None
        if known is None:
            known = provider.key + b":" + _encode(_summary(provider, minor, asked))
            if asked is None:
                provider.kept[form] = known
        return known

    return render


def _summary(provider: Provider, minor: int, asked: frozenset[str] | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "resources": {
            name: {"capacity": stock.capacity, "used": stock.used}
            for name, stock in provider.stock.items()
            if asked is None or name in asked
        }
    }
    if minor >= 17:
        told["traits"] = names.traits_in_order(provider.traits)
    if minor >= 29:
        told["parent_provider_uuid"], told["root_provider_uuid"] = provider.parent, provider.root
    return told
