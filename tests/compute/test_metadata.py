"""What a guest reads of itself, in EC2's form and in OpenStack's."""

from __future__ import annotations

import json

import pytest

from pilvi.compute.metadata import Metadata
from pilvi.compute.tables.keypairs import KeyPair
from pilvi.kernel.testing.people import PEOPLE
from pilvi.network import MetadataAnswer, MetadataRequest
from tests.compute.conftest import SERVERS, Nova

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHhX me@here"


class Guest:
    """One server's own view."""

    def __init__(self, nova: Nova, **fields: object) -> None:
        self.nova, self.net = nova, nova.network()
        user = PEOPLE["member"].user_id
        nova.cloud.program.db.run(lambda tx: tx.insert(KeyPair(user_id=user, name="mine", public_key=KEY, fingerprint="f")))
        self.ref = nova.boot(name="Web One", networks=[{"uuid": self.net}], key_name="mine", **fields)
        self.address = nova.show(self.ref)["addresses"]["private"][0]["addr"]

    def ask(self, path: str, method: str = "GET", body: bytes = b"") -> MetadataAnswer:
        request = MetadataRequest(method=method, path=path, headers={}, body=body, client=self.address, network_id=self.net)
        return Metadata(self.nova.cloud.program).answer(request)

    def text(self, path: str) -> str:
        told = self.ask(path)
        assert told.status == 200, path
        return told.body.decode()


@pytest.fixture
def guest(nova: Nova) -> Guest:
    return Guest(nova, user_data="I2Nsb3VkLWNvbmZpZwo=", metadata={"role": "web"})


def test_ec2_form(guest: Guest) -> None:
    assert "latest" in guest.text("/").splitlines()
    assert guest.text("/latest").splitlines() == ["meta-data/", "user-data"]
    keys = guest.text("/2009-04-04/meta-data/").splitlines()
    for key in ("ami-id", "hostname", "instance-id", "instance-type", "local-ipv4", "placement/", "public-keys/", "public-ipv4", "security-groups"):
        assert key in keys
    for key in keys:  # all that is listed can be had
        guest.text(f"/latest/meta-data/{key}")
    assert guest.text("/latest/meta-data/local-ipv4") == guest.address
    assert guest.text("/latest/meta-data/hostname") == "web-one.novalocal"
    assert guest.text("/latest/meta-data/public-keys/") == "0=mine"
    assert guest.text("/latest/meta-data/public-keys/0/openssh-key") == KEY
    assert guest.text("/latest/meta-data/placement/availability-zone") == "nova"
    assert guest.text("/latest/user-data") == "#cloud-config\n"
    assert guest.ask("/latest/meta-data/nonsense").status == 404
    assert guest.ask("/1999-01-01/meta-data").status == 404


def test_openstack_form(guest: Guest) -> None:
    assert guest.text("/openstack").splitlines()[-1] == "latest"
    files = guest.text("/openstack/latest").splitlines()
    assert files == ["meta_data.json", "user_data", "password", "vendor_data.json", "network_data.json", "vendor_data2.json"]
    told = json.loads(guest.text("/openstack/latest/meta_data.json"))
    assert (told["uuid"], told["name"], told["meta"], told["public_keys"]) == (guest.ref, "Web One", {"role": "web"}, {"mine": KEY})
    network = json.loads(guest.text("/openstack/latest/network_data.json"))
    assert network["links"][0]["ethernet_mac_address"] == guest.nova.show(guest.ref)["addresses"]["private"][0]["OS-EXT-IPS-MAC:mac_addr"]
    assert network["networks"][0]["type"] == "ipv4_dhcp"
    assert guest.ask("/openstack/2012-08-10/network_data.json").status == 404
    assert guest.text("/openstack/latest/user_data") == "#cloud-config\n"


def test_the_password_is_posted_once(guest: Guest) -> None:
    at = f"{SERVERS}/{guest.ref}/os-server-password"
    assert guest.nova.get(at).json() == {"password": ""}
    assert guest.ask("/openstack/latest/password", "POST", b"c2VjcmV0").status == 200
    assert guest.ask("/openstack/latest/password", "POST", b"other").status == 409
    assert guest.nova.get(at).json() == {"password": "c2VjcmV0"}
    assert guest.text("/openstack/latest/password") == "c2VjcmV0"
    assert guest.nova.delete(at).status == 204
    assert guest.nova.get(at).json() == {"password": ""}


def test_strangers_get_nothing(guest: Guest) -> None:
    guest.address = "10.0.0.250"
    assert guest.ask("/latest/meta-data/").status == 404
