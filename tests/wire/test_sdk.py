"""openstacksdk, unmodified, against a real process: every service's proxy, as a program of a user's would speak."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
from keystoneauth1.exceptions.http import Unauthorized
from openstack import exceptions
from openstack.connection import Connection

from tests.wire.process import HOST, RealCloud, connect

pytestmark = pytest.mark.filterwarnings("ignore")  # the library warns of its own future

MIB = 1 << 20
ODD = ["Tuuli's käämi", "茶碗 №7", "a/b?c=d&e#f%2F g+h", "ο κήπος", "🫖 kettle"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCloud]:
    with RealCloud(tmp_path_factory.mktemp("sdk") / "state") as made:
        yield made


@pytest.fixture(scope="module")
def admin(cloud: RealCloud) -> Iterator[Connection]:
    with connect(cloud) as connection:
        yield connection


def person(cloud: RealCloud, admin: Connection, name: str, role: str) -> Connection:
    """A connection of a fresh user who has that role in the project `shop`."""
    project = admin.identity.find_project("shop") or admin.identity.create_project(name="shop", domain_id="default")
    user = admin.identity.create_user(name=name, domain_id="default", password=f"pass of {name}")
    found = admin.identity.find_role(role)
    assert found is not None
    project.assign_role_to_user(admin.identity, user, found, False)
    return connect(cloud, auth={"username": name, "password": f"pass of {name}", "project_name": "shop"})


def by_credential(cloud: RealCloud, auth: dict[str, str]) -> Connection:
    """A connection by an application credential, which names neither user nor project."""
    auth = {"auth_url": f"{cloud.url}/identity/v3", **auth}
    return openstack.connect(auth_type="v3applicationcredential", auth=auth, region_name="RegionOne", load_yaml_config=False, load_envvars=False)


@pytest.fixture(scope="module")
def member(cloud: RealCloud, admin: Connection) -> Iterator[Connection]:
    with person(cloud, admin, "mira", "member") as connection:
        yield connection


@pytest.fixture(scope="module")
def reader(cloud: RealCloud, admin: Connection) -> Iterator[Connection]:
    with person(cloud, admin, "toivo", "reader") as connection:
        yield connection


@pytest.fixture(scope="module")
def image(admin: Connection) -> Any:
    return admin.image.create_image(name="plain", data=b"\0" * 65536, disk_format="raw", container_format="bare", visibility="public")


@pytest.fixture(scope="module")
def flavor(admin: Connection) -> Any:
    return admin.compute.create_flavor(name="cup", ram=64, vcpus=1, disk=1)


@pytest.fixture(scope="module")
def server(member: Connection, image: Any, flavor: Any) -> Any:
    made = member.compute.create_server(name="kettle", image_id=image.id, flavor_id=flavor.id, networks="none")
    return member.compute.wait_for_server(made, interval=0.1, wait=30)


# -- the life of each kind of thing --------------------------------------------------------------


class Kind:
    """How one kind of thing is made, and what may be changed of it."""

    def __init__(self, proxy: str, name: str, made_of: Callable[[Connection], dict[str, Any]], change: dict[str, Any], **told: Any) -> None:
        self.proxy = proxy
        self.name = name
        self.made_of = made_of
        self.change = change
        self.plural: str = told.get("plural", f"{name}s")
        self.finds: bool = told.get("finds", True)
        self.state: str = told.get("state", "")

    def __repr__(self) -> str:
        return f"{self.proxy}.{self.name}"


def _network(connection: Connection) -> Any:
    return connection.network.find_network("yard") or connection.network.create_network(name="yard")


def _subnet(connection: Connection) -> Any:
    """A subnet's facts, with a range of its own each time."""
    octet = random.randint(1, 250)
    return {"network_id": _network(connection).id, "ip_version": 4, "cidr": f"10.{octet}.{random.randint(0, 250)}.0/24"}


def _volume(connection: Connection) -> Any:
    found = connection.block_storage.find_volume("glaze")
    if found is None:
        found = connection.block_storage.wait_for_status(connection.block_storage.create_volume(name="glaze", size=1), interval=0.1, wait=30)
    return found


def _user(connection: Connection) -> str:
    return str(connection.current_user_id)


