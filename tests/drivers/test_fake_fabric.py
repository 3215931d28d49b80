"""The fake network driver keeps the contract, fails as it is told, and remembers across a restart of its agent."""

from __future__ import annotations

import pytest

from pilvi.kernel.errors import HostError
from pilvi.kernel.faults import Faults
from pilvi.network.drivers.fake import FakeFabric, FakeWiring

from .fabric_contract import FabricContract, a_port, a_segment


class TestFakeFabric(FabricContract):
    @pytest.fixture
    def fabric(self) -> FakeFabric:
        return FakeFabric("one")

    def test_faults_strike_before_anything_is_done(self) -> None:
        faults = Faults()
        fabric, port = FakeFabric("one", faults=faults), a_port(a_segment())
        faults.fail("ensure_port", "no room", subject=port.id, times=1)
        with pytest.raises(HostError, match="no room"):
            fabric.ensure_port(port)
        assert not fabric.ports
        fabric.ensure_port(port)
        assert fabric.ports == {port.id: port}
        assert faults.told == [("ensure_port", port.id), ("ensure_port", port.id)]

    def test_the_world_outlives_the_agent_and_hosts_are_apart(self) -> None:
        world: dict[str, FakeWiring] = {}
        port = a_port(a_segment())
        FakeFabric("one", world=world).ensure_port(port)
        assert FakeFabric("one", world=world).observe().ports == [port.id]
        assert FakeFabric("two", world=world).observe().ports == []
