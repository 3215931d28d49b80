"""The command `pilvi` itself, as a user says it: real processes, real ports, exit codes and sentences."""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import os
import resource
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from pilvi.cli.place import Place
from pilvi.kernel.errors import Unavailable
from pilvi.kernel.testing import databases
from tests.wire.process import HOST, ROLES, RealCloud, clean_environment, connect

pytestmark = pytest.mark.filterwarnings("ignore")  # openstacksdk warns of its own future

OPENSTACK = Path(sys.executable).with_name("openstack")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCloud]:
    with RealCloud(tmp_path_factory.mktemp("cli") / "state") as made:
        yield made


@pytest.fixture(scope="module")
def token(cloud: RealCloud) -> str:
    user = {"name": "admin", "domain": {"id": "default"}, "password": (cloud.state / "admin-password").read_text().strip()}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    answer = httpx.post(f"{cloud.url}/identity/v3/auth/tokens", json=body)
    assert answer.status_code == 201, answer.text
    return answer.headers["x-subject-token"]


@pytest.fixture(scope="module")
def server(cloud: RealCloud, token: str) -> dict[str, Any]:
    """A server that runs, and how the request that made it was called."""
    with httpx.Client(base_url=cloud.url, headers={"X-Auth-Token": token}) as http:
        image = http.post("/image/v2/images", json={"name": "plain", "disk_format": "raw", "container_format": "bare"}).json()["id"]
        sent = http.put(f"/image/v2/images/{image}/file", content=b"\0" * 4096, headers={"Content-Type": "application/octet-stream"})
        assert sent.status_code == 204, sent.text
        wish = {"name": "kettle", "imageRef": image, "flavorRef": "1", "networks": "none"}
        made = http.post("/compute/v2.1/servers", json={"server": wish}, headers={"OpenStack-API-Version": "compute 2.90"})
        assert made.status_code == 202, made.text
        cloud.settle()
        told = http.get(f"/compute/v2.1/servers/{made.json()['server']['id']}").json()["server"]
        assert told["status"] == "ACTIVE", told
        return {"id": told["id"], "request": made.headers["x-openstack-request-id"]}


def alive(pid: int | None) -> bool:
    """Whether the process runs; one that nobody has buried has no command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


def run_dir(cloud: RealCloud) -> Path:
    """Where the cloud's sockets lie."""
    return Place(argparse.Namespace(state=str(cloud.state), config=None)).run_dir


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a failing command said: one line, and no traceback."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert not done.stdout
    assert lines[0].endswith("."), lines[0]
    return lines[0]


# -- up, status, down ----------------------------------------------------------------------------


def test_up_again_says_already_up(cloud: RealCloud) -> None:
    before = cloud.pid()
    done = cloud.say("up", "--fake")
    assert (done.returncode, done.stdout) == (0, f"already up: {cloud.url}   {cloud.state / 'openrc'}\n")
    assert cloud.pid() == before


def test_status_names_every_role(cloud: RealCloud) -> None:
    done = cloud.say("status")
    assert done.returncode == 0, done.stderr
    assert f"Pilvi 0.1.0 on {HOST}: {cloud.url}   state {cloud.state}" in done.stdout
    assert [line.split()[:2] for line in done.stdout.splitlines()[2:]] == [[role, "ok"] for role in ROLES]


def test_status_as_json(cloud: RealCloud) -> None:
    told = json.loads(cloud.say("status", "--json").stdout)
    assert told["pid"] == cloud.pid()
    assert told["url"] == cloud.url
    assert [role["role"] for role in told["roles"] if role["healthy"]] == ROLES
    assert 10 < told["memory_mib"] < 1000
    assert told["uptime"] > 0


