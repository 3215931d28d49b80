"""DHCP, names and router advertisements of one network: a namespace with a leg in the network, and dnsmasq in it."""

from __future__ import annotations

from pathlib import Path

from pilvi.network.drivers import Dhcp, DhcpSubnet, Lease
from pilvi.network.drivers.linux import announce, links, names
from pilvi.network.drivers.linux.dnsmasq import RUN, Dnsmasq, accepts
from pilvi.network.drivers.linux.metadata import METADATA_ADDRESS, MetadataProxy
from pilvi.network.drivers.linux.segments import Segments

LEG = "dhcp0"
LEASE_SECONDS = 86400
# range words of dnsmasq by the subnet's IPv6 mode, with and without router advertisements
_ADVERTISED = {"slaac": "ra-only", "dhcpv6-stateless": "ra-stateless", "dhcpv6-stateful": "static"}


class DhcpServers:
    """The DHCP servers of one host.  `resolvers` answer guests' questions about other names than the network's."""

    def __init__(self, segments: Segments, proxy: MetadataProxy, leases: Path, resolvers: tuple[str, ...]) -> None:
        self.segments, self.proxy, self.leases = segments, proxy, leases
        self.netns, self.resolvers = segments.netns, [str(names.address(resolver)) for resolver in resolvers]

    def ensure(self, dhcp: Dhcp) -> None:
        """Have the namespace, the leg, dnsmasq and the metadata listener as described."""
        network = dhcp.segment.id
        namespace = names.dhcp_namespace(self.netns, network)
        bridge = self.segments.have(dhcp.segment)
        links.add_namespace(namespace)
        links.sysctl(namespace, {"ipv4/ip_forward": "0", "ipv6/conf/default/accept_ra": "0", "ipv6/conf/all/accept_ra": "0"})
        self._ensure_leg(dhcp, namespace, bridge)
        server = self._server(network)
        leases = self.leases / network
        self.leases.mkdir(parents=True, exist_ok=True, mode=0o700)
        stale = _stale(leases, dhcp.leases)
        if stale:
            server.stop()
            kept = leases.with_name(leases.name + ".new")
            kept.write_text("".join(line for line in leases.read_text().splitlines(keepends=True) if line not in stale))
            kept.replace(leases)
        server.ensure(self._arguments(dhcp, leases, server.folder), _files(dhcp))
        if dhcp.metadata:
            self.proxy.listen(namespace, METADATA_ADDRESS, 80, network_id=network)
        else:
            self.proxy.leave(namespace)

    def remove(self, network_id: str) -> None:
        """Have all of it gone."""
        namespace = names.dhcp_namespace(self.netns, network_id)
        self.proxy.leave(namespace)
        self._server(network_id).stop()
        if links.has_namespace(self.netns):
            links.remove_devices(self.netns, ["dh-" + names.short(network_id)])
        links.remove_namespace(namespace)
        (self.leases / network_id).unlink(missing_ok=True)

    def resume(self, network_id: str) -> None:
        """Listen for metadata again, where it was served before this process began."""
        namespace = names.dhcp_namespace(self.netns, network_id)
        if f"{METADATA_ADDRESS}/32" in links.addresses(links.addressed(namespace).get(LEG, {})):
            self.proxy.listen(namespace, METADATA_ADDRESS, 80, network_id=network_id)

    def networks(self) -> list[str]:
        """The networks that are served on this host."""
        found = (names.subject_of(self.netns, name) for name in links.namespaces())
        served = [subject for kind, subject in filter(None, found) if kind == "d"]
        return [network for network in served if self._server(network).pid()]

    def _server(self, network_id: str) -> Dnsmasq:
        folder = RUN / self.netns / f"d-{names.identity(network_id)}"
        return Dnsmasq(names.dhcp_namespace(self.netns, network_id), folder)

    def _ensure_leg(self, dhcp: Dhcp, namespace: str, bridge: str) -> None:
        leg, mtu, mac = "dh-" + names.short(dhcp.segment.id), int(dhcp.segment.mtu), names.mac(dhcp.mac)
        near, far = links.devices(self.netns, leg).get(leg), links.addressed(namespace).get(LEG)
        if not near or not far:
            if near:
                links.remove_devices(self.netns, [leg])
            add = f"link add {leg} mtu {mtu} type veth peer name {LEG} mtu {mtu} address {mac} netns {namespace}"
            links.ip([add], namespace=self.netns)
            links.checksums_in_software(namespace, LEG)
            near, far = {}, {"address": mac, "mtu": mtu}
        if near.get("master") != bridge or not links.is_up(near) or near.get("mtu") != mtu:
            links.ip([f"link set {leg} mtu {mtu} master {bridge} up"], namespace=self.netns)
        lines = []
        if far["address"] != mac or far["mtu"] != mtu:
            lines.append(f"link set {LEG} address {mac} mtu {mtu}")
        if not links.is_up(far):
            lines.append(f"link set {LEG} up")
        want = {f"{names.address(at.address)}/{int(at.prefix)}" for at in dhcp.addresses}
        if dhcp.metadata:
            want.add(f"{METADATA_ADDRESS}/32")
        lines += links.address_changes(LEG, links.addresses(far), want)
        gateways = {names.address(subnet.gateway) for subnet in dhcp.subnets if subnet.gateway}
        for version in (4, 6):
            reached = sorted(gateway for gateway in gateways if gateway.version == version and _among(gateway, want))
            if reached:
                lines.append(f"route replace default via {reached[0]} dev {LEG}")
        links.ip(lines, namespace=namespace)
        # guests ask it for names at the address that they know, wherever it was before
        announce.announce(namespace, LEG, mac, sorted(at.partition("/")[0] for at in want - links.addresses(far) - {f"{METADATA_ADDRESS}/32"}))

    def _arguments(self, dhcp: Dhcp, leases: Path, folder: Path) -> list[str]:
        arguments = [
            f"--interface={LEG}", "--dhcp-authoritative", f"--dhcp-lease-max={max(1024, 2 ** len(dhcp.leases).bit_length())}",
            f"--dhcp-leasefile={leases}", f"--dhcp-hostsfile={folder}/hosts", f"--dhcp-optsfile={folder}/options",
            f"--addn-hosts={folder}/names",
        ]  # fmt: skip
        arguments += [f"--server={resolver}" for resolver in self.resolvers]
        if domain := names.domain(dhcp.domain):
            arguments += [f"--domain={domain}", f"--local=/{domain}/", "--expand-hosts"]
        if any(subnet.advertise for subnet in dhcp.subnets):
            # lifetime 0: addresses are told, but this is no router
            arguments += ["--enable-ra", f"--ra-param={LEG},mtu:{int(dhcp.segment.mtu)},60,0"]
        # a tag set in the hosts file makes dnsmasq 2.86 to 2.90 crash when it reads that file again
        arguments += sorted(
            f"--dhcp-mac=set:port-{names.short(lease.port_id)},{names.mac(lease.mac)}" for lease in dhcp.leases if _extra_options(lease)
        )
        for subnet in sorted(dhcp.subnets, key=lambda subnet: subnet.id):
            net, tag = names.cidr(subnet.cidr), f"set:subnet-{names.short(subnet.id)}"
            if net.version == 4:
                arguments.append(f"--dhcp-range={tag},{net.network_address},static,{net.netmask},{LEASE_SECONDS}s")
            elif subnet.mode and (subnet.advertise or subnet.mode != "slaac"):
                word = _ADVERTISED.get(subnet.mode, "static") if subnet.advertise else "static"
                arguments.append(f"--dhcp-range={tag},{net.network_address},{word},{net.prefixlen},{LEASE_SECONDS}s")
        return arguments


