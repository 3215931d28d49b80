"""The file back end under a real QEMU that writes, and under kill -9, full disks and hostile images."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilvi.block_storage.drivers import Connection, FromImage, FromSnapshot, FromVolume, SeenVolume, VolumeSpec
from pilvi.block_storage.drivers.file import FileBackend
from pilvi.block_storage.drivers.file.qmp import Monitor, Refused
from pilvi.block_storage.drivers.gates import Ways
from pilvi.image.inspect import inspect_file
from pilvi.kernel.certificates import Authority
from pilvi.kernel.errors import HostError
from pilvi.kernel.progress import Progress
from pilvi.kernel.testing.ports import take_port

Source = FromImage | FromVolume | FromSnapshot
ONE, TWO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
SNAP, COPY = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee"
ATTACHMENT, OTHER = "cccccccc-cccc-4ccc-8ccc-cccccccccccc", "dddddddd-dddd-4ddd-8ddd-dddddddddddd"
GIB, MIB = 1 << 30, 1 << 20


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "never came"
        time.sleep(0.01)


def ended(ask: Callable[[], Progress]) -> Progress:
    seen: list[Progress] = []
    until(lambda: seen.append(ask()) or seen[-1].state != "working")
    return seen[-1]


def qemu_img(*words: object) -> str:
    return subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True, text=True).stdout


class Guest:
    """A QEMU machine without a processor whose disk is a volume; its block layer reads and writes as guests' do."""

    def __init__(self, connection: Connection, folder: Path, *, read_only: bool = False) -> None:
        self._monitor_path = folder / f"guest-{connection.export[:8]}-{os.urandom(2).hex()}.sock"
        server = f"type=unix,server.path={connection.path}"
        disk = f"driver=nbd,node-name=disk,export={connection.export},reconnect-delay=20,server.{server}"
        command = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none"]
        command += ["-qmp", f"unix:{self._monitor_path},server=on,wait=off"]
        command += ["-blockdev", disk + (",read-only=on" if read_only else "")]
        self._said = folder / (self._monitor_path.name + ".out")
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)
        until(lambda: self._monitor_path.exists() or self.process.poll() is not None)

    def io(self, command: str) -> str:
        before = self._said.stat().st_size
        with Monitor(self._monitor_path, timeout=30) as monitor:
            told = monitor.do("human-monitor-command", {"command-line": f'qemu-io disk "{command}"'})
        return told + self._said.read_bytes()[before:].decode()

    def write(self, value: int, at: int = 0, length: int = 65536) -> None:
        said = self.io(f"write -P {value} {at} {length}")
        assert f"wrote {length}/{length}" in said and "failed" not in said.lower(), said

    def check(self, value: int, at: int = 0, length: int = 65536) -> None:
        said = self.io(f"read -P {value} {at} {length}")
        assert f"read {length}/{length}" in said and "failed" not in said.lower(), said

    def resize(self, size: int) -> None:
        """As a hypervisor does it; a client that is idle learns the size only when it reconnects for its next request."""
        self.io("read 0 512")
        with Monitor(self._monitor_path) as monitor:
            monitor.do("block_resize", {"node-name": "disk", "size": size})

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def run_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pilvi-fb-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def backend(tmp_path: Path, run_dir: Path) -> Iterator[FileBackend]:
    backend = FileBackend("here", tmp_path / "state", run_dir=run_dir)
    yield backend
    backend.stop()


@pytest.fixture
def start(run_dir: Path) -> Iterator[Callable[..., Guest]]:
    guests: list[Guest] = []

    def begin(connection: Connection, **options: bool) -> Guest:
        guests.append(Guest(connection, run_dir, **options))
        return guests[-1]

    yield begin
    for guest in guests:
        guest.end()


def make(backend: FileBackend, volume_id: str = ONE, size: int = 1, source: Source | None = None) -> None:
    progress = ended(lambda: backend.ensure_volume(VolumeSpec(id=volume_id, size_gib=size, source=source)))
    assert progress.state == "done", progress.why


def fill(backend: FileBackend, mib: int) -> None:
    """A volume of one GiB with that much data at its start."""
    make(backend)
    connection = backend.ensure_export(ONE, OTHER, "here", local=True)
    url = f"nbd+unix:///{OTHER}?socket={connection.path}"
    subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -q -P 77 0 {mib}M", url], check=True, capture_output=True)
    backend.remove_export(ONE, OTHER)


