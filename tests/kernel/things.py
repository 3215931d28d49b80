"""A small service for tests of the kernel: things that a workflow makes ready, one host at a time."""

from __future__ import annotations

from pilvi.kernel.config import KernelSettings
from pilvi.kernel.context import Context
from pilvi.kernel.db import Key, Ref, Row
from pilvi.kernel.db.pages import Window, page
from pilvi.kernel.errors import HostError
from pilvi.kernel.http import Body, Dialect, Listing, Name, Query, Resource, Versions, View, since
from pilvi.kernel.ids import new_id
from pilvi.kernel.policy import Rule
from pilvi.kernel.service import Service
from pilvi.kernel.workflows import Back, Wait, Workflow, effect, transaction

WORLD: dict[str, int] = {}  # what the effects have made, and how often they were said
TROUBLE: dict[str, str] = {}  # thing's name -> why its effect fails


class Thing(Row, table="things_things", indexes=[("project_id",)]):
    id: Key
    project_id: Ref
    name: str
    state: str = "new"
    weight: int | None = None
    notes: dict[str, str] = {}


class MakeThing(Workflow):
    thing_id: str
    tries: int = 0

    @property
    def subject(self) -> str:
        return self.thing_id

    @effect(within=5, number="8", title="Touch the world")
    def touch(self, ctx: Context) -> None:
        WORLD[self.thing_id] = WORLD.get(self.thing_id, 0) + 1
        with ctx.program.db.transaction(write=False) as tx:
            thing = tx.get(Thing, self.thing_id)
        if thing is not None and thing.name in TROUBLE:
            raise HostError(TROUBLE[thing.name])

    @effect(within=5)
    def wait(self, ctx: Context) -> None:
        self.tries += 1
        if self.tries < 3:
            raise Wait(0.01)
        if self.tries == 3:
            raise Back("touch")

    @transaction(number="9")
    def announce(self, ctx: Context) -> None:
        """Announce it."""
        ctx.db.update(Thing, Thing.c.id == self.thing_id, state="ready")

    @transaction
    def close(self, ctx: Context) -> None:
        thing = ctx.db.get(Thing, self.thing_id)
        assert thing is not None
        ctx.db.change(thing, weight=(thing.weight or 0) + 1)

    def failed(self, ctx: Context, why: str) -> None:
        ctx.db.update(Thing, Thing.c.id == self.thing_id, state=f"error: {why}")


class DropThing(Workflow):
    preempts = True
    thing_id: str

    @property
    def subject(self) -> str:
        return self.thing_id

    @effect(within=5)
    def untouch(self, ctx: Context) -> None:
        WORLD.pop(self.thing_id, None)

    @transaction
    def forget(self, ctx: Context) -> None:
        ctx.db.delete(Thing, Thing.c.id == self.thing_id)

    def failed(self, ctx: Context, why: str) -> None:
        ctx.db.update(Thing, Thing.c.id == self.thing_id, state=f"error: {why}")


class CreateThing(Body):
    name: Name
    weight: int | None = since("1.2", default=None)


class ThingView(View):
    id: str
    name: str
    state: str
    weight: int | None = since("1.2")


class ThingsQuery(Query):
    limit: int | None = None
    marker: str | None = None


things = Resource("/v1/things")


def _view(thing: Thing) -> ThingView:
    return ThingView(id=thing.id, name=thing.name, state=thing.state, weight=thing.weight)


@things.post("", rule=Rule("things:create", "role:member and project_id:%(project_id)s"), answers=202, out="thing")
def create(ctx: Context, thing: CreateThing) -> ThingView:
    """Create a thing."""
    made = ctx.db.insert(Thing(id=new_id(), project_id=ctx.project_id, name=thing.name, weight=thing.weight))
    ctx.start(MakeThing(thing_id=made.id))
    if ctx.trace is not None:
        ctx.trace.write(ctx.db, made.id)
    return _view(made)


@things.get("", rule=Rule("things:list", "role:reader"), out="things")
def index(ctx: Context, query: ThingsQuery) -> Listing:
    """List things."""
    found = page(ctx.db, Thing, Thing.c.project_id == ctx.project_id, window=Window(limit=query.limit, marker=query.marker))
    return Listing([_view(thing) for thing in found], more=found.more, marker=found[-1].id if found else None)


@things.get("/{thing_id}", rule=Rule("things:show", "role:admin or role:reader and project_id:%(project_id)s"), out="thing")
def show(ctx: Context, thing_id: str) -> ThingView:
    """Show a thing."""
    return _view(ctx.see(ctx.db.get(Thing, thing_id), "Thing", thing_id))


@things.delete("/{thing_id}", rule=Rule("things:delete", "role:admin or role:member and project_id:%(project_id)s"), answers=204)
def delete(ctx: Context, thing_id: str) -> None:
    """Delete a thing."""
    thing = ctx.see(ctx.db.get(Thing, thing_id), "Thing", thing_id)
    ctx.start(DropThing(thing_id=thing.id))


@things.action("shout", of="thing_id", rule=Rule("things:shout", "role:member and project_id:%(project_id)s"), answers=200, out="shout")
def shout(ctx: Context, thing_id: str, how: dict[str, str] | None) -> str:
    """Say the thing's name."""
    return ctx.see(ctx.db.get(Thing, thing_id), "Thing", thing_id).name.upper()


@things.action("break", of="thing_id", rule=Rule("things:break", "role:admin"), answers=200, since="1.3")
def break_it(ctx: Context, thing_id: str, how: None) -> None:
    """Show what a defect looks like from outside."""
    raise ZeroDivisionError(thing_id)


SERVICE = Service(
    name="things", type="thing", title="Thing", path="/things", port=1, catalog="/v1", dialect=Dialect(versions=Versions("thing", "1.1", "1.5")),
    resources=[things], workflows=[MakeThing, DropThing],
)  # fmt: skip
Settings = KernelSettings
