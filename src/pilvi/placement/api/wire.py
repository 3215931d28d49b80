"""How placement's handlers read bodies and queries, and phrase answers."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import msgspec

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotAcceptable, UnsupportedMedia
from pilvi.kernel.http import Answer, Request, Version
from pilvi.placement.api import schema as schemas
from pilvi.placement.dialect import accepts_json

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.encode
_TIMED = Version(1, 15)


def at_least(ctx: Context, minor: int) -> bool:
    """Whether the request speaks 1.`minor` or newer."""
    assert ctx.version is not None
    return ctx.version >= (1, minor)


def read(request: Request, schema: schemas.Schema) -> Any:
    """The body's JSON, if it is as the schema says; raises UnsupportedMedia and Invalid."""
    kind = request.headers.get("content-type")
    if kind is None and request.headers.get("content-length", "0") != "0":
        raise Invalid("content-type header required when content-length is set.")
    if kind is None or kind.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMedia(f"The media type {str(kind)[:100]} is not supported, use application/json.")
    try:
        value = _decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"Malformed JSON: {str(error)[:200]}") from None
    found = schemas.body(value, schema)
    if found:
        raise Invalid(found)
    return value


def asked(request: Request, schema: schemas.Schema) -> dict[str, str]:
    """The query's parameters (the last of each name), if they are as the schema says; raises Invalid."""
    values = dict(request.query)
    found = schemas.fault(values, schema)
    if found:
        raise Invalid(f"Invalid query string parameters: {found}")
    return values


def tell(
    ctx: Context, request: Request, body: Any, *, status: int = 200, moment: float | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """An answer with a body, and since 1.15 with the moment of its last change (None: now)."""
    if not accepts_json(request):
        raise NotAcceptable("Only application/json is provided")
    answer = timed(ctx, status, moment=moment, headers=headers)
    answer.headers["Content-Type"] = "application/json"
    answer.body = body if isinstance(body, bytes) else _encode(body)  # plain data: nothing is left for the chain to render
    return answer


def timed(ctx: Context, status: int, *, moment: float | None = None, headers: dict[str, str] | None = None) -> Answer:
    """An answer without a body that tells its moment all the same."""
    told = dict(headers or {})
    if at_least(ctx, _TIMED.minor):
        told["Last-Modified"] = formatdate(clock.now() if moment is None else moment, usegmt=True)
        told["Cache-Control"] = "no-cache"
    return Answer(status, None, told)


def place(request: Request, path: str) -> str:
    """The path as the caller must say it: below the place where the service stands."""
    return request.prefix + path


def url(request: Request, path: str) -> str:
    """The whole address of a path of this service."""
    return request.base_url + place(request, path)
