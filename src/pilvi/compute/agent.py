"""The compute agent: the hypervisor driver of one host, served on the bus; messages name a server, the truth is pulled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from pilvi import block_storage
from pilvi.compute.agent_jobs import Jobs, Stopped
from pilvi.compute.agent_moves import MoveVerbs
from pilvi.compute.conductor import TOPIC as CONDUCTOR
from pilvi.compute.conductor import Conductor
from pilvi.compute.drivers import ConsoleAddress, Disk, ImageDisk, Machine, MachineUse, SeenMachine, VolumeDisk
from pilvi.compute.logic.machines import key_of_disk
from pilvi.kernel import agent, clock, log
from pilvi.kernel.errors import HostError, PilviError
from pilvi.kernel.health import Sign
from pilvi.kernel.program import Program
from pilvi.kernel.progress import Progress

if TYPE_CHECKING:
    from pilvi.compute.screens import Screens

TOPIC = "compute"
_LOOK = 0.25  # seconds between two looks at a long verb of the driver


class ComputeAgent(MoveVerbs):
    """The verbs of a host.  Long ones are begun, answer Progress, and tell the conductor when they have ended.

    `job` names one wish for a long verb: asking again with the same name asks how it goes.
    """

    def __init__(self, program: Program, driver: Any, *, host: str = "", pool: Executor | None = None) -> None:
        self.program, self.host, self.driver = program, host or program.host, driver
        self._conductor = agent.remote(program.bus, Conductor, CONDUCTOR)
        self._jobs = Jobs(lambda server_id: agent.cast_to(program.bus, Conductor, CONDUCTOR, "finished", server_id), pool=pool)
        self._started_at = clock.now()
        self._ways = block_storage.Ways(program.run_dir / "ways")
        self._sign = Sign(f"compute on {self.host}", 3 * program.settings.compute.heartbeat + 30)
        program.health["compute"] = self._sign.ask
        self._stop = threading.Event()
        # long work has nobody who would say it again when a conductor dies with its question
        self._patient = agent.remote(program.bus, Conductor, CONDUCTOR, timeout=15, patience=120, stop=self._stop)
        self._arrived = False
        self._thread = threading.Thread(target=self._beat, name="compute-heartbeat", daemon=True)

    # -- machines ------------------------------------------------------------------------------------

    def prepare(self, server_id: str, job: str) -> Progress:
        """Have the server's images in the cache and its local disks made."""
        return self._jobs.ask(server_id, job, lambda: self._prepare(self._describe(server_id)))

    def ensure(self, server_id: str, job: str) -> Progress:
        """Have the server's machine exactly as it shall be, disks and all."""

        def work() -> None:
            machine = self._describe(server_id)
            try:
                self.driver.ensure_disks(machine)
            except HostError:  # a disk is missing: its image is needed, which may be gone when it is not
                self._prepare(machine)
            self.driver.ensure_machine(machine)
            self.driver.remove_disks_except(machine)

        return self._jobs.ask(server_id, job, work)

    def start(self, server_id: str, job: str) -> Progress:
        """Have the machine, whose disks were prepared, defined and in its power state."""
        return self._jobs.ask(server_id, job, lambda: self.driver.ensure_machine(self._describe(server_id)))

    def shut_down(self, server_id: str, job: str, patience: float) -> Progress:
        """Press the power button, wait `patience` seconds for the guest, then have the machine off."""

        def work() -> None:
            self.driver.ask_shutdown(server_id)
            end = clock.now() + patience
            while self._power(server_id) == "running" and clock.now() < end and not self._stop.wait(_LOOK):
                pass
            self.driver.ensure_machine(self._describe(server_id))

        return self._jobs.ask(server_id, job, work)

    def reboot(self, server_id: str, job: str) -> Progress:
        """Ask the guest to start anew."""
        return self._jobs.ask(server_id, job, lambda: self.driver.ask_reboot(server_id))

    def remove(self, server_id: str) -> None:
        """Have nothing of the server on this host.  Raises HostError when it is to be here: the message was of an earlier visit."""
        self._check_it_left(server_id)
        self._jobs.forget(server_id)
        self.driver.abort_migrate(server_id)  # else its turn may come late
        with self._jobs.turn(server_id) as waited:
            if waited:
                self._check_it_left(server_id)
            self.driver.remove_machine(server_id)
            self._ways.remove(server_id)

    # -- what is plugged -------------------------------------------------------------------------------

    def attach_disk(self, server_id: str, key: str, job: str) -> Progress:
        """Have the disk of this key plugged into the machine."""

        def work() -> None:
            machine = self._describe(server_id)
            disk = key_of_disk(machine, key)
            if disk is None:
                raise HostError(f"The server has no disk {key}.", elsewhere=False)
            self.driver.ensure_disk(server_id, disk)

        return self._jobs.ask(server_id, job, work)

    def detach_disk(self, server_id: str, key: str, job: str) -> Progress:
        """Have the disk of this key unplugged."""

        def work() -> None:
            self.driver.remove_disk(server_id, key)
            self._ways.remove(server_id, key)

        return self._jobs.ask(server_id, job, work)

    def grow_disk(self, server_id: str, key: str, size_gib: int) -> None:
        """Tell the machine that a disk has grown."""
        with self._jobs.turn(server_id):
            self.driver.ensure_disk_size(server_id, key, size_gib)

    def attach_nic(self, server_id: str, port_id: str, job: str) -> Progress:
        """Have the card of this port plugged into the machine."""

        def work() -> None:
            nic = next((one for one in self._describe(server_id).nics if one.key == port_id), None)
            if nic is None:
                raise HostError(f"The server has no port {port_id}.", elsewhere=False)
            self.driver.ensure_nic(server_id, nic)

        return self._jobs.ask(server_id, job, work)

    def detach_nic(self, server_id: str, port_id: str, job: str) -> Progress:
        """Have the card of this port unplugged."""
        return self._jobs.ask(server_id, job, lambda: self.driver.remove_nic(server_id, port_id))

    # -- images ------------------------------------------------------------------------------------------

    def snapshot(self, server_id: str, image_id: str, disk_format: str, job: str) -> Progress:
        """Have the root disk, as it is at the first asking, uploaded as the image's data."""

        def work() -> None:
            from pilvi.compute.image_data import upload

            self._long(lambda: self.driver.ensure_snapshot(server_id, image_id, disk_format))
            upload(self._patient, image_id, self.driver.snapshot_path(image_id))
            self.driver.remove_snapshot(image_id)

        return self._jobs.ask(server_id, job, work)

    def cache_image(self, image_id: str, checksum: str) -> Progress:
        """Have an image in the cache before a server needs it."""
        return self.driver.ensure_image(image_id, checksum)

    def drop_snapshot(self, server_id: str, image_id: str) -> None:
        """Have no snapshot for this image on this host."""
        with self._jobs.turn(server_id):
            self.driver.remove_snapshot(image_id)

    # -- looking and talking -----------------------------------------------------------------------------

    def console_log(self, server_id: str) -> bytes:
        """What the guest wrote on its serial console."""
        return self.driver.console_log(server_id)

    def console(self, server_id: str, asker: str = "") -> ConsoleAddress:
        """Where the machine's screen listens, for a proxy on that host; "": on this one."""
        screen = self.driver.console(server_id, "vnc")
        return self._screens.open(screen) if screen.path and asker not in ("", self.host) else screen

    @cached_property
    def _screens(self) -> Screens:
        from pilvi.compute.screens import Screens

        return Screens(self.program)

    def use(self, server_id: str) -> MachineUse:
        """What the machine has used."""
        return self.driver.use(server_id)

    def observe(self) -> list[SeenMachine]:
        """All machines on this host."""
        return self.driver.observe()

    def send_nmi(self, server_id: str) -> None:
        """Interrupt the guest so that it dumps its memory."""
        with self._jobs.turn(server_id):
            self.driver.send_nmi(server_id)

    def set_password(self, server_id: str, user: str, password: str) -> None:
        """Set a password within the guest."""
        with self._jobs.turn(server_id):
            self.driver.set_password(server_id, user, password)

    # -- parts (not served: their names begin with _) ------------------------------------------------------

    def _check_it_left(self, server_id: str) -> None:
        """Raise HostError when this host has a part in the server."""
        if self._conductor.has_part(server_id, self.host):
            raise HostError(f"Server {server_id} is to be on host {self.host}; nothing of it is removed.", elsewhere=False)

    def _describe(self, server_id: str) -> Machine:
        machine = self._patient.describe_machine(server_id, self.host)
        return msgspec.structs.replace(machine, disks=[self._within_reach(server_id, disk) for disk in machine.disks])

    def _within_reach(self, server_id: str, disk: Disk) -> Disk:
        """A volume of another host is found at a socket of this one."""
        source = disk.source
        if not isinstance(source, VolumeDisk) or not source.secret:
            return disk
        path = self._ways.ensure(
            server_id, source.volume_id, host=source.host, port=source.port, export=source.export, secret=source.secret, pin=source.pin
        )
        near = msgspec.structs.replace(source, path=path, host="", port=0, secret="", pin="")
        return msgspec.structs.replace(disk, source=near)

    def _prepare(self, machine: Machine) -> None:
        for disk in machine.disks:
            if isinstance(disk.source, ImageDisk):
                source = disk.source
                self._long(lambda source=source: self.driver.ensure_image(source.image_id, source.checksum))
        self.driver.ensure_disks(machine)

    def _long(self, verb: Callable[[], Progress]) -> None:
        """Say a long verb until it is done."""
        while True:
            progress = verb()
            if progress.state == "done":
                return
            if progress.state == "failed":
                raise HostError(progress.why, elsewhere=progress.elsewhere)
            if self._stop.wait(_LOOK):
                raise Stopped
            if self._jobs.dropped():
                raise HostError("The server is wanted here no more.", elsewhere=False)

    def _power(self, server_id: str) -> str:
        return next((one.power for one in self.driver.observe() if one.id == server_id), "shutoff")

    def _seen(self, server_id: str) -> SeenMachine:
        return next((one for one in self.driver.observe() if one.id == server_id), SeenMachine(id=server_id, power="crashed"))

    def _on_change(self, server_id: str) -> None:
        """The driver saw a machine change its power state."""
        if self._stop.is_set():
            return
        agent.cast_to(self.program.bus, Conductor, CONDUCTOR, "changed", self.host, self._seen(server_id))

    def _beat(self) -> None:
        """Report what the host has, and what its machines are seen to be, every so often."""
        every = self.program.settings.compute.heartbeat
        while True:
            try:
                self._report()
            except PilviError as error:
                log.warning("the host could not report", host=self.host, why=error.message)
            except Exception as error:
                log.defect("", f"heartbeat of {self.host}", error)
            if self._stop.wait(every if self._arrived else min(1.0, every)):
                return

    def _report(self) -> None:
        """Say once what the host has, and what its machines are; raises PilviError when nobody hears it."""
        self._ways.heal()
        facts = self.driver.facts()
        self._conductor.heartbeat(self.host, facts, self._started_at)
        seen = self.driver.observe()
        self._conductor.observed(self.host, seen, not self._arrived)
        self._arrived = True
        self._sign.give(f"{len(seen)} machines, {facts.hypervisor}")

    def _begin(self) -> None:
        self._thread.start()

    def _end(self) -> None:
        self._stop.set()
        self._jobs.stop()
        if "_screens" in vars(self):
            self._screens.close()


