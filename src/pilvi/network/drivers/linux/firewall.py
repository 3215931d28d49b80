"""The packet filter of a host: anti-spoofing and security groups of all ports, in two nft tables.

A frame passes three times.  Entering its bridge, its sender's guard chain checks the addresses and marks it with the
sender's number (the tap's index).  When it is forwarded, the inet table, called through br_netfilter, finds the
sender's chain by that mark.  Leaving, it is marked with the receiver's number and finds the receiver's chain.
Each change of a port is one transaction that touches only the port's own chains and its entries in the maps;
connections are kept apart by a conntrack zone for each bridge.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pilvi.kernel.errors import HostError
from pilvi.network.drivers import Port
from pilvi.network.drivers.linux import links, names, rules

_GROUND = """
add table bridge pilvi
add map bridge pilvi guards { type ifname : verdict; }
add map bridge pilvi receivers { type ifname : verdict; }
add chain bridge pilvi prerouting { type filter hook prerouting priority -250; policy accept; }
add chain bridge pilvi postrouting { type filter hook postrouting priority -250; policy accept; }
flush chain bridge pilvi prerouting
flush chain bridge pilvi postrouting
add rule bridge pilvi prerouting meta mark set 0 iifname vmap @guards
add rule bridge pilvi postrouting meta mark set 0 oifname vmap @receivers
add table inet pilvi
add map inet pilvi zones { typeof iifname : ct zone; }
add map inet pilvi senders { type mark : verdict; }
add map inet pilvi receivers { type mark : verdict; }
add chain inet pilvi zone { type filter hook prerouting priority -450; policy accept; }
add chain inet pilvi forward { type filter hook forward priority 0; policy accept; }
add chain inet pilvi postrouting { type filter hook postrouting priority 0; policy accept; }
flush chain inet pilvi zone
flush chain inet pilvi forward
flush chain inet pilvi postrouting
add rule inet pilvi zone ct zone set iifname map @zones
add rule inet pilvi forward meta mark vmap @senders
add rule inet pilvi postrouting meta mark vmap @receivers
"""
_MAPS = ("inet pilvi senders", "inet pilvi receivers", "bridge pilvi receivers", "bridge pilvi guards")


class Firewall:
    """The rules of all ports in one namespace."""

    def __init__(self, netns: str) -> None:
        self.netns = netns
        self._grounded = False
        self._lock = threading.Lock()  # nft would otherwise have to repeat transactions that met

    def guard(self, port: Port, mark: int, bridge: str) -> None:
        """Have the port guarded by exactly its rules.  `mark` is the index of its tap."""
        name, tap = names.short(port.id), names.device(port.tap)
        bridge_chains, inet_chains = rules.guard(port, mark), rules.verdicts(port)
        bridge_chains[f"mark_{name}"] = [f"meta mark set {mark}"]
        script = []
        for family, chains in (("bridge", bridge_chains), ("inet", inet_chains)):
            script += [f"add chain {family} pilvi {chain}\nflush chain {family} pilvi {chain}" for chain in chains]
            script += [f"add rule {family} pilvi {chain} {rule}" for chain, said in chains.items() for rule in said]
        script.append(f'add element inet pilvi zones {{ "{bridge}" : {int(port.zone)} }}')
        script += [f"add element {place} {{ {key} : goto {chain} }}" for place, key, chain in _entries(name, tap, mark)]
        with self._lock:
            try:
                self._apply(script)
            except HostError as problem:
                if "exists" not in problem.message:
                    raise
                # an entry of another time says something else: the bridge's zone, or the tap of another port
                self._apply(self._found(lambda key, _chain: key in (tap, mark)))
                self._forget_zone(bridge)
                self._apply(script)

    def unguard(self, port_id: str, taps: dict[str, int]) -> None:
        """Have every rule and entry of the port gone; `taps` are the names and indices of its tap, as far as known."""
        name = names.short(port_id)
        with self._lock:
            try:
                self._apply(_removal(name, [entry for tap, mark in taps.items() for entry in _entries(name, tap, mark)]))
            except HostError as problem:
                if "busy" not in problem.message and "exists" not in problem.message:
                    raise
                # entries of a tap that is gone still lead to the chains, or its name now belongs to another port
                self._apply([*self._found(lambda _key, chain: chain.endswith(f"_{name}")), *_removal(name, [])])

    def forget_bridge(self, bridge: str) -> None:
        """Have a bridge's conntrack zone gone."""
        with self._lock:
            self._forget_zone(bridge)

    def _forget_zone(self, bridge: str) -> None:
        links.run(["nft", "delete", "element", "inet", "pilvi", "zones", "{", f'"{bridge}"', "}"], namespace=self.netns, check=False)

    def _found(self, chosen: Callable[[str | int, str], bool]) -> list[str]:
        """Delete commands for the map entries that `chosen(key, chain)` picks."""
        found = []
        for place in _MAPS:
            printed = links.run(["nft", "-j", "list", "map", *place.split()], namespace=self.netns)
            for item in links.documents(printed):
                for key, verdict in (entry for part in item["nftables"] for entry in part.get("map", {}).get("elem", ())):
                    if chosen(key, next(iter(verdict.values()))["target"]):
                        word = f'"{key}"' if isinstance(key, str) else key
                        found.append(f"delete element {place} {{ {word} }}")
        return found

    def _apply(self, script: list[str]) -> None:
        """One transaction; the first of this process, and one that misses its tables, lays the ground as well."""
        text = "\n".join(script) + "\n"
        if self._grounded:
            try:
                links.run(["nft", "-f", "-"], namespace=self.netns, text=text)
            except HostError as problem:
                if "No such file" not in problem.message:
                    raise
            else:
                return
        links.run(["nft", "-f", "-"], namespace=self.netns, text=_GROUND + text)
        self._grounded = True


def _entries(name: str, tap: str, mark: int) -> list[tuple[str, str, str]]:
    """A port's entries: map, key, and the chain to which it leads."""
    return [
        ("inet pilvi senders", str(mark), f"out_{name}"),
        ("inet pilvi receivers", str(mark), f"in_{name}"),
        ("bridge pilvi receivers", f'"{tap}"', f"mark_{name}"),
        ("bridge pilvi guards", f'"{tap}"', f"guard_{name}"),
    ]


def _removal(name: str, entries: list[tuple[str, str, str]]) -> list[str]:
    """Commands that take chains and entries away, also when they are not there: each is added first."""
    chains = [f"bridge pilvi {chain}_{name}" for chain in ("guard", "claims", "mark")]
    chains += [f"inet pilvi {chain}_{name}" for chain in ("out", "in")]
    script = [f"add chain {chain}" for chain in chains]
    for place, key, chain in entries:
        script += [f"add element {place} {{ {key} : goto {chain} }}", f"delete element {place} {{ {key} }}"]
    return script + [f"flush chain {chain}" for chain in chains] + [f"delete chain {chain}" for chain in chains]
