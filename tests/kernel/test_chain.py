"""Every request passes the chain: ids, versions, rights, bodies, errors, pages."""

from __future__ import annotations

import pytest

from pilvi.kernel.testing.cloud import Cloud


def made(cloud: Cloud, name: str = "a", **options: object) -> str:
    answer = cloud.post("/things/v1/things", {"thing": {"name": name}}, **options)  # type: ignore[arg-type]
    assert answer.status == 202, answer
    return answer.json()["thing"]["id"]


def test_a_request_has_an_id_and_a_version(cloud: Cloud) -> None:
    answer = cloud.get("/things/v1/things", version="thing 1.2")
    assert answer.status == 200
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    assert answer.headers["openstack-api-version"] == "thing 1.2"


@pytest.mark.parametrize(("asked", "status"), [("thing 1.9", 406), ("thing x", 400), ("thing latest", 200), ("other 7.1", 200)])
def test_microversions_are_negotiated(cloud: Cloud, asked: str, status: int) -> None:
    assert cloud.get("/things/v1/things", version=asked).status == status


def test_a_field_of_a_later_version_is_unknown_and_unseen(cloud: Cloud) -> None:
    refused = cloud.post("/things/v1/things", {"thing": {"name": "a", "weight": 1}})
    assert refused.status == 400
    assert "thing.weight" in refused.json()["error"]["message"]
    taken = cloud.post("/things/v1/things", {"thing": {"name": "a", "weight": 1}}, version="thing 1.2")
    assert taken.json()["thing"]["weight"] == 1
    assert "weight" not in cloud.get(f"/things/v1/things/{taken.json()['thing']['id']}").json()["thing"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"thing": {"name": ""}}, "thing.name"), ({"thing": {"name": 7}}, "thing.name"), ({"thing": {}}, "thing.name"),
        ({"thing": {"name": "a", "colour": "b"}}, "thing.colour"), ({}, "thing"), ({"thing": {"name": "a"}, "more": 1}, "more"), ([], "thing"),
    ],
)  # fmt: skip
def test_bad_input_is_a_400_that_names_the_field(cloud: Cloud, body: object, field: str) -> None:
    answer = cloud.post("/things/v1/things", body)
    assert answer.status == 400
    assert f"field {field}:" in answer.json()["error"]["message"]


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b'{"thing": NaN}', b"[" * 100_000])
def test_broken_json_is_a_400(cloud: Cloud, data: bytes) -> None:
    assert cloud.say("POST", "/things/v1/things", data=data).status == 400


def test_another_kind_of_body_is_a_415(cloud: Cloud) -> None:
    assert cloud.say("POST", "/things/v1/things", data=b"a=b", headers={"content-type": "text/plain"}).status == 415


def test_unknown_paths_methods_and_actions(cloud: Cloud) -> None:
    thing = made(cloud)
    assert cloud.get("/things/v1/nothing").status == 404
    refused = cloud.put("/things/v1/things")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, POST")
    assert cloud.post(f"/things/v1/things/{thing}/action", {"whisper": None}).status == 400
    assert cloud.post(f"/things/v1/things/{thing}/action", {"break": None}, person="admin", version="thing 1.1").status == 400


def test_an_action_is_found_by_the_key_of_its_body(cloud: Cloud) -> None:
    thing = made(cloud, "quiet")
    assert cloud.post(f"/things/v1/things/{thing}/action", {"shout": None}).json() == {"shout": "QUIET"}


def test_who_may_do_what(cloud: Cloud) -> None:
    thing = made(cloud)
    statuses = {who: cloud.get(f"/things/v1/things/{thing}", person=who).status for who in ("admin", "member", "reader", "stranger", "nobody")}
    assert statuses == {"admin": 200, "member": 200, "reader": 200, "stranger": 404, "nobody": 401}
    assert cloud.post("/things/v1/things", {"thing": {"name": "a"}}, person="reader").status == 403
    assert cloud.delete(f"/things/v1/things/{thing}", person="reader").status == 403
    assert cloud.delete(f"/things/v1/things/{thing}", person="stranger").status == 404


def test_a_defect_is_a_500_without_a_word_of_its_cause(cloud: Cloud) -> None:
    thing = made(cloud)
    answer = cloud.post(f"/things/v1/things/{thing}/action", {"break": None}, person="admin", version="thing 1.3")
    assert answer.status == 500
    assert b"Zero" not in answer.content
    assert b"Traceback" not in answer.content


def test_pages_follow_one_another(cloud: Cloud) -> None:
    ids = {made(cloud, f"t{number}") for number in range(5)}
    seen: list[str] = []
    path = "/things/v1/things?limit=2"
    while path:
        body = cloud.get(path).json()
        seen += [thing["id"] for thing in body["things"]]
        links = body.get("things_links")
        path = links[0]["href"].removeprefix(cloud.base) if links else ""
    assert len(seen) == 5
    assert set(seen) == ids
    assert cloud.get("/things/v1/things?marker=nobody").status == 400


def test_names_of_any_unicode_go_in_and_out(cloud: Cloud) -> None:
    for name in ("äö ☃ 𝕏", "\u202eabc", "'; DROP TABLE things_things; --", "a "):
        thing = made(cloud, name)
        assert cloud.get(f"/things/v1/things/{thing}").json()["thing"]["name"] == name


def test_the_one_character_that_databases_do_not_keep_is_refused(cloud: Cloud) -> None:
    told = cloud.post("/things/v1/things", {"thing": {"name": "a\0b"}})
    assert told.status == 400
    assert "name" in told.json()["error"]["message"]
    assert cloud.get("/things/v1/things/a%00b").status in (400, 404)
    assert cloud.get("/things/v1/things?marker=%00").status == 400
