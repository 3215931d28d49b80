"""The chain: every request of every service passes these steps, from top to bottom."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from pilvi.kernel import log, metrics
from pilvi.kernel.context import NOBODY, Caller, Context
from pilvi.kernel.errors import Invalid, MethodNotAllowed, NotFound, PilviError, TooLarge, Unauthenticated, UnsupportedMedia
from pilvi.kernel.http.access_rules import permits
from pilvi.kernel.http.request import Answer, Request
from pilvi.kernel.http.resource import Listing
from pilvi.kernel.http.router import Found, Standing
from pilvi.kernel.http.shape import Shape, decode_body, decode_query, render
from pilvi.kernel.http.versions import Version
from pilvi.kernel.ids import new_request_id
from pilvi.kernel.trace import Trace

if TYPE_CHECKING:
    from pilvi.kernel.http.mount import Mount
    from pilvi.kernel.program import Program

UNVERSIONED = Version(1, 0)
_REQUEST_ID = re.compile(r"\Areq-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder().decode


class Exchange:
    """One request on its way through the chain, and what the steps have found so far."""

    __slots__ = ("answer", "caller", "context", "data", "found", "mount", "program", "request", "result", "standing", "started", "trace", "version")

    def __init__(self, program: Program, mount: Mount, request: Request, found: Found | None) -> None:
        self.program = program
        self.mount = mount
        self.request = request
        self.found = found
        self.started = time.time()
        self.version: Version = UNVERSIONED
        self.standing: Standing
        self.caller: Caller = NOBODY
        self.data: Any = None
        self.trace: Trace | None = None
        self.context: Context | None = None
        self.result: Any = None
        self.answer: Answer


def name_request(x: Exchange) -> None:
    """Give the request an id, for the answer, the log and the trace."""
    x.request.request_id = new_request_id()
    x.trace = Trace(x.request.request_id)


def choose_version(x: Exchange) -> None:
    """Agree on the microversion."""
    versions = x.mount.service.dialect.versions
    if versions is not None:
        x.version = versions.lowest
        x.version = versions.negotiate(x.request.headers)
    x.request.version = x.version


def find_route(x: Exchange) -> None:
    """Find what was said: by path, method, version, and (for actions) by the single key of the body."""
    if x.found is None:
        raise NotFound
    standing = x.found.place.routes.get(x.request.method)
    if standing is None and x.request.method == "HEAD":
        standing = x.found.place.routes.get("GET")
    if standing is None:
        raise MethodNotAllowed(allowed=tuple(sorted(x.found.place.routes)))
    speaking = [one for one in standing if one.route.speaks(x.version)]
    if not speaking:
        raise NotFound
    if speaking[0].route.action:
        read_body(x)
        if not isinstance(x.data, dict) or len(x.data) != 1:
            raise Invalid("Malformed request body: exactly one action is expected.", field="action")
        (action,) = x.data
        speaking = [one for one in speaking if one.route.action == action]
        if not speaking:
            raise Invalid(f"There is no such action: {str(action)[:100]}.", field="action")
    x.standing = speaking[0]


def identify_caller(x: Exchange) -> None:
    """Ask identity who is calling, unless the route is open to everyone."""
    token = x.request.headers.get("x-auth-token", "")
    if not token:
        if x.standing.route.rule is not None:
            raise Unauthenticated
        return
    if x.standing.route.rule is None:
        return
    started = time.time()
    x.caller = x.program.authenticate(token)
    if x.standing.names[:1] == ("_",) and x.found is not None and x.found.values[0] != x.caller.project_id:
        raise Invalid(f"Malformed request url: the project {x.found.values[0][:64]} in it is not the token's.")
    service = x.mount.service
    if x.caller.access_rules is not None and not permits(x.caller.access_rules, (service.type, *service.aliases), x.request.method, x.request.path):
        raise Unauthenticated
    if x.trace is not None:
        seconds = time.time() - started
        x.trace.add("4-5", f"{x.mount.service.title} asks identity whether the token is valid; identity answers", started=started, seconds=seconds)


def check_right(x: Exchange) -> None:
    """Refuse at once who could not do this even to something of their own."""
    route = x.standing.route
    if route.rule is not None and route.precheck:
        context(x).allow(route.rule.name)


def read_body(x: Exchange) -> None:
    """Parse the JSON of the body, once."""
    if x.data is not None or not x.request.body:
        return
    kind = x.request.headers.get("content-type", "application/json")
    if not (kind.startswith("application/json") or kind.endswith("+json") or "json" in kind) and x.request.body:
        raise UnsupportedMedia(f"Unsupported Content-Type: {kind[:100]}; application/json is expected.")
    try:
        x.data = _decode(x.request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"Malformed request body: it is not valid JSON ({str(error)[:200]}).", field="body") from None
    if b"\\u0000" in x.request.body:
        _refuse_nul(x.data, "body")


def _refuse_nul(data: Any, place: str) -> None:
    """Raise Invalid where a text holds U+0000: not every database keeps it."""
    left = [(place, data)]
    while left:
        place, value = left.pop()
        if isinstance(value, str):
            if "\0" in value:
                raise Invalid(f"Invalid input for field {place[:100]}: the character U+0000 is not allowed.", field=place)
        elif isinstance(value, dict):
            left += [(place, key) for key in value] + list(value.items())
        elif isinstance(value, list):
            left += [(place, one) for one in value]


def call_handler(x: Exchange) -> None:
    """Run the operation in its transaction; again when the database says that two were in each other's way."""
    route = x.standing.route
    arguments = _arguments(x)
    if route.write is None:
        x.result = _call(x, None, arguments)
        return
    x.result = x.program.db.run(lambda tx: _call(x, tx, arguments), write=route.write)


