"""Images' data: written as it flows in, checked on the way, visible whole or not at all; read as it flows out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from pilvi.image.errors import StorageQuotaExceeded
from pilvi.image.events import ImageActivated
from pilvi.image.inspect import Inspected, Inspector
from pilvi.image.operations import images
from pilvi.image.stores import STORES, Store
from pilvi.image.tables import Image
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, Gone, Invalid
from pilvi.kernel.ids import is_uuid, new_hex
from pilvi.kernel.program import Program

BEAT = 10.0  # seconds between a writer's signs of life
ABANDONED = 90.0  # seconds without one after which nobody is writing any more
HASH = "sha512"
_KNOWN = sa.select(Image.c.id, Image.c.status)


class Written(msgspec.Struct, kw_only=True):
    """What was found of data while it flowed."""

    size: int
    virtual_size: int | None
    checksum: str
    hash_value: str


def store(program: Program) -> Store:
    """The store that the settings name."""
    return _part(program, "image.store", lambda: _make(program))


def staging(program: Program) -> Store:
    """Where data lies between staging and import."""
    from pilvi.image.stores.file import FileStore

    settings = program.settings.image
    return _part(program, "image.staging", lambda: FileStore(settings.staging_path or program.state / "image-staging"))


def _part(program: Program, name: str, make: Callable[[], Store]) -> Store:
    found = program.parts.get(name)
    if found is None:
        found = program.parts.setdefault(name, make())
    return found


def _make(program: Program) -> Store:
    settings = program.settings.image
    place = STORES.get(settings.store)
    if place is None:
        raise Invalid(f"image.store: there is no store '{settings.store}'; known are: {', '.join(STORES)}.", field="image.store")
    module, _, name = place.partition(":")
    kind = getattr(import_module(module), name)
    return kind(Path(settings.store_path or program.state / "images")) if settings.store == "file" else kind()


class Turn:
    """One writer's turn at an image: from `status` to another, with signs of life on the way.

    Every step is a compare-and-set on the writer's own name, so that one who was given up cannot write any more.
    """

    def __init__(self, ctx: Context, image: Image) -> None:
        self.program = ctx.program
        self.caller = ctx.caller
        self.request_id = ctx.request_id
        self.image = image
        self.before = image.status
        self.name = f"{ctx.program.host}:{os.getpid()}:{_born(os.getpid())}:{new_hex()}"
        self._beat = clock.now()

    def begin(self, tx: Transaction, status: str) -> None:
        """Take the image; raises Conflict when another has."""
        self.before = self.image.status
        try:
            tx.change(self.image, expect={"status": self.image.status, "writer": ""}, status=status, writer=self.name, written_at=clock.now())
        except Conflict:
            raise Conflict(f"Image {self.image.id} is being written by another request.") from None
        tx.after_commit(lambda: self._turns().add(self.name))

    def _turns(self) -> set[str]:
        """The names of the turns that this process is taking."""
        return self.program.parts.setdefault("image.turns", set())

    def alive(self) -> None:
        """Give a sign of life, now and then; raises Gone when the image is not there any more."""
        now = clock.now()
        if now - self._beat < BEAT:
            return
        self._beat = now

        def beat(tx: Transaction) -> int:
            return tx.update(Image, Image.c.id == self.image.id, Image.c.writer == self.name, written_at=now)

        if not self.program.db.run(beat):
            raise Gone(f"Image {self.image.id} was deleted while its data was being uploaded.")

    def end(self, work: Callable[[Context, Image], None]) -> None:
        """Write the outcome, if the turn is still ours; raises Gone when it is not."""

        def write(tx: Transaction) -> None:
            image = tx.get_to_change(Image, self.image.id)
            if image is None or image.writer != self.name:
                raise Gone(f"Image {self.image.id} was deleted while its data was being uploaded.")
            work(self.program.context(tx, self.caller, request_id=self.request_id), image)

        self.program.db.run(write)
        self._turns().discard(self.name)

    def give_up(self) -> None:
        """The image is as it was before."""

        def write(tx: Transaction) -> None:
            tx.update(Image, Image.c.id == self.image.id, Image.c.writer == self.name, status=self.before, writer="", written_at=None)

        self.program.db.run(write)
        self._turns().discard(self.name)


def room_left(ctx: Context, image: Image) -> int | None:
    """How many bytes the image may have; None when there is no limit."""
    limits = images.quotas(ctx).limits(ctx.db, image.owner)
    largest, total = ctx.program.settings.image.largest_image, limits.get("image_size_total", -1)
    bounds = [] if largest < 0 else [largest]
    if total >= 0:
        bounds.append(max(0, total - images.used_bytes(ctx.db, image.owner)))
    return min(bounds) if bounds else None


def write(
    program: Program, into: Store, image: Image, pieces: Iterable[bytes], *, most: int | None, alive: Callable[[], None], inspect: bool = True
) -> Written:
    """Write data into a store: hashed, measured and (with `inspect`) inspected as it flows.

    Raises Invalid for what is not the image's format or would reach beyond itself, StorageQuotaExceeded for too
    much; then nothing is left behind.
    """
    short, long, inspector = hashlib.md5(usedforsecurity=False), hashlib.new(HASH), Inspector()
    size = 0
    writer = into.begin(image.id)
    try:
        for piece in pieces:
            size += len(piece)
            if most is not None and size > most:
                raise StorageQuotaExceeded(f"The data of image {image.id} is more than the {most} bytes that are left to it.")
            if inspect:
                inspector.feed(piece)
            writer.write(piece)
            short.update(piece)
            long.update(piece)
            alive()
        found = _verdict(program, image, inspector) if inspect else None
        writer.commit()
    except BaseException:
        writer.abort()
        raise
    return Written(
        size=size, virtual_size=found.virtual_size if found and found.format != "raw" else None, checksum=short.hexdigest(),
        hash_value=long.hexdigest(),
    )  # fmt: skip


def _verdict(program: Program, image: Image, inspector: Inspector) -> Inspected | None:
    """What the data is; raises Invalid when it is not what the image says."""
    if image.container_format not in ("bare", "ami", "aki", "ari"):
        return None
    found = inspector.finish()
    if program.settings.image.require_format_match and image.disk_format and not found.matches(image.disk_format):
        raise Invalid(f"The data is {found.format}, but the image says {image.disk_format}; say its real format.", field="disk_format")
    return found


def activate(ctx: Context, image: Image, written: Written) -> None:
    """The image has its data."""
    ctx.db.change(
        image, status="active", size=written.size, virtual_size=written.virtual_size, checksum=written.checksum, os_hash_algo=HASH,
        os_hash_value=written.hash_value, store=ctx.program.settings.image.store, importing=False, failed_import=False, writer="",
        written_at=None, updated_at=clock.now(),
    )  # fmt: skip
    ctx.publish(ImageActivated(image_id=image.id, owner=image.owner))


def upload(ctx: Context, image_id: str, pieces: Iterable[bytes]) -> None:
    """The image's data, from the caller; `ctx` has no transaction."""
    turn, most = _take(ctx, image_id, "saving")
    target = store(ctx.program)
    try:
        written = write(ctx.program, target, turn.image, pieces, most=most, alive=turn.alive)
    except BaseException:
        turn.give_up()
        raise
    try:
        turn.end(lambda inner, image: activate(inner, image, written))
    except Gone:
        remove_unless_known(ctx.program, image_id)
        raise


