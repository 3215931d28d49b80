"""Grants: roles of users and groups on projects, domains and the system; inherited ones hold on the projects below."""

from __future__ import annotations

from typing import Any

from pilvi.identity.api.roles import role_view
from pilvi.identity.operations.effective import EVERYTHING
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, target
from pilvi.identity.tables import Assignment, Group, Project, Role, User
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Forbidden, NotFound
from pilvi.kernel.http import Listing, Resource
from pilvi.kernel.policy import Rule

_ONE_DOMAIN = " or ".join(
    f"(domain_id:%(target.{actor}.domain_id)s and domain_id:%(target.{place})s)"
    for actor in ("user", "group") for place in ("project.domain_id", "domain.id")
)  # fmt: skip
_ITS_ROLE = "(domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s)"
_MANAGER = f"{ADMIN} or (role:manager and ({_ONE_DOMAIN}) and rule:domain_managed_target_role)"
CHECK = Rule("identity:check_grant", f"{ADMIN_OR_SYSTEM_READER} or (role:reader and ({_ONE_DOMAIN}) and {_ITS_ROLE})", "Check a grant.")
LIST = Rule("identity:list_grants", f"{ADMIN_OR_SYSTEM_READER} or (role:reader and ({_ONE_DOMAIN}))", "List grants.")
CREATE = Rule("identity:create_grant", _MANAGER, "Grant a role.")
REVOKE = Rule("identity:revoke_grant", _MANAGER, "Take back a role.")

grants = Resource("/v3")


def _system_rules(actor: str) -> dict[str, Rule]:
    told = {"list": "List", "check": "Check", "create": "Grant", "revoke": "Take back"}
    return {
        verb: Rule(
            f"identity:{verb}_system_{'grants' if verb == 'list' else 'grant'}_for_{actor}",
            ADMIN_OR_SYSTEM_READER if verb in ("list", "check") else ADMIN, f"{word} the system roles of a {actor}.",
        )
        for verb, word in told.items()
    }  # fmt: skip


def _declare(target_kind: str, actor_kind: str, path: str, *, inherited: bool) -> None:
    """The routes for one kind of target and actor; `path` ends before the role."""
    plain = {"list": LIST, "check": CHECK, "create": CREATE, "revoke": REVOKE}
    rules = _system_rules(actor_kind) if target_kind == "system" else plain
    tail = "/inherited_to_projects" if inherited else ""

    def place(ctx: Context, actor_id: str, target_id: str, role_id: str = "") -> Assignment:
        """The assignment that is spoken of, its parts being there and the caller allowed."""
        return _place(ctx, Assignment(
            actor_id=actor_id, target_id=target_id or EVERYTHING, role_id=role_id, actor_kind=actor_kind, target_kind=target_kind,
            inherited=inherited,
        ))  # fmt: skip

    def index(ctx: Context, actor_id: str, target_id: str) -> Listing:
        """List the roles that are granted."""
        wanted = place(ctx, actor_id, target_id)
        rows = ctx.db.all(Assignment, *_same(wanted))
        return Listing([role_view(ctx, role) for role in ctx.db.by(Role, Role.c.id, [row.role_id for row in rows])])

    def check(ctx: Context, actor_id: str, target_id: str, role_id: str) -> None:
        """Check that a role is granted."""
        _need(ctx, place(ctx, actor_id, target_id, role_id))

    def create(ctx: Context, actor_id: str, target_id: str, role_id: str) -> None:
        """Grant a role."""
        ctx.db.put(place(ctx, actor_id, target_id, role_id))

    def revoke(ctx: Context, actor_id: str, target_id: str, role_id: str) -> None:
        """Take back a role."""
        wanted = place(ctx, actor_id, target_id, role_id)
        _need(ctx, wanted)
        ctx.db.remove(wanted)

    handlers: list[tuple[str, str, Any, Rule, int, str]] = [
        ("GET", path + tail, index, rules["list"], 200, "roles"), ("GET", path + "/{role_id}" + tail, check, rules["check"], 204, ""),
        ("PUT", path + "/{role_id}" + tail, create, rules["create"], 204, ""),
        ("DELETE", path + "/{role_id}" + tail, revoke, rules["revoke"], 204, ""),
    ]  # fmt: skip
    for method, where, handler, rule, answers, out in handlers:
        taken = _without_target(handler) if target_kind == "system" else handler
        grants.route(method, where, rule=rule, answers=answers, out=out, precheck=False)(taken)


def _without_target(handler: Any) -> Any:
    """The system has no id in its paths."""
    if "role_id" in handler.__annotations__:

        def of_role(ctx: Context, actor_id: str, role_id: str) -> Any:
            return handler(ctx, actor_id, "", role_id)

        of_role.__doc__ = handler.__doc__
        return of_role

    def of_all(ctx: Context, actor_id: str) -> Any:
        return handler(ctx, actor_id, "")

    of_all.__doc__ = handler.__doc__
    return of_all


def _place(ctx: Context, wanted: Assignment) -> Assignment:
    on_system = wanted.target_kind == "system"
    where = None if on_system else ctx.db.get_to_build_on(Project, wanted.target_id)
    actor = ctx.db.get_to_build_on(User if wanted.actor_kind == "user" else Group, wanted.actor_id)
    if where is not None and wanted.target_kind == "domain" and not where.is_domain:
        where = None
    role = ctx.db.get_to_build_on(Role, wanted.role_id) if wanted.role_id else None
    ctx.allow(ctx.rule, target(**{wanted.actor_kind: actor, "role": role}, **({} if on_system else {wanted.target_kind: where})))
    if actor is None:
        raise NotFound(f"{wanted.actor_kind.capitalize()} {wanted.actor_id} could not be found.")
    if where is None and not on_system:
        raise NotFound(f"{wanted.target_kind.capitalize()} {wanted.target_id} could not be found.")
    if wanted.role_id and role is None:
        raise NotFound(f"Role {wanted.role_id} could not be found.")
    if role is not None and role.domain_id and (where is None or role.domain_id not in (where.id, where.domain_id)):
        raise Forbidden("A role of a domain can only be granted within that domain.")
    return wanted


def _same(wanted: Assignment) -> list[Any]:
    names = ("actor_id", "target_id", "actor_kind", "target_kind", "inherited")
    return [Assignment.c[name] == getattr(wanted, name) for name in names]


def _need(ctx: Context, wanted: Assignment) -> None:
    if ctx.db.one(Assignment, *_same(wanted), Assignment.c.role_id == wanted.role_id) is None:
        raise NotFound(f"Role {wanted.role_id} is not granted to {wanted.actor_kind} {wanted.actor_id} there.")


for _actor in ("user", "group"):
    for _kind in ("project", "domain"):
        _declare(_kind, _actor, f"/{_kind}s/{{target_id}}/{_actor}s/{{actor_id}}/roles", inherited=False)
        _declare(_kind, _actor, f"/OS-INHERIT/{_kind}s/{{target_id}}/{_actor}s/{{actor_id}}/roles", inherited=True)
    _declare("system", _actor, f"/system/{_actor}s/{{actor_id}}/roles", inherited=False)
