"""The connection to libvirtd: opened when needed, opened again after libvirtd was restarted, with a thread for events."""

from __future__ import annotations

import logging
import queue
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pilvi.compute.drivers.libvirt import marks
from pilvi.compute.drivers.libvirt.places import Places, checked_id
from pilvi.kernel.errors import HostError

log = logging.getLogger(__name__)

RUN = Path("/run/libvirt")  # as libvirtd and QEMU see their run folder

INSTALL = "apt-get install libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-system qemu-system-x86 qemu-utils"
# the time, the program and its long argument, before what QEMU has to say about it
_QEMU_NOISE = re.compile(r"^.*qemu-system-\S+: (?:-\S+ \{.*\}: )?")
_events = threading.Lock()
_events_run = False


def library() -> Any:
    """The libvirt module, with its own printing of errors switched off and its event loop in a thread."""
    global _events_run
    try:
        import libvirt
    except ImportError:
        raise HostError("The Python library libvirt-python is missing on this host; install pilvi with its libvirt extra.") from None
    with _events:
        if not _events_run:
            libvirt.registerErrorHandler(lambda _context, _error: None, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=_run_events, args=(libvirt,), name="libvirt events", daemon=True).start()
            _events_run = True
    return libvirt


def _run_events(libvirt: Any) -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            log.exception("libvirt's event loop stumbled")


class Link:
    """One connection to the libvirtd of a host.  `on_change` is told the id of a machine whose state changed."""

    def __init__(self, uri: str, host: str, places: Places, on_change: Callable[[str], None] | None = None) -> None:
        self.uri, self.host, self.places, self.on_change = uri, host, places, on_change
        self._lock = threading.Lock()
        self._open: Any = None
        self._changes: queue.SimpleQueue[str] = queue.SimpleQueue()
        if on_change:
            threading.Thread(target=self._tell, args=(on_change,), name="libvirt changes", daemon=True).start()

    def connection(self) -> Any:
        """The open connection.  Raises HostError when libvirtd does not answer."""
        libvirt = library()
        with self._lock:
            if self._open is not None and self._open.isAlive():
                return self._open
            try:
                fresh = libvirt.open(self.uri)
                fresh.setKeepAlive(10, 6)
                if self.on_change:
                    fresh.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._changed, None)
            except libvirt.libvirtError as error:
                raise self.sentence(error, "open a connection") from error
            self._open = fresh
            return fresh

    def close(self) -> None:
        with self._lock:
            if self._open is not None:
                try:
                    self._open.close()
                except library().libvirtError as error:
                    log.debug("closing the connection to libvirtd: %s", error)
                self._open = None

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Turn libvirt's errors into HostError: "libvirt could not <what>"."""
        libvirt = library()
        try:
            yield
        except libvirt.libvirtError as error:
            raise self.sentence(error, what) from error

    def find(self, machine_id: str) -> Any:
        """The machine's domain; None when there is none, or it belongs to somebody else."""
        libvirt = library()
        connection = self.connection()
        try:
            domain = connection.lookupByUUIDString(checked_id(machine_id))
            return domain if self.is_ours(parse(domain.XMLDesc(0))) else None
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise self.sentence(error, "look for a machine") from error

    def need(self, machine_id: str) -> Any:
        """The machine's domain; raises HostError when there is none."""
        domain = self.find(machine_id)
        if domain is None:
            raise HostError(f"Machine {machine_id} is not on host {self.host}.", elsewhere=False)
        return domain

    def need_running(self, machine_id: str) -> Any:
        """The machine's domain; raises HostError when it does not run."""
        domain = self.need(machine_id)
        with self.asking("look at a machine"):
            if not domain.isActive():
                raise HostError(f"Machine {machine_id} does not run; start it first.", elsewhere=False)
        return domain

    def ours(self) -> list[tuple[Any, ET.Element]]:
        """Every domain that belongs to this cloud on this host, with its present definition."""
        libvirt = library()
        found = []
        with self.asking("list machines"):
            for domain in self.connection().listAllDomains():
                try:
                    definition = parse(domain.XMLDesc(0))
                except libvirt.libvirtError as error:
                    if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:  # gone between the list and the look
                        continue
                    raise
                if self.is_ours(definition):
                    found.append((domain, definition))
        return found

    def is_ours(self, definition: ET.Element) -> bool:
        found = marks.read(definition)
        return found is not None and found.state == str(self.places.state_dir) and found.host == self.host

    def sentence(self, error: Any, what: str) -> HostError:
        """A HostError in words for an error of libvirt."""
        libvirt = library()
        said = (error.get_error_message() or str(error)).strip()
        lost = {libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_SYSTEM_ERROR}
        code, domain = error.get_error_code(), error.get_error_domain()
        if (domain == libvirt.VIR_FROM_RPC and code in lost) or "client socket is closed" in said:
            return HostError(f"libvirtd on host {self.host} does not answer ({said}); start it, or look into its log.")
        if "No space left on device" in said:
            return HostError("The host's disk is full: free space below the state directory, or add some.")
        if "KVM" in said or "/dev/kvm" in said:
            return HostError(f"Host {self.host} cannot use KVM ({said}); enable it, or set virt_type to qemu.")
        if "Cannot find suitable emulator" in said or "Cannot check QEMU binary" in said or "Failed to probe" in said:
            return HostError(f"QEMU is missing on host {self.host} ({said}); {INSTALL}.")
        if "Cannot allocate memory" in said or "cannot set up guest memory" in said:
            return HostError(f"Host {self.host} has not enough free memory for this machine.")
        if "Unable to find any firmware" in said:
            return HostError(f"Host {self.host} has no UEFI firmware; install the package ovmf.")
        last = said.splitlines()[-1].strip() if said else "no reason given"
        return HostError(f"libvirt on host {self.host} could not {what}: {_QEMU_NOISE.sub('', last).removeprefix('internal error: ')}")

    def _changed(self, _connection: Any, domain: Any, event: int, _detail: int, _opaque: Any) -> None:
        libvirt = library()
        if event not in (libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED):
            self._changes.put(domain.UUIDString())

    def _tell(self, on_change: Callable[[str], None]) -> None:
        while True:
            machine_id = self._changes.get()
            try:
                on_change(machine_id)
            except Exception:
                log.exception("telling of a change of machine %s failed", machine_id)


def parse(text: str) -> ET.Element:
    """A definition as libvirt tells it; it has been checked there, so no stranger's XML is read here."""
    return ET.fromstring(text)  # noqa: S314


def is_coming(domain: Any) -> bool:
    """Whether a domain's memory is still being received."""
    libvirt = library()
    return domain.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION]


def socket_of(uri: str) -> Path:
    """The unix socket of the libvirtd of a uri."""
    named = parse_qs(urlsplit(uri).query).get("socket", [""])[0]
    return Path(named) if named else RUN / "libvirt-sock"


def run_folder(uri: str) -> Path:
    """Where we find the folder that the libvirtd of a uri, and its QEMUs, know as RUN."""
    return socket_of(uri).parent