KINDS = [
    Kind("identity", "project", lambda c: {"domain_id": "default"}, {"description": "changed", "is_enabled": False}),
    Kind("identity", "user", lambda c: {"domain_id": "default", "password": "long and plain"}, {"email": "m@example.org"}),
    Kind("identity", "group", lambda c: {"domain_id": "default"}, {"description": "changed"}),
    Kind("identity", "role", lambda c: {}, {"description": "changed"}),
    Kind("identity", "domain", lambda c: {}, {"description": "changed", "is_enabled": False}),
    Kind("identity", "service", lambda c: {"type": "kiln"}, {"description": "changed"}),
    Kind("identity", "policy", lambda c: {"blob": "{}", "type": "application/json"}, {"blob": "[]"}, plural="policies", finds=False),
    Kind("image", "image", lambda c: {"disk_format": "raw", "container_format": "bare"}, {"min_disk": 2, "os_distro": "none"}),
    Kind("network", "network", lambda c: {}, {"description": "changed", "is_admin_state_up": False}),
    Kind("network", "subnet", _subnet, {"description": "changed", "dns_nameservers": ["9.9.9.9"]}),
    Kind("network", "port", lambda c: {"network_id": _network(c).id}, {"description": "changed", "is_admin_state_up": False}),
    Kind("network", "router", lambda c: {}, {"description": "changed", "is_admin_state_up": False}),
    Kind("network", "security_group", lambda c: {}, {"description": "changed"}),
    Kind("network", "address_group", lambda c: {"addresses": ["10.0.0.0/8"]}, {"description": "changed"}),
    Kind("network", "subnet_pool", lambda c: {"prefixes": ["10.0.0.0/8"]}, {"description": "changed", "default_prefix_length": 25}),
    Kind("network", "address_scope", lambda c: {"ip_version": 4}, {"name": "changed"}),
    Kind("block_storage", "volume", lambda c: {"size": 1}, {"description": "changed"}, state="available"),
    Kind("block_storage", "snapshot", lambda c: {"volume_id": _volume(c).id}, {"description": "changed"}, state="available"),
    Kind("block_storage", "type", lambda c: {}, {"description": "changed"}),
    Kind("block_storage", "backup", lambda c: {"volume_id": _volume(c).id}, {"name": "changed"}, state="available"),
    Kind("compute", "flavor", lambda c: {"ram": 64, "vcpus": 1, "disk": 0}, {"description": "changed"}),
    Kind("compute", "server_group", lambda c: {"policy": "affinity"}, {}),
    Kind("compute", "aggregate", lambda c: {"availability_zone": "attic"}, {"availability_zone": "cellar"}),
    Kind("placement", "resource_provider", lambda c: {}, {"name": "changed"}),
]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_life(admin: Connection, kind: Kind) -> None:
    """Made, shown, found, listed, changed, deleted; after that it is not found."""
    proxy: Any = getattr(admin, kind.proxy)
    say = {verb: getattr(proxy, f"{verb}_{kind.name}", None) for verb in ("create", "get", "find", "update", "delete")}
    wish = {"name": f"the {kind.name}", **kind.made_of(admin)}
    made = say["create"](**wish)
    if kind.state:
        made = proxy.wait_for_status(made, kind.state, interval=0.1, wait=30)
    for key, value in wish.items():
        assert key == "password" or made[key] == value, key
    shown = say["get"](made.id)
    assert shown.id == made.id
    if kind.finds:
        assert say["find"](made.name).id == made.id
        assert say["find"](made.id).id == made.id
    listed = [one for one in getattr(proxy, kind.plural)() if one.id == made.id]
    assert len(listed) == 1
    if kind.change:
        changed = say["update"](made.id, **kind.change)
        again = say["get"](made.id)
        for key, value in kind.change.items():
            assert changed[key] == value, key
            assert again[key] == value, key
    if kind.name == "domain":  # one that is enabled is not deleted
        assert not say["get"](made.id).is_enabled
    say["delete"](made.id, ignore_missing=False)
    if kind.proxy == "block_storage" and kind.state:
        proxy.wait_for_delete(made, interval=0.1, wait=30)
    with pytest.raises(exceptions.NotFoundException):
        say["get"](made.id)
    with pytest.raises(exceptions.NotFoundException):
        say["delete"](made.id, ignore_missing=False)
    say["delete"](made.id)  # said without anger, it is silent


def test_life_of_a_key_pair(member: Connection) -> None:
    made = member.compute.create_keypair(name="kiln")
    assert "PRIVATE KEY" in made.private_key
    assert made.public_key.startswith("ssh-")
    assert [one.name for one in member.compute.keypairs()] == ["kiln"]
    assert member.compute.get_keypair("kiln").fingerprint == made.fingerprint
    member.compute.delete_keypair("kiln", ignore_missing=False)
    with pytest.raises(exceptions.NotFoundException):
        member.compute.get_keypair("kiln")


