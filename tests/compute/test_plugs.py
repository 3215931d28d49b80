"""Volumes and interfaces of servers."""

from __future__ import annotations

from tests.compute.conftest import SERVERS, Nova


def test_a_volume_comes_and_goes(nova: Nova) -> None:
    ref, volume = nova.boot(), nova.volume()
    at = f"{SERVERS}/{ref}/os-volume_attachments"
    told = nova.post(at, {"volumeAttachment": {"volumeId": volume}})
    assert (told.status, told.json()["volumeAttachment"]["device"]) == (200, "/dev/vdb")
    nova.wait(lambda: nova.volume_status(volume) == "in-use")
    assert volume in nova.machines[ref].disks
    assert nova.show(ref)["os-extended-volumes:volumes_attached"] == [{"id": volume, "delete_on_termination": False}]
    assert nova.post(at, {"volumeAttachment": {"volumeId": volume}}).status in (400, 409)
    assert nova.put(f"{at}/{volume}", {"volumeAttachment": {"volumeId": volume, "delete_on_termination": True}}).status == 202
    assert nova.get(f"{at}/{volume}").json()["volumeAttachment"]["delete_on_termination"] is True
    assert nova.delete(f"{at}/{volume}").status == 202
    nova.wait(lambda: nova.volume_status(volume) == "available")
    assert volume not in nova.machines[ref].disks
    assert nova.get(f"{at}/{volume}").status == 404


def test_a_volume_that_cannot_be_plugged_is_free_again(nova: Nova) -> None:
    ref, volume = nova.boot(), nova.volume()
    nova.driver.faults.fail("ensure_disk", "no slot")
    nova.post(f"{SERVERS}/{ref}/os-volume_attachments", {"volumeAttachment": {"volumeId": volume}})
    nova.idle()
    nova.wait(lambda: nova.volume_status(volume) == "available")
    assert nova.get(f"{SERVERS}/{ref}/os-volume_attachments").json()["volumeAttachments"] == []
    nova.until(ref, "ACTIVE")


def test_a_volume_that_cannot_be_unplugged_stays(nova: Nova) -> None:
    ref, volume = nova.boot(), nova.volume()
    at = f"{SERVERS}/{ref}/os-volume_attachments"
    nova.post(at, {"volumeAttachment": {"volumeId": volume}})
    nova.wait(lambda: nova.volume_status(volume) == "in-use")
    nova.driver.faults.fail("remove_disk", "busy")
    nova.delete(f"{at}/{volume}")
    nova.idle()
    assert nova.volume_status(volume) == "in-use"
    assert len(nova.get(at).json()["volumeAttachments"]) == 1


def test_boot_from_a_new_volume(nova: Nova) -> None:
    image = nova.image()
    disk = {"boot_index": 0, "uuid": image, "source_type": "image", "destination_type": "volume", "volume_size": 1, "delete_on_termination": True}
    ref = nova.boot(imageRef="", block_device_mapping_v2=[disk])
    shown = nova.show(ref)
    (attached,) = shown["os-extended-volumes:volumes_attached"]
    assert shown["image"] == ""
    assert list(nova.machines[ref].disks) == [attached["id"]]
    assert nova.delete(f"{SERVERS}/{ref}/os-volume_attachments/{attached['id']}").status == 403
    nova.delete(f"{SERVERS}/{ref}")
    nova.gone(ref)
    nova.wait(lambda: nova.volume_status(attached["id"]) == "gone")


def test_a_kept_volume_outlives_its_server(nova: Nova) -> None:
    volume = nova.volume()
    disks = [
        {"boot_index": 0, "uuid": (image := nova.image()), "source_type": "image", "destination_type": "local"},
        {"uuid": volume, "source_type": "volume", "destination_type": "volume"},
    ]
    ref = nova.boot(imageRef=image, block_device_mapping_v2=disks)
    assert nova.volume_status(volume) == "in-use"
    nova.delete(f"{SERVERS}/{ref}")
    nova.gone(ref)
    assert nova.volume_status(volume) == "available"


def test_an_image_of_a_server_on_volumes_boots_again(nova: Nova) -> None:
    disk = {"boot_index": 0, "uuid": nova.image(), "source_type": "image", "destination_type": "volume", "volume_size": 1}
    ref = nova.boot(imageRef="", block_device_mapping_v2=[disk])
    image = nova.act(ref, "createImage", {"name": "whole"}).json()["image_id"]
    nova.wait(lambda: nova.get(f"/image/v2/images/{image}").json()["status"] == "active")
    nova.until(ref, "ACTIVE")
    copy = nova.boot(imageRef=image)
    (attached,) = nova.show(copy)["os-extended-volumes:volumes_attached"]
    assert list(nova.machines[copy].disks) == [attached["id"]]


def test_an_interface_comes_and_goes(nova: Nova) -> None:
    net = nova.network()
    ref = nova.boot(networks=[{"uuid": net}])
    at = f"{SERVERS}/{ref}/os-interface"
    told = nova.post(at, {"interfaceAttachment": {"net_id": net}})
    assert told.status == 200, told
    port = told.json()["interfaceAttachment"]["port_id"]
    nova.wait(lambda: port in nova.machines[ref].nics)
    assert len(nova.get(f"{SERVERS}/{ref}/ips").json()["addresses"]["private"]) == 2
    assert nova.delete(f"{at}/{port}").status == 202
    nova.wait(lambda: len(nova.get(at).json()["interfaceAttachments"]) == 1)
    assert port not in nova.machines[ref].nics
    assert nova.get(f"{at}/{port}").status == 404


def test_a_port_of_the_users_own_outlives_the_server(nova: Nova) -> None:
    net = nova.network()
    port = nova.cloud.post("/network/v2.0/ports", {"port": {"network_id": net}}).json()["port"]["id"]
    ref = nova.boot(networks=[{"port": port}])
    assert list(nova.machines[ref].nics) == [port]
    assert nova.post(SERVERS, {"server": nova.body(imageRef=nova.image(), networks=[{"port": port}])}).status in (400, 409)
    nova.delete(f"{SERVERS}/{ref}")
    nova.gone(ref)
    shown = nova.cloud.get(f"/network/v2.0/ports/{port}").json()["port"]
    assert (shown["device_id"], shown["device_owner"]) == ("", "")


def test_a_port_deleted_elsewhere_leaves_the_machine(nova: Nova) -> None:
    net = nova.network()
    ref = nova.boot(networks=[{"uuid": net}])
    (port,) = nova.ports()
    assert nova.cloud.delete(f"/network/v2.0/ports/{port['id']}").status == 204
    nova.wait(lambda: not nova.machines[ref].nics)


def test_a_volume_that_grows_is_told(nova: Nova) -> None:
    ref, volume = nova.boot(), nova.volume()
    nova.post(f"{SERVERS}/{ref}/os-volume_attachments", {"volumeAttachment": {"volumeId": volume}})
    nova.wait(lambda: nova.volume_status(volume) == "in-use")
    told = nova.cloud.post(f"/volume/v3/volumes/{volume}/action", {"os-extend": {"new_size": 2}}, version="volume 3.42")
    assert told.status == 202, told
    nova.wait(lambda: "vdb: has 2 GiB now" in nova.machines[ref].log)
