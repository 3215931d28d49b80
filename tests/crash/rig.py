"""The servers that clouds in parts need, started once for a test run: a database and a bus, by $RIG (default postgresql+nats)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pilvi.kernel.testing import brokers, servers
from tests.crash.parts import Parts, Servers, Shape
from tests.crash.relay import Relay


class Postgresql(servers.Postgresql):
    """What it has committed survives its death, as on any server that is used in earnest."""

    def _command(self) -> list[str]:
        return [*super()._command(), "-c", "synchronous_commit=on"]


class Mariadb(servers.Mariadb):
    """The same."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--innodb-flush-log-at-trx-commit=2"]


DATABASES: dict[str, type[servers.Server]] = {"postgresql": Postgresql, "mariadb": Mariadb}
BUSES = {"nats": brokers.nats, "rabbitmq": brokers.rabbitmq}


class Rig:
    """A database server, a broker, and the clouds that live on them."""

    def __init__(self, folder: Path, kinds: str = "") -> None:
        self.folder, self.kinds = folder, kinds or os.environ.get("RIG", "postgresql+nats")
        database, _, bus = self.kinds.partition("+")
        self.database = DATABASES[database]()
        try:
            self.bus = BUSES[bus](folder / "bus")
        except BaseException:
            self.database.stop()
            raise
        self.clouds: list[Parts] = []
        self._made = 0

    def __repr__(self) -> str:
        return self.kinds

    def cloud(self, shape: Shape, *, far: Mapping[str, Relay] | None = None, furnish: bool = True, **settings: str) -> Parts:
        """A new cloud that runs, with an image and a network; the parts named in `far` reach the bus through these relays."""
        self._made += 1
        url = self.database.create(f"cloud{self._made}")
        chosen = {"PILVI_BUS__PREFIX": f"c{self._made}"} if has_prefix() else {}
        made = Parts(self.folder / f"cloud{self._made}", shape, Servers(url, self.bus.url, chosen), far=far, **settings)
        self.clouds.append(made)
        made.start()
        if furnish:
            made.furnish()
        return made

    def end(self, cloud: Parts) -> None:
        """End a cloud and forget it."""
        self.clouds.remove(cloud)
        cloud.close()

    def close(self) -> None:
        for cloud in [*self.clouds]:
            self.end(cloud)
        self.bus.stop()
        self.database.stop()


def has_prefix() -> bool:
    """Whether several clouds can share a broker."""
    from pilvi.kernel.config import BusSettings

    return "prefix" in BusSettings.__struct_fields__
