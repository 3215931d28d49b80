"""What hangs on volume types: encryption, qos specs, and projects' default types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import Key255, ListQuery, Value255, found, listing, moment, truth, window
from pilvi.block_storage.dialect import links
from pilvi.block_storage.operations import types as operations
from pilvi.block_storage.tables.types import DefaultType, QosSpecs, TypeEncryption, VolumeType
from pilvi.block_storage.tables.volumes import Volume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.http import UNSET, Body, Given, Listing, Query, Resource
from pilvi.kernel.ids import new_id

encryption = Resource("/v3/types/{type_id}/encryption", tag="types")
qos = Resource("/v3/qos-specs")
default_types = Resource("/v3/default-types", since="3.62")

_E = "volume_extension:volume_type_encryption:"
ENC_GET = policy.admin(_E + "get", "See a type's encryption.")
ENC_CREATE = policy.admin(_E + "create", "Give a type an encryption.")
ENC_UPDATE = policy.admin(_E + "update", "Change a type's encryption.")
ENC_DELETE = policy.admin(_E + "delete", "Take a type's encryption away.")
_Q = "volume_extension:qos_specs_manage:"
QOS_INDEX = policy.admin(_Q + "get_all", "List qos specs and their types.")
QOS_SHOW = policy.admin(_Q + "get", "Show qos specs.")
QOS_CREATE = policy.admin(_Q + "create", "Create qos specs.")
QOS_UPDATE = policy.admin(_Q + "update", "Change qos specs, and which types have them.")
QOS_DELETE = policy.admin(_Q + "delete", "Delete qos specs.")
DEFAULT_SET = policy.admin("volume_extension:default_set_or_update", "Set a project's default type.")
DEFAULT_GET = policy.admin("volume_extension:default_get", "Show a project's default type.")
DEFAULT_ALL = policy.admin("volume_extension:default_get_all", "List projects' default types.")
DEFAULT_UNSET = policy.admin("volume_extension:default_unset", "Take a project's default type away.")

Location = Literal["front-end", "back-end"]
_ENCRYPTION_FIELDS = ("cipher", "key_size", "provider", "control_location", "encryption_id")


class CreateEncryption(Body, extra=True):
    provider: Key255
    control_location: Location = "front-end"
    cipher: Value255 | None = None
    key_size: Annotated[int, msgspec.Meta(ge=0)] | None = None


class ChangeEncryption(Body, extra=True):
    provider: Key255 | Given = UNSET
    control_location: Location | Given = UNSET
    cipher: Value255 | Given | None = UNSET
    key_size: Annotated[int, msgspec.Meta(ge=0)] | Given | None = UNSET


class DefaultTypeBody(Body):
    volume_type: Key255


class AssociateQuery(Query, extra=True):
    vol_type_id: str | None = None


class DeleteQosQuery(Query, extra=True):
    force: str | None = None


# -- encryption ----------------------------------------------------------------------------------------


def _encryption(row: TypeEncryption) -> dict[str, Any]:
    return {
        "volume_type_id": row.type_id, "encryption_id": row.encryption_id, "provider": row.provider, "control_location": row.control_location,
        "cipher": row.cipher, "key_size": row.key_size, "created_at": moment(row.created_at), "updated_at": moment(row.updated_at),
        "deleted": False, "deleted_at": None,
    }  # fmt: skip


@encryption.get("", rule=ENC_GET)
def show_encryption(ctx: Context, type_id: str) -> dict[str, Any]:
    operations.by_id(ctx, type_id)
    row = ctx.db.get(TypeEncryption, type_id)
    return _encryption(row) if row else {}


@encryption.post("", rule=ENC_CREATE, out="encryption")
def create_encryption(ctx: Context, type_id: str, encryption: CreateEncryption) -> dict[str, Any]:
    """Note how volumes of the type shall be encrypted; no back end here does, so none will take them."""
    kind = operations.by_id(ctx, type_id)
    _unused(ctx, kind)
    if ctx.db.get(TypeEncryption, kind.id):
        raise Conflict(f"Volume type encryption for type {kind.id} already exists.")
    row = TypeEncryption(
        type_id=kind.id, encryption_id=new_id(), provider=encryption.provider, control_location=encryption.control_location,
        cipher=encryption.cipher, key_size=encryption.key_size, created_at=clock.now(),
    )  # fmt: skip
    ctx.db.insert(row)
    return {
        "volume_type_id": kind.id, "encryption_id": row.encryption_id, "provider": row.provider, "control_location": row.control_location,
        "cipher": row.cipher, "key_size": row.key_size,
    }  # fmt: skip


@encryption.get("/{key}", rule=ENC_GET)
def show_encryption_field(ctx: Context, type_id: str, key: str) -> dict[str, Any]:
    row = ctx.db.get(TypeEncryption, type_id)
    if row is None or key not in _ENCRYPTION_FIELDS:
        raise NotFound(f"Volume type {type_id} has no encryption {key}.")
    return {key: getattr(row, key)}


@encryption.put("/{encryption_id}", rule=ENC_UPDATE, out="encryption")
def change_encryption(ctx: Context, type_id: str, encryption_id: str, encryption: ChangeEncryption) -> dict[str, Any]:
    kind = operations.by_id(ctx, type_id)
    _unused(ctx, kind)
    row = _known(ctx, kind, encryption_id)
    values = {name: getattr(encryption, name) for name in ("provider", "control_location", "cipher", "key_size")}
    values = {name: value for name, value in values.items() if value is not UNSET}
    ctx.db.change(row, updated_at=clock.now(), **values)
    return values


@encryption.delete("/{encryption_id}", rule=ENC_DELETE, answers=202)
def delete_encryption(ctx: Context, type_id: str, encryption_id: str) -> None:
    kind = operations.by_id(ctx, type_id)
    _unused(ctx, kind)
    ctx.db.remove(_known(ctx, kind, encryption_id))


def _known(ctx: Context, kind: VolumeType, encryption_id: str) -> TypeEncryption:
    row = ctx.db.get(TypeEncryption, kind.id)
    if row is None or encryption_id not in (row.encryption_id, "provider"):
        raise NotFound(f"Volume type encryption for type {kind.id} does not exist.")
    return row


def _unused(ctx: Context, kind: VolumeType) -> None:
    if ctx.db.count(Volume, Volume.c.volume_type_id == kind.id):
        raise Invalid("Cannot create, change or delete the encryption of a type that volumes have. Volume type in use.")


# -- qos specs -----------------------------------------------------------------------------------------


def _qos(row: QosSpecs) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "consumer": row.consumer, "specs": row.specs}


def _linked(ctx: Context, row: QosSpecs) -> dict[str, Any]:
    return {"qos_specs": _qos(row), "links": links(ctx.base_url, ctx.project_id, "qos-specs", row.id)}


def _consumer(specs: dict[str, str], default: str) -> str:
    consumer = specs.pop("consumer", default)
    if consumer not in ("front-end", "back-end", "both"):
        raise Invalid("Valid consumer of QoS specs are: front-end, back-end, both.", field="consumer")
    return consumer


@qos.get("", rule=QOS_INDEX, out="qos_specs")
def list_qos(ctx: Context, query: ListQuery) -> Listing:
    rows, extra = found(ctx, QosSpecs, query, [], window(ctx, query, {"id": "id", "name": "name", "created_at": "created_at"}))
    return listing(rows, [_qos(one) for one in rows], extra)


@qos.post("", rule=QOS_CREATE)
def create_qos(ctx: Context, qos_specs: dict[str, str | None]) -> dict[str, Any]:
    specs = {key: value or "" for key, value in qos_specs.items()}
    name = specs.pop("name", "").strip()
    if not name or len(name) > 255:
        raise Invalid("Please specify a name for QoS specs, of at most 255 characters.", field="name")
    if ctx.db.one(QosSpecs, QosSpecs.c.name == name):
        raise Conflict(f"QoS Specs {name} already exists.")
    row = QosSpecs(id=new_id(), name=name, consumer=_consumer(specs, "back-end"), specs=specs, created_at=clock.now())
    return _linked(ctx, ctx.db.insert(row))


@qos.get("/{qos_id}", rule=QOS_SHOW)
def show_qos(ctx: Context, qos_id: str) -> dict[str, Any]:
    return _linked(ctx, operations.qos(ctx, qos_id))


@qos.put("/{qos_id}", rule=QOS_UPDATE, out="qos_specs")
def change_qos(ctx: Context, qos_id: str, qos_specs: dict[str, str | None]) -> dict[str, Any]:
    row = operations.qos(ctx, qos_id)
    specs = {key: value or "" for key, value in qos_specs.items()}
    told = dict(specs)
    consumer = _consumer(specs, row.consumer)
    ctx.db.change(row, consumer=consumer, specs=row.specs | specs)
    return told


@qos.put("/{qos_id}/delete_keys", rule=QOS_UPDATE, answers=202)
def delete_qos_keys(ctx: Context, qos_id: str, keys: list[str]) -> None:
    row = operations.qos(ctx, qos_id)
    missing = next((key for key in keys if key not in row.specs), None)
    if missing is not None:
        raise Invalid(f"QoS spec {row.id} has no spec with key {missing}.", field="keys")
    ctx.db.change(row, specs={key: value for key, value in row.specs.items() if key not in keys})


@qos.delete("/{qos_id}", rule=QOS_DELETE, answers=202)
def delete_qos(ctx: Context, qos_id: str, query: DeleteQosQuery) -> None:
    row = operations.qos(ctx, qos_id)
    if ctx.db.count(VolumeType, VolumeType.c.qos_specs_id == row.id):
        if query.force is None or not truth(query.force, "force"):
            raise Invalid(f"QoS Specs {row.id} is still associated with entities; disassociate it first, or use force.")
        ctx.db.update(VolumeType, VolumeType.c.qos_specs_id == row.id, qos_specs_id=None)
    ctx.db.remove(row)


@qos.get("/{qos_id}/associations", rule=QOS_INDEX, out="qos_associations")
def list_associations(ctx: Context, qos_id: str) -> list[dict[str, str]]:
    row = operations.qos(ctx, qos_id)
    kinds = ctx.db.all(VolumeType, VolumeType.c.qos_specs_id == row.id)
    return [{"association_type": "volume_type", "id": one.id, "name": one.name} for one in kinds]


@qos.get("/{qos_id}/associate", rule=QOS_UPDATE, answers=202, write=True)
def associate(ctx: Context, qos_id: str, query: AssociateQuery) -> None:
    row, kind = operations.qos(ctx, qos_id), operations.by_id(ctx, query.vol_type_id or "")
    if kind.qos_specs_id not in (None, row.id):
        raise Invalid(f"Type {kind.id} is already associated with another qos specs: {kind.qos_specs_id}.")
    ctx.db.change(kind, qos_specs_id=row.id)


@qos.get("/{qos_id}/disassociate", rule=QOS_UPDATE, answers=202, write=True)
def disassociate(ctx: Context, qos_id: str, query: AssociateQuery) -> None:
    row, kind = operations.qos(ctx, qos_id), operations.by_id(ctx, query.vol_type_id or "")
    if kind.qos_specs_id == row.id:
        ctx.db.change(kind, qos_specs_id=None)


@qos.get("/{qos_id}/disassociate_all", rule=QOS_UPDATE, answers=202, write=True)
def disassociate_all(ctx: Context, qos_id: str) -> None:
    row = operations.qos(ctx, qos_id)
    ctx.db.update(VolumeType, VolumeType.c.qos_specs_id == row.id, qos_specs_id=None)


# -- default types -------------------------------------------------------------------------------------


@default_types.get("", rule=DEFAULT_ALL, out="default_types")
def list_defaults(ctx: Context) -> list[dict[str, str]]:
    return [{"project_id": one.project_id, "volume_type_id": one.type_id} for one in ctx.db.all(DefaultType)]


@default_types.put("/{project_id}", rule=DEFAULT_SET, out="default_type")
def set_default(ctx: Context, project_id: str, default_type: DefaultTypeBody) -> dict[str, str]:
    kind = operations.visible(ctx, default_type.volume_type, project_id=project_id)
    ctx.db.put(DefaultType(project_id=project_id, type_id=kind.id))
    return {"project_id": project_id, "volume_type_id": kind.id}


@default_types.get("/{project_id}", rule=DEFAULT_GET, out="default_type")
def show_default(ctx: Context, project_id: str) -> dict[str, str]:
    row = ctx.db.get(DefaultType, project_id)
    if row is None:
        raise NotFound(f"Default type for project {project_id} not found.")
    return {"project_id": project_id, "volume_type_id": row.type_id}


@default_types.delete("/{project_id}", rule=DEFAULT_UNSET, answers=204)
def unset_default(ctx: Context, project_id: str) -> None:
    row = ctx.db.get(DefaultType, project_id)
    if row is not None:
        ctx.db.remove(row)
