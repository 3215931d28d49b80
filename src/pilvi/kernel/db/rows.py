"""Rows: a table is a typed class, and its rows are instances of it.

    class Server(Row, table="compute_servers", indexes=[("project_id", "created_at")]):
        id: Key
        project_id: str
        metadata: dict[str, str] = {}

declares the SQLAlchemy table `Server.t` (columns: `Server.c`), and `Server(...)` makes a row.  `str` is a
VARCHAR(255); `Text` has no bound; `float` holds moments; lists, dicts and structs are kept as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, dataclass_transform, get_args, get_origin, get_type_hints

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

metadata = sa.MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """What a column is beyond its Python type; stands in `Annotated`."""

    type: sa.types.TypeEngine[Any] | None = None
    primary: bool = False
    autoincrement: bool = False


LongText = sa.Text().with_variant(sa.Text(16_000_000), "mysql", "mariadb")

Key = Annotated[str, Column(type=sa.String(64), primary=True)]
LongKey = Annotated[str, Column(type=sa.String(255), primary=True)]
IntKey = Annotated[int, Column(type=sa.BigInteger(), primary=True)]
Serial = Annotated[int, Column(type=sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary=True, autoincrement=True)]
Ref = Annotated[str, Column(type=sa.String(64))]
Text = Annotated[str, Column(type=LongText)]
Word = Annotated[str, Column(type=sa.String(64))]
Blob = Annotated[bytes, Column(type=sa.LargeBinary(16_000_000))]


class Json(sa.types.UserDefinedType[Any]):
    """A column of JSON text, decoded to the field's own type."""

    cache_ok = True

    def __init__(self, kind: Any = Any) -> None:
        self.kind = kind
        self._decode = msgspec.json.Decoder(kind, strict=False).decode
        self._shared = lru_cache(maxsize=1024)(self._decode)  # of frozen structs: who reads them does not change what is in them

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT"

    @staticmethod
    def on_mysql(element: Json, compiler: Any, **_: Any) -> str:
        """MariaDB's TEXT ends at 64 KiB."""
        return "MEDIUMTEXT"

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any]:
        encode = msgspec.json.encode
        return lambda value: None if value is None else encode(value).decode()

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any]:
        decode = self._decode
        if isinstance(self.kind, type) and issubclass(self.kind, msgspec.Struct) and self.kind.__struct_config__.frozen:
            decode = self._shared  # many rows hold the same: a server's flavor
        return lambda value: None if value is None else decode(value)

    @property
    def python_type(self) -> type[Any]:
        return dict




compiles(Json, "mysql", "mariadb")(Json.on_mysql)

_PLAIN: dict[type, Callable[[], sa.types.TypeEngine[Any]]] = {
    str: lambda: sa.String(255),
    int: sa.BigInteger,
    bool: sa.Boolean,
    float: lambda: sa.Double(),
    bytes: lambda: sa.LargeBinary(16_000_000),
}


def _column(name: str, hint: Any) -> sa.Column[Any]:
    """The SQLAlchemy column for one annotated field."""
    spec = Column()
    if get_origin(hint) is Annotated:
        hint, *marks = get_args(hint)
        spec = next((mark for mark in marks if isinstance(mark, Column)), spec)
    nullable = False
    if get_origin(hint) in (Union, UnionType):
        inner = [arg for arg in get_args(hint) if arg is not NoneType]
        nullable = len(inner) < len(get_args(hint))
        if len(inner) == 1:
            hint = inner[0]
            if get_origin(hint) is Annotated:
                hint, *marks = get_args(hint)
                spec = next((mark for mark in marks if isinstance(mark, Column)), spec)
    kind = spec.type
    if kind is None:
        if get_origin(hint) is Literal:
            kind = sa.String(64)
        elif isinstance(hint, type) and hint in _PLAIN:
            kind = _PLAIN[hint]()
        else:
            kind = Json(hint)
    return sa.Column(name, kind, primary_key=spec.primary, nullable=nullable, autoincrement=spec.autoincrement)


@dataclass_transform(kw_only_default=True)
class _RowMeta(type(msgspec.Struct)):
    """Turns a class of annotated fields into a struct and its table."""

    def __new__(
        meta,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        table: str = "",
        indexes: Sequence[Iterable[str]] = (),
        unique: Sequence[Iterable[str]] = (),
    ) -> Any:
        cls: Any = super().__new__(meta, name, bases, namespace, kw_only=True)
        if table:
            hints = get_type_hints(cls, include_extras=True)
            columns = [_column(field, hints[field]) for field in cls.__struct_fields__]
            extra: list[Any] = [sa.Index(None, *index) for index in indexes]
            extra += [sa.UniqueConstraint(*columns_) for columns_ in unique]
            serial = any(column.autoincrement is True for column in columns)
            # a number once given out is never given to another row: who holds it of a row that is gone must miss
            cls.t = sa.Table(table, metadata, *columns, *extra, sqlite_autoincrement=serial)
            cls.c = cls.t.c
            cls.keys = tuple(column.name for column in cls.t.primary_key.columns)
            fields = ", ".join(f"{field}=r[{place}]" for place, field in enumerate(cls.__struct_fields__))
            cls.load = staticmethod(eval(f"lambda r: cls({fields})", {"cls": cls}))  # noqa: S307 (names of our own fields)
            cls.by_key = sa.select(cls.t).where(*(cls.c[key] == sa.bindparam(key) for key in cls.keys))
        return cls


class Row(msgspec.Struct, metaclass=_RowMeta):
    """Base of every table's class."""

    t: ClassVar[sa.Table]
    c: ClassVar[sa.sql.base.ReadOnlyColumnCollection[str, sa.Column[Any]]]
    keys: ClassVar[tuple[str, ...]]
    load: ClassVar[Callable[[Any], Any]]  # a result row of `t`, in order, becomes an instance
    by_key: ClassVar[sa.Select[Any]]

    def values(self) -> dict[str, Any]:
        """Column values for an insert; an unset serial key is left to the database."""
        return {name: getattr(self, name) for name in self.__struct_fields__}
