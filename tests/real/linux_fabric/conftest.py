"""The fixtures of the Linux network driver's tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .guests import Pump
from .hosts import Host


@pytest.fixture(scope="module")
def pump() -> Iterator[Pump]:
    pump = Pump()
    yield pump
    pump.close()


@pytest.fixture
def new_host(tmp_path: Path, pump: Pump) -> Iterator[Callable[..., Host]]:
    with contextlib.ExitStack() as stack:

        def make(tunnel_address: str = "127.0.0.1", *, masquerade: bool = False) -> Host:
            host = Host(tmp_path, pump, tunnel_address, masquerade=masquerade)
            stack.callback(host.close)
            return host

        yield make


@pytest.fixture
def host(new_host: Callable[..., Host]) -> Host:
    return new_host()
