"""A request as handlers see it, and an answer in full."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from pilvi.kernel.errors import Invalid

Pull = Callable[[], bytes]  # the next piece of a body that is being sent; b"" at its end


class Request:
    """What came over the wire.  Header names are lower case."""

    __slots__ = ("_query", "address", "base_url", "body", "headers", "method", "path", "prefix", "pull", "query_string", "request_id", "version")

    def __init__(
        self, method: str, path: str, query_string: str, headers: dict[str, str], *, address: str = "", base_url: str = "",
        body: bytes = b"", pull: Pull | None = None, prefix: str = "",
    ) -> None:  # fmt: skip
        self.method = method
        self.path = path
        self.query_string = query_string
        self.headers = headers
        self.address = address
        self.base_url = base_url
        self.body = body
        self.pull = pull
        self.prefix = prefix  # where the service stands: /placement, or "" on a port of its own
        self.request_id = ""
        self.version: Any = None
        self._query: list[tuple[str, str]] | None = None

    @property
    def home(self) -> str:
        """The URL of the service as this caller reached it."""
        return self.base_url + self.prefix

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters behind the question mark, in order; raises Invalid on bytes that are not UTF-8."""
        if self._query is None:
            if not self.query_string:
                self._query = []
            else:
                try:
                    self._query = parse_qsl(self.query_string, keep_blank_values=True, errors="strict", max_num_fields=500)
                except (UnicodeDecodeError, ValueError):
                    raise Invalid("Query string is not UTF-8 encoded, or has too many fields.") from None
        return self._query

    def pieces(self) -> Iterator[bytes]:
        """The body piece by piece, for routes that stream."""
        if self.pull is None:
            if self.body:
                yield self.body
            return
        while piece := self.pull():
            yield piece


class Answer:
    """An answer with its own status, headers or body, where a route's usual form does not do.

    `body`: bytes as they are, an iterator of bytes (streamed), None (empty), or anything else (sent as JSON).
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int = 200, body: Any = None, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.body = body
        self.headers = headers or {}