def test_life_of_an_application_credential(cloud: RealCloud, member: Connection) -> None:
    user = _user(member)
    made = member.identity.create_application_credential(user, name="till", description="the shop's till")
    auth = {"application_credential_id": made.id, "application_credential_secret": made.secret}
    assert member.identity.get_application_credential(user, made.id).name == "till"
    with by_credential(cloud, auth) as till:
        assert till.current_project_id == member.current_project_id
        assert not list(till.compute.servers(name="no such server"))
    member.identity.delete_application_credential(user, made.id)
    with by_credential(cloud, auth) as till, pytest.raises(Unauthorized):
        list(till.compute.servers())


def test_roles_are_assigned_and_seen(admin: Connection) -> None:
    project = admin.identity.create_project(name="yard sale", domain_id="default")
    user = admin.identity.create_user(name="aino", domain_id="default", password="long and plain")
    role = admin.identity.find_role("reader")
    admin.identity.assign_project_role_to_user(project, user, role)
    assert admin.identity.validate_user_has_project_role(project, user, role)
    seen = [(one.role["id"], one.user["id"]) for one in admin.identity.role_assignments(scope_project_id=project.id)]
    assert seen == [(role.id, user.id)]
    admin.identity.unassign_project_role_from_user(project, user, role)
    assert not admin.identity.validate_user_has_project_role(project, user, role)


