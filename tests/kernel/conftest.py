"""A cloud with the small service of `things.py`, and the buses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.kernel.testing.cloud import Cloud
from tests.kernel import things
from tests.kernel.bus_rigs import BrokerRig, LocalRig, NatsRig, RabbitRig, Rig, alone


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    things.WORLD.clear()
    things.TROUBLE.clear()
    running = Cloud(tmp_path, [things.SERVICE], things.Settings).start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def rabbit_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Path]:
    """Where the one RabbitMQ of all processes of a test run is: it takes long to start."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "rabbitmq"
    yield folder
    if folder.exists():
        with alone(folder.parent / "rabbitmq.lock"):
            rig = RabbitRig.started.pop(folder, None)
            if rig is not None:
                rig.broker.stop()


@pytest.fixture(scope="session")
def nats_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsRig]:
    rig = NatsRig(tmp_path_factory.mktemp("nats"))
    yield rig
    rig.broker.stop()


def _broker_rig(request: pytest.FixtureRequest) -> Iterator[BrokerRig]:
    if request.param == "nats":
        rig: BrokerRig = request.getfixturevalue("nats_rig")
        yield rig
        rig.close()
        return
    folder: Path = request.getfixturevalue("rabbit_folder")
    with alone(folder.parent / "rabbitmq.lock"):
        rig = RabbitRig.at(folder)
        yield rig
        rig.close()


@pytest.fixture(params=["nats", "rabbitmq"])
def broker_rig(request: pytest.FixtureRequest) -> Iterator[BrokerRig]:
    """A bus with a broker."""
    yield from _broker_rig(request)


@pytest.fixture(params=["local", "nats", "rabbitmq"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Any bus."""
    if request.param != "local":
        yield from _broker_rig(request)
        return
    rig = LocalRig()
    yield rig
    rig.close()