def _among(address: names.Address, own: set[str]) -> bool:
    return any(address in names.cidr(at) for at in own)


def _files(dhcp: Dhcp) -> dict[str, str]:
    """The files that dnsmasq reads again when told: who gets which address, options, and names."""
    hosts, options, known = [], [f"option:mtu,{int(dhcp.segment.mtu)}"], []
    for subnet in dhcp.subnets:
        options += _subnet_options(dhcp, subnet)
    domain = names.domain(dhcp.domain)
    for lease in dhcp.leases:
        tag = f"port-{names.short(lease.port_id)}"
        options += [f"tag:{tag},{option}" for option in _extra_options(lease)]
        for at in lease.addresses:
            address = names.address(at.address)
            name = names.host_label(lease.hostname, "host-" + address.exploded.replace(".", "-").replace(":", "-"))
            known.append(f"{address} {f'{name}.{domain} ' if domain else ''}{name}")
            shown = f"[{address}]" if address.version == 6 else str(address)
            hosts.append(f"{names.mac(lease.mac)},{shown},{name}")
    return {"hosts": _lines(hosts), "options": _lines(options), "names": _lines(known)}


def _lines(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)


def _subnet_options(dhcp: Dhcp, subnet: DhcpSubnet) -> list[str]:
    net, tag = names.cidr(subnet.cidr), f"tag:subnet-{names.short(subnet.id)}"
    own = [str(address) for address in (names.address(at.address) for at in dhcp.addresses) if address in net]
    dns = [str(names.address(server)) for server in subnet.dns] or own
    if net.version == 6:
        return [f"{tag},option6:dns-server,{','.join(f'[{server}]' for server in dns if ':' in server)}"] if dns else []
    gateway = str(names.address(subnet.gateway)) if subnet.gateway else ""
    routes = [(str(names.cidr(route.destination)), str(names.address(route.nexthop))) for route in subnet.routes]
    if dhcp.metadata and own:
        routes.insert(0, (f"{METADATA_ADDRESS}/32", own[0]))
    if routes and gateway:
        routes.append(("0.0.0.0/0", gateway))  # a client that takes these routes ignores the router option
    found = [f"{tag},option:router" + (f",{gateway}" if gateway else "")]
    if dns:
        found.append(f"{tag},option:dns-server,{','.join(dns)}")
    if routes:
        told = ",".join(f"{destination},{nexthop}" for destination, nexthop in routes)
        found += [f"{tag},option:classless-static-route,{told}", f"{tag},249,{told}"]
    return found


def _extra_options(lease: Lease) -> list[str]:
    """A port's own options; those that dnsmasq does not know are left out rather than stop it."""
    found = []
    for name, value, version in lease.options:
        family = "option6:" if version == 6 else "" if name.isdecimal() else "option:"
        told = f"{family}{name},{value}"
        if name.replace("-", "").isalnum() and accepts(told):
            found.append(told)
    return found


def _stale(leases: Path, wanted: list[Lease]) -> set[str]:
    """Lines of the lease file that hold an address for someone who has it no more."""
    try:
        lines = leases.read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return set()
    holders = {str(names.address(at.address)): names.mac(lease.mac) for lease in wanted for at in lease.addresses}
    stale = set()
    for line in lines:
        words = line.split()
        if len(words) < 5:  # "duid ..."
            continue
        holder = holders.get(words[2])
        if holder is None or (":" not in words[2] and holder != words[1].lower()):
            stale.add(line)
    return stale
