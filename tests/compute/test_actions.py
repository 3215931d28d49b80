"""What one can ask of a server that is there."""

from __future__ import annotations

import pytest

from tests.compute.conftest import SERVERS, Nova


def test_power_goes_round(nova: Nova) -> None:
    ref = nova.boot()
    machine = nova.machines[ref]
    for action, status, power in (
        ("os-stop", "SHUTOFF", "shutoff"), ("os-start", "ACTIVE", "running"), ("pause", "PAUSED", "paused"), ("unpause", "ACTIVE", "running"),
        ("suspend", "SUSPENDED", "suspended"), ("resume", "ACTIVE", "running"),
    ):  # fmt: skip
        nova.act(ref, action)
        nova.until(ref, status)
        assert machine.power == power
    nova.act(ref, "os-start", answers=409)
    nova.act(ref, "nonsense", answers=400)


@pytest.mark.parametrize("kind", ["SOFT", "hard"])
def test_reboot(nova: Nova, kind: str) -> None:
    ref = nova.boot()
    before = list(nova.machines[ref].log)
    nova.act(ref, "reboot", {"type": kind})
    nova.until(ref, "ACTIVE")
    assert len(nova.machines[ref].log) > len(before)
    nova.act(ref, "reboot", {"type": "gently"}, answers=400)


def test_a_guest_that_cannot_be_asked_is_reset(nova: Nova) -> None:
    ref = nova.boot()
    nova.driver.faults.fail("ask_reboot")
    nova.act(ref, "reboot", {"type": "SOFT"})
    nova.until(ref, "ACTIVE")
    assert nova.machines[ref].reboots == 1


def test_rescue_and_back(nova: Nova) -> None:
    ref = nova.boot()
    told = nova.act(ref, "rescue", {"adminPass": "secret"}, answers=200)
    assert told.json() == {"adminPass": "secret"}
    nova.until(ref, "RESCUE")
    assert list(nova.machines[ref].disks) == ["rescue", "root"]
    assert [disk.device for disk in nova.machines[ref].disks.values()] == ["vda", "vdb"]
    nova.act(ref, "unrescue")
    nova.until(ref, "ACTIVE")
    assert list(nova.machines[ref].disks) == ["root"]
    assert list(nova.driver.world.disks[ref]) == ["root.0"]


def test_rebuild_makes_a_new_disk_and_keeps_the_ports(nova: Nova) -> None:
    ref = nova.boot(networks=[{"uuid": nova.network()}])
    address = nova.show(ref)["addresses"]
    other = nova.image(name="other")
    told = nova.act(ref, "rebuild", {"imageRef": other, "name": "again", "metadata": {"x": "y"}, "adminPass": "pw"})
    assert told.json()["server"]["adminPass"] == "pw"
    shown = nova.until(ref, "ACTIVE")
    assert (shown["name"], shown["image"]["id"], shown["metadata"], shown["addresses"]) == ("again", other, {"x": "y"}, address)
    assert list(nova.driver.world.disks[ref]) == ["root.1"]
    nova.act(ref, "rebuild", {"imageRef": "11111111-1111-1111-1111-111111111111"}, answers=400)


def test_rebuild_of_a_stopped_server_leaves_it_off(nova: Nova) -> None:
    ref = nova.boot()
    nova.act(ref, "os-stop")
    nova.until(ref, "SHUTOFF")
    nova.act(ref, "rebuild", {"imageRef": nova.image()})
    nova.until(ref, "SHUTOFF")
    assert nova.machines[ref].power == "shutoff"


def test_resize_confirmed(nova: Nova) -> None:
    ref = nova.boot()
    nova.act(ref, "resize", {"flavorRef": "small"})
    assert nova.until(ref, "VERIFY_RESIZE")["flavor"]["original_name"] == "test.small"
    assert nova.machines[ref].wish.memory_mib == 2048
    assert nova.claims() == 6  # the old room and the new
    nova.act(ref, "confirmResize", answers=204)
    nova.until(ref, "ACTIVE")
    assert nova.claims() == 3
    nova.act(ref, "confirmResize", answers=409)


