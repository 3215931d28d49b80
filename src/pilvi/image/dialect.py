"""How image speaks: version 2 without microversions; errors as `error`, which both its clients read."""

from __future__ import annotations

from pilvi.image.errors import WrongType
from pilvi.kernel.errors import HostError, QuotaExceeded
from pilvi.kernel.http import Dialect

DIALECT = Dialect(statuses={QuotaExceeded: 413, WrongType: 415, HostError: 503}, request_id_header="")
