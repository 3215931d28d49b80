"""Allocation candidates: where, and in which combinations of providers, what is asked for could be had.

A candidate is anchored at one tree: each of its providers is in that tree, or shares with it through an aggregate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import msgspec

from pilvi.placement.picture import Picture, Provider


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """Which traits are wanted: one of each set of `required`, none of `forbidden`."""

    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()

    def fit(self, traits: frozenset[str]) -> bool:
        """Whether something with these traits will do."""
        return not traits & self.forbidden and all(traits & some for some in self.required)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for under one suffix.  With a suffix, all of it comes from one provider."""

    suffix: str = ""
    resources: dict[str, int] = {}
    traits: Traits = Traits()
    member_of: tuple[frozenset[str], ...] = ()
    not_member_of: frozenset[str] = frozenset()
    in_tree: str | None = None

    def is_placed(self, provider: Provider) -> bool:
        """Whether the provider is in the wanted aggregates."""
        return all(provider.aggregates & some for some in self.member_of)

    def is_barred(self, provider: Provider) -> bool:
        """Whether the provider is in a forbidden aggregate."""
        return bool(provider.aggregates & self.not_member_of)


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request for candidates."""

    groups: tuple[Group, ...]
    isolate: bool = False
    root: Traits | None = None
    subtrees: tuple[frozenset[str], ...] = ()
    nested: bool = True  # candidates may take from several providers of one tree
    limit: int | None = None


class Candidate(msgspec.Struct, frozen=True, eq=False):
    """One way to have it all: provider -> class -> amount, and which providers serve which group."""

    anchor: str
    amounts: dict[str, dict[str, int]]
    mappings: dict[str, list[str]]


class _Part(msgspec.Struct, frozen=True, eq=False):
    """One way to satisfy one group: what is taken from whom."""

    suffix: str
    takes: tuple[tuple[Provider, str, int], ...]
    providers: tuple[Provider, ...]


def find(picture: Picture, wish: Wish) -> list[Candidate]:
    """The candidates, at most `wish.limit`."""
    if len(wish.groups) == 1 and not wish.groups[0].suffix and wish.root is None and not wish.subtrees:
        group = wish.groups[0]
        if picture.flat and not picture.sharing and not group.in_tree:
            return _alone(picture, group, wish.limit)
    parts = [_parts(picture, group, wish) for group in wish.groups]
    found: dict[object, Candidate] = {}
    anchors = [root for root in parts[0] if all(root in other for other in parts[1:])] if parts else []
    for anchor in anchors:
        if wish.root is not None and not wish.root.fit(picture.providers[anchor].traits):
            continue
        for chosen in product(*(part[anchor] for part in parts)):
            candidate = _merged(picture, anchor, chosen, wish)
            if candidate is None:
                continue
            found.setdefault(_key(candidate), candidate)
            if wish.limit is not None and len(found) >= wish.limit:
                return list(found.values())
    return list(found.values())


def _alone(picture: Picture, group: Group, limit: int | None) -> list[Candidate]:
    """The short road: trees of one provider each, none that shares, one group without suffix."""
    found: list[Candidate] = []
    suffix, resources = group.suffix, group.resources
    wanted = list(resources.items())
    plain = not (group.traits.required or group.traits.forbidden or group.member_of or group.not_member_of)
    for uuid, provider in picture.providers.items():
        stocks = provider.stock
        for name, amount in wanted:
            stock = stocks.get(name)
            if stock is None or amount > stock.free or not stock.has_room(amount):
                break
        else:
            if plain or (group.traits.fit(provider.traits) and group.is_placed(provider) and not group.is_barred(provider)):
                found.append(Candidate(uuid, {uuid: resources}, {suffix: [uuid]}))
                if limit is not None and len(found) >= limit:
                    break
    return found


def _parts(picture: Picture, group: Group, wish: Wish) -> dict[str, list[_Part]]:
    """The ways to satisfy one group, by the root of the tree that they are anchored at."""
    found: dict[str, list[_Part]] = {}
    within: str | None = None
    if group.in_tree is not None:
        provider = picture.providers.get(group.in_tree)
        if provider is None:
            return found
        within = provider.root
    if group.suffix:
        _parts_of_one(picture, group, within, found)
    else:
        for root in picture.trees if within is None else [within]:
            parts = list(_parts_of_tree(picture, group, root, shared=within is None))
            if parts:
                found[root] = parts
    return found


def _parts_of_one(picture: Picture, group: Group, within: str | None, found: dict[str, list[_Part]]) -> None:
    """Ways in which one provider serves the whole group; one that shares serves other trees as well."""
    served: dict[str, list[str]] = {}
    if picture.sharing:
        for root in picture.trees:
            for one in picture.shared_with(root):
                served.setdefault(one.uuid, []).append(root)
    for provider in picture.providers.values() if within is None else picture.trees.get(within, ()):
        if not group.traits.fit(provider.traits) or not group.is_placed(provider) or group.is_barred(provider):
            continue
        if not all(name in provider.stock and provider.stock[name].has_room(amount) for name, amount in group.resources.items()):
            continue
        part = _Part(group.suffix, tuple((provider, name, amount) for name, amount in group.resources.items()), (provider,))
        for root in (provider.root, *served.get(provider.uuid, ())):
            found.setdefault(root, []).append(part)


def _parts_of_tree(picture: Picture, group: Group, root: str, *, shared: bool) -> Iterator[_Part]:
    """Ways in which providers of one tree, and those that share with it, serve the group together."""
    around = [*picture.trees[root], *(picture.shared_with(root) if shared else ())]
    choices: list[list[tuple[Provider, str, int]]] = []
    for name, amount in group.resources.items():
        able = [
            (one, name, amount)
            for one in around
            if name in one.stock
            and one.stock[name].has_room(amount)
            and _is_allowed(group, one, picture.providers[one.root])
            and not one.traits & group.traits.forbidden
        ]
        if not able:
            return
        choices.append(able)
    for takes in product(*choices):
        providers = tuple({take[0].uuid: take[0] for take in takes}.values())
        if group.traits.fit(frozenset().union(*(one.traits for one in providers))):
            yield _Part(group.suffix, takes, providers)


def _is_allowed(group: Group, provider: Provider, top: Provider) -> bool:
    """Whether the aggregates are right: the root's count for its whole tree."""
    if group.not_member_of and (group.is_barred(provider) or group.is_barred(top)):
        return False
    return not group.member_of or group.is_placed(provider) or group.is_placed(top)