def test_rules_of_a_security_group(member: Connection) -> None:
    group = member.network.create_security_group(name="visitors")
    wish = {"security_group_id": group.id, "direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22}
    rule = member.network.create_security_group_rule(**wish)
    with pytest.raises(exceptions.ConflictException):
        member.network.create_security_group_rule(**wish)
    assert rule.id in {one.id for one in member.network.security_group_rules(security_group_id=group.id)}
    member.network.delete_security_group_rule(rule, ignore_missing=False)
    member.network.delete_security_group(group, ignore_missing=False)


def test_a_router_leads_out(admin: Connection, member: Connection) -> None:
    street = admin.network.create_network(name="street", is_router_external=True, provider_network_type="flat", provider_physical_network="public")
    admin.network.create_subnet(name="street", network_id=street.id, ip_version=4, cidr="203.0.113.0/24", is_dhcp_enabled=False)
    network = member.network.create_network(name="lane")
    subnet = member.network.create_subnet(name="lane", network_id=network.id, ip_version=4, cidr="192.168.33.0/24")
    router = member.network.create_router(name="gate", external_gateway_info={"network_id": street.id})
    member.network.add_interface_to_router(router, subnet=subnet.id)
    port = member.network.create_port(name="socket", network_id=network.id, fixed_ips=[{"subnet_id": subnet.id, "ip_address": "192.168.33.7"}])
    floating = member.network.create_ip(floating_network_id=street.id, port_id=port.id)
    assert floating.fixed_ip_address == "192.168.33.7"
    assert member.network.find_ip(floating.floating_ip_address).id == floating.id
    with pytest.raises(exceptions.ConflictException):
        member.network.delete_router(router, ignore_missing=False)
    member.network.delete_ip(floating, ignore_missing=False)
    member.network.remove_interface_from_router(router, subnet=subnet.id)
    member.network.delete_router(router, ignore_missing=False)
    member.network.delete_port(port, ignore_missing=False)
    member.network.delete_network(network, ignore_missing=False)
    admin.network.delete_network(street, ignore_missing=False)


# -- servers, and waiting ------------------------------------------------------------------------


def test_a_server_is_waited_for(member: Connection, server: Any, flavor: Any) -> None:
    assert server.status == "ACTIVE"
    assert server.flavor.name == flavor.name
    assert member.compute.get_server_console_output(server)["output"]


def test_what_a_server_goes_through(member: Connection, server: Any) -> None:
    def wait(status: str) -> None:
        assert member.compute.wait_for_server(server, status=status, interval=0.1, wait=30).status == status

    member.compute.stop_server(server)
    wait("SHUTOFF")
    with pytest.raises(exceptions.ConflictException, match="stop"):
        member.compute.stop_server(server)
    member.compute.start_server(server)
    wait("ACTIVE")
    member.compute.pause_server(server)
    wait("PAUSED")
    member.compute.unpause_server(server)
    wait("ACTIVE")
    member.compute.reboot_server(server, "HARD")
    wait("ACTIVE")
    actions = [one.action for one in member.compute.server_actions(server)]
    assert actions[-1] == "create"
    assert {"start", "stop", "pause", "unpause", "reboot"} <= set(actions)


def test_metadata_and_tags(member: Connection, server: Any) -> None:
    member.compute.set_server_metadata(server, colour="blue", shape="round")
    member.compute.delete_server_metadata(server, ["shape"])
    member.compute.update_server(server, description="for tea")
    server.add_tag(member.compute, "tea")
    told = member.compute.get_server(server.id)
    assert (told.metadata, told.description, told.tags) == ({"colour": "blue"}, "for tea", ["tea"])


def test_a_volume_is_attached_and_waited_for(member: Connection, server: Any) -> None:
    volume = member.block_storage.create_volume(name="lid", size=1)
    volume = member.block_storage.wait_for_status(volume, "available", interval=0.1, wait=30)
    attached = member.compute.create_volume_attachment(server, volume=volume)
    assert attached.volume_id == volume.id
    volume = member.block_storage.wait_for_status(volume, "in-use", interval=0.1, wait=30)
    assert [one["server_id"] for one in volume.attachments] == [server.id]
    assert [one.volume_id for one in member.compute.volume_attachments(server)] == [volume.id]
    with pytest.raises(exceptions.BadRequestException):
        member.block_storage.delete_volume(volume, ignore_missing=False)
    member.compute.delete_volume_attachment(server, volume)
    volume = member.block_storage.wait_for_status(volume, "available", interval=0.1, wait=30)
    member.block_storage.delete_volume(volume, ignore_missing=False)
    member.block_storage.wait_for_delete(volume, interval=0.1, wait=30)


def test_an_image_of_a_server(member: Connection, server: Any) -> None:
    taken = member.compute.create_server_image(server, "kettle at noon", wait=True, timeout=30)
    assert taken.status == "active"
    assert taken.owner_id == member.current_project_id
    member.image.delete_image(taken, ignore_missing=False)


def test_a_deleted_server_is_waited_for(member: Connection, image: Any, flavor: Any) -> None:
    made = member.compute.create_server(name="brief", image_id=image.id, flavor_id=flavor.id, networks="none")
    member.compute.delete_server(made, ignore_missing=False)
    member.compute.wait_for_delete(made, interval=0.1, wait=30)
    with pytest.raises(exceptions.NotFoundException):
        member.compute.get_server(made.id)


# -- lists ---------------------------------------------------------------------------------------


def test_lists_come_in_pages(admin: Connection, member: Connection) -> None:
    """The library follows the links or markers of each service's own kind."""
    names = [f"page {number:02d}" for number in range(7)]
    many: list[tuple[Any, str, dict[str, Any]]] = [
        (admin.compute, "flavor", {"ram": 64, "vcpus": 1, "disk": 0}),
        (member.image, "image", {"disk_format": "raw", "container_format": "bare"}),
        (member.network, "network", {}),
        (member.block_storage, "volume", {"size": 1}),
        (admin.network, "router", {}),
    ]
    for proxy, kind, wish in many:
        made = {getattr(proxy, f"create_{kind}")(name=name, **wish).id for name in names}
        listed = [one.id for one in getattr(proxy, f"{kind}s")(limit=3) if one.name in names]
        assert len(listed) == len(names), kind
        assert set(listed) == made, kind
        one_page = [one.id for one in getattr(proxy, f"{kind}s")(limit=3, paginated=False)]
        assert len(one_page) == 3, kind
        for ident in made:
            if kind == "volume":
                proxy.wait_for_status(proxy.get_volume(ident), "available", interval=0.1, wait=30)
            getattr(proxy, f"delete_{kind}")(ident, ignore_missing=False)


def test_lists_are_filtered(admin: Connection, member: Connection, server: Any) -> None:
    assert [one.id for one in member.compute.servers(name="^kettle$", status="ACTIVE")] == [server.id]
    assert not list(member.compute.servers(status="ERROR"))
    assert server.id in {one.id for one in admin.compute.servers(all_projects=True, compute_host=HOST)}
    assert server.id not in {one.id for one in admin.compute.servers()}
    assert [one.name for one in admin.identity.users(name="mira")] == ["mira"]
    assert {one.visibility for one in member.image.images(visibility="public")} == {"public"}


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_found(admin: Connection, name: str) -> None:
    kinds = [
        (admin.identity, "project", {"domain_id": "default"}),
        (admin.image, "image", {"disk_format": "raw", "container_format": "bare"}),
        (admin.network, "network", {}),
        (admin.block_storage, "volume", {"size": 1}),
        (admin.compute, "flavor", {"ram": 64, "vcpus": 1, "disk": 0}),
    ]
    for proxy, kind, wish in kinds:
        if kind == "flavor" and "🫖" in name:
            continue  # flavors have letters of one plane only, as upstream's
        made = getattr(proxy, f"create_{kind}")(name=name, **wish)
        assert made.name == name
        found = getattr(proxy, f"find_{kind}")(name, ignore_missing=False)
        assert (found.id, found.name) == (made.id, name), kind
        if kind == "volume":
            proxy.wait_for_status(made, "available", interval=0.1, wait=30)
        getattr(proxy, f"delete_{kind}")(made, ignore_missing=False)


def test_a_name_that_two_bear(member: Connection) -> None:
    twins = [member.network.create_network(name="twin") for _ in range(2)]
    with pytest.raises(exceptions.DuplicateResource):
        member.network.find_network("twin")
    for twin in twins:
        member.network.delete_network(twin)
    assert member.network.find_network("twin") is None


# -- versions ------------------------------------------------------------------------------------


def test_versions_are_agreed_upon(admin: Connection) -> None:
    for proxy, least in ((admin.compute, "2.90"), (admin.block_storage, "3.66"), (admin.placement, "1.39")):
        data: Any = proxy.get_endpoint_data()
        assert tuple(map(int, least.split("."))) <= data.max_microversion, proxy.service_type
        asked = proxy.get("/", microversion=least) if proxy is admin.placement else None
        assert asked is None or asked.headers["openstack-api-version"] == f"placement {least}"
    old = admin.compute.get("/flavors/1", microversion="2.1").json()["flavor"]
    new = admin.compute.get("/flavors/1", microversion="2.61").json()["flavor"]
    assert "description" not in old
    assert {"description", "extra_specs"} <= set(new)
    refused = admin.compute.get("/flavors/1", microversion="2.999")
    assert refused.status_code == 406


def test_every_service_is_in_the_catalog(admin: Connection, cloud: RealCloud) -> None:
    for kind in ("identity", "image", "network", "compute", "placement", "block-storage"):
        endpoint = admin.session.get_endpoint(service_type=kind, interface="public", region_name="RegionOne")
        assert endpoint is not None and endpoint.startswith(cloud.url), kind


# -- image data ----------------------------------------------------------------------------------


def test_image_data_streams_up_and_down(member: Connection, tmp_path: Path) -> None:
    data = random.Random(7).randbytes(8 * MIB)
    file = tmp_path / "disk.raw"
    file.write_bytes(data)
    image = member.image.create_image(name="eight", filename=str(file), disk_format="raw", container_format="bare", validate_checksum=True)
    image = member.image.wait_for_status(image, "active", interval=0.1, wait=30)
    assert (image.size, image.hash_algo) == (len(data), "sha512")
    assert image.hash_value == hashlib.sha512(data).hexdigest()
    assert image.checksum == hashlib.md5(data).hexdigest()
    whole = io.BytesIO()
    member.image.download_image(image, output=whole, chunk_size=MIB // 4)
    assert whole.getvalue() == data
    pieces = list(member.image.download_image(image, stream=True).iter_content(MIB))
    assert b"".join(pieces) == data
    part = member.image.get(f"/images/{image.id}/file", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, data[100:200])
    member.image.delete_image(image, ignore_missing=False)


def test_an_image_that_is_not_what_it_says(member: Connection) -> None:
    with pytest.raises(exceptions.SDKException):
        member.image.create_image(name="sham", data=b"not a qcow2 file " * 64, disk_format="qcow2", container_format="bare", validate_checksum=False)
    assert all(one.status != "active" for one in member.image.images(name="sham"))


# -- errors --------------------------------------------------------------------------------------


def test_what_is_not_there(member: Connection) -> None:
    nowhere = "00000000-0000-0000-0000-00000000beef"
    for look in (
        member.compute.get_server, member.compute.get_flavor, member.network.get_network, member.network.get_port, member.network.get_router,
        member.image.get_image, member.block_storage.get_volume, member.block_storage.get_snapshot, member.block_storage.get_backup,
    ):  # fmt: skip
        with pytest.raises(exceptions.NotFoundException) as missing:
            look(nowhere)
        assert missing.value.status_code == 404
        assert nowhere in str(missing.value), look
        assert missing.value.request_id


def test_what_is_there_already(admin: Connection) -> None:
    admin.identity.create_project(name="once", domain_id="default")
    with pytest.raises(exceptions.ConflictException) as twice:
        admin.identity.create_project(name="once", domain_id="default")
    assert "once" in str(twice.value)
    admin.compute.create_flavor(name="once", ram=64, vcpus=1, disk=0)
    with pytest.raises(exceptions.ConflictException):
        admin.compute.create_flavor(name="once", ram=64, vcpus=1, disk=0)
    admin.placement.create_resource_provider(name="once")
    with pytest.raises(exceptions.ConflictException):
        admin.placement.create_resource_provider(name="once")


def test_what_makes_no_sense(admin: Connection, member: Connection, image: Any, flavor: Any) -> None:
    senseless: list[Callable[[], Any]] = [
        lambda: member.compute.create_server(name="x", image_id=image.id, flavor_id="no such flavor", networks="none"),
        lambda: member.compute.create_server(name="x" * 256, image_id=image.id, flavor_id=flavor.id, networks="none"),
        lambda: member.network.create_subnet(network_id=_network(member).id, ip_version=4, cidr="10.0.0.300/24"),
        lambda: member.block_storage.create_volume(name="x", size=-1),
        lambda: member.block_storage.create_volume(name="x", size="big"),
        lambda: member.image.create_image(name="x", disk_format="clay", container_format="bare", allow_duplicates=True, data=b"x"),
        lambda: admin.identity.create_user(name="x", domain_id="no such domain", password="long and plain", enabled="perhaps"),
        lambda: admin.compute.create_flavor(name="x", ram="much", vcpus=1, disk=1),
        lambda: admin.placement.create_resource_provider(name="x" * 300),
    ]
    for number, wish in enumerate(senseless):
        with pytest.raises(exceptions.HttpException) as refused:
            wish()
        assert isinstance(refused.value, exceptions.BadRequestException), (number, refused.value)


def test_what_one_may_not(member: Connection, reader: Connection, server: Any, image: Any, flavor: Any) -> None:
    assert reader.compute.get_server(server.id).name == "kettle"
    forbidden: list[Callable[[], Any]] = [
        lambda: reader.compute.create_server(name="x", image_id=image.id, flavor_id=flavor.id, networks="none"),
        lambda: reader.compute.delete_server(server, ignore_missing=False),
        lambda: reader.compute.stop_server(server),
        lambda: reader.network.create_network(name="x"),
        lambda: reader.block_storage.create_volume(name="x", size=1),
        lambda: reader.image.create_image(name="x", disk_format="raw", container_format="bare"),
        lambda: member.compute.create_flavor(name="x", ram=64, vcpus=1, disk=1),
        lambda: member.identity.create_project(name="x", domain_id="default"),
        lambda: member.identity.create_user(name="x", domain_id="default"),
        lambda: list(member.placement.resource_providers()),
        lambda: list(member.compute.hypervisors()),
        lambda: member.network.create_network(name="x", provider_network_type="flat", provider_physical_network="public"),
    ]
    for number, wish in enumerate(forbidden):
        with pytest.raises(exceptions.ForbiddenException) as refused:
            wish()
        assert refused.value.status_code == 403, number


def test_another_project_sees_nothing(admin: Connection, cloud: RealCloud, server: Any) -> None:
    project = admin.identity.create_project(name="neighbour", domain_id="default")
    user = admin.identity.create_user(name="ilmari", domain_id="default", password="long and plain")
    admin.identity.assign_project_role_to_user(project, user, admin.identity.find_role("member"))
    with connect(cloud, auth={"username": "ilmari", "password": "long and plain", "project_name": "neighbour"}) as other:
        assert not list(other.compute.servers())
        with pytest.raises(exceptions.NotFoundException):
            other.compute.get_server(server.id)
        with pytest.raises(exceptions.NotFoundException):
            other.compute.delete_server(server, ignore_missing=False)


def test_a_wrong_password(cloud: RealCloud) -> None:
    with connect(cloud, auth={"username": "admin", "password": "wrong", "project_name": "admin"}) as connection:
        with pytest.raises(Unauthorized):
            list(connection.compute.servers())