def byte_at(path: Path, at: int) -> int:
    said = subprocess.run(
        ["qemu-io", "-r", "-f", "qcow2", "-c", f"read -v {at} 512", str(path)], check=True, capture_output=True, text=True
    )
    return int(said.stdout.split()[1], 16)


def daemon_pid(run_dir: Path) -> int:
    return int((run_dir / "daemon.pid").read_text())


def kill_daemon(run_dir: Path) -> None:
    pid = daemon_pid(run_dir)
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not _alive(pid))
    os.close(pidfd)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False


def half_made(state: Path) -> list[Path]:
    return list(state.rglob(".*-*"))


def test_a_live_snapshot_and_clone_are_of_one_moment(
    backend: FileBackend, start: Callable[..., Guest], tmp_path: Path
) -> None:
    fill(backend, 192)
    guest = start(backend.ensure_export(ONE, ATTACHMENT, "here", local=True))
    first, last = 1 * MIB, 190 * MIB
    guest.write(1, first)
    guest.write(1, last)
    stopping, turns = threading.Event(), [1]

    def keep_writing() -> None:
        while not stopping.is_set():
            value = turns[0] % 251 + 1
            guest.write(value, first, 512)
            guest.write(value, last, 512)
            turns[0] += 1

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for turn in range(3):
            began = turns[0]
            until(lambda began=began: turns[0] > began + 2)
            copy = f"{SNAP[:-1]}{turn}"
            assert ended(lambda copy=copy: backend.ensure_snapshot(ONE, copy)).state == "done"
            path = tmp_path / "state" / "snapshots" / ONE / f"{copy}.qcow2"
            assert (byte_at(path, first) - byte_at(path, last)) % 251 in (0, 1)
        make(backend, TWO, 1, source=FromVolume(volume_id=ONE))
        path = tmp_path / "state" / "volumes" / f"{TWO}.qcow2"
        assert (byte_at(path, first) - byte_at(path, last)) % 251 in (0, 1)
    finally:
        stopping.set()
        writer.join()
    assert turns[0] > 20
    qemu_img("check", path)


def test_a_volume_grows_under_a_running_guest(backend: FileBackend, start: Callable[..., Guest]) -> None:
    make(backend)
    guest = start(backend.ensure_export(ONE, ATTACHMENT, "here", local=True))
    guest.write(5)
    backend.ensure_size(ONE, 3)
    guest.resize(3 * GIB)
    guest.check(5)
    guest.write(6, 3 * GIB - 65536)
    guest.check(6, 3 * GIB - 65536)
    assert backend.observe() == [SeenVolume(id=ONE, size_gib=3, exports=[ATTACHMENT])]


def test_guests_outlive_the_daemon(backend: FileBackend, start: Callable[..., Guest], run_dir: Path) -> None:
    make(backend)
    guest = start(backend.ensure_export(ONE, ATTACHMENT, "here", local=True))
    guest.write(5)
    guest.io("flush")
    before = daemon_pid(run_dir)
    kill_daemon(run_dir)
    assert backend.observe()[0].exports == [ATTACHMENT]
    assert daemon_pid(run_dir) != before
    guest.check(5)
    guest.write(6)
    guest.check(6)


def test_the_daemon_outlives_this_program_and_is_found_again(
    backend: FileBackend, start: Callable[..., Guest], run_dir: Path, tmp_path: Path
) -> None:
    make(backend)
    guest = start(backend.ensure_export(ONE, ATTACHMENT, "here", local=True))
    before = daemon_pid(run_dir)
    again = FileBackend("here", tmp_path / "state", run_dir=run_dir)
    again.ensure_export(ONE, OTHER, "here", local=True)
    assert daemon_pid(run_dir) == before
    guest.write(5)
    again.remove_export(ONE, ATTACHMENT)
    assert again.observe()[0].exports == [OTHER]


