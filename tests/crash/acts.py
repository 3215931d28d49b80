"""What scenarios do and look at: servers, volumes, ports and images, found by their names and asked for through the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.crash.lives import Life, Story

SERVERS, VOLUMES, IMAGES, NETWORK = "/compute/v2.1/servers", "/volume/v3", "/image/v2/images", "/network/v2.0"


def nothing(story: Story) -> None:
    """Nothing is needed before."""


def find(life: Life, path: str, key: str, name: str) -> dict[str, Any]:
    """The thing of that name, {} when there is none."""
    return next((one for one in life.ask("GET", path)[key] if one["name"] == name), {})


def server(story: Story, name: str = "s") -> dict[str, Any]:
    return find(story.life, f"{SERVERS}/detail", "servers", name)


def volume(story: Story, name: str = "v") -> dict[str, Any]:
    return find(story.life, f"{VOLUMES}/volumes/detail", "volumes", name)


def image(story: Story, name: str) -> dict[str, Any]:
    return find(story.life, IMAGES, "images", name)


def port(story: Story, name: str = "p") -> dict[str, Any]:
    return find(story.life, f"{NETWORK}/ports", "ports", name)


def boot(story: Story, **more: Any) -> None:
    """Ask for the server "s" with a card on the network."""
    body = {"name": "s", "flavorRef": "1", "imageRef": story.image, "networks": [{"uuid": story.network}], **more}
    story.life.ask("POST", SERVERS, {"server": {name: value for name, value in body.items() if value is not None}})


def plain(story: Story) -> None:
    """A server with a card."""
    boot(story)
    story.life.idle()
    made = server(story)
    assert made["status"] == "ACTIVE", (made["status"], made.get("fault"))


def make_volume(story: Story, name: str = "v", **more: Any) -> None:
    story.life.ask("POST", f"{VOLUMES}/volumes", {"volume": {"name": name, "size": 1, **more}})
    story.life.idle()
    assert volume(story, name)["status"] == "available"


def make_port(story: Story) -> None:
    story.life.ask("POST", f"{NETWORK}/ports", {"port": {"network_id": story.network, "name": "p"}})


def parts(story: Story) -> None:
    """A port and a volume for a server."""
    make_port(story)
    make_volume(story)


def boot_full(story: Story) -> None:
    """Ask for a server with a card of its own and one on a port, with a volume that is there and one to be made."""
    devices = [
        {"source_type": "image", "destination_type": "local", "uuid": story.image, "boot_index": 0},
        {"source_type": "volume", "destination_type": "volume", "uuid": volume(story)["id"], "boot_index": -1},
        {"source_type": "blank", "destination_type": "volume", "volume_size": 1, "delete_on_termination": True, "boot_index": -1},
    ]
    boot(story, networks=[{"uuid": story.network}, {"port": port(story)["id"]}], block_device_mapping_v2=devices)


def full(story: Story) -> None:
    """A server that has all that a server can have."""
    parts(story)
    boot_full(story)
    story.life.idle()
    is_full(story)


def on_volume(story: Story) -> None:
    """A server whose root disk is a volume."""
    device = {"source_type": "image", "destination_type": "volume", "uuid": story.image, "boot_index": 0, "volume_size": 1}
    boot(story, imageRef=None, block_device_mapping_v2=[device | {"delete_on_termination": True}])
    story.life.idle()
    assert server(story)["status"] == "ACTIVE", server(story)


def is_full(story: Story) -> None:
    found = server(story)
    assert found["status"] == "ACTIVE", found
    assert len(found["os-extended-volumes:volumes_attached"]) == 2
    assert sum(len(one) for one in found["addresses"].values()) == 2
    assert volume(story)["status"] == "in-use"
    assert port(story)["device_id"] == found["id"]


def act(action: str, body: Any = None) -> Callable[[Story], None]:
    """Say an action of the server."""
    return lambda story: story.life.ask("POST", f"{SERVERS}/{server(story)['id']}/action", {action: body})


def after(*steps: Callable[[Story], Any]) -> Callable[[Story], None]:
    """Each of them, with all work done in between."""

    def run(story: Story) -> None:
        for step in steps:
            step(story)
            story.life.idle()

    return run


def is_now(status: str) -> Callable[[Story], None]:
    """The server has this status."""

    def look(story: Story) -> None:
        found = server(story)
        assert found.get("status") == status, found

    return look


def volume_is(status: str, **values: Any) -> Callable[[Story], None]:
    """The volume is so."""

    def look(story: Story) -> None:
        found = volume(story)
        assert found.get("status") == status, found
        assert {name: found[name] for name in values} == values

    return look


def image_is_active(name: str) -> Callable[[Story], None]:
    def look(story: Story) -> None:
        assert image(story, name).get("status") == "active", image(story, name)

    return look


def power(story: Story) -> str:
    """What the server's machine is."""
    return story.world.machines.machines[server(story)["id"]].power


def grow(story: Story) -> None:
    story.life.ask("POST", f"{VOLUMES}/volumes/{volume(story)['id']}/action", {"os-extend": {"new_size": 3}})
