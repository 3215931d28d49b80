"""Resources: how operations are said in HTTP: path, since which microversion, by whom.

    servers = Resource("/v2.1/servers", kind="server")

    @servers.post("", rule=CREATE, answers=202, out="server")
    def create(ctx: Context, server: CreateServer) -> ServerCreated:
        \"\"\"Create a server.  It is BUILD until its workflow has made it ACTIVE.\"\"\"

A handler's parameters say what it takes: `ctx`; the names in the path's braces; a `Body` (its parameter's name is
the envelope in the JSON, `body` means none); a `Query`; `request: Request` for the rest.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

from pilvi.kernel.http.request import Request
from pilvi.kernel.http.shape import NEWEST, OLDEST, Body, Query, Shape
from pilvi.kernel.http.versions import Version, version
from pilvi.kernel.policy import Rule

F = TypeVar("F", bound=Callable[..., Any])


class Listing(msgspec.Struct):
    """A page of a list: views, and whether more follow behind the last one's `marker`."""

    items: list[Any]
    more: bool = False
    marker: str | None = None
    extra: dict[str, Any] = {}  # other keys of the body


class Route(msgspec.Struct, kw_only=True):
    """One thing one can say: method, path and versions, with the right it takes and the handler that answers."""

    method: str
    path: str
    handler: Callable[..., Any]
    rule: Rule | None  # None: everyone, even without a token
    answers: int
    out: str  # the envelope of the answer, "" for none
    since: Version
    until: Version
    action: str  # of POST .../action: the body's single key
    envelope: str | None  # of the body, when it is not the parameter's name
    write: bool | None  # a writing transaction, a reading one, or (None) none: the handler opens its own
    precheck: bool  # whether the right is checked on the caller's own before the handler runs
    stream: bool  # the body is given piece by piece
    tag: str
    takes: tuple[tuple[str, str], ...] = ()  # (parameter, what), filled by `bind`
    body: Any = None  # the body's type
    query: type[Query] | None = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}" + (f" {self.action}" if self.action else "")

    def speaks(self, at: Version | None) -> bool:
        return at is None or self.since <= at <= self.until

    def bind(self) -> None:
        """Read from the handler's signature what it takes; said when a program is put together."""
        if self.takes:
            return  # by another program of this process
        hints = typing.get_type_hints(self.handler, include_extras=True)
        takes: list[tuple[str, str]] = []
        for name in inspect.signature(self.handler).parameters:
            hint = hints.get(name)
            if name == "ctx":
                takes.append((name, "ctx"))
            elif "{" + name + "}" in self.path:
                takes.append((name, "path"))
            elif hint is Request:
                takes.append((name, "request"))
            elif isinstance(hint, type) and issubclass(hint, Query):
                self.query = hint
                takes.append((name, "query"))
            else:
                self.body = hint
                takes.append((name, "body"))
                if self.envelope is None:
                    self.envelope = self.action or ("" if name == "body" else name)
        self.takes = tuple(takes)


class Resource:
    """A place in an API and what can be said there."""

    def __init__(self, path: str, *, tag: str = "", since: str = "", until: str = "") -> None:
        self.path = path
        self.tag = tag or path.strip("/").split("/")[-1]
        self.since, self.until = since, until
        self.routes: list[Route] = []

    def route(
        self, method: str, path: str = "", *, rule: Rule | None, answers: int = 200, out: str = "", since: str = "", until: str = "",
        action: str = "", envelope: str | None = None, write: bool | None = ..., precheck: bool = True, stream: bool = False,  # type: ignore[assignment]
    ) -> Callable[[F], F]:  # fmt: skip
        """Declare that `method path` is answered by the function below.

        `write`: True opens a writing transaction, False a reading one, None leaves it to the handler; by default GET
        and HEAD read and all others write.  `precheck=False`: the right depends on the object, the handler asks for it.
        """
        first, last = since or self.since, until or self.until

        def note(handler: F) -> F:
            self.routes.append(
                Route(
                    method=method, path=self.path + path, handler=handler, rule=rule, answers=answers, out=out,
                    since=version(first) if first else OLDEST, until=version(last) if last else NEWEST,
                    action=action, envelope=envelope, write=method not in ("GET", "HEAD") if write is ... else write,
                    precheck=precheck, stream=stream, tag=self.tag,
                )
            )  # fmt: skip
            return handler

        return note

    def get(self, path: str = "", **options: Any) -> Callable[[F], F]:
        return self.route("GET", path, **options)

    def head(self, path: str = "", **options: Any) -> Callable[[F], F]:
        return self.route("HEAD", path, **options)

    def post(self, path: str = "", **options: Any) -> Callable[[F], F]:
        return self.route("POST", path, **options)

    def put(self, path: str = "", **options: Any) -> Callable[[F], F]:
        return self.route("PUT", path, **options)

    def patch(self, path: str = "", **options: Any) -> Callable[[F], F]:
        return self.route("PATCH", path, **options)

    def delete(self, path: str = "", **options: Any) -> Callable[[F], F]:
        return self.route("DELETE", path, **options)

    def action(self, name: str, path: str = "/{%s}/action", *, of: str = "", **options: Any) -> Callable[[F], F]:
        """POST .../action with {name: ...}; `of` is the name of the id in the path."""
        return self.route("POST", path % of if "%s" in path else path, action=name, **options)


def rules(resources: Iterable[Resource]) -> dict[str, Rule]:
    """Every right that the resources' routes name."""
    return {route.rule.name: route.rule for resource in resources for route in resource.routes if route.rule is not None}


def shapes_in(hint: Any) -> set[type[Shape]]:
    """The shapes that a type is made of."""
    if isinstance(hint, type) and issubclass(hint, Shape):
        return {hint}
    if get_origin(hint) in (Union, UnionType, list, dict, tuple):
        return {shape for arg in get_args(hint) if not isinstance(arg, str | int) for shape in shapes_in(arg)}
    return set()


__all__ = ["Body", "Listing", "Resource", "Route", "rules", "shapes_in"]