def test_status_answers_in_a_blink(cloud: RealCloud) -> None:
    """Processor time of the child, for wall time is other people's; the first run may write byte code."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert cloud.say("status").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.2, spent


def test_without_a_cloud(tmp_path: Path) -> None:
    none = RealCloud(tmp_path / "none")
    for command, code in (("status", 3), ("trace", 1), ("why", 1), ("check", 1)):
        done = none.say(command, *(["kettle"] if command in ("trace", "why") else []))
        assert done.returncode == code, (command, done)
        said = one_sentence(done)
        assert f"no cloud runs on {none.state}; `pilvi up` starts it." in said
    done = none.say("down")
    assert (done.returncode, done.stderr) == (0, f"no cloud runs on {none.state}\n")
    assert "is not there yet; `pilvi up` writes it." in one_sentence(none.say("openrc"))
    assert "there is no log at" in one_sentence(none.say("logs"))
    assert not none.state.exists(), "looking makes nothing"


def test_down_and_up_again_keeps_what_was_there(tmp_path: Path) -> None:
    cloud = RealCloud(tmp_path / "state")
    with cloud:
        password = (cloud.state / "admin-password").read_text()
        first = cloud.pid()
        assert cloud.say("status").returncode == 0
        done = cloud.say("down")
        assert (done.returncode, done.stdout) == (0, "stopped\n")
        assert cloud.pid() is None
        assert not alive(first), "it says stopped when it has stopped"
        assert not run_dir(cloud).exists(), "nothing is left in /run"
        assert cloud.say("status").returncode == 3
        cloud.up()
        assert run_dir(cloud).exists()
        assert cloud.pid() != first
        assert (cloud.state / "admin-password").read_text() == password
        done = cloud.say("down", "--all")
        assert done.returncode == 0, done.stderr
        assert "its data is kept" in done.stdout
        with databases.looking(cloud.state) as look:
            assert look("SELECT id FROM identity_projects")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a program from another one")
def test_a_cloud_of_fakes_goes_where_nothing_is_that_real_drivers_need(tmp_path: Path) -> None:
    with RealCloud(tmp_path / "state") as cloud:
        hide = "; ".join(f"mount --bind /dev/null {shlex.quote(path)}" for name in ("nft", "dnsmasq") if (path := shutil.which(name)))
        command = shlex.join([sys.executable, "-m", "pilvi", "down", "--all", "--state", str(cloud.state)])
        apart = ["unshare", "--mount", "sh", "-c", f"{hide or 'true'}; exec {command}"]
        done = subprocess.run(apart, env=cloud.environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_state_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = RealCloud(tmp_path / "file" / "state").say("up", "--fake")
    assert done.returncode == 1
    assert str(tmp_path / "file") in one_sentence(done)


def test_up_after_a_kill(tmp_path: Path) -> None:
    """A pid file and a socket that a killed process has left do not deceive the next `up`."""
    with RealCloud(tmp_path / "state") as cloud:
        pid = cloud.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        cloud.up()
        assert cloud.pid() != pid
        assert cloud.say("status").returncode == 0


def test_up_while_a_killed_process_still_ends(tmp_path: Path) -> None:
    """A killed process is seen, and holds its lock, for a moment after it has ceased to answer: `up` waits for the moment."""
    with RealCloud(tmp_path / "state") as cloud:
        pid = cloud.pid()
        assert pid is not None
        with open(cloud.state / "pilvi.lock", "a", encoding="utf-8") as lock, ThreadPoolExecutor() as pool:
            os.kill(pid, signal.SIGSTOP)
            again = pool.submit(cloud.say, "up", "--fake")
            time.sleep(1)
            assert not again.done()
            os.kill(pid, signal.SIGKILL)
            fcntl.flock(lock, fcntl.LOCK_EX)
            time.sleep(2)
            assert not again.done()
            fcntl.flock(lock, fcntl.LOCK_UN)
            done = again.result()
        assert done.returncode == 0, done.stderr
        assert cloud.pid() != pid


def test_a_program_that_dies_with_a_question_is_not_there(tmp_path: Path) -> None:
    """Whoever asks a program in the moment of its death sees the connection end; that is no answer."""
    place = Place(argparse.Namespace(state=str(tmp_path), config=None))
    place.run_dir.mkdir(parents=True)
    try:
        with socket.socket(socket.AF_UNIX) as dying, ThreadPoolExecutor() as pool:
            dying.bind(str(place.socket))
            dying.listen()
            asked = pool.submit(place.ask, "/status")
            link, _ = dying.accept()
            assert link.recv(1 << 16)
            link.close()
            with pytest.raises(Unavailable, match="no cloud runs"):
                asked.result(20)
            (tmp_path / "laboratory").mkdir()
            dying.close()
            with pytest.raises(Unavailable, match="pilvi lab"):
                place.ask("/status")
    finally:
        place.socket.unlink()
        place.run_dir.rmdir()


# -- what the user is told -----------------------------------------------------------------------


def test_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = RealCloud(tmp_path / "state", PILVI_API__PORT=str(port)).say("up", "--fake")
    assert done.returncode == 1
    said = one_sentence(done)
    assert f"port {port} on 127.0.0.1 cannot be used" in said
    assert "PILVI_API__PORT" in said


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[api]\nprot = 1\n", ["there is no `prot` in [api]."]),
        ("brewery = 1\n", ["there is no `brewery` in the settings."]),
        ("[api]\nthreads = 'often'\n", ["`api.threads`: Expected `int`"]),
        ("[api\n", ["pilvi.toml", "TOML"]),
        ("[log]\nlevel = 'loud'\n", ["`log.level`", "loud"]),
        ("[compute]\ndriver = 'steam'\n", ["steam"]),
        ("roles = ['api', 'cook']\n", ["cook", "scheduler"]),
        ("[database]\nurl = 'nonsense://'\n", ["database.url"]),
        ("[database]\nurl = 'mysql+oursql://me:hidden@there/name'\n", ["database.url"]),
    ],
    ids=["name", "section", "type", "TOML", "word", "driver", "role", "database", "library"],
)
def test_bad_settings_are_one_sentence(tmp_path: Path, toml: str, words: list[str]) -> None:
    cloud = RealCloud(tmp_path / "state")
    cloud.environment.pop("PILVI_DATABASE__URL", None)  # it would go over what the file says
    cloud.state.mkdir()
    (cloud.state / "pilvi.toml").write_text(toml)
    try:
        done = cloud.say("up", *(["--fake"] if "driver" not in toml else []))
        assert done.returncode == 1, done.stdout
        said = one_sentence(done)
    finally:
        cloud.down()
    assert "hidden" not in said, "the URL may hold a password"
    missing = [word for word in words if word not in said]
    assert not missing, said


def test_a_bad_variable_is_one_sentence(tmp_path: Path) -> None:
    done = RealCloud(tmp_path / "state", PILVI_IMAGE__LARGEST_IMAGE="huge").say("up", "--fake")
    assert done.returncode == 1
    assert "image.largest_image" in one_sentence(done)


def test_words_that_no_command_knows() -> None:
    for words, code in ((["dance"], 2), ([], 2), (["--help"], 0), (["--version"], 0), (["status", "--help"], 0), (["status", "--loud"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "pilvi", *words], env=clean_environment(), cwd="/", capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (words, done)
        assert "Traceback" not in done.stderr
        assert done.stdout or done.stderr


# -- openrc and clouds.yaml ----------------------------------------------------------------------


def test_openrc_in_a_shell_works_with_the_client(cloud: RealCloud) -> None:
    pilvi = shlex.join([sys.executable, "-m", "pilvi", "openrc", "--state", str(cloud.state)])
    script = f'set -eu; eval "$({pilvi})"; exec {shlex.quote(str(OPENSTACK))} project list -f value -c Name'
    done = subprocess.run(["/bin/sh", "-c", script], env=cloud.environment, cwd="/", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "admin" in done.stdout.split()


def test_what_clients_need_is_for_the_owner_only(cloud: RealCloud) -> None:
    for name in ("openrc", "clouds.yaml", "admin-password"):
        assert stat.S_IMODE((cloud.state / name).stat().st_mode) == 0o600, name


def test_a_password_with_every_kind_of_letter(tmp_path: Path) -> None:
    password = "a 'quoted' \"word\", $HOME `x` \\ # : {} é"
    with RealCloud(tmp_path / "state", PILVI_IDENTITY__ADMIN_PASSWORD=password) as cloud:
        script = f'eval "$(cat {shlex.quote(str(cloud.state / "openrc"))})"; printf %s "$OS_PASSWORD"'
        done = subprocess.run(["/bin/sh", "-c", script], env=cloud.environment, capture_output=True, text=True, check=True)
        assert done.stdout == password
        with connect(cloud) as connection:
            assert connection.authorize(), "clouds.yaml holds the same password"


# -- trace, why, logs, check ---------------------------------------------------------------------


def test_trace_tells_the_steps(cloud: RealCloud, server: dict[str, Any]) -> None:
    for name in ("kettle", server["id"]):
        done = cloud.say("trace", name)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == f"server kettle ({server['id']}), ACTIVE on {HOST}"
        assert f"request {server['request']}" in done.stdout
        assert sum(" ms  " in line for line in done.stdout.splitlines()) >= 8, done.stdout


def test_why_tells_of_each_host(cloud: RealCloud, server: dict[str, Any]) -> None:
    done = cloud.say("why", "kettle")
    assert done.returncode == 0, done.stderr
    first, host = done.stdout.splitlines()
    assert first == f"server kettle ({server['id']}), ACTIVE on {HOST}"
    assert host.split()[0] == HOST
    assert "chosen" in host


def test_trace_and_why_of_a_server_that_is_not_there(cloud: RealCloud) -> None:
    for command in ("trace", "why"):
        done = cloud.say(command, "nobody")
        assert done.returncode == 1
        assert "nobody" in one_sentence(done)


def test_logs_of_one_request(cloud: RealCloud, server: dict[str, Any]) -> None:
    done = cloud.say("logs", "-n", "100000", "--request", server["request"], "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["request_id"] for line in lines} == {server["request"]}
    assert any(line["event"] == "request" and line["method"] == "POST" and line["status"] == 202 for line in lines)
    spoken = cloud.say("logs", "-n", "100000", "--request", server["request"]).stdout
    assert len(spoken.splitlines()) == len(lines)
    assert "POST" in spoken


def test_logs_shows_the_last_lines_and_keeps_secrets(cloud: RealCloud, server: dict[str, Any], token: str) -> None:
    assert len(cloud.say("logs", "-n", "3").stdout.splitlines()) == 3
    everything = cloud.say("logs", "-n", "100000").stdout
    assert token not in everything
    assert (cloud.state / "admin-password").read_text().strip() not in everything
    assert " error " not in everything


def test_logs_follows_until_it_is_interrupted(cloud: RealCloud) -> None:
    command = [sys.executable, "-m", "pilvi", "logs", "--state", str(cloud.state), "-n", "0", "-f"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    heedful = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # also when these tests run in the background of a shell
    with subprocess.Popen(command, env=cloud.environment, cwd="/", preexec_fn=heedful, **pipes) as follower:
        try:
            assert follower.stdout is not None
            seen, end = b"", time.monotonic() + 30
            while b"/v3/nowhere" not in seen:
                assert time.monotonic() < end, seen
                httpx.get(f"{cloud.url}/identity/v3/nowhere")
                if select.select([follower.stdout], [], [], 0.2)[0]:
                    seen += os.read(follower.stdout.fileno(), 1 << 16)
            follower.send_signal(2)
            _, errors = follower.communicate(timeout=20)
        finally:
            follower.kill()
    assert follower.returncode == 130
    assert "Traceback" not in errors


def test_check_finds_nothing_wrong(cloud: RealCloud, server: dict[str, Any]) -> None:
    cloud.settle()
    done = cloud.say("check")
    assert done.returncode == 0, done.stdout + done.stderr
    checked, found = (int(part.split()[0]) for part in done.stdout.strip().splitlines()[-1].split(", ")[:2])
    assert checked > 0
    assert found == 0


# -- two at once ---------------------------------------------------------------------------------


def test_two_clouds_side_by_side(cloud: RealCloud, token: str, tmp_path: Path) -> None:
    with RealCloud(tmp_path / "second") as second:
        assert second.pid() != cloud.pid()
        assert json.loads(second.say("status", "--json").stdout)["url"] == second.url
        assert json.loads(cloud.say("status", "--json").stdout)["url"] == cloud.url
        assert httpx.get(f"{cloud.url}/identity/v3/projects", headers={"X-Auth-Token": token}).status_code == 200
        assert httpx.get(f"{second.url}/identity/v3/projects", headers={"X-Auth-Token": token}).status_code == 401
        assert second.say("down").returncode == 0
        assert cloud.say("status").returncode == 0


def test_clouds_of_one_state_folder_at_once(tmp_path: Path) -> None:
    """Two `up` at the same moment on one state folder: one cloud, and both are told where it is or that it is there."""
    cloud = RealCloud(tmp_path / "state")
    command = [sys.executable, "-m", "pilvi", "up", "--fake", "--state", str(cloud.state)]
    try:
        both = [
            subprocess.Popen(command, env=cloud.environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
        ]
        said = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert all(cloud.url in out for out, _ in said), said
        assert cloud.say("status").returncode == 0
    finally:
        cloud.down()
