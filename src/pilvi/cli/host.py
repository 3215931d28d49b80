"""pilvi host: the cloud's hosts: invite, list, drain and remove them."""

from __future__ import annotations

import json
import time

from pilvi.cli.place import Place, parser

ROLES = "network,volume,compute"


def main(arguments: list[str]) -> int:
    options = parser("host", "The cloud's hosts: invite, list, drain and remove them.")
    verbs = options.add_subparsers(dest="verb", required=True, metavar="VERB")
    add = verbs.add_parser("add", help="print the command by which another machine joins this cloud, once and within the hour")
    add.add_argument("name", help="the name that the host shall have")
    add.add_argument("--roles", default=ROLES, help=f"what it shall do (default {ROLES})")
    shown = verbs.add_parser("list", help="the hosts, what they do and how they are")
    shown.add_argument("--json", action="store_true", help="print JSON")
    drain = verbs.add_parser("drain", help="move all servers away from a host; says for each that cannot move why")
    drain.add_argument("name")
    drain.add_argument("--wait", action="store_true", help="wait until it is empty")
    remove = verbs.add_parser("remove", help="let a host speak no more; its servers are to be moved or evacuated before")
    remove.add_argument("name")
    chosen = options.parse_args(arguments)
    place = Place(chosen)
    return int({"add": _add, "list": _list, "drain": _drain, "remove": _remove}[chosen.verb](place, chosen) or 0)


def _add(place: Place, chosen: object) -> None:
    told = place.ask("/host/add", name=chosen.name, roles=chosen.roles)  # type: ignore[attr-defined]
    print("On the new host, as root, within the hour:\n")
    print(f"  pilvi join {told['url']} --token {told['token']}\n")
    if not told["tls"]:
        print("TLS is off: the host's credentials for the bus will travel in the clear; `[tls] enabled = true` in pilvi.toml changes that.")


def _list(place: Place, chosen: object) -> int:
    hosts = place.ask("/host/list")["hosts"]
    if chosen.json:  # type: ignore[attr-defined]
        print(json.dumps(hosts, indent=2))
        return 0
    for host in hosts:
        state = "well" if host["well"] else "NOT WELL" if host["joined"] else "invited"
        print(f"{host['name']:<24} {state:<9} {host['address']:<16} {','.join(host['roles'])}  {host['detail']}")
    return 0 if all(host["well"] or not host["joined"] for host in hosts) else 1


def _drain(place: Place, chosen: object) -> int:
    name = chosen.name  # type: ignore[attr-defined]
    told = place.ask("/host/drain", name=name, timeout=60)
    seen: dict[str, str] = {}
    while True:
        for server in told["servers"]:
            if seen.get(server["id"]) != server["sentence"]:
                seen[server["id"]] = server["sentence"]
                print(f"{server['name']} ({server['id']}): {server['sentence']}")
        if not told["left"]:
            print(f"{name} has no servers; it takes no new ones until `openstack compute service set --enable {name} nova-compute`.")
            return 0
        if not chosen.wait:  # type: ignore[attr-defined]
            print(f"{told['left']} servers are still on {name}; say it again, or with --wait, to see how it goes.")
            return 1
        if not told["moving"]:
            print(f"{told['left']} servers cannot move.")
            return 1
        time.sleep(1)
        told = place.ask("/host/drained", name=name, timeout=60)


def _remove(place: Place, chosen: object) -> None:
    place.ask("/host/remove", name=chosen.name)  # type: ignore[attr-defined]
    print(f"{chosen.name} may speak no more.")  # type: ignore[attr-defined]
