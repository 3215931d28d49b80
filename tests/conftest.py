"""What all tests share."""

from __future__ import annotations

import os
import traceback

# Python 3.11 may not parse in two threads at once, and parses to underline parts of a traceback's lines; tests that kill
# workers have tracebacks in many threads, while pytest parses in its own.
if hasattr(traceback, "_extract_caret_anchors_from_line_segment"):
    traceback._extract_caret_anchors_from_line_segment = lambda segment: None  # type: ignore[attr-defined]

os.environ.setdefault("PYTHONWARNINGS", "default")
