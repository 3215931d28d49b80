"""Kernel modules for a guest: the wanted ones, those below them, and the indexes by which modprobe finds them."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterable
from pathlib import Path

from pilvi.guest.elf import module_facts
from pilvi.guest.programs import run
from pilvi.guest.tree import Tree
from pilvi.kernel.errors import HostError


def kernel_version(files: Path) -> str:
    """The version of the one kernel among unpacked packages."""
    versions = sorted(path.name.removeprefix("vmlinuz-") for path in (files / "boot").glob("vmlinuz-*"))
    if len(versions) != 1:
        raise HostError(f"One kernel was expected among the guest's packages, found: {', '.join(versions) or 'none'}.")
    return versions[0]


class Modules:
    """The modules of one kernel, by name."""

    def __init__(self, files: Path) -> None:
        self.version = kernel_version(files)
        top = next(path for path in (files / "lib/modules", files / "usr/lib/modules") if path.is_dir())
        self._paths = {_name(path.name): path for path in (top / self.version).rglob("*.ko*")}
        self._contents: dict[str, bytes] = {}
        self._facts: dict[str, list[tuple[str, str]]] = {}

    def with_dependencies(self, names: Iterable[str]) -> list[str]:
        """`names` and the modules that they need, each after what it needs; what the kernel has built in is left out."""
        order: list[str] = []

        def visit(name: str) -> None:
            if name in order or name not in self._paths:
                return
            for below in self._depends(name):
                visit(below)
            order.append(name)

        for name in names:
            visit(_name(name))
        return order

    def put_into(self, tree: Tree, names: Iterable[str]) -> None:
        """Lay modules and their indexes into a tree, under /lib/modules or where that leads."""
        folder = f"usr/lib/modules/{self.version}"
        names = self.with_dependencies(names)
        dependencies, aliases = [], []
        for name in names:
            tree.file(f"{folder}/{name}.ko", self._content(name))
            below = reversed(self.with_dependencies([name])[:-1])
            dependencies.append(f"{name}.ko: {' '.join(f'{other}.ko' for other in below)}".rstrip())
            aliases += [f"alias {value} {name}" for key, value in self._said(name) if key == "alias"]
        tree.file(f"{folder}/modules.dep", "\n".join([*dependencies, ""]))
        tree.file(f"{folder}/modules.alias", "\n".join([*aliases, ""]))

    def _content(self, name: str) -> bytes:
        if name not in self._contents:
            path = self._paths[name]
            match path.suffix:
                case ".xz":
                    content = lzma.decompress(path.read_bytes())
                case ".gz":
                    content = gzip.decompress(path.read_bytes())
                case ".zst":
                    content = run("zstd", "-dcq", path)
                case _:
                    content = path.read_bytes()
            self._contents[name] = content
        return self._contents[name]

    def _said(self, name: str) -> list[tuple[str, str]]:
        if name not in self._facts:
            self._facts[name] = list(module_facts(self._content(name)))
        return self._facts[name]

    def _depends(self, name: str) -> list[str]:
        return [_name(below) for key, value in self._said(name) if key == "depends" for below in value.split(",") if below]


def _name(file: str) -> str:
    """A module's name, in the one spelling that the kernel uses."""
    return file.split(".ko")[0].replace("-", "_")
