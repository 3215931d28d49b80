"""Our own NATS broker: it outlives the program, lets in whom it is told to, and keeps no password."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pilvi.kernel.agent import remote, serve
from pilvi.kernel.bus import MAX_BYTES, Bus
from pilvi.kernel.bus.broker import Broker
from pilvi.kernel.bus.connect import connect
from pilvi.kernel.bus.names import agent_user
from pilvi.kernel.config import BusSettings
from pilvi.kernel.errors import HostError, Invalid, PilviError
from pilvi.kernel.testing.ports import take_port
from tests.kernel.bus_rigs import TOPICS, until
from tests.kernel.test_bus import Observatory


@pytest.fixture
def settings() -> BusSettings:
    return BusSettings(serve=f"127.0.0.1:{take_port()}")


@pytest.fixture
def broker(settings: BusSettings, tmp_path: Path) -> Iterator[Broker]:
    made = Broker(settings, tmp_path / "bus", TOPICS)
    made.ensure()
    yield made
    made.stop()


@pytest.fixture
def control(broker: Broker) -> Iterator[Bus]:
    bus = connect(broker.client(), host="control")
    serve(bus, "told", Observatory("control"))
    yield bus
    bus.close()


def agent(broker: Broker, host: str, password: str) -> Bus:
    return connect(BusSettings(url=broker.url, user=agent_user(host), password=password), host=host)


def hears(bus: Bus) -> bool:
    try:
        return remote(bus, Observatory, "told", timeout=5).where() == "control"
    except PilviError:
        return False


def test_it_is_started_once_and_stopped_once(broker: Broker, settings: BusSettings, tmp_path: Path) -> None:
    pid = broker.pid()
    assert pid is not None
    broker.ensure()
    again = Broker(settings, tmp_path / "bus", TOPICS)
    again.ensure()
    assert again.pid() == broker.pid() == pid
    again.stop()
    again.stop()
    assert broker.pid() is None


def test_it_outlives_the_program_that_started_it(settings: BusSettings, tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from pilvi.kernel.bus.broker import Broker; from pilvi.kernel.bus.names import AgentTopics;"
        "from pilvi.kernel.config import BusSettings; broker = Broker(BusSettings(serve=sys.argv[1]), Path(sys.argv[2]), AgentTopics());"
        "broker.ensure(); print(broker.pid(), flush=True); os.killpg(0, 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, settings.serve, str(tmp_path / "bus")],
        stdout=subprocess.PIPE, text=True, start_new_session=True, check=False, env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    broker = Broker(settings, tmp_path / "bus", TOPICS)
    try:
        assert done.returncode == -signal.SIGKILL
        assert broker.pid() == int(done.stdout)
        broker.ensure()
        assert broker.pid() == int(done.stdout)
        connect(broker.client(), host="control").close()
    finally:
        broker.stop()


def test_it_is_started_again_when_it_was_killed(broker: Broker, control: Bus) -> None:
    first = broker.pid()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: broker.pid() is None)
    broker.ensure()
    assert broker.pid() != first
    until(lambda: hears(control))


def test_a_connection_whose_end_nobody_tells_is_made_anew(control: Bus) -> None:
    """As the library does it when the process was stopped for a minute, and the broker had let it go."""
    client = control._client
    client._closed_cb = None
    asyncio.run_coroutine_threadsafe(client.close(), control.loop).result(10)
    until(lambda: hears(control))


def test_a_pid_left_by_another_process_does_not_count(broker: Broker, tmp_path: Path) -> None:
    broker.stop()
    (tmp_path / "bus" / "nats.pid").write_text(str(os.getpid()))
    assert broker.pid() is None
    broker.stop()
    broker.ensure()
    assert broker.pid() not in (None, os.getpid())


def test_hosts_come_and_go_and_others_notice_nothing(broker: Broker, control: Bus) -> None:
    before = broker.pid()
    north = agent(broker, "north", broker.ensure_user("north"))
    south_password = broker.ensure_user("south")
    south = agent(broker, "south", south_password)
    assert hears(north)
    assert hears(south)
    broker.remove_user("south")
    broker.remove_user("south")
    until(lambda: not hears(south))
    with pytest.raises(Invalid, match="does not know"):
        agent(broker, "south", south_password)
    for number in range(3):
        broker.ensure_user(f"other-{number}")
        assert hears(north)
        assert hears(control)
    fresh = broker.ensure_user("south")
    assert fresh != south_password
    with pytest.raises(Invalid, match="does not know"):
        agent(broker, "south", south_password)
    again = agent(broker, "south", fresh)
    assert hears(again)
    assert broker.pid() == before
    for bus in (north, south, again):
        bus.close()


def test_users_are_kept_when_it_is_not_running(settings: BusSettings, tmp_path: Path) -> None:
    broker = Broker(settings, tmp_path / "bus", TOPICS)
    password = broker.ensure_user("north")
    assert broker.pid() is None
    broker.ensure()
    try:
        agent(broker, "north", password).close()
    finally:
        broker.stop()


def test_no_password_can_be_found(broker: Broker, control: Bus, tmp_path: Path) -> None:
    password = broker.ensure_user("north")
    agent(broker, "north", password).close()
    own = (tmp_path / "bus" / "control.password").read_text()
    pid = broker.pid()
    places = [Path(f"/proc/{pid}/cmdline"), Path(f"/proc/{pid}/environ"), *(tmp_path / "bus").iterdir()]
    for path in places:
        text = path.read_bytes()
        assert password.encode() not in text, path
        assert own.encode() not in text or path.name == "control.password", path
    assert (tmp_path / "bus").stat().st_mode & 0o077 == 0
    assert own not in repr(broker.client())


def test_a_new_address_is_taken_on(broker: Broker, settings: BusSettings, tmp_path: Path) -> None:
    elsewhere = Broker(msgspec.structs.replace(settings, serve=f"127.0.0.1:{take_port()}"), tmp_path / "bus", TOPICS)
    elsewhere.ensure()
    connect(elsewhere.client(), host="control").close()
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", int(settings.serve.split(":")[1])), timeout=1):  # noqa: PT011
        pass


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = Broker(BusSettings(serve=f"127.0.0.1:{taken.getsockname()[1]}"), tmp_path / "bus", TOPICS)
        began = time.monotonic()
        with pytest.raises(HostError, match=r"nats-server did not start: .*address already in use"):
            broker.ensure()
        assert time.monotonic() - began < 15
        assert broker.pid() is None


def test_an_agent_of_a_cloud_with_a_prefix(settings: BusSettings, tmp_path: Path) -> None:
    broker = Broker(msgspec.structs.replace(settings, prefix="c.1"), tmp_path / "bus", TOPICS)
    broker.ensure()
    try:
        control = connect(broker.client(), host="control")
        serve(control, "told", Observatory("control"))
        north = connect(BusSettings(url=broker.url, user=agent_user("north"), password=broker.ensure_user("north"), prefix="c.1"), host="north")
        serve(north, "sky", Observatory("north"), host="north")
        assert remote(north, Observatory, "told").who() == "north"
        assert remote(control, Observatory, "sky", host="north").where() == "north"
        north.close()
        control.close()
    finally:
        broker.stop()


def test_it_carries_as_much_as_the_bus(broker: Broker, control: Bus) -> None:
    stub = remote(control, Observatory, "told", timeout=30)
    assert stub.take(bytes(MAX_BYTES - 4096)) == MAX_BYTES - 4096


@pytest.mark.parametrize("serve", ["here", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "a@b:1", "127.0.0.1:0", "1.2.3.4:5/x"])
def test_a_wrong_address_is_refused(tmp_path: Path, serve: str) -> None:
    with pytest.raises(Invalid, match=rf"bus\.serve: '{re.escape(serve)}'"):
        Broker(BusSettings(serve=serve), tmp_path, TOPICS)


def test_half_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"bus\.cert_file and bus\.key_file"):
        Broker(BusSettings(serve=":4222", cert_file="/x"), tmp_path, TOPICS)
    with pytest.raises(Invalid, match=r"bus\.verify_clients"):
        Broker(BusSettings(serve=":4222", verify_clients=True), tmp_path, TOPICS)


def test_others_are_told_a_name_and_not_every_address(tmp_path: Path) -> None:
    assert Broker(BusSettings(serve="0.0.0.0:4222"), tmp_path, TOPICS).url == f"nats://{socket.gethostname()}:4222"
    assert Broker(BusSettings(serve="[::1]:4222", cert_file="/c", key_file="/k"), tmp_path, TOPICS).url == "tls://[::1]:4222"
    assert Broker(BusSettings(serve="0.0.0.0:4222", url="tls://bus.example:4222"), tmp_path, TOPICS).url == "tls://bus.example:4222"
