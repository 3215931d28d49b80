"""The libvirt driver's background work: begun once, asked after, its failure told once."""

from __future__ import annotations

import threading
import time

from pilvi.compute.drivers.libvirt.jobs import Jobs
from pilvi.kernel.errors import HostError, Invalid
from pilvi.kernel.progress import Progress


def ask_until_ended(jobs: Jobs, subject: str, work: object) -> Progress:
    until = time.monotonic() + 10
    while (progress := jobs.ask(subject, work)).state == "working":  # type: ignore[arg-type]
        assert time.monotonic() < until
        time.sleep(0.001)
    return progress


def test_work_is_begun_once_and_tells_its_percentage() -> None:
    jobs, go, begun = Jobs(), threading.Event(), []

    def work(report: object) -> None:
        begun.append(1)
        report(40)  # type: ignore[operator]
        go.wait(10)

    jobs.ask("image a", work)
    until = time.monotonic() + 10
    while jobs.ask("image a", work).percent != 40:
        assert time.monotonic() < until
    assert not jobs.wait("image", 0.01)
    assert jobs.wait("snapshot", 0)
    go.set()
    assert jobs.wait("image", 10)
    assert begun == [1]


def test_each_failure_is_told_once_and_then_begun_anew() -> None:
    jobs, asked = Jobs(), iter(range(1000))

    def work(_report: object) -> None:
        raise HostError(f"attempt {next(asked)}", elsewhere=False)

    for number in range(200):
        progress = ask_until_ended(jobs, "image a", work)
        assert (progress.state, progress.why, progress.elsewhere) == ("failed", f"attempt {number}", False)


def test_every_kind_of_failure_has_a_sentence() -> None:
    jobs = Jobs()
    sentences = []
    for error in (Invalid("hostile"), OSError(28, "No space left on device"), ValueError("secret detail")):

        def work(_report: object, error: Exception = error) -> None:
            raise error

        sentences.append(ask_until_ended(jobs, "image a", work).why)
    assert sentences[0] == "hostile"
    assert "disk is full" in sentences[1]
    assert "secret" not in sentences[2]
