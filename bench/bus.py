"""What a call over each bus costs: `python -m bench.bus` starts the brokers, and prints wall time and CPU of this process for one call."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pilvi.kernel.bus import Bus, Message
from pilvi.kernel.bus.connect import connect
from pilvi.kernel.config import BusSettings
from pilvi.kernel.testing import brokers

CALLS = {100: 3000, 100_000: 600}  # bytes of arguments, and as many of the answer -> how many calls are made
THREADS = 16


@contextmanager
def buses(kind: str) -> Iterator[tuple[Bus, Bus]]:
    """Who asks and who answers, each with a connection of its own."""
    with tempfile.TemporaryDirectory(prefix="pilvi-bus-") as folder:
        if kind == "local":
            bus = connect(BusSettings(), host="here")
            yield bus, bus
            bus.close()
            return
        with {"nats": brokers.nats, "rabbitmq": brokers.rabbitmq}[kind](Path(folder)) as broker:
            here, there = (connect(BusSettings(url=broker.url), host=host) for host in ("here", "there"))
            yield here, there
            here.close()
            there.close()


def measure(here: Bus, message: Message, threads: int, count: int) -> tuple[float, float]:
    """Microseconds for one call, by the clock and of CPU (of both ends, without the broker's)."""

    def ask(calls: int) -> None:
        for _ in range(calls):
            here.call("bench", message)

    ask(100)
    clock, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(ask, count // threads) for _ in range(threads)]:
            done.result()
    calls = count // threads * threads
    return (time.perf_counter() - clock) / calls * 1e6, (time.process_time() - cpu) / calls * 1e6


def main() -> None:
    print(f"{'bus':10} {'threads':>7} {'bytes':>7} {'us a call':>10} {'us of CPU':>10}")
    for kind in ("local", "nats", "rabbitmq"):
        with buses(kind) as (here, there):
            there.serve("bench", lambda message: bytes(message.arguments), threads=8)
            for threads in (1, THREADS):
                for size, count in CALLS.items():
                    message = Message("echo", msgspec.Raw(msgspec.msgpack.encode(bytes(size))))
                    wall, cpu = min(measure(here, message, threads, count) for _ in range(3))
                    print(f"{kind:10} {threads:7} {size:7} {wall:10.0f} {cpu:10.0f}", flush=True)


if __name__ == "__main__":
    main()