def test_resize_reverted(nova: Nova) -> None:
    ref = nova.boot()
    nova.act(ref, "os-stop")
    nova.until(ref, "SHUTOFF")
    nova.act(ref, "resize", {"flavorRef": "small"})
    nova.until(ref, "VERIFY_RESIZE")
    nova.act(ref, "revertResize")
    assert nova.until(ref, "SHUTOFF")["flavor"]["original_name"] == "test.tiny"
    assert (nova.machines[ref].wish.memory_mib, nova.claims()) == (512, 3)


def test_resize_without_room_leaves_the_server_as_it_was(nova: Nova) -> None:
    from pilvi.compute.operations.quotas import quotas
    from pilvi.kernel.testing.people import PROJECT

    nova.cloud.program.db.run(lambda tx: quotas(nova.cloud.program).set(tx, PROJECT, {"cores": -1, "ram": -1}))
    ref = nova.boot()
    told = nova.act(ref, "resize", {"flavorRef": "huge"}, answers=400)
    assert "need 1048576 MiB of memory" in told.json()["badRequest"]["message"]
    shown = nova.until(ref, "ACTIVE")
    assert (shown["flavor"]["original_name"], nova.claims()) == ("test.tiny", 3)


@pytest.mark.parametrize(
    ("fields", "status"), [({"flavorRef": "tiny"}, 400), ({"flavorRef": "none"}, 400), ({"flavorRef": "diskless"}, 400), ({"flavorRef": "huge"}, 403)]
)
def test_resizes_that_are_refused(nova: Nova, fields: dict, status: int) -> None:
    nova.act(nova.boot(), "resize", fields, answers=status)


def test_an_image_of_a_server(nova: Nova) -> None:
    ref = nova.boot()
    image = nova.act(ref, "createImage", {"name": "snap", "metadata": {"k": "v"}}).json()["image_id"]
    nova.wait(lambda: nova.get(f"/image/v2/images/{image}").json()["status"] == "active")
    shown = nova.get(f"/image/v2/images/{image}").json()
    assert (shown["name"], shown["k"], shown["instance_uuid"], shown["image_type"]) == ("snap", "v", ref, "snapshot")
    nova.until(ref, "ACTIVE")
    old = nova.act(ref, "createImage", {"name": "old"}, version="compute 2.44")
    assert old.headers["location"].startswith("http://cloud.test/image/v2/images/")


def test_an_image_that_fails_leaves_nothing(nova: Nova) -> None:
    ref = nova.boot()
    nova.driver.faults.fail("ensure_snapshot", "disk is full")
    image = nova.act(ref, "createImage", {"name": "snap"}).json()["image_id"]
    nova.until(ref, "ACTIVE")
    assert nova.get(f"/image/v2/images/{image}").status == 404


def test_backups_rotate(nova: Nova) -> None:
    ref = nova.boot()
    for _ in range(3):
        nova.act(ref, "createBackup", {"name": "daily", "backup_type": "daily", "rotation": 2})
        nova.until(ref, "ACTIVE")
    found = [image for image in nova.get("/image/v2/images").json()["images"] if image["name"] == "daily"]
    assert [image["backup_type"] for image in found] == ["daily", "daily"]


def test_shelve_and_back_on_any_host(nova: Nova) -> None:
    ref = nova.boot(networks=[{"uuid": nova.network()}])
    address = nova.show(ref)["addresses"]
    nova.act(ref, "shelve")
    shown = nova.until(ref, "SHELVED_OFFLOADED")
    assert (shown["OS-EXT-SRV-ATTR:host"], nova.machines, nova.claims()) == (None, {}, 0)
    nova.act(ref, "unshelve")
    shown = nova.until(ref, "ACTIVE")
    assert shown["addresses"] == address
    assert [image["name"] for image in nova.get("/image/v2/images").json()["images"]] == ["small"]
    nova.act(ref, "reboot", {"type": "HARD"})
    nova.until(ref, "ACTIVE")


