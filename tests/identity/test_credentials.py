"""Credentials, EC2 keys and the requests signed with them, application credentials."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec

from pilvi import identity
from pilvi.identity.logic.signatures import ec2_fits
from pilvi.identity.tables import Credential
from pilvi.kernel.http.access_rules import permits
from tests.identity.conftest import World


def _application(world: World, bob: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    path = f"/users/{bob['user']['id']}/application_credentials"
    told = world.post(path, {"application_credential": {"name": "robot", **attributes}}, token=bob["token"])
    assert told.status == 201, told
    return told.json()["application_credential"]


def _by_application(world: World, shown: dict[str, Any], **more: Any) -> Any:
    identity_ = {"methods": ["application_credential"], "application_credential": shown}
    return world.post("/auth/tokens", {"auth": {"identity": identity_, **more}}, token="")


# -- credentials ---------------------------------------------------------------------------------


def test_a_credential_is_kept_encrypted(world: World, bob: dict[str, Any]) -> None:
    made = world.post("/credentials", {"credential": {"type": "cert", "blob": "very-secret", "note": "n"}}, token=bob["token"])
    assert made.status == 201
    credential = made.json()["credential"]
    assert (credential["blob"], credential["user_id"], credential["note"]) == ("very-secret", bob["user"]["id"], "n")
    with world.program.db.transaction(write=False) as tx:
        row = tx.get(Credential, credential["id"])
    assert row is not None
    assert "very-secret" not in row.blob
    path = f"/credentials/{credential['id']}"
    assert world.patch(path, {"credential": {"blob": "other"}}, token=bob["token"]).json()["credential"]["blob"] == "other"
    assert world.patch(path, {"credential": {"type": "ec2"}}, token=bob["token"]).status == 400
    assert world.get(path).status == 200
    assert world.delete(path, token=bob["token"]).status == 204


def test_credentials_are_their_owners(world: World, bob: dict[str, Any]) -> None:
    mine = world.make("credential", type="cert", blob="x")
    assert world.get("/credentials", token=bob["token"]).json()["credentials"] == []
    for method, path in (("GET", f"/credentials/{mine['id']}"), ("DELETE", f"/credentials/{mine['id']}"), ("GET", "/credentials/none")):
        assert world.say(method, path, token=bob["token"]).status == 403
    body = {"credential": {"type": "cert", "blob": "x", "user_id": mine["user_id"]}}
    assert world.post("/credentials", body, token=bob["token"]).status == 403
    assert [one["id"] for one in world.get("/credentials", type="cert").json()["credentials"]] == [mine["id"]]


def test_an_ec2_credential_is_a_pair_of_keys(world: World, bob: dict[str, Any]) -> None:
    def keep(**attributes: Any) -> int:
        return world.post("/credentials", {"credential": {"type": "ec2", **attributes}}, token=bob["token"]).status

    blob, project = '{"access": "a", "secret": "s"}', bob["project"]["id"]
    assert keep(blob=blob) == 400
    assert keep(blob="no json", project_id=project) == 400
    assert keep(blob='{"access": "a"}', project_id=project) == 400
    assert keep(blob=blob, project_id=project) == 201
    assert keep(blob=blob, project_id=project) == 409


# -- EC2 and S3 ----------------------------------------------------------------------------------


def _keys(world: World, bob: dict[str, Any]) -> dict[str, Any]:
    told = world.post(f"/users/{bob['user']['id']}/credentials/OS-EC2", {"tenant_id": bob["project"]["id"]}, token=bob["token"])
    assert told.status == 201, told
    return told.json()["credential"]


def test_ec2_keys(world: World, bob: dict[str, Any]) -> None:
    keys = _keys(world, bob)
    path = f"/users/{bob['user']['id']}/credentials/OS-EC2"
    assert world.get(path, token=bob["token"]).json()["credentials"] == [keys]
    assert world.get(f"{path}/{keys['access']}", token=bob["token"]).json()["credential"] == keys
    assert world.post(path, {"tenant_id": "none"}, token=bob["token"]).status == 404
    assert world.delete(f"{path}/{keys['access']}", token=bob["token"]).status == 204
    assert world.get(f"{path}/{keys['access']}", token=bob["token"]).status == 404


def test_a_signed_s3_request_is_its_signers(world: World, bob: dict[str, Any]) -> None:
    keys = _keys(world, bob)
    text = b"GET\n\n\nFri, 20 Nov 2026 10:00:00 +0000\n/bucket"
    signature = base64.b64encode(hmac.new(keys["secret"].encode(), text, hashlib.sha1).digest()).decode()
    shown = {"access": keys["access"], "token": base64.urlsafe_b64encode(text).decode(), "signature": signature}
    told = world.post("/s3tokens", {"credentials": shown})
    assert told.json()["token"]["project"]["id"] == bob["project"]["id"]
    assert world.get("/auth/projects", token=told.headers["x-subject-token"]).status == 200
    assert world.post("/s3tokens", {"credentials": {**shown, "signature": "x"}}).status == 401
    assert world.post("/s3tokens", {"credentials": {**shown, "access": "x"}}).status == 401
    assert world.post("/s3tokens", {"credentials": {"access": "x"}}).status == 400
    assert world.post("/s3tokens", {"credentials": shown}, token=bob["token"]).status == 403
    assert world.post("/s3tokens", {"credentials": shown}, token="").status == 401


def test_a_signed_ec2_request_is_its_signers_while_it_is_fresh(
    world: World, bob: dict[str, Any], later: Callable[[float], None]
) -> None:
    keys = _keys(world, bob)
    params = {
        "Action": "DescribeInstances", "AWSAccessKeyId": keys["access"], "SignatureVersion": "2", "SignatureMethod": "HmacSHA256",
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    query = "&".join(f"{name}={quote(params[name], safe='-_~')}" for name in sorted(params))
    text = f"GET\ncloud.test\n/services/Cloud\n{query}"
    signature = base64.b64encode(hmac.new(keys["secret"].encode(), text.encode(), hashlib.sha256).digest()).decode()
    shown = {
        "access": keys["access"], "signature": signature, "host": "cloud.test:8773", "verb": "GET", "path": "/services/Cloud", "params": params,
    }  # fmt: skip
    assert world.post("/ec2tokens", {"ec2Credentials": shown}).status == 200
    assert world.post("/ec2tokens", {"credentials": {**shown, "verb": "POST"}}).status == 401
    assert world.post("/ec2tokens", {"credentials": {**shown, "params": {}}}).status == 401
    later(1000)
    assert world.post("/ec2tokens", {"ec2Credentials": shown}).status == 401


def test_version_4_signatures() -> None:
    # the worked example of the signature's specification
    request = {
        "verb": "GET", "path": "/", "params": {"Action": "ListUsers", "Version": "2010-05-08"},
        "headers": {
            "Host": "iam.amazonaws.com", "Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "X-Amz-Date": "20150830T123600Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
            "SignedHeaders=content-type;host;x-amz-date, Signature=given-apart",
        },
        "body_hash": hashlib.sha256(b"").hexdigest(),
        "signature": "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    }  # fmt: skip
    assert ec2_fits("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", request)
    assert not ec2_fits("another", request)
    assert not ec2_fits("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", {**request, "path": "/other"})


# -- application credentials -----------------------------------------------------------------------


def test_an_application_credential_lends_some_roles_in_one_project(world: World, bob: dict[str, Any]) -> None:
    made = _application(world, bob, roles=[{"name": "reader"}], description="d")
    assert len(made["secret"]) > 40
    path = f"/users/{bob['user']['id']}/application_credentials"
    shown = world.get(f"{path}/{made['id']}", token=bob["token"]).json()["application_credential"]
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    told = _by_application(world, {"id": made["id"], "secret": made["secret"]})
    assert told.status == 201
    token = told.json()["token"]
    assert ([role["name"] for role in token["roles"]], token["project"]["id"]) == (["reader"], bob["project"]["id"])
    named = {"name": "robot", "user": {"name": "bob", "domain": {"id": "default"}}, "secret": made["secret"]}
    assert _by_application(world, named).status == 201
    assert _by_application(world, {**named, "secret": "x"}).status == 401
    assert _by_application(world, named, scope={"project": {"id": bob["project"]["id"]}}).status == 401
    again = world.exchange(told.headers["x-subject-token"]).json()["token"]
    assert [role["name"] for role in again["roles"]] == ["reader"]
    assert world.exchange(told.headers["x-subject-token"], {"system": {"all": True}}).status == 401
    assert world.post(path, {"application_credential": {"name": "robot"}}, token=bob["token"]).status == 409
    assert world.post(path, {"application_credential": {"name": "x", "roles": [{"name": "admin"}]}}, token=bob["token"]).status == 400
    assert world.post(path, {"application_credential": {"name": "x"}}).status == 403
    assert [one["name"] for one in world.get(path, token=bob["token"], name="robot").json()["application_credentials"]] == ["robot"]
    assert world.delete(f"{path}/{made['id']}", token=bob["token"]).status == 204
    assert world.get("/auth/projects", token=told.headers["x-subject-token"]).status == 401
    assert _by_application(world, named).status == 401


def test_a_restricted_application_credential_makes_no_further_rights(world: World, bob: dict[str, Any]) -> None:
    path = f"/users/{bob['user']['id']}/application_credentials"
    for unrestricted, status in ((False, 403), (True, 201)):
        made = _application(world, bob, name=f"r{unrestricted}", unrestricted=unrestricted)
        token = _by_application(world, {"id": made["id"], "secret": made["secret"]}).headers["x-subject-token"]
        assert world.post(path, {"application_credential": {"name": f"next{unrestricted}"}}, token=token).status == status
        keys = world.post(f"/users/{bob['user']['id']}/credentials/OS-EC2", {"tenant_id": bob["project"]["id"]}, token=token)
        assert keys.status == 201
        assert world.delete(f"{path}/{made['id']}", token=bob["token"]).status == 204
        assert world.get(f"/users/{bob['user']['id']}/credentials/OS-EC2", token=bob["token"]).json()["credentials"] == []


def test_an_application_credential_ends(world: World, bob: dict[str, Any], later: Callable[[float], None]) -> None:
    ends = time.strftime("%Y-%m-%dT%H:%M:%S.250000", time.gmtime(time.time() + 600))
    made = _application(world, bob, expires_at=ends)
    assert made["expires_at"] == ends
    token = _by_application(world, {"id": made["id"], "secret": made["secret"]})
    assert token.json()["token"]["expires_at"] == ends + "Z"
    later(601)
    assert world.get("/auth/projects", token=token.headers["x-subject-token"]).status == 401
    assert _by_application(world, {"id": made["id"], "secret": made["secret"]}).status == 401
    path = f"/users/{bob['user']['id']}/application_credentials"
    assert world.post(path, {"application_credential": {"name": "x", "expires_at": "2020-01-01T00:00:00"}}, token=bob["token"]).status == 400
    assert world.post(path, {"application_credential": {"name": "x", "expires_at": "soon"}}, token=bob["token"]).status == 400


def test_access_rules_are_all_that_may_be_called(world: World, bob: dict[str, Any]) -> None:
    rule = {"service": "identity", "method": "GET", "path": "/v3/auth/*"}
    made = _application(world, bob, access_rules=[rule])
    (kept,) = made["access_rules"]
    assert {name: kept[name] for name in rule} == rule
    token = _by_application(world, {"id": made["id"], "secret": made["secret"]}).headers["x-subject-token"]
    assert identity.authenticate(world.program, token).access_rules == (("identity", "GET", "/v3/auth/*"),)
    assert world.get("/auth/projects", token=token).status == 200
    assert world.get(f"/users/{bob['user']['id']}", token=token).status == 401
    assert world.delete("/auth/tokens", token=token, headers={"x-subject-token": token}).status == 401
    path = f"/users/{bob['user']['id']}/access_rules"
    assert [one["id"] for one in world.get(path, token=bob["token"]).json()["access_rules"]] == [kept["id"]]
    assert world.delete(f"{path}/{kept['id']}", token=bob["token"]).status == 403
    assert _application(world, bob, name="second", access_rules=[{"id": kept["id"]}])["access_rules"] == [kept]
    for one in ("robot", "second"):
        (found,) = world.get(f"/users/{bob['user']['id']}/application_credentials", name=one).json()["application_credentials"]
        assert world.delete(f"/users/{bob['user']['id']}/application_credentials/{found['id']}", token=bob["token"]).status == 204
    assert world.delete(f"{path}/{kept['id']}", token=bob["token"]).status == 204
    assert world.get(f"{path}/{kept['id']}", token=bob["token"]).status == 404


def test_no_access_rules_are_no_narrowing(world: World, bob: dict[str, Any]) -> None:
    made = _application(world, bob, access_rules=[])
    assert "access_rules" not in made
    token = _by_application(world, {"id": made["id"], "secret": made["secret"]}).headers["x-subject-token"]
    assert world.get(f"/users/{bob['user']['id']}", token=token).status == 200


def test_the_wildcards_of_access_rules() -> None:
    def may(rule: str, path: str) -> bool:
        return permits((("compute", "GET", rule),), ("compute", "compute_legacy"), "GET", path)

    assert may("/v2.1/servers/*/ips", "/v2.1/servers/1/ips")
    assert may("/v2.1/servers/{server_id}/ips", "/v2.1/servers/1/ips")
    assert may("/v2.1/**", "/v2.1/servers/1/ips")
    assert not may("/v2.1/servers/*/ips", "/v2.1/servers/1/2/ips")
    assert not may("/v2.1/servers", "/v2.1/servers/1")
    assert not may("/v2.1/server.", "/v2.1/servers")
    assert not permits((("compute", "GET", "/v2.1"),), ("compute",), "POST", "/v2.1")
    assert not permits((("image", "GET", "/v2.1"),), ("compute",), "GET", "/v2.1")
    assert not permits((), ("compute",), "GET", "/v2.1")


def test_a_blob_may_be_given_as_an_object(world: World) -> None:
    made = world.make("credential", type="cert", blob={"a": 1})
    assert msgspec.json.decode(made["blob"]) == {"a": 1}
