"""Volume types, what hangs on them, and how the scheduler heeds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi.block_storage.drivers import Capacity
from pilvi.block_storage.logic.pools import Pool, Wish, choose, refusal
from pilvi.kernel.testing.cloud import Cloud
from tests.block_storage.conftest import show, wait_for
from tests.block_storage.test_volumes import VOLUMES, act, messages

Make = Callable[..., dict[str, Any]]
TYPES = "/volume/v3/types"


def kind(cloud: Cloud, name: str, **fields: Any) -> dict[str, Any]:
    told = cloud.post(TYPES, {"volume_type": {"name": name, **fields}}, person="admin")
    assert told.status == 200, told
    return told.json()["volume_type"]


def test_types_are_made_by_administrators_and_seen_by_all(cloud: Cloud) -> None:
    assert cloud.post(TYPES, {"volume_type": {"name": "x"}}).status == 403
    made = kind(cloud, "fast", extra_specs={"volume_backend_name": "fake", "multiattach": "<is> True"})
    assert cloud.post(TYPES, {"volume_type": {"name": "fast"}}, person="admin").status == 409
    seen = cloud.get(f"{TYPES}/{made['id']}").json()["volume_type"]
    assert seen["extra_specs"] == {"multiattach": "<is> True"}
    assert "qos_specs_id" not in seen
    assert {one["name"] for one in cloud.get(TYPES).json()["volume_types"]} == {"fast", "__DEFAULT__"}
    assert cloud.get(f"{TYPES}/default").json()["volume_type"]["name"] == "__DEFAULT__"


def test_private_types_are_for_chosen_projects(cloud: Cloud) -> None:
    made = kind(cloud, "secret", **{"os-volume-type-access:is_public": False})
    place = f"{TYPES}/{made['id']}"
    assert cloud.get(place).status == 404
    assert cloud.post(VOLUMES, {"volume": {"size": 1, "volume_type": "secret"}}).status == 404
    assert cloud.post(f"{place}/action", {"addProjectAccess": {"project": "1" * 32}}, person="admin").status == 202
    assert cloud.post(f"{place}/action", {"addProjectAccess": {"project": "1" * 32}}, person="admin").status == 409
    assert cloud.get(place).status == 200
    assert cloud.get(f"{place}/os-volume-type-access", person="admin").json()["volume_type_access"][0]["project_id"] == "1" * 32
    assert cloud.post(f"{place}/action", {"removeProjectAccess": {"project": "1" * 32}}, person="admin").status == 202
    assert cloud.get(place).status == 404


def test_a_type_in_use_stays(cloud: Cloud, make: Make) -> None:
    made = kind(cloud, "used")
    volume = make(volume_type="used")
    assert volume["volume_type"] == "used"
    assert cloud.delete(f"{TYPES}/{made['id']}", person="admin").status == 400
    spec = {"extra_specs": {"multiattach": "<is> True"}}
    assert cloud.post(f"{TYPES}/{made['id']}/extra_specs", spec, person="admin").status == 400
    default = cloud.get(f"{TYPES}/default").json()["volume_type"]["id"]
    assert cloud.delete(f"{TYPES}/{default}", person="admin").status == 400


def test_extra_specs(cloud: Cloud) -> None:
    place = f"{TYPES}/{kind(cloud, 'specs')['id']}/extra_specs"
    assert cloud.post(place, {"extra_specs": {"a": "1"}}, person="admin").json() == {"extra_specs": {"a": "1"}}
    assert cloud.put(f"{place}/a", {"a": "2"}, person="admin").json() == {"a": "2"}
    assert cloud.put(f"{place}/a", {"b": "2"}, person="admin").status == 400
    assert cloud.post(place, {"extra_specs": {"bad/key": "1"}}, person="admin").status == 400
    assert cloud.get(f"{place}/a", person="admin").json() == {"a": "2"}
    assert cloud.delete(f"{place}/a", person="admin").status == 202
    assert cloud.get(f"{place}/a", person="admin").status == 404


def test_a_back_end_that_no_pool_has_is_explained(cloud: Cloud) -> None:
    kind(cloud, "gold", extra_specs={"volume_backend_name": "gold"})
    ref = cloud.post(VOLUMES, {"volume": {"size": 1, "volume_type": "gold"}}).json()["volume"]["id"]
    wait_for(cloud, "volumes", ref, "error")
    assert "its volume_backend_name is fake, the volume type asks for gold" in messages(cloud, ref)[0]["user_message"]


def test_no_back_end_encrypts(cloud: Cloud) -> None:
    made = kind(cloud, "luks")
    place = f"{TYPES}/{made['id']}/encryption"
    told = cloud.post(place, {"encryption": {"provider": "luks", "control_location": "front-end", "key_size": 256}}, person="admin")
    assert told.status == 200
    assert cloud.get(place, person="admin").json()["provider"] == "luks"
    ref = cloud.post(VOLUMES, {"volume": {"size": 1, "volume_type": "luks"}}).json()["volume"]["id"]
    wait_for(cloud, "volumes", ref, "error")
    assert "does not encrypt" in messages(cloud, ref)[0]["user_message"]


def test_retype_stays_in_the_back_end(cloud: Cloud, make: Make) -> None:
    kind(cloud, "silver", extra_specs={"volume_backend_name": "fake"})
    kind(cloud, "gold", extra_specs={"volume_backend_name": "gold"})
    volume = make()
    assert act(cloud, volume["id"], "os-retype", {"new_type": "silver", "migration_policy": "never"}).status == 202
    assert show(cloud, "volumes", volume["id"])["volume_type"] == "silver"
    refused = act(cloud, volume["id"], "os-retype", {"new_type": "gold", "migration_policy": "on-demand"})
    assert refused.status == 400
    assert "gold" in refused.json()["badRequest"]["message"]
    assert act(cloud, volume["id"], "os-migrate_volume", {"host": "node2@fake#fake"}, person="admin").status == 400


def test_qos_specs(cloud: Cloud) -> None:
    made = cloud.post("/volume/v3/qos-specs", {"qos_specs": {"name": "slow", "consumer": "front-end", "iops": "10"}}, person="admin").json()
    place = f"/volume/v3/qos-specs/{made['qos_specs']['id']}"
    assert made["qos_specs"]["specs"] == {"iops": "10"}
    assert cloud.put(place, {"qos_specs": {"bytes": "5"}}, person="admin").json() == {"qos_specs": {"bytes": "5"}}
    assert cloud.put(f"{place}/delete_keys", {"keys": ["iops"]}, person="admin").status == 202
    assert cloud.put(f"{place}/delete_keys", {"keys": ["iops"]}, person="admin").status == 400
    type_id = kind(cloud, "limited")["id"]
    assert cloud.get(f"{place}/associate", vol_type_id=type_id, person="admin").status == 202
    assert cloud.get(f"{TYPES}/{type_id}", person="admin").json()["volume_type"]["qos_specs_id"] == made["qos_specs"]["id"]
    assert cloud.get(f"{place}/associations", person="admin").json()["qos_associations"][0]["id"] == type_id
    assert cloud.delete(place, person="admin").status == 400
    assert cloud.delete(place, force=True, person="admin").status == 202
    assert cloud.get(f"{TYPES}/{type_id}", person="admin").json()["volume_type"]["qos_specs_id"] is None


def test_a_project_has_its_default_type(cloud: Cloud, make: Make) -> None:
    kind(cloud, "mine")
    place, version = f"/volume/v3/default-types/{'1' * 32}", "volume 3.62"
    assert cloud.put(place, {"default_type": {"volume_type": "mine"}}, person="admin", version="volume 3.61").status == 404
    assert cloud.put(place, {"default_type": {"volume_type": "mine"}}, person="admin", version=version).status == 200
    assert make()["volume_type"] == "mine"
    assert cloud.delete(place, person="admin", version=version).status == 204
    assert make()["volume_type"] == "__DEFAULT__"


def pool(name: str, **fields: Any) -> Pool:
    told: dict[str, Any] = {"backend": name, "total_gib": 100, "free_gib": 50, "provisioned_gib": 50, "thin": False} | fields
    return Pool(host=f"n@{name}", zone="nova", capacity=Capacity(**told))


def test_the_pool_with_the_most_room_is_chosen() -> None:
    chosen, why = choose([pool("a"), pool("b", free_gib=60), pool("c", free_gib=1)], Wish(size_gib=5), over_subscription=20, reserved_percent=0)
    assert chosen is not None
    assert chosen.name == "n@b#b"
    assert why == ["n@c#c: it has 100 GiB, 1 GiB are free, 5 GiB are needed"]


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        ({"zone": "west"}, "zone"), ({"pinned": "n@other#other"}, "lies in"), ({"excluded": frozenset({"n@a#a"})}, "failed"),
        ({"encrypted": True}, "encrypt"), ({"specs": {"capabilities:ssd": "True"}}, "ssd"),
        ({"specs": {"storage_protocol": "iSCSI"}}, "storage_protocol"),
        ({"different_host": ("n@a#a",)}, "different_host"),
        ({"same_host": ("n@b#b",)}, "same_host"), ({"size_gib": 51}, "51 GiB"),
    ],
)  # fmt: skip
def test_why_a_pool_is_refused(wish: dict[str, Any], word: str) -> None:
    assert word in refusal(pool("a"), Wish(**{"size_gib": 1} | wish), over_subscription=20, reserved_percent=0)


def test_a_thin_pool_promises_more_than_it_has() -> None:
    thin = pool("a", thin=True, free_gib=10, provisioned_gib=500)
    assert refusal(thin, Wish(size_gib=150), over_subscription=20, reserved_percent=0) == ""
    assert refusal(thin, Wish(size_gib=150), over_subscription=6, reserved_percent=0) != ""
    assert refusal(thin, Wish(size_gib=150), over_subscription=20, reserved_percent=10) != ""
