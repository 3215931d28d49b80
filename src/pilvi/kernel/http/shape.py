"""Shapes: what goes over the wire, each field declared once with its name, bounds and microversions.

    class CreateServer(Body):
        name: Name
        flavor: str = wire("flavorRef")
        description: str | None = since("2.19", default=None)

A `Body` is what a client sends: unknown fields, and fields of other versions, are refused by name.  Handlers see
the newest shape; a field that the request's version does not have holds its default.  A `View` is what a client gets:
fields of other versions are left out, and so is what is `UNSET`.  A `Query` is the part behind the question mark.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from functools import cache, lru_cache
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, dataclass_transform, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType

from pilvi.kernel import structs
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http.versions import Version, version

REQUIRED: Any = Ellipsis  # no default: the field must be there
NEWEST = Version(9999, 0)
OLDEST = Version(0, 0)
_NAMED = re.compile(r"(?:required|unknown) field `([^`]*)`")


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One field's place on the wire.  `required_since`: optional before that version."""

    wire: str | None = None
    since: Version = OLDEST
    until: Version = NEWEST
    default: Any = REQUIRED
    factory: Callable[[], Any] | None = None
    required_since: Version | None = None
    doc: str = ""


def wire(
    name: str | None = None, *, default: Any = REQUIRED, factory: Callable[[], Any] | None = None, since: str = "", until: str = "",
    required_since: str = "", doc: str = "",
) -> Any:
    """A field with another name on the wire, a range of versions (both ends included), a default, a sentence."""  # fmt: skip
    return Spec(
        wire=name, default=default, factory=factory, doc=doc,
        since=version(since) if since else OLDEST, until=version(until) if until else NEWEST,
        required_since=version(required_since) if required_since else None,
    )  # fmt: skip


def since(first: str, *, default: Any = UNSET, name: str | None = None, until: str = "", doc: str = "") -> Any:
    """A field that came with version `first`."""
    return wire(name, default=default, since=first, until=until, doc=doc)


def until(last: str, *, default: Any = UNSET, name: str | None = None, doc: str = "") -> Any:
    """A field that `last` was the last version to have."""
    return wire(name, default=default, until=last, doc=doc)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field as declared: its name in Python and on the wire, its type and its versions."""

    name: str
    wire: str
    hint: Any
    spec: Spec
    default: Any  # REQUIRED when there is none
    factory: Any  # None when there is none

    def lives_in(self, at: Version) -> bool:
        return self.spec.since <= at <= self.spec.until


@dataclass_transform(field_specifiers=(wire, since, until), kw_only_default=True)
class _ShapeMeta(type(msgspec.Struct)):
    """Reads the field declarations of a shape and makes it a msgspec struct."""

    def __new__(meta, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, extra: bool | str = False, **options: Any) -> Any:
        specs: dict[str, Spec] = {}
        rename: dict[str, str] = {}
        for field in list(namespace.get("__annotations__", {})):
            given = namespace.get(field, REQUIRED)
            spec = given if isinstance(given, Spec) else Spec(default=given)
            specs[field] = spec
            rename[field] = spec.wire or field
            if spec.factory is not None:
                namespace[field] = msgspec.field(default_factory=spec.factory)
            elif spec.default is REQUIRED:
                namespace.pop(field, None)
            else:
                namespace[field] = spec.default
        for base in bases:
            for field, spec in getattr(base, "__specs__", {}).items():
                specs.setdefault(field, spec)
                rename.setdefault(field, spec.wire or field)
        cls: Any = super().__new__(meta, name, bases, namespace, kw_only=True, rename=rename, **options)
        cls.__specs__ = specs
        inherited = next((base.__extra__ for base in bases if getattr(base, "__extra__", False)), False)
        cls.__extra__ = version(extra) if isinstance(extra, str) else extra or inherited
        return cls


class Shape(msgspec.Struct, metaclass=_ShapeMeta):
    """Base of bodies, views and queries."""

    __specs__: ClassVar[dict[str, Spec]]
    __extra__: ClassVar[bool | Version]  # whether unknown fields are let pass, or the last version that lets them


class Body(Shape):
    """What a client sends.  `extra=True` in the class line lets unknown fields pass (dropped); `extra="2.74"` does up to that version."""


class Query(Shape):
    """The part of a request behind the question mark: every value is text, converted to the field's type."""


class View(Shape):
    """What a client gets."""


@cache
def fields(shape: type[Shape]) -> tuple[Field, ...]:
    """The fields of a shape, in the order of declaration."""
    hints = typing.get_type_hints(shape, include_extras=True)
    info = {one.name: one for one in msgspec.structs.fields(shape)}
    return tuple(
        Field(
            name=name, wire=info[name].encode_name, hint=hints[name], spec=shape.__specs__.get(name, Spec()),
            default=REQUIRED if info[name].default is msgspec.NODEFAULT else info[name].default,
            factory=None if info[name].default_factory is msgspec.NODEFAULT else info[name].default_factory,
        )
        for name in shape.__struct_fields__
    )  # fmt: skip


