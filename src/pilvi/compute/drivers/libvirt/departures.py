"""Machines that leave this host while they run: memory and local disks are sent, and the source is told only what is sure.

When an agent dies, its streams end, so libvirt ends the migration and the machine goes on where it was; only in the
last moments it may have arrived already.  So nothing is believed after a failure: the other host is asked.
"""

from __future__ import annotations

import logging
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec

from pilvi.compute.drivers import Arrival, MoveUse
from pilvi.compute.drivers.libvirt import devices, guard
from pilvi.compute.drivers.libvirt.arrivals import FOLDER, STREAMS
from pilvi.compute.drivers.libvirt.disks import same_file
from pilvi.compute.drivers.libvirt.elsewhere import there
from pilvi.compute.drivers.libvirt.jobs import Jobs, Report
from pilvi.compute.drivers.libvirt.link import RUN, Link, library, parse, run_folder
from pilvi.compute.drivers.libvirt.places import Places, checked_id, write_whole
from pilvi.compute.drivers.libvirt.power import seen_power
from pilvi.compute.drivers.libvirt.tls import Pass, read_pass
from pilvi.compute.drivers.libvirt.tunnel import Tunnels
from pilvi.kernel.errors import HostError
from pilvi.kernel.progress import DONE, Progress

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds to wait for a job of libvirt that ends, or a machine that is about to arrive
PAUSE, LONGEST_PAUSE = 300, 5000  # milliseconds that the guest may stand still at the end; the first doubles
EVERY = 20.0  # seconds after which it doubles
HURRIED = 2_000_000  # milliseconds: the most that QEMU knows; it stops the guest at once, and sends what is left


class _Leaving(msgspec.Struct, frozen=True):
    """What is noted of a departure before it is begun."""

    to: str  # the pass
    paused: bool  # it stood still before, and shall again if it stays


