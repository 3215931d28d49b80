"""The tiny guest, built and started for real: what OpenStack's own tests ask of a guest."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.guest import debian_image, tiny_image
from pilvi.kernel.testing.ports import take_port

from .qemu_guest import QemuGuest, config_drive, find, qemu_img

KINDS = ("ed25519", "ecdsa", "rsa")
INSTANCE = "5e0f6c5e-6a43-4f0e-9f0a-1f3c6d7a8b90"
SERVICE = """\
import sys
from pathlib import Path
head = sys.stdin.buffer.readline().decode().split()
length = 0
while (line := sys.stdin.buffer.readline().strip()):
    if line.lower().startswith(b"content-length:"):
        length = int(line.split(b":")[1])
said = sys.stdin.buffer.read(length).decode()
answers = {
    "/openstack/latest/meta_data.json": Path("meta_data.json").read_text(),
    "/latest/meta-data/public-ipv4": "203.0.113.7",
    "/echo": head[0] + " " + said,
}
body = answers.get(head[1])
status = "404 Not Found" if body is None else "200 OK"
body = body or "nothing here"
print("HTTP/1.0 " + status + "\\r\\nContent-Length: " + str(len(body)) + "\\r\\n\\r\\n" + body, end="", flush=True)
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny guest, built from nothing."""
    cache = tmp_path_factory.mktemp("cache")
    said: list[str] = []
    path = tiny_image(cache, said.append)
    assert said, "building says what it does"
    assert path.stat().st_size < 25 << 20
    began = time.monotonic()
    assert tiny_image(cache) == path, "a second call finds the first one's image"
    assert time.monotonic() - began < 0.2
    assert not list(cache.glob(".*-work-*")), "nothing half-made is left"
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A key of each kind, for OpenSSH."""
    folder = tmp_path_factory.mktemp("keys")
    for kind in KINDS:
        subprocess.run([find("ssh-keygen"), "-q", "-t", kind, "-N", "", "-C", f"{kind} key", "-f", folder / kind], check=True)
    return {kind: folder / kind for kind in KINDS}


