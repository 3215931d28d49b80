"""Cold migration and resize to another host: disks are carried, the owner confirms or reverts, nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compute.conftest import SERVERS, Nova
from tests.compute.hosts import Host, add_host, force_down, host_of, last_action, migrations
from tests.compute.moved import claims_of, exports, full, nothing_is_left, whole


@pytest.mark.parametrize("named", [None, {"host": "node2"}])
def test_a_server_goes_to_another_host_and_stays_there(nova: Nova, other: Host, named: Any) -> None:
    ref, volume = full(nova)
    was = nova.show(ref)
    nova.act(ref, "migrate", named, person="admin")
    shown = nova.until(ref, "VERIFY_RESIZE")
    assert (shown["OS-EXT-SRV-ATTR:host"], other.machines[ref].power, nova.machines[ref].power) == ("node2", "running", "shutoff")
    assert migrations(nova, ref) == [("migration", "finished")]
    (uuid,) = claims_of(nova).keys() - {ref}
    assert claims_of(nova) == {ref: {"node2"}, uuid: {"node1"}}
    assert nova.get("/compute/v2.1/os-migrations", person="admin").json()["migrations"][0]["uuid"] == uuid
    nova.idle()
    assert exports(nova, volume) == ["node2"]
    nova.act(ref, "confirmResize", answers=204)
    nova.until(ref, "ACTIVE")
    whole(nova, ref, volume, "node2", was)
    assert migrations(nova, ref) == [("migration", "confirmed")]
    (event,) = last_action(nova, ref, "migrate")["events"]
    assert (event["result"], event["host"]) == ("Success", "node2")


def test_reverted_it_is_back_on_untouched_disks(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    was = nova.show(ref)
    nova.act(ref, "migrate", person="admin")
    nova.until(ref, "VERIFY_RESIZE")
    other.world.written[ref, "root"] = "written after the move"
    nova.act(ref, "revertResize")
    nova.until(ref, "ACTIVE")
    whole(nova, ref, volume, "node1", was)
    assert migrations(nova, ref) == [("migration", "reverted")]
    assert nova.machines[ref].power == "running"


def test_a_server_that_is_off_stays_off(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    was = nova.show(ref)
    nova.act(ref, "os-stop")
    nova.until(ref, "SHUTOFF")
    nova.act(ref, "migrate", person="admin")
    nova.until(ref, "VERIFY_RESIZE")
    assert other.machines[ref].power == "shutoff"
    nova.act(ref, "confirmResize", answers=204)
    nova.until(ref, "SHUTOFF")
    whole(nova, ref, volume, "node2", was)
    nova.act(ref, "os-start")
    nova.until(ref, "ACTIVE")


@pytest.mark.parametrize("word", ["confirmResize", "revertResize"])
def test_a_resize_to_another_host(make_nova: Any, word: str) -> None:
    nova = make_nova(compute={"allow_resize_to_same_host": False})
    ref, volume = full(nova)
    was = nova.show(ref)
    told = nova.act(ref, "resize", {"flavorRef": "small"}, answers=400)
    assert "does not resize servers where they are" in told.json()["badRequest"]["message"]
    other = add_host(nova, "node2")
    nova.act(ref, "resize", {"flavorRef": "small"})
    shown = nova.until(ref, "VERIFY_RESIZE")
    assert (shown["OS-EXT-SRV-ATTR:host"], shown["flavor"]["original_name"]) == ("node2", "test.small")
    assert (other.machines[ref].wish.vcpus, nova.machines[ref].wish.vcpus) == (2, 1)
    assert other.world.disks[ref]["root.0"][1] == 10
    nova.act(ref, word, answers=204 if word == "confirmResize" else 202)
    shown = nova.until(ref, "ACTIVE")
    stays = word == "confirmResize"
    assert shown["flavor"]["original_name"] == ("test.small" if stays else "test.tiny")
    whole(nova, ref, volume, "node2" if stays else "node1", was)
    other.stop()


def test_moves_do_not_change_quotas(nova: Nova, other: Host) -> None:
    ref, _ = full(nova)
    was = nova.get("/compute/v2.1/limits", person="admin").json()
    nova.act(ref, "migrate", person="admin")
    nova.until(ref, "VERIFY_RESIZE")
    assert nova.get("/compute/v2.1/limits", person="admin").json() == was


@pytest.mark.parametrize(
    ("host", "verb"),
    [
        ("node1", "ask_shutdown"), ("node1", "offer_disks"), ("node2", "fetch_disks"), ("node2", "ensure_machine"),
    ],
)  # fmt: skip
def test_a_move_that_fails_leaves_the_server_as_it_was(nova: Nova, other: Host, host: str, verb: str) -> None:
    ref, volume = full(nova)
    was = nova.show(ref)
    driver = nova.driver if host == "node1" else other.driver
    driver.faults.fail(verb, "the lift is stuck", times=1)
    nova.act(ref, "migrate", person="admin")
    nova.until(ref, "ACTIVE")
    whole(nova, ref, volume, "node1", was)
    assert nova.machines[ref].power == "running"
    assert migrations(nova, ref) == [("migration", "error")]
    action = last_action(nova, ref, "migrate")
    assert (action["message"], action["events"][0]["result"]) == ("Error", "Error")
    told = nova.get(f"{SERVERS}/{ref}/os-instance-actions/{action['request_id']}", person="admin").json()["instanceAction"]
    assert "the lift is stuck" in told["events"][0]["details"]
    nova.act(ref, "migrate", person="admin")
    nova.until(ref, "VERIFY_RESIZE")


def test_a_copy_that_breaks_in_the_middle_is_never_taken_for_a_disk(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    was = nova.show(ref)
    other.driver.instant = False
    other.driver.faults.fail("fetch_disks", "the cable was pulled", times=1)
    nova.act(ref, "migrate", person="admin")
    nova.until(ref, "ACTIVE")
    whole(nova, ref, volume, "node1", was)


def test_a_volume_that_only_its_own_host_reaches_keeps_the_server(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    backend = nova.cloud.program.parts["block_storage.driver"]
    backend.shared = False
    nova.cloud.program.parts["block_storage.agent"].beat()
    for body in (None, {"host": "node2"}):
        told = nova.act(ref, "migrate", body, answers=400, person="admin").json()["badRequest"]["message"]
        assert f"volume {volume} lies in a back end of node1 that no other host reaches" in told
    assert nova.show(ref)["status"] == "ACTIVE"
    assert migrations(nova, ref) == []


def test_moves_that_are_refused(nova: Nova, other: Host) -> None:
    ref, _ = full(nova)

    def refused(body: Any, *, answers: int = 400) -> str:
        told = nova.act(ref, "migrate", body, answers=answers, person="admin").json()
        return next(iter(told.values()))["message"]

    assert "could not be found" in refused({"host": "nowhere"})
    assert "is on host node1 already" in refused({"host": "node1"})
    assert "host" in refused({"host": ""})
    nova.put(f"/compute/v2.1/os-services/{_service(nova, 'node2')}", {"status": "disabled", "disabled_reason": "its fan is loud"}, person="admin")
    assert "the host is disabled: its fan is loud" in refused({"host": "node2"})
    assert "node2: the host is disabled: its fan is loud (ComputeFilter)" in refused(None)
    assert "node1: the server is on this host (MoveFilter)" in refused(None)
    nova.act(ref, "migrate", {"host": "node2"}, answers=400, version="compute 2.55", person="admin")
    nova.act(ref, "migrate", answers=403, person="reader")
    nova.act(ref, "pause")
    nova.until(ref, "PAUSED")
    assert "vm_state paused" in refused(None, answers=409)


def _service(nova: Nova, host: str) -> str:
    return nova.get("/compute/v2.1/os-services", person="admin", host=host, binary="nova-compute").json()["services"][0]["id"]


def test_a_manager_moves_but_does_not_choose_the_host(nova: Nova, other: Host) -> None:
    ref = nova.boot()
    nova.act(ref, "migrate", {"host": "node2"}, answers=403, person="manager")
    nova.act(ref, "migrate", person="manager")
    nova.until(ref, "VERIFY_RESIZE")


def test_a_revert_waits_for_a_living_host(nova: Nova, other: Host) -> None:
    ref, _ = full(nova)
    nova.act(ref, "migrate", person="admin")
    nova.until(ref, "VERIFY_RESIZE")
    force_down(nova, "node1")
    told = nova.act(ref, "revertResize", answers=409)
    assert "node1, to which it would go back, is down" in told.json()["conflictingRequest"]["message"]
    force_down(nova, "node1", False)
    nova.act(ref, "revertResize")
    nova.until(ref, "ACTIVE")
    assert host_of(nova, ref) == "node1"


@pytest.mark.parametrize("verb", ["offer_disks", "fetch_disks", "ensure_machine"])
def test_delete_wins_over_a_move(nova: Nova, other: Host, verb: str) -> None:
    ref, volume = full(nova)
    driver = nova.driver if verb == "offer_disks" else other.driver
    driver.faults.slow(verb, 0.7)
    nova.act(ref, "migrate", person="admin")
    nova.wait(lambda: (verb, ref) in driver.faults.told)
    assert nova.delete(f"{SERVERS}/{ref}", person="admin").status == 204
    nova.gone(ref)
    nothing_is_left(nova, volume)


def test_a_server_that_waits_for_a_word_is_deleted_on_both_hosts(nova: Nova, other: Host) -> None:
    ref, volume = full(nova)
    nova.act(ref, "migrate", person="admin")
    nova.until(ref, "VERIFY_RESIZE")
    assert nova.delete(f"{SERVERS}/{ref}", person="admin").status == 204
    nova.gone(ref)
    nothing_is_left(nova, volume)


def test_a_move_is_confirmed_by_itself_in_time(make_nova: Any) -> None:
    from pilvi.compute.operations.resize import confirm_overdue

    nova = make_nova(compute={"resize_confirm_window": 0.01})
    other = add_host(nova, "node2")
    ref = nova.boot(person="admin", host="node1")
    nova.act(ref, "migrate", person="admin")
    nova.until(ref, "VERIFY_RESIZE")
    nova.wait(lambda: confirm_overdue(nova.cloud.program) or nova.show(ref)["status"] == "ACTIVE")
    assert host_of(nova, ref) == "node2"
    nova.idle()
    assert nova.machines == {}
    other.stop()


def test_anti_affinity_is_kept(nova: Nova, other: Host) -> None:
    group = nova.post("/compute/v2.1/os-server-groups", {"server_group": {"name": "apart", "policy": "anti-affinity"}}, person="admin")
    hints = {"os:scheduler_hints": {"group": group.json()["server_group"]["id"]}}
    image = nova.image()
    refs = []
    for _ in range(2):
        made = nova.post(SERVERS, {"server": nova.body(imageRef=image), **hints}, person="admin")
        refs.append(made.json()["server"]["id"])
        nova.until(refs[-1], "ACTIVE")
    told = nova.act(refs[0], "migrate", answers=400, person="admin").json()["badRequest"]["message"]
    assert "anti-affinity, and 1 of its members are here already (ServerGroupFilter)" in told
    third = add_host(nova, "node3")
    nova.act(refs[0], "migrate", person="admin")
    nova.until(refs[0], "VERIFY_RESIZE")
    assert host_of(nova, refs[0]) == "node3"
    third.stop()
