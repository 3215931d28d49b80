"""A second host joins a running cloud by the two commands that the documents name, over TLS; nobody else does."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilvi.kernel.testing.ports import take_port
from tests.wire.process import RealCloud, connect

pytestmark = pytest.mark.filterwarnings("ignore")  # openstacksdk warns of its own future

CONTROL = "api,scheduler,conductor,console"


class Controller(RealCloud):
    """The cloud's control plane, which other hosts can reach, encrypted."""

    def __init__(self, state: Path) -> None:
        super().__init__(state, PILVI_HEARTBEAT="0.5", PILVI_DOWN_AFTER="3", PILVI_COMPUTE__HEARTBEAT="0.5", PILVI_COMPUTE__DOWN_AFTER="3")
        self.bus_port = take_port()
        state.mkdir(parents=True)
        (state / "pilvi.toml").write_text(
            f'address = "127.0.0.1"\nroles = {json.dumps(CONTROL.split(","))}\n[tls]\nenabled = true\n[bus]\nserve = "127.0.0.1:{self.bus_port}"\n'
        )

    def invitation(self, name: str) -> tuple[str, str]:
        """The URL and the token that `pilvi host add` prints."""
        told = self.say("host", "add", name)
        assert told.returncode == 0, told.stderr
        words = next(line for line in told.stdout.splitlines() if "pilvi join" in line).split()
        return words[2], words[4]

    def hosts(self) -> dict[str, Any]:
        return {host["name"]: host for host in json.loads(self.say("host", "list", "--json").stdout)}


class Host(RealCloud):
    """A machine that joins; its settings come from there."""

    def __init__(self, state: Path, controller: Controller) -> None:
        super().__init__(state)
        self.environment = {name: value for name, value in controller.environment.items() if name not in ("PILVI_HOST", "PILVI_API__PORT")}

    def join(self, url: str, token: str, *more: str) -> Any:
        return self.say("join", url, "--token", token, "--fake", *more)


def until(look: Callable[[], Any], within: float = 20.0) -> Any:
    end = time.monotonic() + within
    while not (seen := look()):
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.05)
    return seen


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    made = Controller(tmp_path_factory.mktemp("controller") / "state")
    with made:
        yield made


@pytest.fixture(scope="module")
def host(controller: Controller, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("host") / "state", controller)
    url, token = controller.invitation("n2")
    done = made.join(url, token)
    assert done.returncode == 0, done.stderr + made.last_words()
    assert not (made.state / "pilvi.db").exists()
    until(lambda: controller.hosts()["n2"]["well"])
    yield made
    made.down()


def boot(controller: Controller) -> Any:
    """A server, once it is there."""
    cloud = connect(controller)
    flavor = next(iter(cloud.compute.flavors()))
    image = cloud.image.find_image("blank") or cloud.image.create_image(
        name="blank", disk_format="raw", container_format="bare", data=bytes(1 << 16), visibility="public"
    )
    made = cloud.compute.create_server(name="one", image_id=image.id, flavor_id=flavor.id, networks="none")
    return cloud.compute.wait_for_server(made, wait=30, interval=0.1)


def test_the_host_is_part_of_the_cloud(controller: Controller, host: Host) -> None:
    cloud = connect(controller)
    services = {(one.binary, one.host): one.state for one in cloud.compute.services()}
    assert services["nova-compute", "n2"] == services["nova-conductor", "hill"] == "up"
    assert {agent.host for agent in cloud.network.agents()} == {"n2"}
    assert boot(controller).compute_host == "n2"
    status = controller.say("status")
    assert "host n2: process" in status.stdout
    assert status.returncode == 0


def test_a_token_is_good_once_and_for_the_cloud_that_it_names(controller: Controller, host: Host, tmp_path: Path) -> None:
    url, token = controller.invitation("n3")
    wrong = token.partition(".")[0] + "." + "0" * 64
    stranger = Host(tmp_path / "stranger", controller)
    assert "somebody else answers" in stranger.join(url, wrong, "--no-start").stderr
    assert "not valid" in stranger.join(url, "x" + token, "--no-start").stderr
    assert not (stranger.state / "pilvi.toml").exists()
    assert stranger.join(url, token, "--no-start").returncode == 0
    again = Host(tmp_path / "again", controller)
    assert "used before" in again.join(url, token, "--no-start").stderr
    assert controller.say("host", "remove", "n3").returncode == 0
    assert "n3" not in controller.hosts()


def test_a_host_that_was_removed_speaks_no_more(controller: Controller, tmp_path: Path) -> None:
    gone = Host(tmp_path / "gone", controller)
    assert gone.join(*controller.invitation("n4"), "--no-start").returncode == 0
    controller.say("host", "remove", "n4")
    told = gone.say("up")
    gone.down()
    assert told.returncode == 1
    assert "bus" in told.stderr


def test_secrets_are_in_no_log_and_for_their_owner_only(controller: Controller, host: Host) -> None:
    secret = (host.state / "bus-password").read_text().strip()
    logs = "".join(path.read_text() for state in (controller.state, host.state) for path in (state / "log").glob("*"))
    assert secret not in logs
    for private in (host.state / "bus-password", host.state / "tls" / "key.pem", controller.state / "tls" / "ca-key.pem"):
        assert private.stat().st_mode & 0o077 == 0, private


def test_either_side_dies_and_comes_back(controller: Controller, host: Host) -> None:
    for one in (host, controller):
        pid = one.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        if one is host:
            until(lambda: not controller.hosts()["n2"]["well"])
            status = controller.say("status")
            assert "NOT HEARD OF" in status.stdout
            assert status.returncode == 1
        one.up_options = []
        one.up()
        until(lambda: controller.hosts()["n2"]["well"])
    assert boot(controller).compute_host == "n2"
    assert "0 found" in controller.say("check").stdout
