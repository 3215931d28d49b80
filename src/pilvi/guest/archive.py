"""Packages of the host's Debian or Ubuntu archive, taken apart without installing them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from pilvi.guest.programs import run
from pilvi.kernel.errors import HostError

_FOLLOWED = ("lib", "zlib", "linux-image-", "linux-modules-")


class Outdated(HostError):
    """What this machine knows of its package archive does not fit the archive as it is now."""


class Package(msgspec.Struct, frozen=True):
    """A package that the archive offers: its version, and the packages whose files it needs."""

    name: str
    version: str
    depends: tuple[str, ...]


def select(wanted: Sequence[Sequence[str]], optional: Sequence[str] = ()) -> dict[str, Package]:
    """The packages that hold `wanted` and the libraries and kernels below them.

    Each of `wanted` is a list of names of which the first that the archive knows is taken; `optional` ones may be
    missing.  Raises Outdated when the archive knows none of a list.
    """
    known = _ask({*optional, *(name for names in wanted for name in names)})
    chosen = {name: known[name] for name in optional if name in known}
    for names in wanted:
        name = next((name for name in names if name in known), None)
        if name is None:
            raise Outdated(
                f"The package archive of this machine does not offer {' or '.join(names)}; "
                "run `apt-get update`, and see that the archive's main and universe parts are enabled."
            )
        chosen[name] = known[name]
    while missing := {below for package in chosen.values() for below in package.depends} - chosen.keys():
        found = _ask(missing)
        chosen |= found
        for name in missing - found.keys():  # a virtual name: whoever needs its files will say so
            chosen[name] = Package(name, "", ())
    return {name: package for name, package in sorted(chosen.items()) if package.version}


def refresh() -> None:
    """Fetch the archive's package lists anew; needs root rights."""
    run("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "update")


def _ask(names: Iterable[str]) -> dict[str, Package]:
    """What the archive tells of the newest version of each package."""
    text = run("apt-cache", "show", "--no-all-versions", *sorted(names), accept=(0, 100)).decode(errors="replace")
    found: dict[str, Package] = {}
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
        if "Package" in fields and "Version" in fields:
            found[fields["Package"]] = Package(fields["Package"], fields["Version"], _followed(fields))
    return found


def _followed(fields: dict[str, str]) -> tuple[str, ...]:
    """The packages below this one whose files may be needed: libraries, and what a kernel consists of."""
    line = f"{fields.get('Pre-Depends', '')}, {fields.get('Depends', '')}"
    names = (entry.split("|")[0].strip().split(" ")[0].split(":")[0] for entry in line.split(","))
    return tuple(name for name in names if name.startswith(_FOLLOWED))


def unpack(packages: Iterable[Package], folder: Path, progress: Callable[[str], None]) -> Path:
    """Download packages and lay their files into `folder`/files, which is answered."""
    packages = list(packages)
    downloads, files = folder / "packages", folder / "files"
    downloads.mkdir(parents=True)
    files.mkdir()
    progress(f"downloading {len(packages)} packages")
    names = [f"{package.name}={package.version}" for package in packages]
    try:
        run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names, cwd=downloads)
    except HostError as error:
        raise Outdated(f"The guest's packages could not be downloaded; run `apt-get update`. {error.message}") from None
    progress("unpacking them")
    for package in sorted(downloads.glob("*.deb")):
        run("dpkg-deb", "-x", package, files)
        package.unlink()
    return files


def fetch_files(name: str, folder: Path, progress: Callable[[str], None]) -> None:
    """Lay the files of one package, without what it depends on, into `folder`, which is there whole or not at all."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as made:
        known = _ask([name])
        if name not in known:
            raise Outdated(f"The package archive of this machine does not offer {name}; run `apt-get update`.")
        unpack([known[name]], Path(made), progress).rename(folder)


def find_file(files: Path, name: str, folders: Sequence[str]) -> Path:
    """A file among the unpacked ones, looked for in `folders` in turn.  Raises HostError when none has it."""
    for folder in folders:
        path = files / folder / name
        if path.is_symlink() and str(path.readlink()).startswith("/"):
            path = files / str(path.readlink()).lstrip("/")
        if path.exists():
            return path.resolve()
    raise HostError(f"No package of the guest holds {name}; the archive of this machine differs from what is known.")
