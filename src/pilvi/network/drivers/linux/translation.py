"""Address translation of a router: floating addresses, port forwardings, shared outgoing address, metadata redirect."""

from __future__ import annotations

from pilvi.network.drivers import Router
from pilvi.network.drivers.linux import connections, links, names, rules
from pilvi.network.drivers.linux.metadata import METADATA_ADDRESS

_GROUND = """
add table ip pilvi
add map ip pilvi floating { type ipv4_addr : ipv4_addr; }
add map ip pilvi fixed { type ipv4_addr : ipv4_addr; }
add map ip pilvi forwarded { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
add chain ip pilvi prerouting { type nat hook prerouting priority -100; policy accept; }
add chain ip pilvi postrouting { type nat hook postrouting priority 100; policy accept; }
flush table ip pilvi
flush map ip pilvi floating
flush map ip pilvi fixed
flush map ip pilvi forwarded
add table inet pilvi
add chain inet pilvi input { type filter hook input priority 0; policy accept; }
flush table inet pilvi
add rule inet pilvi input udp dport 547 drop
"""
# (floating, protocol number, port) or (floating,), and where it leads
Translated = dict[tuple[str | int, ...], str]


def floating_addresses(router: Router) -> list[str]:
    """The addresses for which the router answers beside its own."""
    if not router.gateway or not router.admin_up:
        return []
    held = [each.floating for each in router.floating_ips] + [each.floating for each in router.forwardings]
    own = {str(names.address(at.address)) for at in router.gateway.addresses}
    return sorted({str(names.address(address)) for address in held} - own)


def wanted(router: Router) -> Translated:
    """The translations that a router is to have."""
    if not router.gateway:
        return {}
    found: Translated = {(str(names.address(each.floating)),): str(names.address(each.fixed)) for each in router.floating_ips}
    for each in router.forwardings:
        key = (str(names.address(each.floating)), rules.PROTOCOLS[each.protocol.lower()], int(each.floating_port))
        found[key] = f"{names.address(each.fixed)} . {int(each.fixed_port)}"
    return found


def apply(namespace: str, router: Router, gateway: str, metadata_port: int) -> None:
    """Have exactly these translations, in one transaction; connections that are translated already go on."""
    script = [_GROUND.strip()]
    if router.metadata:
        away = f'iifname != "{gateway}" ' if gateway else ""
        script.append(f"add rule ip pilvi prerouting {away}ip daddr {METADATA_ADDRESS} tcp dport 80 redirect to :{metadata_port}")
    if gateway and router.gateway:
        script.append(f'add rule inet pilvi input iifname "{gateway}" tcp dport {metadata_port} drop')
        script += _gateway_rules(router, gateway)
    for key, target in wanted(router).items():
        name = "floating" if len(key) == 1 else "forwarded"
        script.append(f"add element ip pilvi {name} {{ {' . '.join(map(str, key))} : {target} }}")
    fixed = {str(names.address(each.fixed)): str(names.address(each.floating)) for each in router.floating_ips if gateway}
    script += [f"add element ip pilvi fixed {{ {inner} : {outer} }}" for inner, outer in fixed.items()]
    links.run(["nft", "-f", "-"], namespace=namespace, text="\n".join(script) + "\n")


def _gateway_rules(router: Router, gateway: str) -> list[str]:
    assert router.gateway
    own = [str(address) for address in (names.address(at.address) for at in router.gateway.addresses) if address.version == 4]
    # a guest that calls a floating address of its own router is answered by way of the router too
    around = f'add rule ip pilvi postrouting iifname != "{gateway}" ct status dnat'
    leaving = f'add rule ip pilvi postrouting oifname "{gateway}"'
    found = [
        "add rule ip pilvi prerouting dnat ip to ip daddr . ip protocol . th dport map @forwarded",
        "add rule ip pilvi prerouting dnat to ip daddr map @floating",
        f"{around} snat to ip saddr map @fixed",
        f"{leaving} snat to ip saddr map @fixed",
    ]
    if own:
        found.append(f"{around} snat to {own[0]}")
        if router.snat:
            found.append(f"{leaving} snat to {own[0]}")
    return found


def translated(namespace: str) -> Translated:
    """The translations that stand in a router now."""
    printed = links.run(["nft", "-j", "list", "maps"], namespace=namespace)
    found: Translated = {}
    for item in links.documents(printed):
        for held in (part["map"] for part in item["nftables"] if "map" in part):
            for key, target in held.get("elem", ()):
                if held["name"] == "floating":
                    found[(key,)] = target
                elif held["name"] == "forwarded":
                    address, protocol, port = key["concat"]
                    number = protocol if isinstance(protocol, int) else rules.PROTOCOLS[protocol]
                    found[address, number, port] = " . ".join(map(str, target["concat"]))
    return found


def end_connections(namespace: str, before: Translated, router: Router) -> None:
    """End the connections that lived by a translation that is gone."""
    now = wanted(router)
    for key, target in before.items():
        if now.get(key) == target:
            continue
        address, *narrower = map(str, key)
        which = ["-p", narrower[0], "--dport", narrower[1]] if narrower else []
        connections.end(namespace, ["-d", address, *which])
        if not narrower:
            connections.end(namespace, ["-q", address])


def redirects_metadata(namespace: str) -> bool:
    """Whether guests' metadata requests are caught here."""
    printed = links.run(["nft", "list", "table", "ip", "pilvi"], namespace=namespace, check=False)
    return f"ip daddr {METADATA_ADDRESS}" in printed
