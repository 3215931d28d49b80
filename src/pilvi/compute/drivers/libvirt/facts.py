"""What a host has: its processors, memory, disk and the traits that tell what it can do."""

from __future__ import annotations

import logging
import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Literal

from pilvi.compute.drivers import HostFacts
from pilvi.compute.drivers.libvirt.command import run
from pilvi.compute.drivers.libvirt.link import Link, library, parse
from pilvi.compute.drivers.libvirt.places import Places
from pilvi.kernel.errors import HostError

log = logging.getLogger(__name__)

GIB = 1 << 30
# what this driver can do on any host
TRAITS = [
    "COMPUTE_ARCH_X86_64",
    "COMPUTE_DEVICE_TAGGING",
    "COMPUTE_FIRMWARE_BIOS",
    "COMPUTE_GRAPHICS_MODEL_BOCHS",
    "COMPUTE_GRAPHICS_MODEL_CIRRUS",
    "COMPUTE_GRAPHICS_MODEL_NONE",
    "COMPUTE_GRAPHICS_MODEL_VGA",
    "COMPUTE_GRAPHICS_MODEL_VIRTIO",
    "COMPUTE_IMAGE_TYPE_ISO",
    "COMPUTE_IMAGE_TYPE_QCOW2",
    "COMPUTE_IMAGE_TYPE_RAW",
    "COMPUTE_IMAGE_TYPE_VDI",
    "COMPUTE_IMAGE_TYPE_VHD",
    "COMPUTE_IMAGE_TYPE_VHDX",
    "COMPUTE_IMAGE_TYPE_VMDK",
    "COMPUTE_NET_ATTACH_INTERFACE",
    "COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG",
    "COMPUTE_NET_VIF_MODEL_E1000",
    "COMPUTE_NET_VIF_MODEL_E1000E",
    "COMPUTE_NET_VIF_MODEL_NE2K_PCI",
    "COMPUTE_NET_VIF_MODEL_PCNET",
    "COMPUTE_NET_VIF_MODEL_RTL8139",
    "COMPUTE_NET_VIF_MODEL_VIRTIO",
    "COMPUTE_NODE",
    "COMPUTE_RESCUE_BFV",
    "COMPUTE_STORAGE_BUS_IDE",
    "COMPUTE_STORAGE_BUS_SATA",
    "COMPUTE_STORAGE_BUS_SCSI",
    "COMPUTE_STORAGE_BUS_USB",
    "COMPUTE_STORAGE_BUS_VIRTIO",
    "COMPUTE_VOLUME_ATTACH",
    "COMPUTE_VOLUME_ATTACH_WITH_TAG",
    "COMPUTE_VOLUME_EXTEND",
    "COMPUTE_VOLUME_MULTI_ATTACH",
]
# libvirt's name of a processor feature -> trait
CPU_TRAITS = {
    "3dnow": "3DNOW", "abm": "ABM", "aes": "AESNI", "avx": "AVX", "avx2": "AVX2", "avx512bw": "AVX512BW",
    "avx512cd": "AVX512CD", "avx512dq": "AVX512DQ", "avx512er": "AVX512ER", "avx512f": "AVX512F", "avx512pf": "AVX512PF",
    "avx512vl": "AVX512VL", "avx512vnni": "AVX512VNNI", "avx512vbmi": "AVX512VBMI", "avx512ifma": "AVX512IFMA",
    "bmi1": "BMI", "bmi2": "BMI2", "pclmuldq": "CLMUL", "pclmulqdq": "CLMUL", "f16c": "F16C", "fma": "FMA3", "fma4": "FMA4",
    "mmx": "MMX", "mpx": "MPX", "pdpe1gb": "PDPE1GB", "sha-ni": "SHA", "sse": "SSE", "sse2": "SSE2", "pni": "SSE3",
    "sse4.1": "SSE41", "sse4.2": "SSE42", "sse4a": "SSE4A", "ssse3": "SSSE3", "stibp": "STIBP", "svm": "SVM", "tbm": "TBM",
    "vmx": "VMX", "xop": "XOP",
}  # fmt: skip