class Departures:
    """Machines that leave this host."""

    def __init__(self, places: Places, link: Link, jobs: Jobs, tunnels: Tunnels) -> None:
        self.places, self.link, self.jobs, self.tunnels = places, link, jobs, tunnels
        self._unwished: set[str] = set()  # whose migration is to end as failed
        self._hurried: set[str] = set()  # whose guest may stand still for as long as it takes

    def migrate(self, machine_id: str, arrival: Arrival) -> Progress:
        machine_id = checked_id(machine_id)
        subject = _subject(machine_id)
        if not self.jobs.known(subject) and self.link.find(machine_id) is None:
            if self.places.machine(machine_id).exists():
                return DONE  # its files are still here, and libvirt lets go of a machine only when it runs elsewhere
            return Progress(state="failed", why=f"Machine {machine_id} is not on host {self.link.host}.", elsewhere=False)
        return self.jobs.ask(subject, lambda report: self._migrate(machine_id, arrival, report))

    def abort(self, machine_id: str) -> None:
        machine_id = checked_id(machine_id)
        subject = _subject(machine_id)
        until = time.monotonic() + PATIENCE
        self._unwished.add(machine_id)
        try:
            while True:
                domain = self.link.find(machine_id)
                if domain is not None and leaving_job(domain) is not None:
                    self._end_job(domain)
                if not self.jobs.busy(subject) and (domain is None or leaving_job(domain) is None):
                    return
                if time.monotonic() > until:
                    raise HostError(f"The migration of machine {machine_id} does not end.", elsewhere=False)
                time.sleep(0.1)
        finally:
            self._unwished.discard(machine_id)

    def hurry(self, machine_id: str) -> None:
        machine_id = checked_id(machine_id)
        if self.jobs.busy(_subject(machine_id)):
            self._hurried.add(machine_id)

    def use(self, machine_id: str) -> MoveUse | None:
        domain = self.link.find(machine_id)
        stats = None if domain is None else leaving_job(domain)
        if stats is None:
            return None
        names = {"memory_total": "memory_total", "memory_done": "memory_processed", "memory_left": "memory_remaining"}
        names |= {"disk_total": "disk_total", "disk_done": "disk_processed", "disk_left": "disk_remaining"}
        return MoveUse(**{name: int(stats.get(theirs, 0)) for name, theirs in names.items()})

    def settle(self, machine_id: str) -> None:
        """Find out how a migration ended that nobody waited for.  Raises HostError when the machine has left, or nobody knows."""
        if not self.jobs.busy(_subject(machine_id)) and self._settled(machine_id):
            raise HostError(f"Machine {machine_id} has moved to another host.", elsewhere=False)

    # -- parts -----------------------------------------------------------------------------------------

    def _migrate(self, machine_id: str, arrival: Arrival, report: Report) -> None:
        to = read_pass(arrival.uri)
        if self._settled(machine_id):
            return
        domain = self.link.need_running(machine_id)
        with self.link.asking("prepare a migration"):
            flags = library().VIR_DOMAIN_XML_MIGRATABLE | library().VIR_DOMAIN_XML_SECURE
            paused = seen_power(domain) == "paused"
            present = parse(domain.XMLDesc(flags))
            lasting = parse(domain.XMLDesc(flags | library().VIR_DOMAIN_XML_INACTIVE))
        wish = parse(arrival.definition)
        now, later = there(present, wish), there(lasting, wish)
        for definition in (now, later):
            guard.same_machine(definition, wish)  # as the other host will
        parameters = self._parameters(machine_id, arrival, now, later)
        shared = self._shared(machine_id, arrival, present, wish)
        write_whole(self._note(machine_id), msgspec.json.encode(_Leaving(arrival.uri, paused)).decode())
        run = run_folder(self.link.uri) / FOLDER
        near = self.places.short / "machines" / machine_id / "target.sock"
        channels = {name: run / f"{machine_id}.{name}" for name in STREAMS} | {"libvirt": near}
        why: HostError | None = None
        self._hurried.discard(machine_id)  # it was said of an earlier one
        with self.tunnels.carrying(to, channels):
            if machine_id in self._unwished:
                why = HostError("The migration was aborted.", elsewhere=False)
            else:
                why = self._send(domain, to, near, parameters, machine_id, report, shared=shared)
        # whatever was said: the machine itself tells where it is
        if not self._settled(machine_id):
            raise why or HostError(f"Machine {machine_id} came back from a migration that seemed to be done.")

    def _parameters(self, machine_id: str, arrival: Arrival, now: ET.Element, later: ET.Element) -> dict[str, Any]:
        libvirt = library()
        targets = {alias: devices.target_of(element) for alias, element in devices.plugged(now).items()}
        parameters: dict[str, Any] = {
            libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{RUN / FOLDER / machine_id}.memory",
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: ET.tostring(now, encoding="unicode"),
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: ET.tostring(later, encoding="unicode"),
        }
        copied = [targets[devices.DISK + key] for key in arrival.disks if devices.DISK + key in targets]
        if copied:
            parameters[libvirt.VIR_MIGRATE_PARAM_DISKS_URI] = f"unix://{RUN / FOLDER / machine_id}.disks"
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = copied
        return parameters

    def _shared(self, machine_id: str, arrival: Arrival, present: ET.Element, wish: ET.Element) -> bool:
        """Whether local disks are not copied.  Raises HostError unless each of them is the very file that the other host names."""
        there, found = devices.plugged(wish), False
        for alias, element in devices.plugged(present).items():
            own = devices.file_of(element)
            if own is None or own.parent != self.places.disks(machine_id) or own.suffix == ".iso":
                continue
            if (key := alias.removeprefix(devices.DISK)) in arrival.disks:
                continue
            other, found = devices.file_of(there[alias]), True
            if other is None or not same_file(own, other):
                why = f"Disk {key} of machine {machine_id} shall be shared, and is not the file that the other host names."
                raise HostError(why, elsewhere=False)
        return found

    def _send(
        self, domain: Any, to: Pass, near: Path, parameters: dict[str, Any], machine_id: str, report: Report, *, shared: bool
    ) -> HostError | None:
        """Have libvirt send the machine; the reason when it could not."""
        libvirt = library()
        ended = threading.Event()
        failure: list[HostError] = []

        def work() -> None:
            try:
                try:
                    target = libvirt.open(f"qemu+unix:///system?socket={near}")
                except libvirt.libvirtError:
                    raise HostError(f"The host at {to.place} does not let the machine in; its log tells why.") from None
                with self.link.asking("migrate the machine"):
                    try:
                        target.setKeepAlive(5, 6)
                        flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
                        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
                        if libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS in parameters:
                            flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC
                        if shared:  # libvirt knows few file systems that are shared; QEMU drops what it has cached of its disks
                            flags |= libvirt.VIR_MIGRATE_UNSAFE
                        domain.migrate3(target, parameters, flags)
                    except libvirt.libvirtError as error:
                        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_ABORTED:
                            raise HostError("The migration was aborted.", elsewhere=False) from None
                        raise
                    finally:
                        target.close()
            except HostError as error:
                failure.append(error)
            finally:
                ended.set()

        threading.Thread(target=work, name="migration", daemon=True).start()
        pause, next_pause = PAUSE, time.monotonic() + EVERY
        while not ended.wait(0.2):
            if (stats := leaving_job(domain)) is None:
                continue
            total = stats.get("data_total", 0)
            report(min(99, 100 * (total - stats.get("data_remaining", 0)) // total) if total else 0)
            if machine_id in self._hurried:
                wanted = HURRIED
            elif time.monotonic() > next_pause:
                # a guest that writes faster than it can be sent never arrives unless it stands still for longer
                wanted, next_pause = min(2 * pause, LONGEST_PAUSE), time.monotonic() + EVERY
            else:
                continue
            if wanted > pause:
                pause = wanted
                self._allow(domain, pause)
        return failure[0] if failure else None

    def _allow(self, domain: Any, pause: int) -> None:
        try:
            domain.migrateSetMaxDowntime(pause)
        except library().libvirtError as error:
            log.debug("the migration ended meanwhile: %s", error)

    def _end_job(self, domain: Any) -> None:
        try:
            domain.abortJob()
        except library().libvirtError as error:
            log.debug("there is nothing to abort any more: %s", error)

    def _settled(self, machine_id: str) -> bool:
        """Whether a migration that was begun took the machine away; if not, nothing of it is left."""
        try:
            noted = msgspec.json.decode(self._note(machine_id).read_bytes(), type=_Leaving)
        except FileNotFoundError:
            return False
        left = self._left(machine_id, read_pass(noted.to), resume=not noted.paused)
        if not left:
            self._note(machine_id).unlink(missing_ok=True)
        return left

    def _left(self, machine_id: str, to: Pass, *, resume: bool) -> bool:
        """Whether the machine is at the other host; then there is nothing of libvirt's here, else it goes on here."""
        libvirt = library()
        until = time.monotonic() + PATIENCE
        while True:
            domain = self.link.find(machine_id)
            if domain is None:
                return True
            with self.link.asking("look at a machine"):
                state, reason = domain.state()
                if leaving_job(domain) is None:
                    stands = state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_MIGRATION
                    ended = state == libvirt.VIR_DOMAIN_SHUTOFF and reason == libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED
                    if not stands and not ended:
                        return False
                    found = "here" if ended else self._ask(machine_id, to)
                    if found == "here":
                        self._let_go(domain)
                        return True
                    if found == "none":
                        if resume:
                            domain.resume()
                        return False
            if time.monotonic() > until:
                raise HostError(f"The migration of machine {machine_id} to the host at {to.place} does not end.", elsewhere=False)
            time.sleep(0.3)

    def _ask(self, machine_id: str, to: Pass) -> str:
        """Whether the machine is at the other host: here (there), coming or none."""
        try:
            with self.tunnels.call(to, "state") as stream, stream.makefile("rb") as answer:
                return answer.readline(64).decode("ascii", "replace").strip()
        except (HostError, OSError) as error:
            raise HostError(
                f"Machine {machine_id} stands still at the end of its migration, and the host at {to.place} does not tell whether it "
                f"arrived there ({getattr(error, 'message', error)}); it goes on here or there as soon as that host answers.",
                elsewhere=False,
            ) from None

    def _let_go(self, domain: Any) -> None:
        """Have no domain of a machine that runs elsewhere."""
        if domain.isActive():
            domain.destroy()
        if domain.isPersistent():
            domain.undefineFlags(library().VIR_DOMAIN_UNDEFINE_NVRAM)

    def _note(self, machine_id: str) -> Path:
        return self.places.machine(machine_id) / "leaving"


def _subject(machine_id: str) -> str:
    return f"migration {machine_id}"


def leaving_job(domain: Any) -> dict[str, Any] | None:
    """How far the migration of a domain to elsewhere is; None when there is none."""
    libvirt = library()
    try:
        stats = domain.jobStats()
    except libvirt.libvirtError:
        return None
    if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
        return None
    return stats if stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT else None
