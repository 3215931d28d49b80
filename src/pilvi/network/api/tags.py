"""Tags in HTTP: the same routes for all things that can be tagged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from pilvi.kernel.context import Context
from pilvi.kernel.http.request import Answer
from pilvi.kernel.http.resource import Resource
from pilvi.network.api.collection import Collection, answer, as_object
from pilvi.network.api.shapes import Tag
from pilvi.network.errors import BadRequest, TagNotFound
from pilvi.network.operations import records
from pilvi.network.policy import rule

MOST = 50  # tags of one thing


def _checked(wanted: Any) -> list[str]:
    if not isinstance(wanted, list):
        raise BadRequest("Invalid input for tags: a list is expected.", field="tags")
    try:
        tags = msgspec.convert(wanted, list[Tag])
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid input for tags. Reason: {error}.", field="tags") from None
    if len(set(tags)) > MOST:
        raise BadRequest(f"Invalid input for tags. Reason: a thing has at most {MOST} tags.", field="tags")
    return sorted(set(tags))


def resource_of(collection: Collection[Any]) -> Resource:
    """The tag routes of a collection's things."""
    tags = Resource(f"{collection.resource.path}/{{ref}}/tags", tag="tags")
    many = collection.many
    read, make, change, drop = (rule(f"{verb}_{many}_tags") for verb in ("get", "create", "update", "delete"))

    def write(ctx: Context, ref: str, action: str, new: Callable[[list[str]], list[str]]) -> list[str]:
        row = collection.find(ctx, ref, action)
        wanted = new(row.tags)
        if wanted != row.tags:
            records.change(ctx.db, row, tags=wanted)
        return row.tags

    @tags.get("", rule=read, precheck=False)
    def index(ctx: Context, ref: str) -> Answer:
        """List the tags."""
        return answer({"tags": collection.find(ctx, ref, read.name).tags})

    @tags.put("", rule=change, precheck=False)
    def replace(ctx: Context, ref: str, body: Any) -> Answer:
        """Have exactly these tags."""
        wanted = _checked(as_object(body, "tags").get("tags"))
        return answer({"tags": write(ctx, ref, change.name, lambda held: wanted)})

    @tags.post("", rule=make, precheck=False)
    def add_several(ctx: Context, ref: str, body: Any) -> Answer:
        """Have these tags as well."""
        wanted = _checked(as_object(body, "tags").get("tags"))
        return answer({"tags": write(ctx, ref, make.name, lambda held: _checked([*held, *wanted]))})

    @tags.delete("", rule=drop, precheck=False, answers=204)
    def clear(ctx: Context, ref: str) -> None:
        """Have no tags."""
        write(ctx, ref, drop.name, lambda held: [])

    @tags.get("/{tag}", rule=read, precheck=False, answers=204)
    def show(ctx: Context, ref: str, tag: str) -> None:
        """Whether the tag is there."""
        if tag not in collection.find(ctx, ref, read.name).tags:
            raise TagNotFound(tag)

    @tags.put("/{tag}", rule=change, precheck=False, answers=201)
    def add(ctx: Context, ref: str, tag: str) -> None:
        """Have this tag as well."""
        wanted = _checked([tag])
        write(ctx, ref, change.name, lambda held: _checked([*held, *wanted]))

    @tags.delete("/{tag}", rule=drop, precheck=False, answers=204)
    def remove(ctx: Context, ref: str, tag: str) -> None:
        """Have this tag no more."""

        def without(held: list[str]) -> list[str]:
            if tag not in held:
                raise TagNotFound(tag)
            return [one for one in held if one != tag]

        write(ctx, ref, drop.name, without)

    return tags
