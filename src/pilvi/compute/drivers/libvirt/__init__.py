"""The libvirt driver: real machines on QEMU, with KVM where the host has it.

hypervisor   the verbs of the contract, each handed to the part that knows how
libvirtd     a private libvirtd for one cloud and host
link         the connection, its events, and errors in words
places       where files and sockets lie
xml, devices, marks   the wish in libvirt's words, and Pilvi's marks in it
images, disks, snapshots   files of disks
power, plugs   making a machine be as wished
looks, facts   looking at machines and at the host
arrivals, departures, elsewhere   machines that come and go while they run; their disks are copied, or shared
offers       disks of machines that are off, read by another host
tunnel, tls, guard   from agent to agent: streams, who may open them, and what may be said to libvirtd
jobs, command   long work in threads, and child processes
"""

from __future__ import annotations

from pilvi.compute.drivers.libvirt.hypervisor import LibvirtHypervisor

__all__ = ["LibvirtHypervisor"]
