"""Long work in threads of its own, one for each subject, asked after by the same verb."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pilvi.kernel.errors import HostError, Invalid, PilviError
from pilvi.kernel.progress import DONE, Progress

log = logging.getLogger(__name__)

Report = Callable[[int], None]  # told the percentage from time to time

DISK_FULL = 28  # ENOSPC


@dataclass
class Job:
    """One piece of work and how it stands."""

    progress: Progress = field(default_factory=lambda: Progress(state="working"))
    ended: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """Runs at most `at_once` pieces of work; the rest wait their turn and answer "working"."""

    def __init__(self, at_once: int = 3) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(at_once)

    def ask(self, subject: str, work: Callable[[Report], None]) -> Progress:
        """Begin the work, or tell how it stands.

        A failure is told once: asked again, the work begins anew.  Success is not remembered, for the world shows it:
        who asks looks there first, and so does the work.
        """
        with self._lock:
            job = self._jobs.get(subject)
            if job is None:
                job = self._jobs[subject] = Job()
                threading.Thread(target=self._run, args=(subject, job, work), name=f"job {subject}", daemon=True).start()
            progress = job.progress
            if progress.state == "failed":
                del self._jobs[subject]
            return progress

    def busy(self, subject: str) -> bool:
        """Whether there is work on the subject that has not ended."""
        with self._lock:
            job = self._jobs.get(subject)
        return job is not None and not job.ended.is_set()

    def known(self, subject: str) -> bool:
        """Whether there is work on the subject, or a failure of it that was not told yet."""
        with self._lock:
            return subject in self._jobs

    def wait(self, prefix: str, seconds: float) -> bool:
        """Wait for the end of all work on subjects that begin so; False when there is some still."""
        with self._lock:
            jobs = [job for subject, job in self._jobs.items() if subject.startswith(prefix)]
        until = time.monotonic() + seconds
        return all(job.ended.wait(max(0.0, until - time.monotonic())) for job in jobs)

    def _run(self, subject: str, job: Job, work: Callable[[Report], None]) -> None:
        def report(percent: int) -> None:
            job.progress = Progress(state="working", percent=percent)

        try:
            with self._turns:
                work(report)
            job.progress = DONE
            with self._lock:
                del self._jobs[subject]
        except Invalid as error:
            job.progress = Progress(state="failed", why=error.message, elsewhere=False)
        except HostError as error:
            job.progress = Progress(state="failed", why=error.message, elsewhere=error.elsewhere)
        except PilviError as error:
            job.progress = Progress(state="failed", why=error.message)
        except OSError as error:
            job.progress = Progress(state="failed", why=os_sentence(error))
        except Exception:
            log.exception("a background job failed")
            job.progress = Progress(state="failed", why="The host met an unexpected error; its log tells more.")
        finally:
            job.ended.set()


def os_sentence(error: OSError) -> str:
    """A sentence for an error of the operating system."""
    if error.errno == DISK_FULL:
        return "The host's disk is full: free space below the state directory, or add some."
    return f"The host could not read or write {error.filename or 'a file'}: {error.strerror or error}."
