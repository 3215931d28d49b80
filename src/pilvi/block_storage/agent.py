"""The volume agent: the back end of one host, served on the bus; messages name a thing, the truth is pulled."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pilvi.block_storage import conductor as door
from pilvi.block_storage.conductor import Conductor, VolumeWish
from pilvi.block_storage.drivers import (
    DRIVERS,
    Backend,
    Capacity,
    Connection,
    FromImage,
    FromSnapshot,
    FromVolume,
    SeenVolume,
    VolumeSpec,
)  # fmt: skip
from pilvi.block_storage.jobs import Jobs
from pilvi.kernel import agent, log, orders
from pilvi.kernel.certificates import Authority
from pilvi.kernel.errors import HostError, Invalid, PilviError
from pilvi.kernel.faults import Faults
from pilvi.kernel.ids import new_word
from pilvi.kernel.program import Program
from pilvi.kernel.progress import DONE, Progress
from pilvi.kernel.pulse import Pulse

TOPIC = "volume"
BACKUP_FORMAT = "qcow2"  # in which backups are kept


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What the back end said when it was last looked at."""

    volumes: list[SeenVolume]
    capacity: Capacity


class VolumeAgent:
    """The verbs of a back end; each may be said twice.  Long ones answer Progress and are asked again."""

    def __init__(self, program: Program, driver: Backend, name: str) -> None:
        self.program, self.driver = program, driver
        self.host = f"{program.host}@{name}"
        self._conductor = agent.remote(program.bus, Conductor, door.TOPIC)
        self._patient = agent.remote(program.bus, Conductor, door.TOPIC, timeout=15, patience=60)  # for jobs, which nobody says again
        self._images = program.state / "volume-images"  # copies of image data on their way into volumes
        for left in self._images.glob(".*"):  # half of one, by an agent that died
            left.unlink()
        self._jobs = Jobs(lambda subject: agent.cast_to(program.bus, Conductor, door.TOPIC, "finished", subject))
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._arrived = False

    # -- volumes -------------------------------------------------------------------------------------

    def ensure_volume(self, volume_id: str) -> Progress:
        """Have the volume, filled from its source."""
        with self._turn(volume_id):
            wish = self._conductor.describe_volume(volume_id)
            source: FromImage | FromVolume | FromSnapshot | None = None
            if wish.source == "image":
                fetched = self._image(wish)
                if isinstance(fetched, Progress):
                    return fetched
                source = fetched
            elif wish.source == "volume":
                source = FromVolume(volume_id=wish.source_id)
            elif wish.source == "snapshot":
                source = FromSnapshot(volume_id=wish.source_id, snapshot_id=wish.snapshot_id)
            elif wish.source == "backup":
                source = FromImage(image_id=wish.source_id, path=self.driver.copy_path(wish.source_id), format=BACKUP_FORMAT)
            made = self.driver.ensure_volume(VolumeSpec(id=volume_id, size_gib=wish.size_gib, source=source, type_specs=wish.specs))
            if made.state != "working":
                self._drop_image(volume_id)
            return made

    def remove_volume(self, volume_id: str, attachment_ids: list[str]) -> None:
        """Have nothing of the volume: no exports, no data, no image on its way into it."""
        with self._turn(volume_id):
            self._drop_image(volume_id)
            for attachment_id in attachment_ids:
                self.driver.remove_export(volume_id, attachment_id)
            try:
                self.driver.remove_volume(volume_id)
            except HostError:
                left = next((one.exports for one in self.driver.observe() if one.id == volume_id), [])
                if not left:
                    raise
                for attachment_id in left:  # of attachments that are gone, and would have been closed a little later
                    self.driver.remove_export(volume_id, attachment_id)
                self.driver.remove_volume(volume_id)

    def ensure_size(self, volume_id: str, size_gib: int) -> None:
        with self._turn(volume_id):
            self.driver.ensure_size(volume_id, size_gib)

    # -- snapshots -----------------------------------------------------------------------------------

    def ensure_snapshot(self, volume_id: str, snapshot_id: str) -> Progress:
        with self._turn(volume_id):
            return self.driver.ensure_snapshot(volume_id, snapshot_id)

    def remove_snapshot(self, volume_id: str, snapshot_id: str) -> None:
        with self._turn(volume_id):
            self.driver.remove_snapshot(volume_id, snapshot_id)

    def ensure_reverted(self, volume_id: str, snapshot_id: str) -> Progress:
        with self._turn(volume_id):
            return self.driver.ensure_reverted(volume_id, snapshot_id)

    # -- exports -------------------------------------------------------------------------------------

    def connect(self, volume_id: str, attachment_id: str, host: str, read_only: bool) -> Connection:
        """Have the volume reachable for the host."""
        with self._turn(volume_id):
            return self.driver.ensure_export(volume_id, attachment_id, host, local=host == self.program.host, read_only=read_only)

    def disconnect(self, volume_id: str, attachment_id: str) -> None:
        with self._turn(volume_id):
            self.driver.remove_export(volume_id, attachment_id)

    # -- copies --------------------------------------------------------------------------------------

    def ensure_copy(self, volume_id: str, snapshot_id: str, copy_id: str, disk_format: str) -> Progress:
        """Have a flat copy; a backup is one that stays."""
        with self._turn(volume_id):
            return self.driver.ensure_copy(volume_id, snapshot_id, copy_id, disk_format)

    def remove_copy(self, copy_id: str) -> None:
        self._jobs.forget(f"upload-{copy_id}")
        self.driver.remove_copy(copy_id)

    def upload_copy(self, volume_id: str, copy_id: str, image_id: str) -> Progress:
        """Have the copy's data in the image."""

        def work() -> None:
            from pilvi import image

            access = self._patient.image_access()
            image.upload_file(access.url, access.token, image_id, self.driver.copy_path(copy_id))

        return self._jobs.ask(f"upload-{copy_id}", volume_id, work)

    def observe(self) -> Heard:
        """What is in the back end now."""
        return Heard(volumes=self.driver.observe(), capacity=self.driver.capacity())

    def missing_copies(self, copy_ids: list[str]) -> list[str]:
        """Which of these copies are not there."""
        return [copy_id for copy_id in copy_ids if not os.path.exists(self.driver.copy_path(copy_id))]

    # -- inside --------------------------------------------------------------------------------------

    @contextmanager
    def _turn(self, volume_id: str) -> Iterator[None]:
        with self._turns[volume_id]:
            orders.check()
            yield

    def _image(self, wish: VolumeWish) -> FromImage | Progress:
        """The image's data on this host, inspected; or how the fetching goes."""
        from pilvi import image
        from pilvi.image import inspect_file

        place = Path(image.path(self.program, wish.source_id) or "") if "api" in self.program.roles else Path("")
        if not place.is_file():
            place = self._images / f"{wish.id}.{wish.source_id}"
        if not place.exists():
            fetched = self._jobs.ask(place.name, wish.id, lambda: self._fetch(wish.source_id, place))
            if fetched != DONE:
                return fetched
        try:
            found = inspect_file(place)
        except Invalid as error:
            return Progress(state="failed", why=f"Image {wish.source_id} cannot become a volume: {error.message}", elsewhere=False)
        if found.virtual_size > wish.size_gib << 30:
            needed = -(-found.virtual_size // (1 << 30))
            return Progress(state="failed", why=f"Image {wish.source_id} needs {needed} GiB; the volume has {wish.size_gib} GiB.", elsewhere=False)
        return FromImage(image_id=wish.source_id, path=str(place), format=found.format)

    def _fetch(self, image_id: str, place: Path) -> None:
        from pilvi import image

        self._images.mkdir(parents=True, exist_ok=True)
        access = self._patient.image_access()
        came = place.with_name(f".{place.name}.{new_word()}")
        try:
            image.download_file(access.url, access.token, image_id, came)
            self._jobs.keep(place.name, lambda: came.replace(place))
        finally:
            came.unlink(missing_ok=True)

    def _drop_image(self, volume_id: str) -> None:
        self._jobs.forget(f"{volume_id}.")  # also one that has ended: what it fetched is gone
        for place in self._images.glob(f"{volume_id}.*"):
            place.unlink(missing_ok=True)

    def beat(self) -> None:
        """Look at the back end (which heals its daemon and exports), export what should be, and tell how it is."""
        capacity, trouble = None, ""
        try:
            if not self._arrived:
                self._export_all()
            self.driver.observe()
            capacity = self.driver.capacity()
        except HostError as error:
            trouble = error.message
        zone = self.program.settings.block_storage.availability_zone
        self._conductor.heartbeat(self.host, zone, capacity, trouble)

    def _export_all(self) -> None:
        """After a start: have every attachment's export; one damaged volume does not keep the others."""
        opened = self._conductor.exports(self.host)
        for wished in opened:
            try:
                self.connect(wished.volume_id, wished.attachment_id, wished.host, wished.read_only)
            except PilviError as error:
                log.warning("a volume could not be exported", volume=wished.volume_id, why=error.message)
        still = {one.attachment_id for one in self._conductor.exports(self.host)}
        for gone in opened:  # while the others were opened
            if gone.attachment_id not in still:
                self.disconnect(gone.volume_id, gone.attachment_id)
        self._arrived = True


def driver(program: Program) -> tuple[Backend, str]:
    """This host's back end as configured, and its name."""
    settings = program.settings.block_storage
    place = DRIVERS.get(settings.driver)
    if place is None:
        raise Invalid(f"block_storage.driver: there is no driver '{settings.driver}'; known are {', '.join(sorted(DRIVERS))}.")
    module, _, name = place.partition(":")
    kind = getattr(__import__(module, fromlist=[name]), name)
    backend = settings.backend or settings.driver
    if settings.driver == "fake":
        given = program.parts.get("block_storage.faults") or Faults()
        world = program.parts.get("block_storage.world")
        return kind(program.host, faults=given, world=world, total_gib=settings.fake_total_gib, name=backend), backend
    made = kind(
        program.host, program.state / "volumes", run_dir=program.run_dir, address=settings.address, port=settings.port, name=backend,
        certificate=_certificate(program) if settings.address else None,
    )  # fmt: skip
    return made, backend


def _certificate(program: Program) -> tuple[Path, Path]:
    """What other hosts' guests are shown: the host's own certificate, or one that is made for this."""
    if program.tls:
        return Path(program.tls.cert_file), Path(program.tls.key_file)
    own = Authority(program.state / "volumes-tls")
    own.ensure()
    return own.ensure_own(program.host, [program.settings.block_storage.address])


def serve(program: Program) -> Callable[[], None]:
    """The volume role: the agent of this host's back end."""
    chosen, name = driver(program)
    program.parts["block_storage.driver"] = chosen
    served = VolumeAgent(program, chosen, name)
    program.parts["block_storage.agent"] = served
    stop = agent.serve(program.bus, TOPIC, served, host=program.host, contract=VolumeAgent, since=program.since)
    pulse = Pulse("volume-heartbeat", program.settings.block_storage.heartbeat, served.beat)
    program.health["volume"] = pulse.sign.ask
    program.on_started.append(pulse.start)  # by then the conductor answers, if it is in this program

    def end() -> None:
        pulse.stop()
        stop()

    return end
