"""A bus whose driver does not let itself be interrupted, as libraries do that tell of a lost connection instead, finds back all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from pilvi.kernel.bus.brokered import BrokeredBus
from pilvi.kernel.bus.endpoint import Endpoint
from pilvi.kernel.bus.letters import Letter, Server
from tests.kernel.bus_rigs import said, until


class StubbornBus(BrokeredBus):
    """Its driver says at the first interruption of `where` that the connection has ended."""

    kind = "stubborn"

    def __init__(self, where: str) -> None:
        self.where = where
        self.opened = 0
        self.sent: list[Letter] = []
        self.at_work = False
        super().__init__(Endpoint(url="stubborn://nowhere", addresses=[]), patience=5)

    @property
    def most(self) -> int:
        return 1 << 20

    async def _stand(self, where: str) -> None:
        if self.where != where:
            return
        self.where, self.at_work = "", True
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionError("the connection has ended") from None

    async def _open(self, lost: Callable[[str], None]) -> None:
        self.opened += 1
        self.lost = lost

    async def _listen(self, server: Server) -> None:
        await self._stand("listen")
        server.link = self.opened

    async def _unlisten(self, server: Server) -> None:
        server.link = None

    async def _send(self, letter: Letter) -> None:
        await self._stand("send")
        self.sent.append(letter)

    async def _flush(self) -> None:
        pass

    async def _hang_up(self) -> None:
        await self._stand("hang up")

    def break_off(self) -> None:
        self.loop.call_soon_threadsafe(self.lost, "the cable was cut")


@pytest.fixture(params=["send", "listen", "hang up"])
def stubborn(request: pytest.FixtureRequest) -> Iterator[StubbornBus]:
    bus = StubbornBus(request.param)
    yield bus
    bus.close()


def test_who_cannot_be_interrupted_is_interrupted_again(stubborn: StubbornBus) -> None:
    where = stubborn.where
    if where == "send":
        stubborn.cast("sky", said("note"))
        until(lambda: stubborn.at_work)
    elif where == "listen":
        stubborn._servers.append(Server("sky", lambda message: b"", "", None, shared=True))  # type: ignore[arg-type]
        stubborn.break_off()
        until(lambda: stubborn.at_work)
    before = stubborn.opened
    stubborn.break_off()
    until(lambda: stubborn.opened > before and stubborn.is_up)
    stubborn.cast("sky", said("note"))
    until(lambda: len(stubborn.sent) == 1)
    assert all(server.link == stubborn.opened for server in stubborn._servers)
