"""Structs are decoded by many threads, also those that nobody has decoded before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# each in a process of its own, since what went wrong was that it crashed
_SHAPES = """
import sys, threading
from pilvi.kernel.http.shape import Body, decode_body
from pilvi.kernel.http.versions import Version

sys.setswitchinterval(1e-6)

def once(number):
    class Part(Body):
        __annotations__ = {f"a{place}": str | None for place in range(30)}
        locals().update({name: None for name in __annotations__})

    class Whole(Body):
        parts: dict[str, list[Part]]
        __annotations__ = {"parts": dict[str, list[Part]]}

    gate = threading.Barrier(16)

    def work():
        gate.wait()
        decode_body(Whole, {"parts": {"x": [{"a1": "y"}]}}, Version(2, 1), at_path="")

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

for number in range(200):
    once(number)
"""


_PROGRAM = """
import sys
from pathlib import Path
from pilvi import program
from pilvi.block_storage.operations.backups import Record
from pilvi.compute.api.create_shapes import Hints
from pilvi.compute.drivers import VolumeDisk
from pilvi.kernel import structs

learned = []
structs.learn = learned.append
program.build(program.settings(Path(sys.argv[1]), compute={"driver": "fake"}))
assert {Record, Hints, VolumeDisk} <= set(learned), learned
before = len(learned)
program.build(program.settings(Path(sys.argv[1]), compute={"driver": "fake"}))
assert len(learned) == before, "once"
"""


def run(program: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def test_the_first_requests_of_a_kind_may_come_at_once() -> None:
    run(_SHAPES)


def test_all_that_a_program_decodes_is_known_before_it_has_threads(tmp_path: Path) -> None:
    run(_PROGRAM, str(tmp_path))
