"""Users of a soak: each does one random thing after the other to what its project has, whatever state that is in."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.crash.client import Client, Gone

SERVERS, VOLUMES, IMAGES, PORTS = "/compute/v2.1/servers", "/volume/v3", "/image/v2/images", "/network/v2.0/ports"
SERVICES = "/compute/v2.1/os-services"
MOST = {"servers": 7, "volumes": 8, "ports": 6, "images": 4, "snapshots": 5, "backups": 3}
FLAVORS = ("1", "2")


class Tally:
    """What all users have done so far, and what no cloud may answer."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.done: Counter[str] = Counter()  # "what: outcome"
        self.wrong: list[str] = []
        self.slowest, self.slow = 0.0, ""  # seconds, and what took so long
        self.count = 0
        self._lock = threading.Lock()

    def note(self, what: str, outcome: str, seconds: float) -> None:
        with self._lock:
            self.count += 1
            self.done[f"{what}: {outcome}"] += 1
            if seconds > self.slowest:
                self.slowest, self.slow = seconds, f"{what}: {outcome}"

    def blame(self, sentence: str) -> None:
        with self._lock:
            self.wrong.append(sentence)

    @property
    def enough(self) -> bool:
        return self.count >= self.wanted


class User(threading.Thread):
    """One person in one project; where there are `moves`, servers can go to another host."""

    def __init__(
        self, name: str, client: Client, dice: random.Random, tally: Tally, *, image: str, network: str, admin: Client, moves: bool = False
    ) -> None:
        super().__init__(name=f"user {name}", daemon=True)
        self.who, self.client, self.dice, self.tally, self.admin = name, client, dice, tally, admin
        self.image, self.network, self.moves = image, network, moves
        self._number = 0

    def run(self) -> None:
        try:
            while not self.tally.enough:
                self.act()
        except BaseException as error:
            self.tally.blame(f"{self.name}: {type(error).__name__}: {error}")
            raise

    # -- choosing ----------------------------------------------------------------------------------

    def act(self) -> None:
        """One operation."""
        ways: list[tuple[int, Callable[[], None]]] = [
            (12, self.make_server), (6, self.delete_server), (20, self.change_server), (6, self.attach_volume), (5, self.detach_volume),
            (4, self.attach_port), (3, self.detach_port), (8, self.make_volume), (4, self.delete_volume), (6, self.change_volume),
            (4, self.make_port), (3, self.change_port), (3, self.delete_port), (2, self.delete_image), (2, self.delete_copies),
            (8 if self.moves else 0, self.move_server), (2 if self.moves else 0, self.evacuate),
        ]  # fmt: skip
        self.dice.choices([way for _, way in ways], [weight for weight, _ in ways])[0]()

    def say(self, what: str, method: str, path: str, body: Any = None, *, client: Client | None = None) -> Any:
        """Ask once; what was refused for a reason, or lost with its process, is fine."""
        began = time.monotonic()
        try:
            status, told, _ = (client or self.client).once(method, path, body)
        except Gone:
            self.tally.note(what, "no answer", time.monotonic() - began)
            time.sleep(0.1)
            return None
        self.tally.note(what, str(status), time.monotonic() - began)
        if status >= 500 and status != 503 or status == 401:
            self.tally.blame(f"{what}: {method} {path} {body}: {status} {told}")
        if status == 503:
            time.sleep(0.1)
        return told if status < 300 else None

    def have(self, path: str, key: str) -> list[dict[str, Any]]:
        """What there is of a kind."""
        return self.client.ask("GET", path)[key]

    def one(self, path: str, key: str, **wanted: Any) -> dict[str, Any] | None:
        """One of those that fit, or mostly so: some choices are wrong on purpose."""
        found = self.have(path, key)
        fit = [one for one in found if all(one.get(name) in values for name, values in wanted.items())]
        return self.dice.choice(fit) if fit and self.dice.random() < 0.9 else self.dice.choice(found) if found else None

    def server(self, *statuses: str) -> dict[str, Any] | None:
        return self.one(f"{SERVERS}/detail", "servers", **({"status": statuses} if statuses else {}))

    def volume(self, *statuses: str) -> dict[str, Any] | None:
        return self.one(f"{VOLUMES}/volumes/detail", "volumes", **({"status": statuses} if statuses else {}))

    def name(self, kind: str) -> str:
        self._number += 1
        return f"{kind}-{self.who}-{self._number}"

    # -- servers -----------------------------------------------------------------------------------

    def make_server(self) -> None:
        if len(self.have(SERVERS, "servers")) >= MOST["servers"]:
            return self.delete_server()
        body: dict[str, Any] = {"name": self.name("s"), "flavorRef": self.dice.choice(FLAVORS), "imageRef": self.image, "networks": []}
        way = self.dice.randrange(6)
        if way == 1:
            port = self.one(PORTS, "ports", device_id=("",))
            body["networks"] = [{"port": port["id"]}] if port else []
        if way == 2:
            body["networks"] = "none"
        if way in (3, 4):
            root = {"source_type": "image", "destination_type": "local", "uuid": self.image, "boot_index": 0}
            blank = {"source_type": "blank", "destination_type": "volume", "volume_size": 1, "delete_on_termination": way == 3, "boot_index": -1}
            body["block_device_mapping_v2"] = [root, blank]
            held = self.volume("available")
            if held and self.dice.random() < 0.5:
                body["block_device_mapping_v2"].append(
                    {"source_type": "volume", "destination_type": "volume", "uuid": held["id"], "boot_index": -1}
                )
        if way == 5:
            root = {"source_type": "image", "destination_type": "volume", "uuid": self.image, "boot_index": 0, "volume_size": 1}
            body = {name: value for name, value in body.items() if name != "imageRef"}
            body["block_device_mapping_v2"] = [root | {"delete_on_termination": self.dice.random() < 0.7}]
        body["networks"] = body["networks"] or [{"uuid": self.network}]
        self.say("create server", "POST", SERVERS, {"server": body})
        return None

    def delete_server(self) -> None:
        found = self.server()
        if found:
            self.say("delete server", "DELETE", f"{SERVERS}/{found['id']}")

    def change_server(self) -> None:
        """Any action that the server's status allows, and sometimes one that it does not."""
        found = self.server("ACTIVE", "SHUTOFF", "VERIFY_RESIZE", "PAUSED", "SUSPENDED", "RESCUE", "SHELVED_OFFLOADED", "ERROR")
        if not found:
            return None
        fit = {
            "ACTIVE": ["os-stop", "reboot", "hard", "pause", "suspend", "rescue", "resize", "rebuild", "shelve", "createImage", "migrate", "live"],
            "SHUTOFF": ["os-start", "os-start", "resize", "rebuild", "createImage", "shelve", "migrate"],
            "PAUSED": ["unpause"], "SUSPENDED": ["resume"], "RESCUE": ["unrescue"], "SHELVED_OFFLOADED": ["unshelve"],
            "VERIFY_RESIZE": ["confirmResize", "revertResize"], "ERROR": ["rebuild", "hard", "os-stop"],
        }  # fmt: skip
        word = self.dice.choice(fit.get(found["status"], ["os-start"]))
        if self.dice.random() < 0.05:
            word = self.dice.choice([one for words in fit.values() for one in words])
        return self.change(found, word)

    def change(self, found: dict[str, Any], word: str) -> None:
        """Say one action of a server."""
        flavor = "2" if found["flavor"]["original_name"] == "m1.tiny" else "1"
        bodies: dict[str, tuple[str, Any]] = {
            "reboot": ("reboot", {"type": "SOFT"}), "hard": ("reboot", {"type": "HARD"}), "resize": ("resize", {"flavorRef": flavor}),
            "rebuild": ("rebuild", {"imageRef": self.image}), "createImage": ("createImage", {"name": self.name("i")}), "rescue": ("rescue", {}),
            "live": ("os-migrateLive", {"host": None, "block_migration": "auto"}),
        }  # fmt: skip
        if word == "createImage" and len(self.have(f"{IMAGES}?visibility=private", "images")) >= MOST["images"]:
            return self.delete_image()
        action, body = bodies.get(word, (word, None))
        client = self.admin if word in ("migrate", "live") else None
        self.say(action, "POST", f"{SERVERS}/{found['id']}/action", {action: body}, client=client)
        return None

    def move_server(self) -> None:
        """Have a server go to another host, running or off, or in another size (then it may stay)."""
        found = self.server("ACTIVE", "SHUTOFF")
        if found:
            self.change(found, self.dice.choice(["migrate", "live", "live", "resize"] if found["status"] == "ACTIVE" else ["migrate", "resize"]))

    def evacuate(self) -> None:
        """Say that the server's host is down, have the server brought up elsewhere, and let the host be back."""
        mine = {one["id"] for one in self.have(SERVERS, "servers")}
        told = self.admin.ask("GET", f"{SERVERS}/detail?all_tenants=1")["servers"]
        found = [one for one in told if one["id"] in mine and one["OS-EXT-SRV-ATTR:host"]]
        if not found:
            return
        chosen = self.dice.choice(found)
        server_id, host = chosen["id"], chosen["OS-EXT-SRV-ATTR:host"]
        [service] = self.admin.ask("GET", f"{SERVICES}?binary=nova-compute&host={host}")["services"]
        self.admin.ask("PUT", f"{SERVICES}/{service['id']}", {"forced_down": True})
        self.say("evacuate", "POST", f"{SERVERS}/{server_id}/action", {"evacuate": {}}, client=self.admin)
        self.admin.ask("PUT", f"{SERVICES}/{service['id']}", {"forced_down": False})

    def attach_volume(self) -> None:
        server, volume = self.server("ACTIVE", "SHUTOFF"), self.volume("available")
        if server and volume:
            path = f"{SERVERS}/{server['id']}/os-volume_attachments"
            self.say("attach volume", "POST", path, {"volumeAttachment": {"volumeId": volume["id"]}})

    def detach_volume(self) -> None:
        volume = self.volume("in-use")
        if volume and volume["attachments"]:
            path = f"{SERVERS}/{volume['attachments'][0]['server_id']}/os-volume_attachments/{volume['id']}"
            self.say("detach volume", "DELETE", path)

    def attach_port(self) -> None:
        server = self.server("ACTIVE", "SHUTOFF")
        port = self.one(PORTS, "ports", device_id=("",))
        if server and port:
            body = {"port_id": port["id"]} if self.dice.random() < 0.6 else {"net_id": self.network}
            self.say("attach port", "POST", f"{SERVERS}/{server['id']}/os-interface", {"interfaceAttachment": body})

    def detach_port(self) -> None:
        bound = [one for one in self.have(PORTS, "ports") if one["device_owner"].startswith("compute:")]
        if bound:
            port = self.dice.choice(bound)
            self.say("detach port", "DELETE", f"{SERVERS}/{port['device_id']}/os-interface/{port['id']}")

    # -- volumes -----------------------------------------------------------------------------------

    def make_volume(self) -> None:
        have = self.have(f"{VOLUMES}/volumes/detail", "volumes")
        if len(have) >= MOST["volumes"]:
            return self.delete_volume()
        body: dict[str, Any] = {"name": self.name("v"), "size": 1}
        way = self.dice.randrange(5)
        if way == 1:
            body["imageRef"] = self.image
        if way == 2 and have:
            source = self.dice.choice(have)
            body |= {"source_volid": source["id"], "size": source["size"]}
        snapshots = self.have(f"{VOLUMES}/snapshots/detail", "snapshots") if way == 3 else []
        if snapshots:
            source = self.dice.choice(snapshots)
            body |= {"snapshot_id": source["id"], "size": source["size"]}
        self.say("create volume", "POST", f"{VOLUMES}/volumes", {"volume": body})
        return None

    def delete_volume(self) -> None:
        found = self.volume("available", "error")
        if found:
            self.say("delete volume", "DELETE", f"{VOLUMES}/volumes/{found['id']}" + self.dice.choice(["", "?cascade=true"]))

    def change_volume(self) -> None:
        found = self.volume("available", "in-use")
        if not found:
            return
        way = self.dice.randrange(4)
        if way == 0 and found["size"] < 4:
            self.say("extend volume", "POST", f"{VOLUMES}/volumes/{found['id']}/action", {"os-extend": {"new_size": found["size"] + 1}})
        if way == 1 and len(self.have(f"{VOLUMES}/snapshots", "snapshots")) < MOST["snapshots"]:
            body = {"name": self.name("n"), "volume_id": found["id"], "force": True}
            self.say("create snapshot", "POST", f"{VOLUMES}/snapshots", {"snapshot": body})
        if way == 2 and len(self.have(f"{VOLUMES}/backups", "backups")) < MOST["backups"]:
            self.say("create backup", "POST", f"{VOLUMES}/backups", {"backup": {"name": self.name("b"), "volume_id": found["id"], "force": True}})
        if way == 3 and len(self.have(f"{IMAGES}?visibility=private", "images")) < MOST["images"]:
            body = {"image_name": self.name("i"), "disk_format": "raw", "container_format": "bare", "force": True}
            self.say("upload volume", "POST", f"{VOLUMES}/volumes/{found['id']}/action", {"os-volume_upload_image": body})

    def delete_copies(self) -> None:
        kind = self.dice.choice(["snapshots", "backups"])
        found = self.have(f"{VOLUMES}/{kind}", kind)
        if found:
            self.say(f"delete {kind[:-1]}", "DELETE", f"{VOLUMES}/{kind}/{self.dice.choice(found)['id']}")

    # -- ports and images --------------------------------------------------------------------------

    def make_port(self) -> None:
        if len([one for one in self.have(PORTS, "ports") if not one["device_owner"]]) < MOST["ports"]:
            self.say("create port", "POST", PORTS, {"port": {"network_id": self.network, "name": self.name("p")}})

    def change_port(self) -> None:
        found = self.one(PORTS, "ports")
        if found:
            self.say("change port", "PUT", f"{PORTS}/{found['id']}", {"port": {"admin_state_up": self.dice.random() < 0.7}})

    def delete_port(self) -> None:
        found = self.one(PORTS, "ports", device_owner=("",))
        if found and not found["device_owner"].startswith("network:"):
            self.say("delete port", "DELETE", f"{PORTS}/{found['id']}")

    def delete_image(self) -> None:
        found = [one for one in self.have(f"{IMAGES}?visibility=private", "images") if not one["name"].endswith("-shelved")]
        if found:
            self.say("delete image", "DELETE", f"{IMAGES}/{self.dice.choice(found)['id']}")
