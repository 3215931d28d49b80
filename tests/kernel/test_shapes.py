"""Shapes are decoded by many threads, also those that nobody has decoded before."""

from __future__ import annotations

import subprocess
import sys

_MANY = """
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


def test_the_first_requests_of_a_kind_may_come_at_once() -> None:
    """In a process of its own, since what went wrong was that it crashed."""
    done = subprocess.run([sys.executable, "-c", _MANY], capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
