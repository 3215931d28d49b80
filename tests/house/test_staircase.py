"""Calls go down, events go up: the import rules of the house, and what to do instead."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "pilvi"

# each step may call the doors of those below it
STEPS: list[set[str]] = [
    {"kernel"},
    {"identity"},
    {"object_store", "placement"},
    {"network", "image"},
    {"block_storage"},
    {"compute"},
    {"orchestration", "telemetry"},
    {"dashboard"},
]
LEVEL = {name: level for level, names in enumerate(STEPS) for name in names}
# what is not a service, and may know several: it puts the program together, or serves people at the keyboard
ABOVE_ALL = {
    "program.py", "control.py", "run.py", "findings.py", "credentials_files.py", "fleet.py", "clone.py", "__main__.py", "__init__.py", "packages.py",
    "cli", "guest", "bench", "laboratory",
}  # fmt: skip


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and full name of every import from our own package."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return [(line, name) for line, name in found if name.startswith("pilvi.")]


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def behind_door(service: str, name: str) -> bool:
    """Whether the name is a module of the service, not something that its door offers."""
    return (SOURCE / service / f"{name}.py").exists() or (SOURCE / service / name).is_dir()


def test_every_package_has_a_step() -> None:
    known = set(LEVEL) | ABOVE_ALL
    strangers = [entry.name for entry in SOURCE.iterdir() if entry.name not in known and entry.suffix in ("", ".py") and entry.name != "__pycache__"]
    assert not strangers, f"{strangers} stand on no step of the staircase: add them to STEPS in this test, where they belong"


def test_calls_go_down_and_through_the_door() -> None:
    wrong: list[str] = []
    for path in modules():
        place = path.relative_to(SOURCE).parts[0]
        if place not in LEVEL:
            continue
        for line, name in imports(path):
            parts = name.split(".")
            other = parts[1]
            where = f"{path.relative_to(SOURCE.parent)}:{line}"
            if other == place or other not in LEVEL or other == "kernel":
                if place == "kernel" and other in LEVEL and other != "kernel":
                    wrong.append(f"{where} the kernel knows no service, but imports {name}: have the service register itself in its manifest")
                continue
            if LEVEL[other] >= LEVEL[place]:
                wrong.append(f"{where} {place} may not call {other}, not below it: publish an event, and let {other} hear it in its manifest")
            elif len(parts) > 3 or (len(parts) == 3 and behind_door(other, parts[2])):
                wrong.append(f"{where} {name} is behind {other}'s door: call what `pilvi.{other}` offers, or add it there")
    assert not wrong, "\n".join(wrong)
