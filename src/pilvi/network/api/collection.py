"""A collection of the network API: the five usual routes, made of what one kind of thing says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Row
from pilvi.kernel.db.pages import page
from pilvi.kernel.http.chain import UNVERSIONED
from pilvi.kernel.http.request import Answer, Request
from pilvi.kernel.http.resource import Resource
from pilvi.kernel.http.shape import Body, decode_body
from pilvi.kernel.policy import Rule
from pilvi.network.api import listing
from pilvi.network.api.rights import Attributes, Target, optimist
from pilvi.network.dialect import DIALECT
from pilvi.network.errors import BadRequest, PolicyNotAuthorized, RevisionNumberConstraintFailed
from pilvi.network.policy import RULES, rule

R = TypeVar("R", bound=Row)
_JSON = {"Content-Type": "application/json"}
_encode = msgspec.json.Encoder().encode


def answer(body: Any, status: int = 200) -> Answer:
    """A body, encoded at once: lists are long."""
    return Answer(status, _encode(body), dict(_JSON))


class Collection(Generic[R]):
    """What a kind of thing says of itself.

    `make(ctx, body, project_id)`, `change(ctx, row, given)` and `drop(ctx, row)` are the operations, `views(ctx, rows)`
    says what clients see, `visible(ctx)` narrows lists to what the caller may see, `target(ctx, row)` is what policy
    sees of a row, `retarget(target, data)` of a row that is being changed so, and `wish(ctx, data, project_id)` of one
    that is being made.
    """

    def __init__(
        self,
        one: str,
        many: str,
        kind: type[R],
        *,
        missing: Callable[[str], Exception],
        views: Callable[[Context, Sequence[R]], list[dict[str, Any]]],
        create: type[Body] | None = None,
        update: type[Body] | None = None,
        make: Callable[[Context, Any, str], R] | None = None,
        change: Callable[[Context, R, dict[str, Any]], object] | None = None,
        drop: Callable[[Context, R], object] | None = None,
        path: str = "",
        visible: Callable[[Context], Any] | None = None,
        target: Callable[[Context, R], Target] | None = None,
        wish: Callable[[Context, dict[str, Any], str], Target] | None = None,
        retarget: Callable[[Target, dict[str, Any]], Target] | None = None,
        columns: Mapping[str, str] | None = None,
        hidden: Iterable[str] = (),
        filters: Mapping[str, listing.Filter] | None = None,
        prepare: tuple[Callable[[Context, Request], bool], Callable[[Context, Request], object]] | None = None,
        key: str = "id",
        bulk: bool = True,
        together: Callable[[Context, list[Any]], None] | None = None,
    ) -> None:
        self.one, self.many, self.kind, self.missing, self.views = one, many, kind, missing, views
        self.create_shape, self.update_shape = create, update
        self.make, self.change, self.drop = make, change, drop
        self.visible, self.prepare, self.key, self.bulk, self.together = visible, prepare, key, bulk, together
        self.target = target or (lambda ctx, row: Target(row.project_id))  # type: ignore[attr-defined]
        self.wish = wish or (lambda ctx, data, project_id: Target(project_id))
        self.retarget = retarget or (lambda target, data: target)
        self.columns = {name: name for name in kind.__struct_fields__ if name not in set(hidden)} | dict(columns or {})
        if "project_id" in self.columns:
            self.columns["tenant_id"] = "project_id"
        self.filters = {name: listing.column_filter(kind.c[column], name) for name, column in self.columns.items()} | dict(filters or {})
        if "updated_at" in kind.c:
            self.filters["changed_since"] = listing.changed_since(kind.c.updated_at)
        self.guarded = Attributes.of_reading(one)
        self.creating = Attributes.of_writing("create", one, create) if create else None
        self.updating = Attributes.of_writing("update", one, update) if update else None
        self.resource = Resource(path or f"/v2.0/{many.replace('_', '-')}", tag=many)
        self._declare()

    # -- reading ---------------------------------------------------------------------------------

    def told(self, ctx: Context, rows: Sequence[R], fields: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
        """The views without what the caller may not see or did not ask for."""
        views = self.views(ctx, rows)
        if self.guarded:
            kept: dict[str, tuple[str, ...]] = {}
            for row, view in zip(rows, views, strict=True):
                owner: str = getattr(row, "project_id", "")
                if owner not in kept:
                    kept[owner] = self.guarded.refused(ctx, Target(owner))
                for name in kept[owner]:
                    view.pop(name, None)
        if fields:
            views = [{name: value for name, value in view.items() if name in fields} for view in views]
        return views

    def find(self, ctx: Context, ref: str, action: str) -> R:
        """The row, if the caller may see it and do the action (a rule's name) to it."""
        return self.may(ctx, ctx.db.get(self.kind, ref), ref, action)

    def may(self, ctx: Context, row: R | None, ref: str, action: str) -> R:
        """As `find`, of a row that has been read.  What is another's is not there for who may not do it."""
        if row is None:
            raise self.missing(ref)
        target = self.target(ctx, row)
        if not ctx.allowed(f"get_{self.one}", target):
            raise self.missing(ref)
        if action and not ctx.allowed(action, target):
            if getattr(row, "project_id", ctx.project_id) != ctx.project_id:
                raise self.missing(ref)
            raise PolicyNotAuthorized(action)
        return row

    def index(self, ctx: Context, request: Request) -> Answer:
        """List what the caller may see."""
        asked = listing.read(ctx, request.query, self.filters, self.kind, self.columns)
        if self.visible is not None:
            narrowed = self.visible(ctx)
            if narrowed is not None:
                asked.where.append(narrowed)
        rows = page(ctx.db, self.kind, *asked.where, window=asked.window, key=self.key)
        body: dict[str, Any] = {self.many: self.told(ctx, rows, asked.fields)}
        if asked.window.limit is not None and rows:
            full, here = len(rows) >= asked.window.limit, asked.window.marker is not None
            after, before = (True, full) if asked.window.reverse else (full, here)
            body |= DIALECT.page_links(
                self.many, request, request.base_url + request.prefix + quote(request.path),
                following=getattr(rows[-1], self.key) if after else None, before=getattr(rows[0], self.key) if before else None,
            )  # fmt: skip
        return answer(body)

    def index_prepared(self, ctx: Context, request: Request) -> Answer:
        """List, after making what must be there; only who finds that it is not there waits to write."""
        assert self.prepare
        is_there, make = self.prepare
        for write in (False, True):
            with ctx.program.db.transaction(write=write) as tx:
                inner = ctx.program.context(tx, ctx.caller, request_id=ctx.request_id)
                if write:
                    make(inner, request)
                elif not is_there(inner, request):
                    continue
                return self.index(inner, request)
        raise AssertionError("unreachable")

    def show(self, ctx: Context, ref: str, request: Request) -> Answer:
        """Show one."""
        fields = frozenset(value for name, value in request.query if name == "fields" and value)
        return answer({self.one: self.told(ctx, [self.find(ctx, ref, "")], fields)[0]})

    # -- writing ---------------------------------------------------------------------------------

    def create(self, ctx: Context, body: Any) -> Answer:
        """Create one, or several in one commit."""
        ctx_rule = f"create_{self.one}"
        if not ctx.allowed(ctx_rule, optimist(ctx)):
            raise PolicyNotAuthorized(ctx_rule)
        if isinstance(body, dict) and self.many in body and self.many != self.one and self.bulk:
            items = body[self.many]
            if not isinstance(items, list) or not items:
                raise BadRequest(f"Resources required: '{self.many}' must be a list with at least one element.", field=self.many)
            given = [self._decoded(ctx, item[self.one] if isinstance(item, dict) and [*item] == [self.one] else item) for item in items]
            if self.together is not None:
                self.together(ctx, [one for one, _ in given])
            rows = [self._made(ctx, *one) for one in given]
            return answer({self.many: self.told(ctx, rows)}, 201)
        return answer({self.one: self.told(ctx, [self._made(ctx, *self._decoded(ctx, envelope(body, self.one)))])[0]}, 201)

    def update(self, ctx: Context, ref: str, body: Any, request: Request) -> Answer:
        """Change what is given."""
        assert self.update_shape and self.change and self.updating is not None
        data = dict(as_object(envelope(body, self.one), self.one))
        changes = given(decode_body(self.update_shape, data, request.version, at_path=self.one, lax=True))
        row = self.find(ctx, ref, f"update_{self.one}")
        expect_revision(row, request)
        self.updating.check(ctx, data, self.retarget(self.target(ctx, row), data), row)
        self.change(ctx, row, changes)
        return answer({self.one: self.told(ctx, [row])[0]})

    def delete(self, ctx: Context, ref: str, request: Request) -> None:
        """Delete it."""
        assert self.drop
        row = self.find(ctx, ref, f"delete_{self.one}")
        expect_revision(row, request)
        self.drop(ctx, row)

    def _decoded(self, ctx: Context, item: Any) -> tuple[Any, str]:
        assert self.create_shape and self.creating is not None
        data = dict(as_object(item, self.one))
        project_id = owner_of(ctx, data)
        decoded = decode_body(self.create_shape, data, ctx.version or UNVERSIONED, at_path=self.one, lax=True)
        target = self.wish(ctx, data, project_id)
        if not ctx.allowed(f"create_{self.one}", target):
            raise PolicyNotAuthorized(f"create_{self.one}")
        self.creating.check(ctx, data, target)
        return decoded, project_id

    def _made(self, ctx: Context, decoded: Any, project_id: str) -> R:
        assert self.make
        return self.make(ctx, decoded, project_id)

    # -- routes ----------------------------------------------------------------------------------

    def _declare(self) -> None:
        def index(ctx: Context, request: Request) -> Answer:
            return self.index_prepared(ctx, request) if self.prepare else self.index(ctx, request)

        def show(ctx: Context, ref: str, request: Request) -> Answer:
            return self.show(ctx, ref, request)

        def create(ctx: Context, body: Any) -> Answer:
            return self.create(ctx, body)

        def update(ctx: Context, ref: str, body: Any, request: Request) -> Answer:
            return self.update(ctx, ref, body, request)

        def delete(ctx: Context, ref: str, request: Request) -> None:
            self.delete(ctx, ref, request)

        for handler, sentence in (
            (index, f"List {self.many}."), (show, f"Show one of the {self.many}."), (create, f"Create one or several {self.many}."),
            (update, f"Change one of the {self.many}."), (delete, f"Delete one of the {self.many}."),
        ):  # fmt: skip
            handler.__doc__ = sentence
        reading = rule(f"get_{self.one}")
        self.resource.get("", rule=reading, precheck=False, write=None if self.prepare else False)(index)
        self.resource.get("/{ref}", rule=reading, precheck=False)(show)
        if self.make is not None:
            self.resource.post("", rule=rule(f"create_{self.one}"), precheck=False, answers=201)(create)
        if self.change is not None:
            self.resource.put("/{ref}", rule=rule(f"update_{self.one}"), precheck=False)(update)
        if self.drop is not None:
            self.resource.delete("/{ref}", rule=rule(f"delete_{self.one}"), precheck=False, answers=204)(delete)

    def put(self, path: str, rule_name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare `PUT {collection}/{ref}/{path}`."""
        declared: Rule = RULES[rule_name]
        return self.resource.put("/{ref}/" + path, rule=declared, precheck=False)


def envelope(body: Any, name: str) -> Any:
    """What stands under `name` in a body.  Raises BadRequest."""
    if not isinstance(body, dict) or name not in body:
        raise BadRequest(f"Unable to find '{name}' in request body", field=name)
    return body[name]


def as_object(item: Any, name: str) -> dict[str, Any]:
    """The item, if it is an object.  Raises BadRequest."""
    if not isinstance(item, dict):
        raise BadRequest(f"Invalid input for {name}: an object is expected.", field=name)
    return item


def given(body: Any) -> dict[str, Any]:
    """The fields of an update's body that the client sent, by their names here."""
    return {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not msgspec.UNSET}


def owner_of(ctx: Context, data: dict[str, Any]) -> str:
    """The project for which a thing is made; only an admin may name another than the own.  Takes it out of the data."""
    named = {str(data.pop(key)) for key in ("project_id", "tenant_id") if data.get(key) is not None}
    data.pop("project_id", None), data.pop("tenant_id", None)
    if len(named) > 1:
        raise BadRequest("'project_id' and 'tenant_id' do not match", field="project_id")
    project_id = named.pop() if named else ctx.project_id
    if project_id != ctx.project_id and not (ctx.is_admin or "service" in ctx.caller.roles):
        raise BadRequest(
            "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges",
            field="project_id",
        )
    if len(project_id) > 64:
        raise BadRequest("Invalid input for project_id: it is longer than 64 characters.", field="project_id")
    return project_id


def expect_revision(row: Row, request: Request) -> None:
    """Honour `If-Match: revision_number=N`."""
    wanted = request.headers.get("if-match", "")
    name, _, number = wanted.partition("=")
    if name.strip() == "revision_number" and hasattr(row, "revision_number"):
        if not number.strip().lstrip("-").isdecimal():
            raise BadRequest("If-Match must be revision_number=N with a whole number N.", field="If-Match")
        if int(number) != row.revision_number:  # type: ignore[attr-defined]
            raise RevisionNumberConstraintFailed(f"Constrained to {number.strip()}, but current revision is {row.revision_number}")  # type: ignore[attr-defined]


def standard(row: Any) -> dict[str, Any]:
    """The attributes that all records have."""
    return {
        "id": row.id, "tenant_id": row.project_id, "project_id": row.project_id, "name": row.name, "description": row.description,
        "created_at": clock.iso(row.created_at), "updated_at": clock.iso(row.updated_at), "revision_number": row.revision_number,
        "tags": row.tags,
    }  # fmt: skip



