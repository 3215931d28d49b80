"""Who was overtaken writes nothing: an effect commits only under its workflow's lease, by `workflows.write`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "pilvi"


def commits(tree: ast.AST) -> Iterator[int]:
    """Lines at which the database is asked for a transaction that may write."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("run", "transaction"):
            of_database = isinstance(node.func.value, ast.Attribute) and node.func.value.attr in ("db", "database")
            reads = any(one.arg == "write" and isinstance(one.value, ast.Constant) and one.value.value is False for one in node.keywords)
            if of_database and not reads:
                yield node.lineno


def test_workflows_write_under_their_lease() -> None:
    files = sorted(SOURCE.glob("*/workflows/*.py"))
    modules = [path for path in files if path.relative_to(SOURCE).parts[0] != "kernel"]
    assert modules
    wrong = [f"{path.relative_to(SOURCE)}:{line}" for path in modules for line in commits(ast.parse(path.read_text(encoding="utf-8")))]
    assert not wrong, f"{wrong}: say ctx.program.workflows.write(...) in an effect, or make it a transaction step"
