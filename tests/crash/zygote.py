"""The zygote: a process that has imported the program, and forks one of its processes whenever it is asked; a start takes no second then.

    python -m tests.crash.zygote --foreground pilvi     (the words by which `pilvi` knows its processes)

Each line on its input is {"arguments", "environment", "out"}; it answers with the new process' id.  When its input ends, all end.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

TOP = Path(__file__).parents[2]
_NEEDED = (
    "uvloop", "uvicorn.protocols.http.httptools_impl", "uvicorn.protocols.websockets.websockets_sansio_impl", "psycopg", "pymysql",
    "pilvi.cli.up", "pilvi.run", "pilvi.packages", "pilvi.credentials_files", "pilvi.kernel.db.migrations", "pilvi.kernel.bus.nats",
    "pilvi.kernel.bus.amqp", "tests.crash.process",
)  # fmt: skip


class Zygote:
    """The test's side of it."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        with open(folder / "zygote.log", "ab") as words:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.zygote", "--foreground", "pilvi"], cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=words, env={**os.environ, "PYTHONPATH": f"{TOP / 'src'}:{TOP}"}, start_new_session=True,
            )  # fmt: skip

    def start(self, arguments: list[str], environment: dict[str, str], out: Path) -> int:
        """The id of a new process of `pilvi` with these arguments."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wish = {"arguments": arguments, "environment": environment, "out": str(out)}
        with self._lock:
            self._process.stdin.write(json.dumps(wish).encode() + b"\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        """End all that it has started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def _child(wish: dict[str, object]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    os.setsid()
    out = os.open(str(wish["out"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    os.environ.update(wish["environment"])  # type: ignore[call-overload]
    gc.unfreeze()
    from tests.crash.process import main

    try:
        main(wish["arguments"])  # type: ignore[arg-type]
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def main() -> None:
    for module in _NEEDED:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are nobody's
    gc.collect()
    gc.freeze()
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            _child(json.loads(line))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    # PR_SET_PDEATHSIG ends those that are still there


if __name__ == "__main__":
    main()