def test_a_foreign_process_in_the_pid_file_is_left_alone(backend: FileBackend, run_dir: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (run_dir / "daemon.pid").write_text(str(stranger.pid))
        backend.stop()
        make(backend)
        backend.ensure_export(ONE, ATTACHMENT, "here", local=True)
        assert daemon_pid(run_dir) != stranger.pid and stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_several_guests_share_a_volume_and_a_reader_cannot_write(backend: FileBackend, start: Callable[..., Guest]) -> None:
    make(backend)
    one = start(backend.ensure_export(ONE, ATTACHMENT, "here", local=True))
    two = start(backend.ensure_export(ONE, OTHER, "here", local=True, read_only=True), read_only=True)
    one.write(9)
    two.check(9)
    assert "wrote" not in two.io("write -P 1 0 512")
    two.check(9)
    backend.remove_export(ONE, OTHER)
    one.write(10)
    one.check(10)


@pytest.fixture
def afar(tmp_path: Path, run_dir: Path) -> Iterator[FileBackend]:
    """A back end that serves other hosts' guests."""
    authority = Authority(tmp_path / "tls")
    authority.ensure()
    certificate = authority.ensure_own("here", ["127.0.0.1"])
    backend = FileBackend("here", tmp_path / "state", run_dir=run_dir, address="127.0.0.1", port=take_port(), certificate=certificate)
    yield backend
    backend.stop()


@pytest.fixture
def ways(run_dir: Path) -> Iterator[Ways]:
    """Another host's ways to it."""
    made = Ways(run_dir / "ways")
    yield made
    made.stop()


def way(ways: Ways, connection: Connection, **other: str) -> Connection:
    """The connection as a guest on the other host meets it."""
    words = {name: getattr(connection, name) for name in ("host", "port", "export", "secret", "pin")} | other
    return Connection(kind="nbd", path=ways.ensure("server", f"{ONE}{other}", **words), export=connection.export)


def test_other_hosts_guests_come_through_the_gates(afar: FileBackend, ways: Ways, start: Callable[..., Guest]) -> None:
    make(afar)
    connection = afar.ensure_export(ONE, ATTACHMENT, "there", local=False)
    assert connection.host == "127.0.0.1"
    assert connection.secret
    assert connection.secret not in repr(connection)
    assert afar.ensure_export(ONE, ATTACHMENT, "there", local=False) == connection, "said twice it is the same way"
    near = afar.ensure_export(ONE, OTHER, "here", local=True)
    guest = start(way(ways, connection))
    guest.write(4)
    guest.check(4)
    start(near).check(4)
    afar.ensure_size(ONE, 2)
    guest.write(5)
    guest.check(5)


def test_the_gates_let_nobody_else_in(afar: FileBackend, ways: Ways) -> None:
    make(afar)
    connection = afar.ensure_export(ONE, ATTACHMENT, "there", local=False)
    afar.ensure_export(ONE, OTHER, "here", local=True)

    def reaches(at: Connection, export: str) -> bool:
        asked = ["qemu-img", "info", "--image-opts", f"driver=nbd,server.type=unix,server.path={at.path},export={export}"]
        return subprocess.run(asked, capture_output=True, timeout=30, check=False).returncode == 0

    good = way(ways, connection)
    assert reaches(good, ATTACHMENT)
    assert not reaches(good, OTHER), "a way leads to its own export only"
    assert not reaches(way(ways, connection, secret="0" * 64), ATTACHMENT)
    assert not reaches(way(ways, connection, pin="0" * 64), ATTACHMENT), "somebody else answers there"
    assert not reaches(way(ways, connection, export=OTHER), OTHER), "each export has a secret of its own"
    afar.remove_export(ONE, ATTACHMENT)
    assert not reaches(good, ATTACHMENT)


def test_gates_outlive_the_program_and_come_back(afar: FileBackend, ways: Ways, start: Callable[..., Guest], run_dir: Path) -> None:
    make(afar)
    guest = start(way(ways, afar.ensure_export(ONE, ATTACHMENT, "there", local=False)))
    for value, folder, heal in ((4, run_dir / "gate", afar.observe), (5, run_dir / "ways", Ways(run_dir / "ways").heal)):
        guest.write(value)
        before = int((folder / "pid").read_text())
        heal()
        assert int((folder / "pid").read_text()) == before, "one that runs is found again"
        os.kill(before, signal.SIGKILL)
        until(lambda pid=before: not Path(f"/proc/{pid}").exists())
        heal()
        guest.check(value)


def test_without_an_address_other_hosts_are_told_so(backend: FileBackend, tmp_path: Path, run_dir: Path) -> None:
    make(backend)
    with pytest.raises(HostError, match="no address for other hosts"):
        backend.ensure_export(ONE, ATTACHMENT, "there", local=False)
    assert backend.observe()[0].exports == []
    with pytest.raises(HostError, match="wildcard"):
        FileBackend("here", tmp_path / "other", run_dir=run_dir, address="0.0.0.0")
    with pytest.raises(HostError, match="too long"):
        FileBackend("here", tmp_path / "other", run_dir=tmp_path / ("x" * 100))


CHILD = f"""
import os, signal, sys
from pathlib import Path
from pilvi.block_storage.drivers import *
from pilvi.block_storage.drivers.file import FileBackend
state, run, verb, path = sys.argv[1:]
backend = FileBackend("here", Path(state), run_dir=Path(run))
if verb == "snapshot":
    progress = backend.ensure_snapshot("{ONE}", "{SNAP}")
elif verb == "clone":
    progress = backend.ensure_volume(VolumeSpec(id="{TWO}", size_gib=1, source=FromVolume(volume_id="{ONE}")))
else:
    progress = backend.ensure_volume(VolumeSpec(id="{TWO}", size_gib=1, source=FromImage(image_id="i", path=path, format="raw")))
    while not (Path(state) / "volumes" / ".making-volume-{TWO}").exists():
        pass
assert progress.state == "working", progress
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("verb", ["snapshot", "clone", "image"])
def test_killed_in_the_middle_of_a_long_verb(backend: FileBackend, tmp_path: Path, run_dir: Path, verb: str) -> None:
    fill(backend, 64)
    state, image = tmp_path / "state", tmp_path / "image"
    with image.open("wb") as file:
        file.write(b"\x4d" * (256 * MIB))
    killed = subprocess.run([sys.executable, "-c", CHILD, state, run_dir, verb, image], check=False)
    assert killed.returncode == -signal.SIGKILL
    if verb == "snapshot":
        assert ended(lambda: backend.ensure_snapshot(ONE, SNAP)).state == "done"
        assert byte_at(state / "snapshots" / ONE / f"{SNAP}.qcow2", 63 * MIB) == 77
    else:
        if verb == "image":
            assert [seen.id for seen in backend.observe()] == [ONE]
            assert half_made(state) == []
        source = FromVolume(volume_id=ONE) if verb == "clone" else FromImage(image_id="i", path=str(image), format="raw")
        make(backend, TWO, 1, source=source)
        assert byte_at(state / "volumes" / f"{TWO}.qcow2", 63 * MIB) == 77
    backend.observe()
    assert half_made(state) == []


def test_a_copy_whose_daemon_dies_is_begun_again(backend: FileBackend, tmp_path: Path, run_dir: Path) -> None:
    fill(backend, 128)
    assert backend.ensure_snapshot(ONE, SNAP).state == "working"
    kill_daemon(run_dir)
    assert backend.observe()[0].snapshots == []
    assert half_made(tmp_path / "state") == []
    assert ended(lambda: backend.ensure_snapshot(ONE, SNAP)).state == "done"
    assert byte_at(tmp_path / "state" / "snapshots" / ONE / f"{SNAP}.qcow2", 127 * MIB) == 77


def test_a_copy_that_ended_unasked_keeps_its_moment_and_is_forgotten_when_published(
    backend: FileBackend, start: Callable[..., Guest], tmp_path: Path, run_dir: Path
) -> None:
    make(backend)
    guest = start(backend.ensure_export(ONE, ATTACHMENT, "here", local=True))
    guest.write(1)
    assert backend.ensure_snapshot(ONE, SNAP).state == "working"
    guest.write(2)
    again = FileBackend("here", tmp_path / "state", run_dir=run_dir)
    again.observe()
    assert ended(lambda: again.ensure_snapshot(ONE, SNAP)).state == "done"
    assert byte_at(tmp_path / "state" / "snapshots" / ONE / f"{SNAP}.qcow2", 0) == 1

    making = tmp_path / "state" / "snapshots" / ONE / f".making-snapshot-{COPY}"
    assert backend.ensure_snapshot(ONE, COPY).state == "working"
    making.rename(making.with_name(f"{COPY}.qcow2"))
    assert again.ensure_snapshot(ONE, COPY).state == "done"
    again.observe()
    with Monitor(run_dir / "qmp.sock") as monitor:
        assert monitor.do("query-jobs") == []


def test_one_damaged_volume_does_not_hide_the_others(
    backend: FileBackend, start: Callable[..., Guest], tmp_path: Path, run_dir: Path
) -> None:
    make(backend, ONE)
    make(backend, TWO)
    backend.ensure_export(ONE, OTHER, "here", local=True)
    guest = start(backend.ensure_export(TWO, ATTACHMENT, "here", local=True))
    kill_daemon(run_dir)
    (tmp_path / "state" / "volumes" / f"{ONE}.qcow2").write_bytes(b"damaged")
    assert [(seen.id, seen.size_gib) for seen in backend.observe()] == [(ONE, 0), (TWO, 1)]
    guest.write(3)
    guest.check(3)
    with pytest.raises(HostError, match="refused"):
        backend.ensure_export(ONE, OTHER, "here", local=True)


@pytest.mark.parametrize("disk_format", ["raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "ploop"])
def test_copies_in_every_format_and_volumes_from_them(backend: FileBackend, tmp_path: Path, disk_format: str) -> None:
    fill(backend, 2)
    backend.ensure_export(ONE, ATTACHMENT, "here", local=True)
    assert ended(lambda: backend.ensure_copy(ONE, "", COPY, disk_format)).state == "done"
    seen = inspect_file(backend.copy_path(COPY))
    assert seen.matches(disk_format) and seen.virtual_size >= GIB
    source = FromImage(image_id="i", path=backend.copy_path(COPY), format=seen.format)
    make(backend, TWO, 2, source=source)
    volume = tmp_path / "state" / "volumes" / f"{TWO}.qcow2"
    assert (byte_at(volume, MIB), byte_at(volume, 3 * MIB)) == (77, 0)
    assert volume.stat().st_blocks * 512 < 8 * MIB
    assert half_made(tmp_path / "state") == []


def test_hostile_images_reach_no_other_file(backend: FileBackend, tmp_path: Path) -> None:
    secret, image = tmp_path / "secret", tmp_path / "image"
    secret.write_bytes(b"\x55" * MIB)
    qemu_img("create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", image)
    make(backend, ONE, 1, source=FromImage(image_id="i", path=str(image), format="qcow2"))
    assert byte_at(tmp_path / "state" / "volumes" / f"{ONE}.qcow2", 0) == 0
    make(backend, TWO, 1, source=FromImage(image_id="i", path=str(image), format="raw"))
    assert byte_at(tmp_path / "state" / "volumes" / f"{TWO}.qcow2", 0) == ord("Q")
    image.write_bytes(b"QFI\xfb" + os.urandom(5000))
    told = ended(lambda: backend.ensure_volume(VolumeSpec(id=SNAP, size_gib=1, source=_image(image, "qcow2"))))
    assert told.state == "failed" and "Traceback" not in told.why
    for hostile in ("../x", "a/b", "", ".x", "a\0"):
        with pytest.raises(HostError, match="no id"):
            backend.ensure_volume(VolumeSpec(id=hostile, size_gib=1))


def _image(path: Path, format: str) -> FromImage:
    return FromImage(image_id="i", path=str(path), format=format)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, run_dir: Path) -> None:
    place, image = tmp_path / "small", tmp_path / "image"
    place.mkdir()
    image.write_bytes(os.urandom(MIB) * 200)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", str(place)], check=True)
    backend = FileBackend("here", place, run_dir=run_dir)
    try:
        told = ended(lambda: backend.ensure_volume(VolumeSpec(id=TWO, size_gib=1, source=_image(image, "raw"))))
        assert (told.state, told.elsewhere) == ("failed", True) and "full" in told.why
        assert backend.observe() == [] and half_made(place) == []
        fill(backend, 80)
        told = backend.ensure_snapshot(ONE, SNAP)
        assert told.state == "failed" and "no room" in told.why
        assert [seen.id for seen in backend.observe()] == [ONE] and half_made(place) == []
    finally:
        backend.stop()
        subprocess.run(["umount", str(place)], check=True)


def test_missing_programs_are_named(backend: FileBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make(backend)
    monkeypatch.setenv("PATH", str(tmp_path))
    told = backend.ensure_volume(VolumeSpec(id=TWO, size_gib=1))
    assert told.state == "failed" and "qemu-utils" in told.why
    with pytest.raises(HostError, match="qemu-system-common"):
        backend.ensure_export(ONE, ATTACHMENT, "here", local=True)


def test_a_daemon_that_refuses_says_why(backend: FileBackend, run_dir: Path) -> None:
    make(backend)
    backend.ensure_export(ONE, ATTACHMENT, "here", local=True)
    with Monitor(run_dir / "qmp.sock") as monitor, pytest.raises(Refused, match="no-such-node"):
        monitor.do("blockdev-del", {"node-name": "no-such-node"})
