"""The clone of the source tree from which this program runs, when it does: what lies beside the package, and how it is called."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[2]
ROOT = _FOLDER if os.access(_FOLDER / "pilvi", os.X_OK) and (_FOLDER / "requirements.lock").is_file() else None


def command() -> str:
    """How this program is said in a shell that stands where the process does: `pilvi` where it is installed, else the clone's own."""
    if ROOT is None:
        return "pilvi"
    return "./pilvi" if Path.cwd() == ROOT else shlex.quote(str(ROOT / "pilvi"))