def choose_virt_type(wished: Literal["auto", "kvm", "qemu"], *, sys_module: Path = Path("/sys/module"), kvm: Path = Path("/dev/kvm")) -> str:
    """kvm where the processor's own virtualisation is there, else qemu (emulation).

    /dev/kvm alone says too little: with a vendor module other than Intel's or AMD's, machines are created and never boot.
    """
    if wished == "qemu":
        return "qemu"
    able = kvm.exists() and any((sys_module / name).exists() for name in ("kvm_intel", "kvm_amd"))
    if wished == "kvm" and not able:
        raise HostError(
            "virt_type is kvm, but this host has no /dev/kvm with kvm_intel or kvm_amd: enable virtualisation in its firmware "
            "and load the module, or set virt_type to auto or qemu."
        )
    return "kvm" if able else "qemu"


class Facts:
    """The facts of one host; what cannot change while libvirtd runs is asked for once."""

    def __init__(self, places: Places, link: Link, host: str, address: str, virt_type: str) -> None:
        self.places, self.link, self.host, self.address, self.virt_type = places, link, host, address, virt_type
        self._constant: tuple[dict[str, object], list[str], int] | None = None

    def now(self) -> HostFacts:
        with self.link.asking("tell about the host"):
            cpu, traits, version = self._constant or self._ask()
            running = sum(1 for _domain, definition in self.link.ours() if definition.get("id"))
        disk = os.statvfs(self.places.shared or self.places.state_dir)
        memory = _memory()
        return HostFacts(
            hypervisor="QEMU",
            version=version,
            hostname=self.host,
            address=self.address,
            vcpus=len(os.sched_getaffinity(0)),
            memory_mib=memory["MemTotal"] // 1024,
            disk_gib=disk.f_blocks * disk.f_frsize // GIB,
            free_memory_mib=memory["MemAvailable"] // 1024,
            free_disk_gib=disk.f_bavail * disk.f_frsize // GIB,
            running=running,
            cpu=cpu,
            traits=traits,
            virt_type=self.virt_type,
            storage=self.places.storage,
        )

    def _ask(self) -> tuple[dict[str, object], list[str], int]:
        # getCapabilities and getVersion would start every QEMU there is, also those for other processors
        connection = self.link.connection()
        able = parse(connection.getDomainCapabilities(None, None, "pc", self.virt_type))
        model = able.find("cpu/mode[@name='host-model']")
        features = self._guest_features(connection, model)
        _model, _memory_mib, _cpus, _mhz, _nodes, sockets, cores, threads = connection.getInfo()
        cpu: dict[str, object] = {
            "arch": os.uname().machine,
            "model": "" if model is None else model.findtext("model") or "",
            "vendor": "" if model is None else model.findtext("vendor") or "",
            "topology": {"sockets": sockets, "cores": cores, "threads": threads},
            "features": sorted(features),
        }
        traits = {f"HW_CPU_X86_{CPU_TRAITS[name]}" for name in features if name in CPU_TRAITS}
        if any(value.text == "efi" for value in able.iterfind("os/enum[@name='firmware']/value")):
            traits.add("COMPUTE_FIRMWARE_UEFI")
        self._constant = cpu, sorted(traits.union(TRAITS)), emulator_version(able.findtext("path") or "qemu-system-x86_64")
        return self._constant

    def _guest_features(self, connection: Any, model: ET.Element | None) -> set[str]:
        """The processor features that a machine gets: with emulation they are the emulator's, not the host's."""
        if model is None:
            return set()
        libvirt = library()
        wish = ET.Element("cpu", mode="custom", match="exact")
        wish.extend(child for child in model if child.tag in ("model", "vendor", "feature"))
        text = ET.tostring(wish, encoding="unicode")
        expand = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        try:
            text = connection.baselineHypervisorCPU(None, os.uname().machine, None, self.virt_type, [text], expand)
        except libvirt.libvirtError as error:
            # older versions cannot expand for emulation; then what the model implies is not told
            log.debug("the processor's features were not expanded: %s", error)
        found = parse(text).iterfind("feature")
        return {feature.get("name", "") for feature in found if feature.get("policy", "require") in ("require", "force")}


def emulator_version(path: str) -> int:
    """QEMU's version as libvirt counts: 7.2.22 is 7002022."""
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", run(path, "--version"))
    if found is None:
        raise HostError(f"{path} does not tell its version; is it QEMU?")
    major, minor, micro = (int(number) for number in found.groups())
    return major * 1_000_000 + minor * 1000 + micro


def _memory() -> dict[str, int]:
    """KiB by the names of /proc/meminfo."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return {name: int(value.split()[0]) for name, value in (line.split(":") for line in file)}
