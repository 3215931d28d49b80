"""What a new cloud must have: a domain, roles, an administrator, the cloud's own user, and the catalog."""

from __future__ import annotations

import socket
import uuid

from pilvi.identity import keys
from pilvi.identity.memory import Memory, of
from pilvi.identity.operations.effective import EVERYTHING
from pilvi.identity.operations.password_login import newest_password
from pilvi.identity.tables import (
    AccessRule,
    ApplicationCredential,
    Assignment,
    CatalogService,
    Endpoint,
    Password,
    Project,
    Region,
    Role,
    RoleImplication,
    User,
)
from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict
from pilvi.kernel.ids import new_hex, new_word
from pilvi.kernel.program import Program
from pilvi.kernel.service import Service

DEFAULT_DOMAIN = "default"
ROLES = ("admin", "manager", "member", "reader", "service")
IMPLIED = (("admin", "manager"), ("manager", "member"), ("member", "reader"))
SERVICE_USER, SERVICE_PROJECT = "pilvi", "service"
# what hosts' agents may ask of the APIs with the tokens that they are given
AGENTS_CALLS = (
    ("image", "GET", "/v2/images/*"),
    ("image", "GET", "/v2/images/*/file"),
    ("image", "PUT", "/v2/images/*/file"),
)
AGENTS = uuid.UUID("0d2c6a6e-54b5-4d1e-9d0f-4c0b6ae0f3c9").hex  # the application credential that says so
_CATALOG = uuid.UUID("6d6c1a52-4d1c-4a0c-8a3f-0c6f2f3f6e0a")  # names our own services and endpoints alike on all nodes


def bootstrap(program: Program) -> None:
    """Have it all; what is there is left as it is, but for the addresses in the catalog.  May be said twice, or by two at once."""
    memory = of(program)
    try:
        _ensure(program, memory)
    except Conflict:  # another process did the same at the same time
        _ensure(program, memory)
    memory.forget()


def _ensure(program: Program, memory: Memory) -> None:
    program.db.run(lambda tx: keys.ensure(tx, memory.wrap))
    admin_id = program.db.run(lambda tx: _ensure_people(tx))
    with program.db.transaction(write=False) as tx:
        has_password = newest_password(tx, admin_id) is not None
    if not has_password:
        password = memory.settings.admin_password or keys.written_once(program.state / "admin-password", new_word(24))
        row = Password(user_id=admin_id, hash=memory.hasher.hash(password), created_at=clock.now(), self_service=True)
        program.db.run(lambda tx: tx.insert(row))
    program.db.run(lambda tx: _ensure_catalog(tx, program))


def _ensure_people(tx: Transaction) -> str:
    """The domain, roles, projects and users; answers the administrator's id."""
    if tx.get(Project, DEFAULT_DOMAIN) is None:
        tx.insert(Project(id=DEFAULT_DOMAIN, name="Default", description="The default domain", is_domain=True))
    known = {role.name: role for role in tx.all(Role, Role.c.domain_id == "")}
    for name in ROLES:
        if name not in known:
            known[name] = tx.insert(Role(id=new_hex(), name=name, options={"immutable": True}))
    for prior, implied in IMPLIED:
        tx.put(RoleImplication(prior_id=known[prior].id, implied_id=known[implied].id))
    admin, admin_project = _user(tx, "admin"), _project(tx, "admin", "The administrator's project")
    cloud, service_project = _user(tx, SERVICE_USER), _project(tx, SERVICE_PROJECT, "The project of the cloud's own services")
    for user_id, role, kind, where in (
        (admin, "admin", "project", admin_project), (admin, "admin", "system", EVERYTHING), (admin, "admin", "domain", DEFAULT_DOMAIN),
        (cloud, "admin", "project", service_project), (cloud, "service", "project", service_project),
    ):  # fmt: skip
        tx.put(Assignment(actor_id=user_id, target_id=where, role_id=known[role].id, actor_kind="user", target_kind=kind))
    _lend_to_agents(tx, cloud, service_project, [known["admin"].id, known["service"].id])
    return admin


def _lend_to_agents(tx: Transaction, user_id: str, project_id: str, roles: list[str]) -> None:
    """The cloud's own roles, for the agents' calls only; no secret opens it."""
    calls = {uuid.uuid5(_CATALOG, f"agents {' '.join(call)}").hex: call for call in AGENTS_CALLS}
    for rule_id, (service, method, path) in calls.items():
        tx.put(AccessRule(id=rule_id, user_id=user_id, service=service, path=path, method=method))
    held = tx.get(ApplicationCredential, AGENTS)
    if held is None:
        tx.insert(
            ApplicationCredential(
                id=AGENTS, user_id=user_id, project_id=project_id, name="agents", description="What hosts' agents may ask of the APIs.",
                secret_hash="", roles=roles, access_rules=sorted(calls), created_at=clock.now(),
            )
        )  # fmt: skip
    elif held.access_rules != sorted(calls):
        tx.change(held, access_rules=sorted(calls))


def _user(tx: Transaction, name: str) -> str:
    found = tx.one(User, User.c.domain_id == DEFAULT_DOMAIN, User.c.name == name)
    row = found or tx.insert(User(id=new_hex(), domain_id=DEFAULT_DOMAIN, name=name, created_at=clock.now()))
    return row.id


def _project(tx: Transaction, name: str, description: str) -> str:
    found = tx.one(Project, Project.c.domain_id == DEFAULT_DOMAIN, Project.c.name == name)
    row = found or tx.insert(Project(id=new_hex(), domain_id=DEFAULT_DOMAIN, parent_id=DEFAULT_DOMAIN, name=name, description=description))
    return row.id


def _ensure_catalog(tx: Transaction, program: Program) -> None:
    """The program's services and their addresses, under each of their types."""
    region = program.settings.region
    if tx.get(Region, region) is None:
        tx.insert(Region(id=region))
    services = {row.id: row for row in tx.all(CatalogService)}
    endpoints = {row.id: row for row in tx.all(Endpoint)}
    for service in program.services.values():
        url = address(program, service)
        for kind in dict.fromkeys([service.type, *service.aliases]):
            service_id = uuid.uuid5(_CATALOG, f"service {kind}").hex
            if service_id not in services:
                tx.insert(CatalogService(id=service_id, type=kind, name=service.title))
            for interface in ("public", "internal", "admin"):
                endpoint_id = uuid.uuid5(_CATALOG, f"endpoint {region} {kind} {interface}").hex
                known = endpoints.get(endpoint_id)
                if known is None:
                    tx.insert(Endpoint(id=endpoint_id, service_id=service_id, interface=interface, region_id=region, url=url))
                elif known.url != url:
                    tx.change(known, url=url)


def address(program: Program, service: Service) -> str:
    """Where a service is reached, as the settings say."""
    api = program.settings.api
    if api.public_url:
        return api.public_url.rstrip("/") + service.path + service.catalog
    host = api.bind if api.bind not in ("0.0.0.0", "::", "") else _own_address()
    host = f"[{host}]" if ":" in host else host
    if api.classic_ports:
        return f"{program.scheme}://{host}:{service.port}{service.catalog}"
    return f"{program.scheme}://{host}:{api.port}{service.path}{service.catalog}"


def _own_address() -> str:
    """The address by which this machine reaches others; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