def _merged(picture: Picture, anchor: str, chosen: tuple[_Part, ...], wish: Wish) -> Candidate | None:
    """The parts as one candidate; None when they do not go together."""
    if wish.isolate:
        alone = [part.providers[0].uuid for part in chosen if part.suffix]
        if len(set(alone)) < len(alone):
            return None
    mappings = {part.suffix: [one.uuid for one in part.providers] for part in chosen}
    if not all(_is_one_subtree(picture, {uuid for suffix in suffixes for uuid in mappings[suffix]}) for suffixes in wish.subtrees):
        return None
    amounts: dict[str, dict[str, int]] = {}
    for part in chosen:
        for provider, name, amount in part.takes:
            resources = amounts.setdefault(provider.uuid, {})
            total = resources.get(name, 0) + amount
            stock = provider.stock[name]
            if total != amount and (total > stock.free or total > stock.max_unit):
                return None
            resources[name] = total
    if not wish.nested and not picture.flat and _is_nested(picture, amounts):
        return None
    return Candidate(anchor, amounts, mappings)


def _is_one_subtree(picture: Picture, uuids: set[str]) -> bool:
    """Whether one of the providers is above all others."""
    return any(all(picture.is_below(uuid, top) for uuid in uuids) for top in uuids)


def _is_nested(picture: Picture, amounts: Mapping[str, object]) -> bool:
    """Whether several of the providers are of one tree."""
    roots = [picture.providers[uuid].root for uuid in amounts]
    return len(set(roots)) < len(roots)


def _key(candidate: Candidate) -> object:
    """What makes two candidates the same, whatever their anchors."""
    takes = frozenset((uuid, name, amount) for uuid, resources in candidate.amounts.items() for name, amount in resources.items())
    return takes, frozenset((suffix, frozenset(uuids)) for suffix, uuids in candidate.mappings.items())


__all__ = ["Candidate", "Group", "Traits", "Wish", "find"]
