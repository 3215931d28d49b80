"""The domain XML of a machine: the wish in libvirt's words."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec

from pilvi.compute.drivers import Machine
from pilvi.compute.drivers.libvirt import marks
from pilvi.compute.drivers.libvirt.devices import disk_element, nic_element
from pilvi.compute.drivers.libvirt.places import Places, checked_id
from pilvi.kernel.errors import Invalid

VIDEO_MODELS = {"vga": "vga", "bochs": "bochs", "cirrus": "cirrus", "virtio": "virtio", "qxl": "qxl", "vmvga": "vmvga", "none": "none"}
SCSI_MODELS = {"virtio-scsi", "lsilogic", "lsisas1068", "lsisas1078"}
WATCHDOG_ACTIONS = {"poweroff", "reset", "pause", "none"}
SPARE_PCIE_PORTS = 16  # q35 plugs each card into a port of its own, and ports cannot be added while it runs


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What the host gives to each definition."""

    host: str
    virt_type: str  # kvm or qemu
    arch: str = "x86_64"
    tb_cache_mib: int = 64
    state_dir: Path


def domain_element(machine: Machine, setting: Setting, places: Places) -> ET.Element:
    """The whole <domain> for a machine, sealed with its marks."""
    q35 = is_q35(machine)
    domain = ET.Element("domain", type=setting.virt_type)
    ET.SubElement(domain, "name").text = checked_id(machine.id)
    ET.SubElement(domain, "uuid").text = checked_id(machine.id)
    if title := marks.writable(machine.name):
        ET.SubElement(domain, "title").text = title
    marks.write(ET.SubElement(domain, "metadata"), machine, setting.state_dir, setting.host)
    ET.SubElement(domain, "memory", unit="MiB").text = str(machine.memory_mib)
    ET.SubElement(domain, "vcpu").text = str(machine.vcpus)
    _sysinfo(domain, machine)
    _os(domain, machine, setting)
    _features(domain, setting)
    _cpu(domain, machine, setting)
    windows = machine.properties.get("os_type") == "windows"
    ET.SubElement(domain, "clock", offset="localtime" if windows else "utc")
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        ET.SubElement(domain, event).text = action
    devices = ET.SubElement(domain, "devices")
    devices.extend(disk_element(disk, places, machine.id, q35=q35) for disk in machine.disks)
    devices.extend(nic_element(nic) for nic in machine.nics)
    _controllers(devices, machine, q35=q35)
    _consoles(devices, machine, places)
    _extras(devices, machine)
    marks.seal(domain)
    return domain


def is_q35(machine: Machine) -> bool:
    return "q35" in machine_type(machine)


def machine_type(machine: Machine) -> str:
    """The wished machine type; pc when none is wished."""
    wished = machine.properties.get("hw_machine_type", "pc")
    wished = wished.removeprefix("x86_64=")
    if not wished.replace("-", "").replace(".", "").isalnum():
        raise Invalid(f"{wished!r} is not a machine type; look at hw_machine_type of the image.")
    return wished


def is_on(value: str) -> bool:
    return value.lower() in ("yes", "true", "1", "on")


def _sysinfo(domain: ET.Element, machine: Machine) -> None:
    # guests know by these names that they run in an OpenStack cloud and where to find their metadata
    system = ET.SubElement(ET.SubElement(domain, "sysinfo", type="smbios"), "system")
    entries = {
        "manufacturer": "OpenStack Foundation",
        "product": "OpenStack Nova",
        "version": "Pilvi",
        "serial": checked_id(machine.id),
        "uuid": checked_id(machine.id),
        "family": "Virtual Machine",
    }
    for name, value in entries.items():
        ET.SubElement(system, "entry", name=name).text = value


def _os(domain: ET.Element, machine: Machine, setting: Setting) -> None:
    system = ET.SubElement(domain, "os")
    if machine.properties.get("hw_firmware_type", "bios") == "uefi":
        system.set("firmware", "efi")
    ET.SubElement(system, "type", arch=setting.arch, machine=machine_type(machine)).text = "hvm"
    if not any(disk.boot_index is not None and disk.boot_index >= 0 for disk in machine.disks):
        ET.SubElement(system, "boot", dev="hd")
    if is_on(machine.properties.get("hw_boot_menu", "")):
        ET.SubElement(system, "bootmenu", enable="yes")
    ET.SubElement(system, "smbios", mode="sysinfo")


