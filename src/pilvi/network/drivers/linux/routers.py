"""Routers: a namespace for each, with a leg in every network, a gateway leg, address translation and metadata."""

from __future__ import annotations

from pilvi.network.drivers import Router, RouterLeg
from pilvi.network.drivers.linux import announce, links, names, translation
from pilvi.network.drivers.linux.dnsmasq import RUN, Dnsmasq
from pilvi.network.drivers.linux.metadata import MetadataProxy
from pilvi.network.drivers.linux.segments import Segments

METADATA_PORT = 9697
ADVERTISING_SECONDS, ADVERTISED_LIFETIME = 60, 1800
_ADVERTISED = {"slaac": "ra-only", "dhcpv6-stateless": "ra-stateless", "dhcpv6-stateful": "static"}
_ROUTING = {
    "ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv6/conf/all/accept_ra": "0", "ipv6/conf/default/accept_ra": "0",
    "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0",
    # a router tells of an address only in the network where it has it
    "ipv4/conf/all/arp_ignore": "1", "ipv4/conf/all/arp_announce": "2",
}  # fmt: skip


class Routers:
    """The routers of one host."""

    def __init__(self, segments: Segments, proxy: MetadataProxy) -> None:
        self.segments, self.proxy, self.netns = segments, proxy, segments.netns

    def ensure(self, router: Router) -> None:
        """Have the router as described; what is so already is not touched, and connections survive."""
        namespace = names.router_namespace(self.netns, router.id)
        links.add_namespace(namespace)
        links.sysctl(namespace, _ROUTING)
        gateway = f"qg-{names.short(router.gateway.port_id)}" if router.gateway else ""
        legs = {f"qr-{names.short(leg.port_id)}": leg for leg in router.legs}
        if router.gateway:
            legs[gateway] = router.gateway
        self._ensure_cables(namespace, legs)
        before = translation.translated(namespace)
        # a floating address is answered for only when its translation stands, and no longer than that
        translation.apply(namespace, router, gateway, METADATA_PORT)
        fresh = self._ensure_addresses(namespace, router, legs, gateway)
        self._ensure_routes(namespace, router, gateway)
        for name, addresses in fresh.items():
            announce.announce(namespace, name, legs[name].mac, addresses)
        translation.end_connections(namespace, before, router)
        self._ensure_advertising(namespace, router)
        if router.metadata:
            self.proxy.listen(namespace, "0.0.0.0", METADATA_PORT, router_id=router.id)
        else:
            self.proxy.leave(namespace)

    def remove(self, router_id: str) -> None:
        """Have the router gone, and its cables before it: with the namespace they would end only some time later."""
        namespace = names.router_namespace(self.netns, router_id)
        self.proxy.leave(namespace)
        self._advertiser(router_id).stop()
        if namespace in links.namespaces():
            links.remove_devices(namespace, filter(_is_cable, links.devices(namespace)))
        links.remove_namespace(namespace)

    def resume(self, router_id: str) -> None:
        """Listen for metadata again, where it was served before this process began."""
        namespace = names.router_namespace(self.netns, router_id)
        if translation.redirects_metadata(namespace):
            self.proxy.listen(namespace, "0.0.0.0", METADATA_PORT, router_id=router_id)

    def routers(self) -> list[str]:
        """The routers on this host."""
        found = (names.subject_of(self.netns, name) for name in links.namespaces())
        return [subject for kind, subject in filter(None, found) if kind == "r"]

    def floating(self, router_id: str) -> list[str]:
        """The floating addresses for which a router answers."""
        seen = links.addressed(names.router_namespace(self.netns, router_id))
        held = (address for name, link in seen.items() if name.startswith("qg-") for address in links.addresses(link))
        return [address.removesuffix("/32") for address in held if address.endswith("/32")]

    # -- the parts of a router -------------------------------------------------------------------

    def _ensure_cables(self, namespace: str, legs: dict[str, RouterLeg]) -> None:
        """Have a virtual cable from each network's bridge to the router, and no others."""
        inner = links.devices(namespace)
        outer = links.devices(self.netns, *legs) if legs and links.has_namespace(self.netns) else {}
        links.remove_devices(namespace, [name for name in inner if _is_cable(name) and name not in legs])
        for name, leg in legs.items():
            bridge = self.segments.have(leg.segment)
            mtu, mac, near, far = int(leg.segment.mtu), names.mac(leg.mac), outer.get(name), inner.get(name)
            lines = []
            if not near or not far:
                if near:
                    links.remove_devices(self.netns, [name])
                lines.append(f"link add {name} mtu {mtu} type veth peer name {name} mtu {mtu} address {mac} netns {namespace}")
                near, far = {}, {"address": mac, "mtu": mtu}
            if near.get("master") != bridge or not links.is_up(near) or near.get("mtu") != mtu:
                lines.append(f"link set {name} mtu {mtu} master {bridge} up")
            links.ip(lines, namespace=self.netns)
            if far["address"] != mac or far["mtu"] != mtu:
                links.ip([f"link set {name} address {mac} mtu {mtu}"], namespace=namespace)

    def _ensure_addresses(self, namespace: str, router: Router, legs: dict[str, RouterLeg], gateway: str) -> dict[str, list[str]]:
        """Have each leg's addresses, and the floating ones on the gateway leg; gives those that are new on legs in use."""
        seen, lines, fresh = links.addressed(namespace), [], dict[str, list[str]]()
        for name, leg in legs.items():
            want = {f"{names.address(at.address)}/{int(at.prefix)}" for at in leg.addresses}
            if name == gateway:
                want |= {f"{address}/32" for address in translation.floating_addresses(router)}
            have = links.addresses(seen[name])
            if links.is_up(seen[name]) != router.admin_up:
                lines.append(f"link set {name} {'up' if router.admin_up else 'down'}")
            lines += links.address_changes(name, have, want)
            if router.admin_up:
                fresh[name] = sorted(address.partition("/")[0] for address in want - have)
        links.ip(lines, namespace=namespace)
        return fresh

    def _ensure_routes(self, namespace: str, router: Router, gateway: str) -> None:
        """Have the default routes and the extra ones; ours are known by `proto static`."""
        if not router.admin_up:
            return
        want: dict[tuple[int, str], tuple[str, str]] = {}
        for nexthop in map(names.address, router.gateway_addresses if gateway else ()):
            want[nexthop.version, "default"] = (str(nexthop), f"via {nexthop} dev {gateway} onlink")
        for route in router.routes:
            net, nexthop = names.cidr(route.destination), names.address(route.nexthop)
            want[net.version, "default" if net.prefixlen == 0 else str(net)] = (str(nexthop), f"via {nexthop}")
        for version in (4, 6):
            told = links.run(["ip", f"-{version}", "-j", "route", "show", "proto", "static"], namespace=namespace)
            have = {_destination(route["dst"]): route.get("gateway", "") for found in links.documents(told) for route in found}
            lines = [
                f"route del {destination} via {nexthop} proto static"
                for destination, nexthop in have.items()
                if (version, destination) not in want
            ]
            lines += [
                f"route replace {destination} {how} proto static"
                for (family, destination), (nexthop, how) in want.items()
                if family == version and have.get(destination) != nexthop
            ]
            links.ip(lines, namespace=namespace)

    def _ensure_advertising(self, namespace: str, router: Router) -> None:
        """Have router advertisements on the legs that want them."""
        advertiser, arguments = self._advertiser(router.id), []
        for leg in sorted(router.legs, key=lambda leg: leg.port_id):
            if not leg.advertise or not router.admin_up:
                continue
            name = f"qr-{names.short(leg.port_id)}"
            arguments += [f"--interface={name}", f"--ra-param={name},mtu:{int(leg.segment.mtu)},{ADVERTISING_SECONDS},{ADVERTISED_LIFETIME}"]
            for at in leg.addresses:
                if (net := names.cidr(f"{at.address}/{int(at.prefix)}")).version == 6:
                    arguments.append(f"--dhcp-range={net.network_address},{_ADVERTISED.get(leg.advertise, 'ra-only')},{net.prefixlen}")
        if arguments:
            advertiser.ensure(["--port=0", "--enable-ra", "--leasefile-ro", *arguments], {})
        elif advertiser.folder.exists():
            advertiser.stop()

    def _advertiser(self, router_id: str) -> Dnsmasq:
        folder = RUN / self.netns / f"r-{names.identity(router_id)}"
        return Dnsmasq(names.router_namespace(self.netns, router_id), folder)


def _is_cable(name: str) -> bool:
    return name.startswith(("qr-", "qg-"))


def _destination(printed: str) -> str:
    return "default" if printed == "default" else str(names.cidr(printed))
