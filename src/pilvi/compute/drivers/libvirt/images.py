"""The cache of images on a host: fetched once, inspected before anything believes them, kept as qcow2 or raw."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pilvi.compute.drivers.libvirt.command import run
from pilvi.compute.drivers.libvirt.jobs import Jobs, Report
from pilvi.compute.drivers.libvirt.places import PARTIAL, Places, settle
from pilvi.kernel.errors import HostError, Invalid
from pilvi.kernel.progress import DONE, Progress

Fetch = Callable[[str, Path], None]  # (image id, path): writes the image's bytes to the path, or raises

# formats that a disk can stand on as they are; others are turned into qcow2
AS_FETCHED = {"qcow2": "qcow2", "raw": "raw", "iso": "raw"}
# what qemu-img calls a format
QEMU_FORMATS = {"vhd": "vpc", "vhdx": "vhdx", "vmdk": "vmdk", "vdi": "vdi", "ploop": "parallels"}
DIGESTS = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
GIB = 1 << 30


class ImageCache:
    """The images below the state directory.  A machine's disk holds its base by a hard link of its own."""

    def __init__(self, places: Places, fetch: Fetch, jobs: Jobs) -> None:
        self.places, self.fetch, self.jobs = places, fetch, jobs
        # nothing is being fetched when a driver begins, so these are what a killed one left
        for part in places.images.glob(f"{PARTIAL}*"):
            part.unlink(missing_ok=True)

    def ensure(self, image_id: str, checksum: str) -> Progress:
        stem = self.places.image_stem(image_id, checksum)
        if self.places.image(image_id, checksum):
            return DONE
        return self.jobs.ask(f"image {stem}", lambda report: self._take(image_id, checksum, report))

    def all(self) -> list[str]:
        names = (path.name for path in self.places.images.iterdir())
        return sorted({name.split(".")[0] for name in names if not name.startswith(PARTIAL)})

    def remove(self, image_id: str) -> None:
        """Forget the image, unless a machine's disk stands on it."""
        prefix = self.places.image_stem(image_id, "").split(".")[0] + "."
        for path in self.places.images.iterdir():
            if path.name.startswith(prefix) and path.stat().st_nlink == 1:
                path.unlink(missing_ok=True)

    def have(self, image_id: str, checksum: str) -> None:
        """`ensure`, to its end.  Raises HostError."""
        while (progress := self.ensure(image_id, checksum)).state == "working":
            time.sleep(0.2)
        if progress.state == "failed":
            raise HostError(progress.why, elsewhere=progress.elsewhere)

    def name_of(self, base: Path) -> str:
        """The id of the cached image that a disk's base is a link to; empty when the cache has let go of it.

        A disk that came by shared storage stands on what the host that it left has in its cache.
        """
        with suppress(FileNotFoundError):
            found = base.stat()
            for folder in self.places.caches():
                for path in folder.iterdir():
                    if not path.name.startswith(PARTIAL) and os.path.samestat(path.stat(), found):
                        return path.name.split(".")[0]
        return ""

    def adopt(self, base: Path, image_id: str, checksum: str, form: str) -> None:
        """Keep a disk's base, which another host sent, for other disks too, if it is certainly that image."""
        if len(checksum) in DIGESTS:
            with suppress(HostError, FileExistsError):
                verify(base, checksum, image_id)
                os.link(base, self.places.images / f"{self.places.image_stem(image_id, checksum)}{form}")

    def _take(self, image_id: str, checksum: str, report: Report) -> None:
        from pilvi.image import inspect_file

        stem = self.places.image_stem(image_id, checksum)
        part, converted = (self.places.images / f"{PARTIAL}{stem}{kind}" for kind in ("fetched", "converted"))
        if self.places.image(image_id, checksum):
            return
        # both may be left from a process that was killed; fetching starts from nothing
        part.unlink(missing_ok=True)
        converted.unlink(missing_ok=True)
        try:
            self.fetch(image_id, part)
            report(60)
            verify(part, checksum, image_id)
            found = inspect_file(part)
            form = AS_FETCHED.get(found.format)
            report(80)
            if form is None:
                if found.format not in QEMU_FORMATS:
                    raise Invalid(f"Image {image_id} is of the format {found.format}, which no machine can boot from.")
                convert(part, QEMU_FORMATS[found.format], converted, "qcow2", bounded=True)
                form, part_or_converted = "qcow2", converted
            else:
                part_or_converted = part
            part_or_converted.chmod(0o644)
            settle(part_or_converted, self.places.images / f"{stem}{form}")
        finally:
            part.unlink(missing_ok=True)
            converted.unlink(missing_ok=True)


def verify(path: Path, checksum: str, image_id: str) -> None:
    """Raise HostError unless the file has the checksum; the digest is known by the checksum's length."""
    digest = DIGESTS.get(len(checksum))
    if digest is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(digest, usedforsecurity=False)).hexdigest()
    if found != checksum.lower():
        raise HostError(f"Image {image_id} arrived damaged: its {digest} is {found}, not {checksum}.")


def convert(source: Path, source_format: str, target: Path, target_format: str, *, bounded: bool = False) -> None:
    """Copy a disk, flat, into another format.  `bounded`: the source was made by a stranger."""
    run(
        "qemu-img", "convert", "-f", source_format, "-O", target_format, "-t", "writeback", str(source), str(target),
        within=4 * 3600, cpu_seconds=3600 if bounded else None, address_space=2 * GIB if bounded else None,
    )  # fmt: skip
