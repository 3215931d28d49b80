"""Every path is a sentence: short files, a first sentence in each, no bags of anything."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "pilvi"
LONGEST = 400
BAGS = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "impl", "common", "misc"}


GENERATED = SOURCE / "kernel" / "db" / "versions"  # revisions, written by scripts/migration


def files() -> list[Path]:
    return [path for path in sorted(SOURCE.rglob("*.py")) if not path.is_relative_to(GENERATED)]


def test_files_are_short() -> None:
    long = {str(path.relative_to(ROOT)): lines for path in files() if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST}
    assert not long, f"over {LONGEST} lines, split by noun or verb: {long}"


def test_every_module_says_what_it_is() -> None:
    silent = [str(path.relative_to(ROOT)) for path in files() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent, f"no first sentence: {silent}"


def test_no_bags() -> None:
    bags = [str(path.relative_to(ROOT)) for path in files() if path.stem in BAGS]
    assert not bags, f"name what is in it instead: {bags}"


def test_nothing_is_left_undone() -> None:
    words = re.compile(r"(?<![A-Za-z_])(TODO|FIXME|XXX|HACK)(?![A-Za-z_])|NotImplementedError|except Exception:\s*pass")
    found = [
        f"{path.relative_to(ROOT)}:{number}" for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if words.search(line)
    ]  # fmt: skip
    assert not found, found


def test_no_shell() -> None:
    """Child processes get argument lists: a shell would read what users wrote."""
    found: list[str] = []
    for path in files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "shell" and getattr(node.value, "value", None) is not False:
                found.append(f"{path.relative_to(ROOT)}:{node.value.lineno}")
            if isinstance(node, ast.Attribute) and node.attr in ("system", "popen") and getattr(node.value, "id", "") == "os":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found, found