def _features(domain: ET.Element, setting: Setting) -> None:
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if setting.virt_type == "qemu":
        # QEMU's own choice would be a gigabyte of translated code for each machine
        cache = ET.SubElement(ET.SubElement(features, "tcg"), "tb-cache", unit="MiB")
        cache.text = str(setting.tb_cache_mib)


def _cpu(domain: ET.Element, machine: Machine, setting: Setting) -> None:
    cpu = ET.SubElement(domain, "cpu", mode="maximum" if setting.virt_type == "qemu" else "host-model")
    wished = {
        part: int(value)
        for part in ("sockets", "cores", "threads")
        if (value := machine.properties.get(f"hw:cpu_{part}") or machine.properties.get(f"hw_cpu_{part}", "")).isdigit()
    }
    if not wished:
        return
    cores, threads = max(1, wished.get("cores", 1)), max(1, wished.get("threads", 1))
    sockets = wished.get("sockets", machine.vcpus // (cores * threads))
    if sockets * cores * threads == machine.vcpus:
        ET.SubElement(cpu, "topology", sockets=str(sockets), cores=str(cores), threads=str(threads))


def _controllers(devices: ET.Element, machine: Machine, *, q35: bool) -> None:
    usb = machine.properties.get("hw_pointer_model") == "usbtablet" or any(disk.bus == "usb" for disk in machine.disks)
    # an idle USB controller costs an emulated guest noticeable time, so it is there only when something needs it
    ET.SubElement(devices, "controller", type="usb", model="qemu-xhci" if usb else "none")
    if machine.properties.get("hw_pointer_model") == "usbtablet":
        ET.SubElement(devices, "input", type="tablet", bus="usb")
    scsi = machine.properties.get("hw_scsi_model", "virtio-scsi")
    if any(disk.bus == "scsi" for disk in machine.disks) or "hw_scsi_model" in machine.properties:
        ET.SubElement(devices, "controller", type="scsi", index="0", model=scsi if scsi in SCSI_MODELS else "virtio-scsi")
    if q35:
        ET.SubElement(devices, "controller", type="pci", model="pcie-root")
        for _ in range(SPARE_PCIE_PORTS):
            ET.SubElement(devices, "controller", type="pci", model="pcie-root-port")


def _consoles(devices: ET.Element, machine: Machine, places: Places) -> None:
    log = str(places.console_log(machine.id))
    # one serial port is both: everything is written to the log, and who connects to the socket may talk
    source = str(places.socket(machine.id, "serial"))
    serial = ET.SubElement(devices, "serial", type="unix" if machine.serial_console else "null")
    if machine.serial_console:
        ET.SubElement(serial, "source", mode="bind", path=source)
    ET.SubElement(serial, "log", file=log, append="on")
    ET.SubElement(serial, "target", port="0")
    graphics = ET.SubElement(devices, "graphics", type="vnc")
    ET.SubElement(graphics, "listen", type="socket", socket=str(places.socket(machine.id, "vnc")))
    model = VIDEO_MODELS.get(machine.properties.get("hw_video_model", "vga"), "vga")
    ET.SubElement(ET.SubElement(devices, "video"), "model", type=model)


def _extras(devices: ET.Element, machine: Machine) -> None:
    random = ET.SubElement(devices, "rng", model="virtio")
    ET.SubElement(random, "backend", model="random").text = "/dev/urandom"
    balloon = ET.SubElement(devices, "memballoon", model="virtio")
    ET.SubElement(balloon, "stats", period="10")
    if is_on(machine.properties.get("hw_qemu_guest_agent", "")):
        channel = ET.SubElement(devices, "channel", type="unix")
        ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    action = machine.properties.get("hw:watchdog_action") or machine.properties.get("hw_watchdog_action", "disabled")
    if action in WATCHDOG_ACTIONS:
        ET.SubElement(devices, "watchdog", model="i6300esb", action=action)
