"""Key pairs: imported and made, whose they are, and what each version tells."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from pilvi.kernel.testing.people import PEOPLE
from tests.compute.conftest import Nova

KEYPAIRS = "/compute/v2.1/os-keypairs"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Iv1mFbTyAF9Vc3zfDXyDSSmEUSPTZ/HcVTpVnWIW0 someone@somewhere"
PRINT = "3b:bb:ca:b5:fb:e2:87:ca:de:c1:4d:55:ed:db:09:2e"
MEMBER = PEOPLE["member"].user_id


def make(nova: Nova, name: str = "one", **fields: Any) -> dict[str, Any]:
    options = {key: fields.pop(key) for key in ("person", "version") if key in fields}
    made = nova.post(KEYPAIRS, {"keypair": {"name": name, "public_key": KEY, **fields}}, **options)
    assert made.status in (200, 201), made
    return made.json()["keypair"]


def test_an_imported_key(nova: Nova) -> None:
    made = make(nova, type="ssh")
    assert made == {"name": "one", "public_key": KEY, "fingerprint": PRINT, "type": "ssh", "user_id": MEMBER}
    assert nova.get(KEYPAIRS).json()["keypairs"] == [{"keypair": {"name": "one", "public_key": KEY, "fingerprint": PRINT, "type": "ssh"}}]
    shown = nova.get(f"{KEYPAIRS}/one").json()["keypair"]
    assert (shown["user_id"], shown["deleted"], shown["updated_at"], type(shown["id"])) == (MEMBER, False, None, int)
    assert nova.post(KEYPAIRS, {"keypair": {"name": "one", "public_key": KEY}}).status == 409
    assert nova.delete(f"{KEYPAIRS}/one").status == 204
    assert nova.get(f"{KEYPAIRS}/one").status == 404
    assert nova.delete(f"{KEYPAIRS}/one").status == 404


def test_the_first_version(nova: Nova) -> None:
    first = "compute 2.1"
    made = nova.post(KEYPAIRS, {"keypair": {"name": "old", "public_key": KEY}}, version=first)
    assert made.status == 200
    assert set(made.json()["keypair"]) == {"name", "public_key", "fingerprint", "user_id"}
    assert "type" not in nova.get(f"{KEYPAIRS}/old", version=first).json()["keypair"]
    assert nova.post(KEYPAIRS, {"keypair": {"name": "new", "public_key": KEY, "type": "ssh"}}, version=first).status == 400
    assert nova.delete(f"{KEYPAIRS}/old", version=first).status == 202


def test_a_made_key_opens_what_its_public_half_locks(nova: Nova, tmp_path: Path) -> None:
    made = nova.post(KEYPAIRS, {"keypair": {"name": "made"}}, version="compute 2.91")
    assert made.status == 201, made
    pair = made.json()["keypair"]
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text(pair["private_key"])
    public = subprocess.run(["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True).stdout
    assert public.split()[:2] == pair["public_key"].split()[:2]
    assert "private_key" not in nova.get(f"{KEYPAIRS}/made").json()["keypair"]
    assert nova.post(KEYPAIRS, {"keypair": {"name": "other"}}).status == 400


def test_a_certificate_is_made_for_its_user(nova: Nova) -> None:
    made = nova.post(KEYPAIRS, {"keypair": {"name": "windows", "type": "x509"}}, version="compute 2.91").json()["keypair"]
    certificate = x509.load_pem_x509_certificate(made["public_key"].encode())
    assert certificate.subject.rfc4514_string() == f"CN={MEMBER}"
    assert made["private_key"].startswith("-----BEGIN PRIVATE KEY-----")
    assert len(made["fingerprint"].split(":")) == 20
    again = make(nova, "imported", type="x509", public_key=made["public_key"])
    assert again["fingerprint"] == made["fingerprint"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"public_key": "ssh-rsa JUNK nova@ubuntu"}, {"public_key": " "}, {"public_key": "ssh-rsa " + "A" * 2048 + " x"}, {"name": ""},
        {"name": "x" * 256}, {"name": r"key_/.\@:"}, {"name": " one"}, {"type": "pgp"}, {"public_key": KEY.replace("ed25519", "rsa")},
        {"type": "x509"}, {"colour": "blue"},
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(nova: Nova, wrong: dict[str, Any]) -> None:
    assert nova.post(KEYPAIRS, {"keypair": {"name": "one", "public_key": KEY, **wrong}}).status == 400
    assert nova.get(KEYPAIRS).json() == {"keypairs": []}


def test_names_are_wider_since_2_92(nova: Nova) -> None:
    assert nova.post(KEYPAIRS, {"keypair": {"name": "me@home.fi", "public_key": KEY}}, version="compute 2.91").status == 400
    make(nova, "me@home.fi")


def test_administrators_keep_keys_of_others(nova: Nova) -> None:
    make(nova, "given", person="admin", user_id=MEMBER)
    assert nova.get(KEYPAIRS, person="admin").json() == {"keypairs": []}
    assert len(nova.get(KEYPAIRS, person="admin", user_id=MEMBER).json()["keypairs"]) == 1
    assert nova.get(f"{KEYPAIRS}/given").json()["keypair"]["user_id"] == MEMBER
    for told in (
        nova.get(KEYPAIRS, person="stranger", user_id=MEMBER),
        nova.get(f"{KEYPAIRS}/given", person="stranger", user_id=MEMBER),
        nova.delete(f"{KEYPAIRS}/given", person="stranger", user_id=MEMBER),
        nova.post(KEYPAIRS, {"keypair": {"name": "x", "public_key": KEY, "user_id": MEMBER}}, person="stranger"),
    ):
        assert told.status == 403, told
    assert nova.get(f"{KEYPAIRS}/given", person="stranger").status == 404
    assert nova.delete(f"{KEYPAIRS}/given", person="admin", user_id=MEMBER).status == 204


def test_pages_and_quota(nova: Nova) -> None:
    for name in ("a", "b", "c"):
        make(nova, name)
    page = nova.get(KEYPAIRS, limit=2).json()
    assert [one["keypair"]["name"] for one in page["keypairs"]] == ["a", "b"]
    assert "marker=b" in page["keypairs_links"][0]["href"]
    assert [one["keypair"]["name"] for one in nova.get(KEYPAIRS, marker="b").json()["keypairs"]] == ["c"]
    assert len(nova.get(KEYPAIRS, limit=1, version="compute 2.34").json()["keypairs"]) == 3
    assert nova.put(f"/compute/v2.1/os-quota-sets/{PEOPLE['member'].project_id}", {"quota_set": {"key_pairs": 3}}, person="admin").status == 200
    assert nova.post(KEYPAIRS, {"keypair": {"name": "d", "public_key": KEY}}).status == 403