@pytest.fixture(scope="module")
def guest(image: Path, keys: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[QemuGuest]:
    """A guest with a config drive, started and logged in on its console."""
    folder = tmp_path_factory.mktemp("guest")
    drive = config_drive(
        folder,
        {
            "uuid": INSTANCE,
            "hostname": "tester-1.example.org",
            "meta": {"note": 'a "quoted" word, {braces} and a decoy: ssh-rsa AAAAB3NzaDECOY'},
            "public_keys": {kind: path.with_suffix(".pub").read_text() for kind, path in keys.items()},
        },
        "#!/bin/bash\necho user-data-ran >> /root/marks\n",
    )
    machine = QemuGuest(folder, image, size="1G")
    machine.ssh_port = take_port()
    machine.start(
        "-drive", f"file={drive},if=ide,media=cdrom,readonly=on",
        "-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{machine.ssh_port}-:22",
        "-device", "virtio-net-pci,netdev=n0,romfile=",
        "-device", "virtio-scsi-pci,id=scsi0",
    )  # fmt: skip
    try:
        machine.boot_log = machine.wait_for(r"(?s).*=== pilvi guest: ready after ([\d.]+) s").group(0)
        machine.log_in()
        yield machine
    finally:
        machine.stop()


def test_the_console_tells_what_the_guest_found(guest: QemuGuest) -> None:
    log = guest.boot_log
    assert f"datasource config-drive, instance {INSTANCE}, host name tester-1, keys 3" in log
    assert "eth0 52:54:00:12:34:56 10.0.2.15/24" in log
    assert "host key SHA256:" in log
    assert "user data: the script ended with 0" in log
    assert len(log.splitlines()) >= 10, "clients ask for the last ten lines"


def test_the_console_user_has_sudo_and_the_shell_of_the_tests(guest: QemuGuest) -> None:
    assert guest.check("id -un") == "cirros"
    assert guest.check("sudo id -u") == "0"
    assert guest.check("sudo -u cirros id -un") == "cirros"
    assert guest.check("sudo cat /root/marks") == "user-data-ran"
    assert guest.run("false | true; set -o pipefail; false | true")[0] == 1
    assert guest.check("hostname") == "tester-1"
    assert guest.check("grep -c ^processor /proc/cpuinfo") == "1"
    assert float(guest.check("cut -d' ' -f1 /proc/uptime")) > 1
    assert guest.check('sudo sh -c "date > /tmp/timestamp; sync"; grep -c : /tmp/timestamp') == "1"
    assert guest.check("df /tmp | awk 'END {print $1}'").startswith("/dev/vda"), "what is in /tmp outlives a reboot"


def test_the_root_file_system_fills_the_disk(guest: QemuGuest) -> None:
    assert int(guest.check("df -m / | awk 'END {print $2}'")) > 950
    guest.check("sudo dd if=/dev/zero of=/big bs=1M count=200 2>/dev/null; sync; sudo rm /big")


def test_disks_are_listed_with_their_types(guest: QemuGuest) -> None:
    lines = guest.check("lsblk -lb --nodeps").splitlines()
    assert lines[0].split()[:6] == ["NAME", "MAJ:MIN", "RM", "SIZE", "RO", "TYPE"]
    assert ["vda", str(1 << 30), "disk"] in [[words[0], words[3], words[5]] for words in map(str.split, lines)]
    assert "sr0" in guest.check("sudo blkid -t LABEL=config-2 -o device")
    guest.check("sudo mount /dev/sr0 /mnt; grep -q uuid /mnt/openstack/latest/meta_data.json; sudo umount /mnt")


@pytest.mark.parametrize("bus", ["virtio-blk-pci", "scsi-hd"])
def test_a_disk_is_plugged_in_formatted_mounted_and_unplugged(guest: QemuGuest, bus: str) -> None:
    name = bus.replace("-", "")
    qemu_img("create", "-q", "-f", "raw", str(guest.folder / name), "64M")
    guest.monitor("blockdev-add", driver="file", **{"node-name": name}, filename=name)
    guest.monitor("device_add", driver=bus, drive=name, id=f"d{name}")
    device = guest.wait_for(r"=== pilvi guest: (\w+) was plugged in, 64 MiB")[1]
    for kind in ("vfat", "ext4"):
        guest.check(f"sudo mkfs -t {kind} /dev/{device} >/dev/null")
        assert f'TYPE="{kind}"' in guest.check(f"sudo blkid /dev/{device}")
        guest.check(f"sudo mount /dev/{device} /mnt; sudo sh -c 'echo kept > /mnt/file'; sudo umount /mnt")
        assert guest.check(f"sudo mount /dev/{device} /mnt; cat /mnt/file; sudo umount /mnt") == "kept"
    guest.monitor("device_del", id=f"d{name}")
    guest.wait_for(f"=== pilvi guest: {device} was unplugged")


def test_the_network_tools_speak_as_the_tests_expect(guest: QemuGuest) -> None:
    assert "inet 10.0.2.15/24" in guest.check("ip a")
    assert "eth0" in guest.check("ip -o link | awk '/52:54:00:12:34:56/ {print $2}'")
    assert "eth0" in guest.check("ip -o addr | awk '/10.0.2.15/ {print $2}'")
    guest.check("sudo ip addr add 10.0.2.15/24 dev eth0")
    guest.check("sudo ip addr add 192.0.2.9/24 dev eth0; sudo ip addr del 192.0.2.9/24 dev eth0")
    assert guest.run("sudo ip addr add nonsense dev eth0")[0] != 0
    assert "nameserver 10.0.2.3" in guest.check("cat /etc/resolv.conf")
    guest.check("ping -c1 -w1 -s56 10.0.2.2")
    guest.check("ping6 -c1 -w1 -s56 ::1")
    guest.check("echo a > /tmp/x; sudo rm /etc/resolv.conf")
    guest.check("sudo kill -USR1 $(cat /var/run/udhcpc.eth0.pid)")
    guest.check("for try in $(seq 100); do grep -q 10.0.2.3 /etc/resolv.conf && exit 0; sleep 0.1; done; exit 1")


def test_a_listener_made_with_nc_answers_again_and_again(guest: QemuGuest) -> None:
    guest.check("start-stop-daemon -S -b -x /usr/bin/nc -- -p 8090 -lk -e echo foolish")
    guest.check("for try in $(seq 50); do netstat -ltn | grep -q :8090 && exit 0; sleep 0.1; done; exit 1")
    for _ in range(3):
        assert guest.check("echo bar | nc -w 1 127.0.0.1 8090") == "foolish"
    assert guest.run("echo bar | nc -w 1 127.0.0.1 8091")[0] != 0


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_each_kind_open_the_door(guest: QemuGuest, keys: dict[str, Path], kind: str) -> None:
    for user in ("cirros", "root"):
        command = [
            find("ssh"), "-F", "/dev/null", "-i", keys[kind], "-p", str(guest.ssh_port), "-o", "IdentitiesOnly=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "BatchMode=yes", f"{user}@127.0.0.1", "set -eu -o pipefail; PATH=$PATH:/sbin:/usr/sbin; id -un; sudo id -u",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
        assert (done.returncode, done.stdout.split()) == (0, [user, "0"]), done.stderr


def test_a_decoy_in_the_metadata_is_no_key(guest: QemuGuest) -> None:
    assert guest.check("grep -c . /home/cirros/.ssh/authorized_keys") == "3"
    assert guest.run("grep DECOY /home/cirros/.ssh/authorized_keys")[0] == 1


def test_a_nic_that_is_plugged_in_gets_its_address(guest: QemuGuest) -> None:
    guest.monitor("netdev_add", type="user", id="n1", net="10.7.0.0/24")
    guest.monitor("device_add", driver="virtio-net-pci", netdev="n1", id="nic1", mac="52:54:00:aa:bb:cc", romfile="")
    guest.wait_for(r"=== pilvi guest: eth1 52:54:00:aa:bb:cc 10\.7\.0\.15/24")
    guest.check("sudo kill -0 $(cat /var/run/udhcpc.eth1.pid)")
    guest.monitor("device_del", id="nic1")
    guest.wait_for("=== pilvi guest: eth1 was unplugged")


def test_a_reboot_keeps_the_disk_and_runs_the_users_script_no_second_time(guest: QemuGuest) -> None:
    host_key = guest.check("sudo dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key | grep Fingerprint")
    guest.send("sudo reboot\n")
    guest.wait_for(r"=== pilvi guest: going down after")
    guest.wait_for(r"=== pilvi guest: ready after")
    guest.log_in()
    assert guest.check("sudo cat /root/marks") == "user-data-ran"
    guest.check("test -s /tmp/timestamp")
    again = guest.check("sudo dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key | grep Fingerprint")
    assert again == host_key


@pytest.fixture
def by_http(image: Path, tmp_path: Path) -> Iterator[QemuGuest]:
    """A machine on q35 with a metadata service, no config drive and its disk behind virtio-scsi."""
    machine = QemuGuest(tmp_path, image, size="200M", machine="q35")
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "meta_data.json").write_text(
        '{"uuid": "0d7c", "hostname": "by-http", "public_keys": {"one": "ssh-ed25519 AAAAC3 someone\\n"}}'
    )
    yield machine
    machine.stop()


def test_the_metadata_service_is_asked_where_there_is_no_config_drive(by_http: QemuGuest) -> None:
    service = f"{sys.executable} service.py"
    by_http.start(
        "-device", "virtio-scsi-pci", "-drive", f"file={by_http.disk},if=none,id=d0,cache=unsafe", "-device", "scsi-hd,drive=d0",
        "-netdev", "user,id=n0,net=169.254.0.0/16,host=169.254.0.2,dhcpstart=169.254.0.15,dns=169.254.0.3,"
        f"guestfwd=tcp:169.254.169.254:80-cmd:{service}",
        "-device", "virtio-net-pci,netdev=n0,romfile=",
        disk=("-boot=c",),
    )  # fmt: skip
    by_http.wait_for("datasource metadata-service, instance 0d7c, host name by-http, keys 1")
    by_http.wait_for("=== pilvi guest: ready after")
    by_http.log_in()
    assert by_http.check("df / | awk 'END {print $1}'") == "/dev/sda2"
    assert by_http.check("curl http://169.254.169.254/latest/meta-data/public-ipv4") == "203.0.113.7"
    assert by_http.check("curl -s -X POST --data 'a b' http://169.254.169.254/echo") == "POST a b"
    assert by_http.check("curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/absent") == "404"
    assert by_http.run("curl -sf http://169.254.169.254/absent")[0] == 22
    assert by_http.run("curl -m 3 http://127.0.0.1:81/")[0] == 7


def test_the_power_button_switches_it_off_and_its_disk_can_be_rescued(guest: QemuGuest, image: Path, tmp_path: Path) -> None:
    guest.monitor("system_powerdown")
    assert guest.ended(within=20)
    # both disks are made of one image; the rescue disk is second by name, but first for the firmware
    rescue = QemuGuest(tmp_path, image, size="300M")
    try:
        rescue.start(
            "-drive", f"file={guest.disk},if=none,id=d0,cache=unsafe", "-device", "virtio-blk-pci,drive=d0,addr=10",
            "-drive", f"file={rescue.disk},if=none,id=d1,cache=unsafe",
            "-device", "virtio-blk-pci,drive=d1,addr=11,bootindex=1",
            disk=("-boot=c",),
        )  # fmt: skip
        rescue.wait_for("=== pilvi guest: ready after", within=30)
        rescue.log_in()
        assert rescue.check("df / | awk 'END {print $1}'") == "/dev/vdb2"
        assert rescue.check("sudo mount /dev/vda2 /mnt; sudo cat /mnt/root/marks; sudo umount /mnt") == "user-data-ran"
    finally:
        rescue.stop()


@pytest.mark.slow
def test_the_debian_guest_is_configured_by_cloud_init(keys: dict[str, Path], tmp_path: Path) -> None:
    """Minutes: builds a full Debian (as root) and lets its cloud-init read a config drive.  Run by `-m slow`."""
    image = debian_image(tmp_path / "cache")
    meta_data = {
        "uuid": INSTANCE,
        "hostname": "full.example.org",
        "name": "full",
        "public_keys": {"one": keys["ed25519"].with_suffix(".pub").read_text()},
    }
    drive = config_drive(tmp_path, meta_data, "#cloud-config\nwrite_files:\n- {path: /root/mark, content: written}\n")
    machine = QemuGuest(tmp_path, image, size="3G", memory=512)
    machine.ssh_port = take_port()
    try:
        machine.start(
            "-drive", f"file={drive},if=ide,media=cdrom,readonly=on",
            "-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{machine.ssh_port}-:22",
            "-device", "virtio-net-pci,netdev=n0,romfile=",
        )  # fmt: skip
        machine.wait_for(r"Cloud-init v.* finished at", within=600)
        command = [
            find("ssh"), "-F", "/dev/null", "-i", keys["ed25519"], "-p", str(machine.ssh_port), "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "debian@127.0.0.1", "hostname; cloud-id; cloud-init status; sudo cat /root/mark; echo; df -m / | awk 'END {print $2}'",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False)
        words = done.stdout.split()
        assert words[:5] == ["full", "configdrive", "status:", "done", "written"], done
        assert int(words[5]) > 2500
        machine.monitor("system_powerdown")
        assert machine.ended(within=90)
    finally:
        machine.stop()
