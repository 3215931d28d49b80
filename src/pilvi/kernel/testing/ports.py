"""Ports of this machine for servers that tests start: nobody else gets them as long as the process that took them lives."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

from pilvi.kernel.errors import Unavailable

# below what the system gives to outgoing connections, so that none of those sits there when a server starts again
_FIRST, _LAST = 15000, 32000


def take_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that no other process of tests takes as long as this one lives.

    Raises Unavailable when there is none.
    """
    for _ in range(1000):
        port = random.randint(_FIRST, _LAST)
        name = socket.socket(socket.AF_UNIX)
        with suppress(OSError), socket.socket() as probe:
            name.bind(f"\0pilvi-test-port-{port}")
            probe.bind(("127.0.0.1", port))
            name.detach()  # a name in the abstract name space is the lock; it ends with the process
            return port
        name.close()
    raise Unavailable("No port of this machine is free for a test's server.")