def _driver(program: Program, host: str, changed: Callable[[str], None]) -> Any:
    """The driver that the settings name."""
    import importlib

    from pilvi.compute.drivers import DRIVERS
    from pilvi.kernel.errors import Invalid

    settings = program.settings.compute
    place = DRIVERS.get(settings.driver)
    if place is None:
        raise Invalid(f"compute.driver: there is no driver '{settings.driver}'; choose one of {', '.join(DRIVERS)}.", field="compute.driver")
    module, _, name = place.partition(":")
    kind = getattr(importlib.import_module(module), name)
    if settings.driver == "fake":
        fake = settings.fake
        return kind(
            host, vcpus=fake.vcpus, memory_mib=fake.memory_mib, disk_gib=fake.disk_gib, address=settings.address, on_change=changed
        )
    from pilvi.compute.image_data import fetcher

    uri = settings.libvirt.uri or _libvirtd(program)
    return kind(
        program.host, program.state / "compute", uri, fetch=fetcher(program), virt_type=settings.libvirt.virt_type,
        tb_cache_mib=settings.libvirt.tb_cache_mib, address=settings.address, on_change=changed, move_port=settings.libvirt.move_port,
        shared_disks=settings.libvirt.shared_disks,
        **(msgspec.structs.asdict(program.tls) if program.tls else {}),
    )  # fmt: skip


def _libvirtd(program: Program) -> str:
    """Where the private libvirtd of this cloud and host answers; it is started if it does not run."""
    from pilvi import network
    from pilvi.compute.drivers.libvirt.libvirtd import Libvirtd

    return Libvirtd(program.state / "libvirt", hostname=program.host, netns=network.namespace(program)).start()


def serve(program: Program, *, host: str = "", driver: Any = None) -> Callable[[], None]:
    """The role `compute`: this host's agent (tests: another one's as well, with its driver); answers what stops it."""
    many = program.parts.get("compute.agents")
    if many is not None and not host:
        return many(program)
    told: list[ComputeAgent] = []

    def changed(server_id: str) -> None:
        for one in told:
            one._on_change(server_id)

    if not host:
        driver = program.parts["compute.driver"] = program.parts.get("compute.driver") or _driver(program, program.host, changed)
    elif driver is None:
        driver = _driver(program, host, changed)
    one = ComputeAgent(program, driver, host=host)
    told.append(one)
    stop = agent.serve(program.bus, TOPIC, one, host=one.host, threads=16, since=program.since)
    one._begin()

    def end() -> None:
        one._end()
        stop()
        close = getattr(driver, "close", None)
        if close is not None:
            close()

    return end
