"""A cloud with a server in it moves from SQLite to PostgreSQL, to MariaDB and back, by `pilvi database`, and works on each."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openstack.exceptions
import pytest
from openstack.connection import Connection

from pilvi.kernel.testing.servers import KINDS, Server, run
from tests.wire.process import RealCloud, connect

pytestmark = pytest.mark.filterwarnings("ignore")  # openstacksdk warns of its own future
PASSWORD = "Sesam-öffne/dich"
QUOTED = "Sesam-%C3%B6ffne%2Fdich"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    made = {name: kind() for name, kind in KINDS.items()}
    yield made
    for server in made.values():
        server.stop()


def account(server: Server, name: str) -> str:
    """The URL of an empty database whose owner has a password."""
    server.create(name)
    if server.scheme.startswith("postgresql"):
        server.run(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'", f"ALTER DATABASE {name} OWNER TO {name}")
    else:
        server.run(f"CREATE USER '{name}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'", f"GRANT ALL ON `{name}`.* TO '{name}'@'127.0.0.1'")
    return f"{server.scheme}://{name}:{QUOTED}@127.0.0.1:{server.port}/{name}"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[RealCloud]:
    made = RealCloud(tmp_path / "state")
    made.environment.pop("PILVI_DATABASE__URL", None)  # the move begins on SQLite, whatever the run is on
    made.up()
    yield made
    made.down()


def boot(admin: Connection, name: str) -> str:
    image = next(admin.image.images(name="plain"), None) or admin.image.create_image(
        name="plain", data=b"\0" * 65536, disk_format="raw", container_format="bare", visibility="public"
    )
    network = next(admin.network.networks(name="yard"), None)
    if network is None:
        network = admin.network.create_network(name="yard")
        admin.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.5.0.0/24")
    flavor = min(admin.compute.flavors(), key=lambda one: one.ram)
    made = admin.compute.create_server(name=name, image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network.id}])
    return admin.compute.wait_for_server(made, interval=0.2, wait=60).id


def picture(admin: Connection) -> list[object]:
    """What a user sees, with every id."""
    return [
        sorted((one.id, one.name, one.status) for one in admin.compute.servers()),
        sorted((port.id, port.mac_address, str(port.fixed_ips)) for port in admin.network.ports()),
        sorted((one.id, one.name) for one in admin.identity.users()),
        sorted((one.id, one.name, one.size) for one in admin.block_storage.volumes()),
    ]


def test_there_and_back_again(cloud: RealCloud, servers: dict[str, Server], tmp_path: Path) -> None:
    with connect(cloud) as admin:
        boot(admin, "☃ first")
        admin.block_storage.wait_for_status(admin.block_storage.create_volume(size=1, name="box"), "available", interval=0.1, wait=30)
        before = picture(admin)
    running = cloud.say("database", "move", "sqlite:")
    assert running.returncode == 1
    assert "pilvi down" in running.stderr
    for kind, server in servers.items():
        cloud.say("down")
        secret = tmp_path / kind
        secret.write_text(account(server, f"moved_{kind}") + "\n")
        moved = cloud.say("database", "move", "--url-file", str(secret), "--switch")
        assert moved.returncode == 0, moved.stdout + moved.stderr
        assert "compute_servers: " in moved.stdout
        assert not any(word in moved.stdout + moved.stderr for word in (PASSWORD, QUOTED))
        assert (cloud.state / "pilvi.toml").stat().st_mode & 0o077 == 0
        again = cloud.say("database", "move", "--url-file", str(secret))
        assert again.returncode == 1
        assert "already" in again.stderr
        cloud.up()
        with connect(cloud) as admin:
            assert picture(admin) == before
            boot(admin, f"on {kind}")
            before = picture(admin)
        shown = cloud.say("database", "show")
        assert shown.returncode == 0, shown.stderr
        assert server.scheme.partition("+")[0] in shown.stdout
        assert "kernel_periodic" in shown.stdout
        log = (cloud.state / "log" / "pilvi.log").read_text()
        assert not any(word in shown.stdout + log for word in (PASSWORD, QUOTED))
    cloud.say("down")
    full = cloud.say("database", "move", "sqlite:", "--switch")
    assert full.returncode == 1, "the file of the beginning is still there"
    assert "is not empty" in full.stderr
    (cloud.state / "pilvi.db").unlink()
    back = cloud.say("database", "move", "sqlite:", "--switch")
    assert back.returncode == 0, back.stderr
    cloud.up()
    with connect(cloud) as admin:
        assert picture(admin) == before
        boot(admin, "home")
    assert cloud.say("check").returncode in (0, 1), "it can look"


@pytest.mark.parametrize("kind", KINDS)
def test_the_cloud_outlives_its_database(cloud: RealCloud, kind: str, tmp_path: Path) -> None:
    """The server is killed while clients ask: they get 503 in a sentence, and afterwards all goes on by itself."""
    with KINDS[kind]() as server:
        cloud.say("down")
        cloud.environment["PILVI_DATABASE__URL"] = server.create("cloud")
        cloud.up()
        pid = cloud.pid()
        with connect(cloud) as admin:
            first = boot(admin, "before")
            server.kill()
            with pytest.raises(openstack.exceptions.HttpException) as told:
                admin.compute.get_server(first)
            assert told.value.status_code == 503, told.value
            server.start_again()
            end = time.monotonic() + 30
            while True:
                with contextlib.suppress(openstack.exceptions.HttpException):
                    assert admin.compute.get_server(first).status == "ACTIVE"
                    break
                assert time.monotonic() < end
                time.sleep(0.1)
            boot(admin, "after")
        assert cloud.pid() == pid, "the program has not been started anew"
        cloud.down()


def test_connections_are_cut_and_nobody_notices(cloud: RealCloud) -> None:
    """An administrator ends all connections, again and again, while clients read and write."""
    with KINDS["postgresql"]() as server:
        cloud.say("down")
        url = cloud.environment["PILVI_DATABASE__URL"] = server.create("cloud")
        cloud.up()
        stop = threading.Event()

        def cut() -> None:
            while not stop.wait(0.3):
                run(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'cloud' AND state = 'idle'")

        cutter = threading.Thread(target=cut)
        cutter.start()
        try:
            with connect(cloud) as admin:
                for number in range(20):
                    made = admin.network.create_network(name=f"n{number}")
                    assert admin.network.get_network(made.id).name == f"n{number}"
        finally:
            stop.set()
            cutter.join()
        cloud.down()
