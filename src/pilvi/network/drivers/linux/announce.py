"""Announcements: a device tells its neighbours of its addresses, so that they and the switches between learn where it is."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from pilvi.network.drivers.linux import links, names


def announce(namespace: str, device: str, mac: str, addresses: Iterable[str]) -> None:
    """Tell the neighbours of IPv4 addresses by ARP, so that they forget who had them before; the kernel does it for IPv6."""
    told = [address for address in addresses if ":" not in address]
    if not told:
        return
    hardware = bytes.fromhex(names.mac(mac).replace(":", ""))
    with links.inside(namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((device, 0))
        for address in told:
            own = socket.inet_aton(address)
            for operation, target in ((1, bytes(6)), (2, b"\xff" * 6)):
                packet = b"\x00\x01\x08\x00\x06\x04" + operation.to_bytes(2) + hardware + own + target + own
                wire.send(b"\xff" * 6 + hardware + b"\x08\x06" + packet)
