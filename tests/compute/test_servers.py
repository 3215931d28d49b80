"""Servers from their creation to their end, as users see them."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from pilvi import compute
from tests.compute.conftest import SERVERS, Nova


def test_a_server_comes_to_be_and_goes(nova: Nova) -> None:
    net = nova.network()
    ref = nova.boot(name="My Server", networks=[{"uuid": net}], metadata={"a": "b"}, tags=["blue"])
    shown = nova.show(ref)
    (address,) = shown["addresses"]["private"]
    assert address["OS-EXT-IPS:type"] == "fixed"
    assert shown["security_groups"] == [{"name": "default"}]
    assert shown["OS-EXT-SRV-ATTR:hostname"] == "my-server"
    assert shown["OS-EXT-STS:power_state"] == 1
    machine = nova.machines[ref]
    assert (machine.power, machine.wish.vcpus, machine.wish.memory_mib) == ("running", 1, 512)
    assert [nic.mac for nic in machine.nics.values()] == [address["OS-EXT-IPS-MAC:mac_addr"]]
    assert nova.delete(f"{SERVERS}/{ref}").status == 204
    nova.gone(ref)
    nova.idle()
    assert (nova.machines, nova.ports(), nova.claims()) == ({}, [], 0)


def test_the_trace_names_the_steps_in_order(nova: Nova) -> None:
    ref = nova.boot(networks=[{"uuid": nova.network()}])
    with nova.cloud.program.db.transaction(write=False) as tx:
        steps = [span.number for span in compute.trace(tx, ref)]
    assert set(steps[:4]) == {"3", "4-5", "6", "7"}
    assert steps[4:] == ["8-11", "12", "13-21", "22-25", "28"]


def test_without_room_the_fault_and_why_tell_need_and_have(nova: Nova) -> None:
    _raise_quota(nova)
    ref = nova.boot(status="ERROR", flavorRef="huge")
    fault = nova.show(ref)["fault"]
    assert "node1" in fault["message"]
    assert "need 1048576 MiB of memory" in fault["message"]
    with nova.cloud.program.db.transaction(write=False) as tx:
        ((host, judge, sentence),) = compute.why(tx, ref)
    assert (host, judge) == ("node1", "ResourceFilter")
    assert "have 392448" in sentence
    assert nova.claims() == 0


def _raise_quota(nova: Nova) -> None:
    from pilvi.compute.operations.quotas import quotas
    from pilvi.kernel.testing.people import PROJECT

    nova.cloud.program.db.run(lambda tx: quotas(nova.cloud.program).set(tx, PROJECT, {"cores": -1, "ram": -1}))


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"flavorRef": "99"}, 400, "flavorRef"),
        ({"imageRef": "11111111-1111-1111-1111-111111111111"}, 400, "could not be found"),
        ({"imageRef": "not-a-uuid"}, 400, "imageRef"),
        ({"imageRef": ""}, 400, "imageRef"),
        ({"key_name": "none"}, 400, "key_name"),
        ({"networks": [{"uuid": "11111111-1111-1111-1111-111111111111"}]}, 400, "11111111"),
        ({"availability_zone": "mars"}, 400, "availability zone"),
        ({"availability_zone": "nova:node1"}, 403, "forced_host"),
        ({"user_data": "?"}, 400, "Userdata"),
        ({"min_count": 3, "max_count": 2}, 400, "min_count"),
        ({"min_count": 0}, 400, "min_count"),
        ({"min_count": 11}, 403, "Quota exceeded for instances"),
        ({"name": ""}, 400, "name"),
        ({"name": "x" * 256}, 400, "name"),
        ({"metadata": {"k": "v" * 256}}, 400, "metadata"),
        ({"metadata": {f"k{at}": "v" for at in range(129)}}, 403, "metadata_items"),
        ({"nonsense": 1}, 400, "nonsense"),
        ({"accessIPv4": "1.1.1.1.1.1"}, 400, "accessIPv4"),
        ({"trusted_image_certificates": ["x"]}, 400, "certificate"),
        ({"hostname": "a_b"}, 400, "hostname"),
        ({"block_device_mapping_v2": [{"source_type": "blank", "destination_type": "volume", "boot_index": 0}]}, 400, "non-zero size"),
        ({"tags": ["a,b"]}, 400, "tags"),
        ({"personality": []}, 400, "personality"),
    ],
)
def test_a_bad_request_is_refused_by_name_and_leaves_nothing(nova: Nova, fields: dict, status: int, words: str) -> None:
    said = {"imageRef": nova.image(), **fields}
    told = nova.post(SERVERS, {"server": nova.body(**said)})
    assert (told.status, words in told.content.decode()) == (status, True), told
    assert nova.get(SERVERS).json()["servers"] == []


def test_images_that_do_not_fit_are_refused(nova: Nova) -> None:
    for fields in ({"min_disk": 2}, {"min_ram": 1024}):
        told = nova.post(SERVERS, {"server": nova.body(imageRef=nova.image(**fields))})
        assert told.status == 400
        assert "too small" in told.json()["badRequest"]["message"]


def test_several_at_once_are_numbered_and_reserved_together(nova: Nova) -> None:
    body = nova.body(imageRef=nova.image(), name="many", min_count=2, max_count=3, return_reservation_id=True)
    told = nova.post(SERVERS, {"server": body})
    reservation = told.json()["reservation_id"]
    found = nova.get(f"{SERVERS}/detail?reservation_id={reservation}").json()["servers"]
    assert sorted(server["name"] for server in found) == ["many-1", "many-2", "many-3"]
    for server in found:
        nova.until(server["id"], "ACTIVE")


def test_fewer_than_wished_when_the_quota_gives_no_more(nova: Nova) -> None:
    told = nova.post(SERVERS, {"server": nova.body(imageRef=nova.image(), min_count=1, max_count=20)})
    assert told.status == 202
    assert len(nova.get(SERVERS).json()["servers"]) == 10


def test_another_project_sees_nothing(nova: Nova) -> None:
    ref = nova.boot()
    assert nova.get(f"{SERVERS}/{ref}", person="stranger").status == 404
    assert nova.delete(f"{SERVERS}/{ref}", person="stranger").status == 404
    assert nova.get(SERVERS, person="stranger").json()["servers"] == []
    assert nova.delete(f"{SERVERS}/{ref}", person="reader").status == 403
    assert nova.get(f"{SERVERS}?all_tenants=1").status == 403
    assert len(nova.get(f"{SERVERS}?all_tenants=1", person="admin").json()["servers"]) == 1


def test_lists_are_filtered_sorted_and_paged(nova: Nova) -> None:
    image = nova.image()
    for name in ("alpha", "beta", "gamma"):
        nova.boot(name=name, imageRef=image, tags=[name[0]], metadata={"n": name})

    def names(query: str, **options: str) -> list[str]:
        told = nova.get(f"{SERVERS}/detail?{query}", **options)
        assert told.status == 200, told
        return [server["name"] for server in told.json()["servers"]]

    assert names("sort_key=display_name&sort_dir=asc") == ["alpha", "beta", "gamma"]
    assert names("") == ["gamma", "beta", "alpha"]
    assert names("name=^a") == ["alpha"]
    assert sorted(names("tags-any=a,b")) == ["alpha", "beta"]
    assert names("metadata={\"n\":\"beta\"}", person="admin") == ["beta"]
    assert names("status=SHUTOFF") == []
    assert names("changes-since=2100-01-01T00:00:00Z") == []
    assert names("host=elsewhere") == ["gamma", "beta", "alpha"]  # not for members: ignored
    assert names("host=elsewhere", person="admin") == []
    first = nova.get(f"{SERVERS}?limit=2&sort_key=display_name&sort_dir=asc").json()
    assert [server["name"] for server in first["servers"]] == ["alpha", "beta"]
    (link,) = first["servers_links"]
    rest = nova.get(link["href"].removeprefix("http://cloud.test"))
    assert [server["name"] for server in rest.json()["servers"]] == ["gamma"]
    for bad in ("limit=-1", "limit=x", "sort_key=nonsense", "marker=nobody", "changes-since=never", "name=["):
        assert nova.get(f"{SERVERS}?{bad}").status == 400, bad


def test_deleted_servers_are_listed_since_a_moment(nova: Nova) -> None:
    ref = nova.boot()
    nova.delete(f"{SERVERS}/{ref}")
    nova.gone(ref)
    assert nova.get(f"{SERVERS}/detail").json()["servers"] == []
    (shown,) = nova.get(f"{SERVERS}/detail?changes-since=2020-01-01T00:00:00Z").json()["servers"]
    assert (shown["id"], shown["status"]) == (ref, "DELETED")


def test_each_version_has_its_fields(nova: Nova) -> None:
    ref = nova.boot()
    oldest = nova.get(f"{SERVERS}/{ref}", version="compute 2.1").json()["server"]
    assert oldest["flavor"] == {"id": "tiny", "links": [{"rel": "bookmark", "href": "http://cloud.test/compute/flavors/tiny"}]}
    fields = {"locked": "2.9", "description": "2.19", "tags": "2.26", "server_groups": "2.71", "pinned_availability_zone": "2.96"}
    for field, first in {**fields, "scheduler_hints": "2.100"}.items():
        major, minor = first.split(".")
        assert field not in nova.get(f"{SERVERS}/{ref}", version=f"compute {major}.{int(minor) - 1}").json()["server"]
        assert field in nova.get(f"{SERVERS}/{ref}", version=f"compute {first}").json()["server"]
    assert "OS-EXT-SRV-ATTR:host" not in nova.get(f"{SERVERS}/{ref}").json()["server"]
    changed = nova.put(f"{SERVERS}/{ref}", {"server": {"name": "new"}}, version="compute 2.1").json()["server"]
    assert changed["name"] == "new"
    assert not [name for name in changed if name.startswith("OS-EXT")]


def test_update_metadata_and_tags(nova: Nova) -> None:
    ref = nova.boot(metadata={"a": "1"})
    at = f"{SERVERS}/{ref}"
    assert nova.post(f"{at}/metadata", {"metadata": {"b": "2"}}).json()["metadata"] == {"a": "1", "b": "2"}
    assert nova.put(f"{at}/metadata/a", {"meta": {"a": "3"}}).json() == {"meta": {"a": "3"}}
    assert nova.put(f"{at}/metadata/a", {"meta": {"z": "3"}}).status == 400
    assert nova.delete(f"{at}/metadata/b").status == 204
    assert nova.get(f"{at}/metadata/b").status == 404
    assert nova.get(f"{at}/metadata").json()["metadata"] == {"a": "3"}
    assert nova.put(f"{at}/tags/red").status == 201
    assert nova.put(f"{at}/tags/red").status == 204
    assert nova.get(f"{at}/tags/blue").status == 404
    assert nova.put(f"{at}/tags", {"tags": ["x", "y"]}).json()["tags"] == ["x", "y"]
    assert nova.delete(f"{at}/tags").status == 204
    assert nova.get(at).json()["server"]["tags"] == []


def test_a_locked_server_stays_as_it_is(nova: Nova) -> None:
    ref = nova.boot()
    nova.act(ref, "lock", {"locked_reason": "mine"})
    assert nova.show(ref)["locked_reason"] == "mine"
    assert nova.delete(f"{SERVERS}/{ref}").status == 409
    nova.act(ref, "os-stop", answers=409)
    nova.act(ref, "unlock")
    nova.act(ref, "os-stop")
    nova.until(ref, "SHUTOFF")


def test_actions_are_kept_with_how_they_ended(nova: Nova) -> None:
    ref = nova.boot()
    nova.act(ref, "reboot", {"type": "HARD"})
    nova.until(ref, "ACTIVE")
    listed = nova.get(f"{SERVERS}/{ref}/os-instance-actions").json()["instanceActions"]
    assert [one["action"] for one in listed] == ["reboot", "create"]
    shown = nova.get(f"{SERVERS}/{ref}/os-instance-actions/{listed[1]['request_id']}").json()["instanceAction"]
    assert [(event["event"], event["result"]) for event in shown["events"]] == [("compute__do_build_and_run_instance", "Success")]


def test_anti_affinity_is_kept(nova: Nova, make_nova: Callable[..., Nova]) -> None:
    from pilvi.compute.tables.server_groups import ServerGroup
    from pilvi.kernel.testing.people import PROJECT

    group = "99999999-9999-4999-8999-999999999999"
    nova.cloud.program.db.run(lambda tx: tx.insert(ServerGroup(id=group, name="g", project_id=PROJECT, user_id="u", policy="anti-affinity")))
    image = nova.image()

    def boot() -> str:
        told = nova.post(SERVERS, {"server": nova.body(imageRef=image), "os:scheduler_hints": {"group": group}})
        assert told.status == 202, told
        return told.json()["server"]["id"]

    first = boot()
    assert nova.until(first, "ACTIVE")["server_groups"] == [group]
    assert "anti-affinity" in nova.until(boot(), "ERROR")["fault"]["message"]


def test_user_data_reaches_the_config_drive(nova: Nova) -> None:
    text = base64.b64encode(b"#!/bin/sh\n").decode()
    ref = nova.boot(config_drive=True, user_data=text, networks=[{"uuid": nova.network()}])
    files = nova.machines[ref].disks["config"].source.files
    assert files["openstack/latest/user_data"] == b"#!/bin/sh\n"
    assert b'"uuid":"' + ref.encode() in files["openstack/latest/meta_data.json"]
    assert b"ipv4_dhcp" in files["openstack/latest/network_data.json"]
