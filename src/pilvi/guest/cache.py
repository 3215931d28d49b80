"""The folder of built images: each is made once, under a temporary name, and only one builder works at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

_WEEK = 7 * 24 * 3600
_APT_LISTS = Path("/var/lib/apt/lists")


class Made(msgspec.Struct, frozen=True):
    """What is remembered of the image that was built last: its file, and out of what it was made."""

    file: str
    recipe: str
    lists: float
    packages: dict[str, str]


def recipe_digest() -> str:
    """A digest of everything in this package that shapes an image: its programs and the guest's files."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(here.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(here)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def cached_image(
    folder: Path, name: str, versions: Callable[[], dict[str, str]], build: Callable[[Path, Path], None]
) -> Path:
    """The image `name` in `folder`, built when there is none of this recipe and these package versions.

    `versions` asks the package archive (a second or two), and only when the archive's lists have changed since;
    `build(work, image)` makes the file `image`, using the folder `work`, which is removed afterwards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = recipe_digest()
    if (path := _current(folder, name, recipe)) is not None:
        return path
    with _alone(folder, name):
        if (path := _current(folder, name, recipe)) is not None:
            return path
        packages = versions()
        lists = _lists_changed()
        digest = hashlib.sha256(msgspec.json.encode([recipe, sorted(packages.items())])).hexdigest()
        path = folder / f"{name}-{digest[:12]}.qcow2"
        if not path.exists():
            with _workplace(folder, name) as work:
                half_made = work / "image.qcow2"
                build(work, half_made)
                _durable(half_made)
                half_made.rename(path)
        _remember(folder, name, Made(path.name, recipe, lists, packages))
        _sweep(folder, name, keep=path)
        return path


def _current(folder: Path, name: str, recipe: str) -> Path | None:
    """The image built last, if it is of this recipe and the package archive has not changed since."""
    try:
        made = msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=Made)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    path = folder / made.file
    changed = _lists_changed()
    same = made.recipe == recipe and (changed in (made.lists, 0.0))
    return path if same and path.exists() else None


def _lists_changed() -> float:
    """When the archive's package lists were last changed; 0 on a machine that keeps none."""
    return max((path.stat().st_mtime for path in _APT_LISTS.glob("*_Packages*")), default=0.0)


def _remember(folder: Path, name: str, made: Made) -> None:
    half_made = folder / f"{name}.json.half"
    half_made.write_bytes(msgspec.json.format(msgspec.json.encode(made)))
    _durable(half_made)
    half_made.rename(folder / f"{name}.json")


def _sweep(folder: Path, name: str, *, keep: Path) -> None:
    """Remove images that were superseded more than a week ago: a machine started from one may still use it."""
    for path in folder.glob(f"{name}-*.qcow2"):
        if path != keep and path.stat().st_mtime < time.time() - _WEEK:
            path.unlink()


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    with (folder / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _workplace(folder: Path, name: str) -> Iterator[Path]:
    """A folder to build in; what a killed builder left is removed first (the caller holds the lock)."""
    prefix = f".{name}-work-"
    for left in folder.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as work:
        Path(work).chmod(0o755)
        yield Path(work)


def _durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