def test_an_unshelving_that_fails_loses_nothing(nova: Nova) -> None:
    ref = nova.boot(networks=[{"uuid": nova.network()}])
    address = nova.show(ref)["addresses"]
    nova.act(ref, "shelve")
    nova.until(ref, "SHELVED_OFFLOADED")
    nova.driver.faults.fail("ensure_machine", "no")
    nova.act(ref, "unshelve")
    nova.idle()
    shown = nova.until(ref, "SHELVED_OFFLOADED")
    assert (shown["addresses"], nova.machines, nova.claims()) == (address, {}, 0)
    nova.driver.faults.heal()
    nova.act(ref, "unshelve")
    nova.until(ref, "ACTIVE")


def test_moves_are_refused_where_there_is_one_host(nova: Nova) -> None:
    ref = nova.boot()
    told = nova.act(ref, "migrate", None, answers=400, person="admin")
    assert "only compute host" in told.json()["badRequest"]["message"]
    nova.act(ref, "os-migrateLive", {"host": None, "block_migration": "auto"}, answers=400, person="admin")
    nova.act(ref, "injectNetworkInfo", None, answers=410, person="admin")


def test_state_is_reset_by_hand(nova: Nova) -> None:
    ref = nova.boot()
    nova.act(ref, "os-resetState", {"state": "error"}, person="admin")
    nova.until(ref, "ERROR")
    nova.act(ref, "os-resetState", {"state": "active"}, answers=403)
    nova.act(ref, "os-resetState", {"state": "active"}, person="admin")
    nova.until(ref, "ACTIVE")


def test_soft_delete_and_restore(make_nova) -> None:
    nova: Nova = make_nova(compute={"reclaim_instance_interval": 3600.0})
    ref = nova.boot()
    nova.delete(f"{SERVERS}/{ref}")
    nova.until(ref, "SOFT_DELETED")
    assert nova.machines[ref].power == "shutoff"
    assert nova.get(f"{SERVERS}/detail").json()["servers"] == []
    nova.act(ref, "restore")
    nova.until(ref, "ACTIVE")
    nova.act(ref, "forceDelete")
    nova.gone(ref)


def test_console_log_diagnostics_and_passwords(nova: Nova) -> None:
    ref = nova.boot()
    assert "login" in nova.act(ref, "os-getConsoleOutput", {"length": 1}, answers=200).json()["output"]
    assert nova.get(f"{SERVERS}/{ref}/diagnostics", person="admin").json()["state"] == "running"
    assert "cpu0_time" in nova.get(f"{SERVERS}/{ref}/diagnostics", person="admin", version="compute 2.47").json()
    assert nova.get(f"{SERVERS}/{ref}/diagnostics").status == 403
    nova.act(ref, "changePassword", {"adminPass": "x"}, answers=409)
    other = nova.boot(imageRef=nova.image(hw_qemu_guest_agent="yes"))
    nova.act(other, "changePassword", {"adminPass": "x"})
    assert nova.driver.world.passwords == {(other, "root"): "x"}
    nova.act(ref, "trigger_crash_dump", None, person="admin")
    assert nova.machines[ref].log[-1] == "NMI received"


def test_external_events(nova: Nova) -> None:
    ref = nova.boot()
    nobody = "11111111-1111-1111-1111-111111111111"
    events = [{"server_uuid": one, "name": "network-changed"} for one in (ref, nobody)]
    told = nova.post("/compute/v2.1/os-server-external-events", {"events": events}, person="admin")
    assert (told.status, [event["code"] for event in told.json()["events"]]) == (207, [200, 404])
    assert nova.post("/compute/v2.1/os-server-external-events", {"events": events}).status == 403
