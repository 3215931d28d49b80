"""Known extra specs: which keys the namespaces of flavors' extra specs have, and what their values may be."""

from __future__ import annotations

import re

from pilvi.kernel.errors import Invalid

_BOOL = r"(?i:true|t|yes|y|on|1|false|f|no|n|off|0)"
_NUMBER = r"-?\d+"
_COUNT = r"[1-9]\d*"
_ANY = r".*"
_CPUS = r"\^?\d+(-\d+)?(,\^?\d+(-\d+)?)*"
_RATES = "|".join(f"disk_{way}_{unit}_sec(_max|_max_length)?" for way in ("read", "write", "total") for unit in ("bytes", "iops"))

# namespace -> pattern of the rest of the key -> pattern of the value
_KNOWN: dict[str, dict[str, str]] = {
    "accel": {"device_profile": r".+"},
    "aggregate_instance_extra_specs": {".+": _ANY},
    "capabilities": {".+": _ANY},
    "hw": {
        "cpu_policy": "dedicated|mixed|shared",
        "cpu_thread_policy": "isolate|prefer|require",
        "emulator_threads_policy": "isolate|share",
        "cpu_realtime_mask|cpu_dedicated_mask": _CPUS,
        "cpu_realtime|boot_menu|hide_hypervisor_id|locked_memory|mem_encryption|pmu|vif_multiqueue_enabled|virtio_packed_ring": _BOOL,
        "cpu(_max)?_(sockets|cores|threads)|numa_nodes|serial_port_count|maxphysaddr_bits": _COUNT,
        r"numa_cpus\.\d+": _CPUS,
        r"numa_mem\.\d+": _COUNT,
        "mem_page_size": r"large|small|any|\d+([kMGTPE]i?)?(b|bit|B)?",
        "mem_encryption_model": "amd-sev|amd-sev-es",
        "pci_numa_affinity_policy": "required|preferred|legacy|socket",
        "pmem": r".+",
        "tpm_model": "tpm-tis|tpm-crb",
        "tpm_version": r"1\.2|2\.0",
        "tpm_secret_security": "user|host|deployment",
        "viommu_model": "intel|smmuv3|virtio|auto",
        "watchdog_action": "none|pause|poweroff|reset|disabled",
        "maxphysaddr_mode": "emulate|passthrough",
        "ephemeral_encryption": _BOOL,
        "ephemeral_encryption_format": "luks",
        "sound_model|usb_model|redirected_usb_ports": r".+",
    },
    "hw_rng": {"allowed": _BOOL, "rate_bytes|rate_period": r"\d+"},
    "hw_video": {"ram_max_mb": r"\d+"},
    "os": {"secure_boot": "disabled|optional|required"},
    "pci_passthrough": {"alias": r"[^:]+:\d+(\s*,\s*[^:]+:\d+)*"},
    "quota": {
        "(cpu|memory)_(shares_level|limit|reservation|shares_share|shares)|cpu_(period|quota)": _ANY,
        f"disk_io_(limit|reservation|shares_level|shares_share)|{_RATES}": _ANY,
        "vif_(inbound|outbound)_(average|burst|peak)": r"\d+",
        "vif_(limit|reservation|shares_level|shares_share)": _ANY,
    },
    r"resources\w*": {"[A-Z0-9_]+": r"\d+"},
    r"trait\w*": {"[A-Z0-9_]+": "required|forbidden"},
}
_WHOLE = {"group_policy": "none|isolate", "hide_hypervisor_id": _BOOL}


def check(key: str, value: str) -> None:
    """Raise Invalid for a key that a known namespace does not have, or a value that it cannot have; others are free."""
    space, colon, rest = key.partition(":")
    if not colon:
        if key in _WHOLE and not re.fullmatch(_WHOLE[key], value):
            raise _refused(key, value)
        return
    keys = next((keys for pattern, keys in _KNOWN.items() if re.fullmatch(pattern, space)), None)
    if keys is None:
        return
    for pattern, values in keys.items():
        if re.fullmatch(pattern, rest):
            if not re.fullmatch(values, value):
                raise _refused(key, value)
            return
    raise Invalid(f"Validation failed; extra spec '{key}' does not appear to be a valid extra spec.", field=f"extra_specs.{key}")


def _refused(key: str, value: str) -> Invalid:
    return Invalid(f"Validation failed; '{value[:255]}' is not a value that the extra spec {key} can have.", field=f"extra_specs.{key}")