# -- bodies --------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def at_version(shape: type[Shape], at: Version) -> type[msgspec.Struct]:
    """The struct that decodes a body of that version; fields of other versions are class attributes with their default."""
    wanted: list[tuple[str, Any, Any]] = []
    absent: dict[str, Any] = {}
    rename: dict[str, str] = {}
    for field in fields(shape):
        if not field.lives_in(at):
            default = field.factory() if field.factory is not None else field.default
            absent[field.name] = UNSET if default is REQUIRED else default
            continue
        rename[field.name] = field.wire
        hint = _at_version(field.hint, at)
        if field.spec.required_since is not None and at >= field.spec.required_since:
            wanted.append((field.name, hint, msgspec.field()))
        elif field.factory is not None:
            wanted.append((field.name, hint, msgspec.field(default_factory=field.factory)))
        elif field.default is not REQUIRED:
            wanted.append((field.name, hint, msgspec.field(default=field.default)))
        else:
            wanted.append((field.name, hint, msgspec.field()))
    absent |= {
        name: value for base in shape.__mro__ for name, value in vars(base).items()
        if not name.startswith("__") and (callable(value) or isinstance(value, (property, staticmethod, classmethod))) and name not in rename
    }  # fmt: skip
    absent["__specs__"], absent["__extra__"] = shape.__specs__, shape.__extra__
    lax = shape.__extra__ if isinstance(shape.__extra__, bool) else at <= shape.__extra__
    made = msgspec.defstruct(
        shape.__name__, wanted, namespace=absent, rename=rename, kw_only=True, forbid_unknown_fields=not lax, module=shape.__module__
    )
    structs.learn(made)
    return made


def _at_version(hint: Any, at: Version) -> Any:
    """The type hint with every shape in it replaced by its struct of that version."""
    if isinstance(hint, type) and issubclass(hint, Shape):
        return at_version(hint, at)
    origin = get_origin(hint)
    if origin is None:
        return hint
    if origin is Annotated:
        inner, *marks = get_args(hint)
        return Annotated[(_at_version(inner, at), *marks)]
    arguments = tuple(_at_version(arg, at) if not isinstance(arg, str | int) else arg for arg in get_args(hint))
    if origin in (Union, UnionType):
        return Union[arguments]
    if origin in (list, dict, tuple, set, frozenset):
        generic: Any = origin
        return generic[arguments]
    return hint


def decode_body(shape: Any, data: Any, at: Version, *, at_path: str, lax: bool = False) -> Any:
    """`data` (parsed JSON) as the shape of that version.

    Raises Invalid, whose sentence and `field` name the input at fault; `at_path` is where the data stood in the body.
    """
    kind = _at_version(shape, at)
    try:
        return msgspec.convert(data, kind, strict=not lax)
    except msgspec.ValidationError as error:
        raise invalid(error, at_path) from None


def invalid(error: msgspec.ValidationError, at_path: str) -> Invalid:
    """The house's error for msgspec's, with the path in the words of the API."""
    text = str(error)
    what, _, where = text.partition(" - at `$")
    path = at_path + where.rstrip("`") if where else at_path
    named = _NAMED.search(what)
    if named:
        path, what = f"{path}.{named[1]}", "it is required" if "required" in what else "it is not known"
    path = path.lstrip(".")
    return Invalid(f"Invalid input for field {path}: {what}." if path else f"Invalid input: {what}.", field=path or None)


def decode_query(shape: type[Query], pairs: list[tuple[str, str]], at: Version) -> Any:
    """Query parameters as the shape of that version: the last of several wins unless the field is a list."""
    kind = at_version(shape, at)
    lists = _lists(shape)
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in lists:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(error, "") from None


@cache
def _lists(shape: type[Query]) -> frozenset[str]:
    """The parameters that may be said several times."""
    return frozenset(field.wire for field in fields(shape) if _is_list(field.hint))


def _is_list(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, UnionType):
        return any(_is_list(arg) for arg in get_args(hint))
    return get_origin(hint) is list


# -- views ---------------------------------------------------------------------------------------


class _Plan(typing.NamedTuple):
    """How a shape is rendered in one version."""

    plain: bool  # all of its fields are there, and nothing in them needs rendering: it is encoded as it is
    read: Callable[[Any], tuple[Any, ...]]  # the values of the fields that are there
    wires: tuple[str, ...]  # their names
    deep: tuple[str, ...]  # those that may hold shapes which are not plain


@lru_cache(maxsize=8192)
def _plan(shape: type[Shape], at: Version) -> _Plan:
    every = fields(shape)
    present = [field for field in every if field.lives_in(at)]
    deep = tuple(field.wire for field in present if _holds_shape(field.hint, at))
    names = [field.name for field in present]
    read = attrgetter(*names) if len(names) > 1 else lambda value: tuple(getattr(value, name) for name in names)
    return _Plan(len(present) == len(every) and not deep, read, tuple(field.wire for field in present), deep)


@lru_cache(maxsize=8192)
def _holds_shape(hint: Any, at: Version) -> bool:
    """Whether values of this type may hold a shape that is not whole in that version."""
    if hint is Any:
        return True
    if isinstance(hint, type) and issubclass(hint, Shape):
        return not _plan(hint, at).plain
    return any(_holds_shape(arg, at) for arg in get_args(hint) if not isinstance(arg, str | int | msgspec.Meta))


def render(value: Any, at: Version) -> Any:
    """The value as it goes into an answer of that version: shapes lose what that version does not have."""
    if isinstance(value, Shape):
        plan = _plan(type(value), at)
        if plan.plain:
            return value
        told = dict(zip(plan.wires, plan.read(value), strict=True))
        for name in plan.deep:
            told[name] = render(told[name], at)
        return {name: part for name, part in told.items() if part is not UNSET} if UNSET in told.values() else told
    if isinstance(value, list):
        return [render(one, at) for one in value] if value and isinstance(value[0], (Shape, list, dict)) else value
    if isinstance(value, dict):
        return {key: render(one, at) if isinstance(one, (Shape, list, dict)) else one for key, one in value.items()}
    return value


Given = UnsetType  # `name: str | Given = UNSET`: the caller may leave it out

# -- common types --------------------------------------------------------------------------------

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Text255 = Annotated[str, msgspec.Meta(max_length=255)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