def stage(ctx: Context, image_id: str, pieces: Iterable[bytes]) -> None:
    """Data to be imported afterwards; `ctx` has no transaction."""
    turn, most = _take(ctx, image_id, "saving")
    try:
        written = write(ctx.program, staging(ctx.program), turn.image, pieces, most=most, alive=turn.alive, inspect=False)
    except BaseException:
        turn.give_up()
        raise

    def done(inner: Context, image: Image) -> None:
        inner.db.change(image, status="uploading", size=written.size, writer="", written_at=None, updated_at=clock.now())

    try:
        turn.end(done)
    except Gone:
        staging(ctx.program).remove(image_id)
        raise


def _take(ctx: Context, image_id: str, status: str) -> tuple[Turn, int | None]:
    """A turn at a queued image, and how much it may have."""

    def work(tx: Transaction) -> tuple[Turn, int | None]:
        inner = ctx.program.context(tx, ctx.caller, request_id=ctx.request_id)
        image = images.find(inner, image_id, "upload_image")
        require_formats(image)
        if image.status != "queued":
            raise Conflict(f"Image status transition from {image.status} to saving is not allowed.")
        turn = Turn(ctx, image)
        turn.begin(tx, status)
        return turn, room_left(inner, image)

    return ctx.program.db.run(work)


def require_formats(image: Image) -> None:
    """Raise Invalid for an image that does not say what its data will be."""
    if not image.disk_format or not image.container_format:
        raise Invalid("Properties disk_format, container_format must be set prior to saving data.")


def remove_unless_known(program: Program, image_id: str) -> None:
    """Remove data whose image is gone; what an image still has a claim to, its next writer or its end will take away."""
    with program.db.transaction(write=False) as tx:
        image = tx.get(Image, image_id)
    if image is None:
        store(program).remove(image_id)


def heal(program: Program) -> None:
    """Give images back whose writers are dead: those of this host that have ended, and any that are silent for long."""
    with program.db.transaction(write=False) as tx:
        held = tx.all(Image, Image.c.writer != "")
    for image in held:
        if _is_dead(program, image):
            where = (Image.c.id == image.id, Image.c.writer == image.writer)

            def back(tx: Transaction, where: Any = where) -> None:
                tx.update(Image, *where, status="queued", writer="", written_at=None)

            program.db.run(back)


def _is_dead(program: Program, image: Image) -> bool:
    if clock.now() - (image.written_at or 0.0) > ABANDONED:
        return True
    host, pid, born, _ = image.writer.rsplit(":", 3)
    if host != program.host:
        return False
    if (int(pid), born) == (os.getpid(), _born(os.getpid())):
        return image.writer not in program.parts.setdefault("image.turns", set())
    return _born(int(pid)) != born


def _born(pid: int) -> str:
    """When a process of this host began, in the kernel's ticks, by which it is told from a later one of its number; "" when it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def sweep(program: Program) -> None:
    """Remove data that belongs to no image; half-written files are swept by looking."""
    with program.db.transaction(write=False) as tx:
        known = {row[0]: row[1] for row in tx.rows(_KNOWN)}
    for image_id in store(program).observe():
        if image_id not in known and is_uuid(image_id):
            remove_unless_known(program, image_id)
    for image_id in staging(program).observe():
        if is_uuid(image_id) and known.get(image_id) not in ("saving", "uploading", "importing"):
            _unstage(program, image_id)


def _unstage(program: Program, image_id: str) -> None:
    with program.db.transaction(write=False) as tx:
        image = tx.get(Image, image_id)
    if image is None or image.status not in ("saving", "uploading", "importing"):
        staging(program).remove(image_id)


