"""HTTP: one chain for all services; each resource is declared once and answers in its service's dialect."""

from pilvi.kernel.http.dialect import Dialect
from pilvi.kernel.http.request import Answer, Request
from pilvi.kernel.http.resource import Listing, Resource
from pilvi.kernel.http.shape import (
    UNSET,
    Body,
    Count,
    Given,
    Name,
    Positive,
    Query,
    Text255,
    View,
    since,
    until,
    wire,
)  # fmt: skip
from pilvi.kernel.http.versions import Version, Versions, version

__all__ = [
    "UNSET", "Answer", "Body", "Count", "Dialect", "Given", "Listing", "Name", "Positive", "Query", "Request", "Resource", "Text255",
    "Version", "Versions", "View", "since", "until", "version", "wire",
]  # fmt: skip