def phrase_answer(x: Exchange) -> None:
    """Put the result into the service's form."""
    x.answer = _phrase(x, x.result)


CHAIN: tuple[Callable[[Exchange], None], ...] = (
    name_request,
    choose_version,
    find_route,
    identify_caller,
    check_right,
    call_handler,
    phrase_answer,
)


def run(program: Program, mount: Mount, request: Request, found: Found | None) -> Answer:
    """Pass a request through the chain; whatever happens, an answer comes out."""
    x = Exchange(program, mount, request, found)
    try:
        for step in CHAIN:
            step(x)
        answer = x.answer
    except PilviError as error:
        answer = _refuse(x, error)
    except Exception as error:  # the last resort: a defect of ours, told to the log and not to the caller
        log.defect(x.request.request_id, f"{request.method} {request.path}", error)
        answer = _refuse(x, PilviError("An unexpected error prevented the server from fulfilling your request."))
    return _sign(x, answer)


def refuse(program: Program, mount: Mount, request: Request, error: PilviError) -> Answer:
    """The answer to a request that was refused before it could pass the chain."""
    x = Exchange(program, mount, request, None)
    name_request(x)
    return _sign(x, _refuse(x, error))


def _sign(x: Exchange, answer: Answer) -> Answer:
    """What every answer carries: its id and version; and note it in log and metrics."""
    request, mount = x.request, x.mount
    headers = answer.headers
    headers["x-openstack-request-id"] = request.request_id
    if mount.service.dialect.request_id_header:
        headers[mount.service.dialect.request_id_header] = request.request_id
    if mount.service.dialect.versions is not None:
        for name, value in mount.service.dialect.versions.headers(x.version):
            headers[name] = f"{headers[name]}, {value}" if name in headers and name == "Vary" else value
    seconds = time.time() - x.started
    route = getattr(x, "standing", None)
    metrics.request(mount.service.name, route.route.name if route else request.method, answer.status, seconds)
    log.access(request, answer.status, seconds, x.caller)
    return answer


def context(x: Exchange) -> Context:
    """The context of this exchange, made once; its transaction is that of the try at hand."""
    if x.context is not None:
        return x.context
    route = x.standing.route
    ctx = x.context = Context(
        x.program, None, x.caller, request_id=x.request.request_id, version=x.version, rule=route.rule.name if route.rule else "",  # type: ignore[arg-type]
        trace=x.trace,
    )  # fmt: skip
    ctx.token = x.request.headers.get("x-auth-token", "")
    ctx.address = x.request.address
    ctx.base_url = x.request.base_url
    return ctx


def _call(x: Exchange, tx: Any, arguments: dict[str, Any]) -> Any:
    if "ctx" in arguments:
        arguments["ctx"] = ctx = context(x)
        ctx.db = tx
    return x.standing.route.handler(**arguments)


def _arguments(x: Exchange) -> dict[str, Any]:
    """What the handler takes, from the path, the query and the body."""
    route, names = x.standing
    assert x.found is not None
    values = dict(zip(names, x.found.values, strict=False))
    arguments: dict[str, Any] = {}
    for name, what in route.takes:
        if what == "path":
            arguments[name] = values[name]
        elif what == "ctx":
            arguments[name] = None
        elif what == "request":
            arguments[name] = x.request
        elif what == "query":
            arguments[name] = decode_query(route.query, x.request.query, x.version)  # type: ignore[arg-type]
        else:
            arguments[name] = _body(x)
    return arguments


def _body(x: Exchange) -> Any:
    """The body's data, out of its envelope, in the shape of this version."""
    route = x.standing.route
    read_body(x)
    data, envelope = x.data, route.envelope or ""
    if envelope:
        if not isinstance(data, dict) or envelope not in data:
            raise Invalid(f"Invalid input for field {envelope}: it is required.", field=envelope)
        if len(data) > 1 and not route.action and not x.mount.service.dialect.lax_envelope:
            stranger = next(key for key in data if key != envelope)
            raise Invalid(f"Invalid input for field {stranger}: it is not known.", field=stranger)
        data = data[envelope]
    if route.body is None or route.body is Any:
        return data
    return decode_body(route.body, data, x.version, at_path=envelope, lax=x.mount.service.dialect.lax)


def _phrase(x: Exchange, result: Any) -> Answer:
    route, dialect = x.standing.route, x.mount.service.dialect
    if isinstance(result, Answer):
        answer = result
        body = answer.body
        if body is None or isinstance(body, bytes) or hasattr(body, "__next__"):
            return answer
    else:
        answer = Answer(route.answers, result)
        body = result
        if body is None:
            return answer
    if isinstance(body, Listing):
        items = render(body.items, x.version)
        at = x.request.home + quote(x.request.path)
        told = dialect.list_body(route.out, items, more=body.more, marker=body.marker, request=x.request, at=at)
        told.update(body.extra)
    else:
        rendered = render(body, x.version)
        told = {route.out: rendered} if route.out and not isinstance(result, Answer) else rendered
    answer.body = _encode(dialect.trim(told, route.out, x.request))
    answer.headers.setdefault("Content-Type", "application/json")
    return answer


def _refuse(x: Exchange, error: PilviError) -> Answer:
    dialect = x.mount.service.dialect
    status = dialect.status(error)
    body = dialect.error_body(status, error, x.request)
    headers = dialect.error_headers(status, error, x.request)
    if isinstance(body, bytes):
        return Answer(status, body, headers)
    headers.setdefault("Content-Type", "application/json")
    return Answer(status, _encode(body), headers)


def too_large(limit: int) -> TooLarge:
    """The refusal of a body over the limit (bytes)."""
    return TooLarge(f"The request body is larger than {limit} bytes.")


__all__ = ["CHAIN", "Exchange", "Shape", "run", "too_large"]
