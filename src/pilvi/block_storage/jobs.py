"""Jobs: work of an agent in threads, begun by the first asking and told at the next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime

from pilvi.kernel import log
from pilvi.kernel.errors import HostError, PilviError
from pilvi.kernel.progress import DONE, Progress

_PATIENCE = 0.2  # seconds that the asker waits for quick work before it is told "working"


class Jobs:
    """Transfers of one agent; `tell` is called with the subject of work that has ended."""

    def __init__(self, tell: Callable[[str], None], *, threads: int = 4) -> None:
        self._tell = tell
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="volume-job")
        self._jobs: dict[str, Future[Progress]] = {}
        self._lock = threading.Lock()

    def ask(self, key: str, subject: str, work: Callable[[], None]) -> Progress:
        """Begin the work `key`, or ask how it goes; once its end has been told, the same key begins it anew."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = self._pool.submit(_run, key, work)
                job.add_done_callback(lambda _: self._tell(subject))
        try:
            progress = job.result(_PATIENCE)
        except (NotInTime, CancelledError):  # cancelled: it was forgotten in this moment
            return Progress(state="working")
        self.forget(key)
        return progress

    def forget(self, beginning: str) -> None:
        """Nobody will ask again for the work whose keys begin so."""
        with self._lock:
            jobs = [self._jobs.pop(key) for key in [*self._jobs] if key.startswith(beginning)]
        for job in jobs:
            job.cancel()

    def keep(self, key: str, keep: Callable[[], None]) -> None:
        """Said by the work as its last: `keep` what it made, unless it was forgotten; nobody forgets it meanwhile."""
        with self._lock:
            if key in self._jobs:
                keep()


def _run(key: str, work: Callable[[], None]) -> Progress:
    try:
        work()
    except HostError as error:
        return Progress(state="failed", why=error.message, elsewhere=error.elsewhere)
    except PilviError as error:
        return Progress(state="failed", why=error.message)
    except Exception as error:
        log.defect("", f"the volume job {key}", error)
        return Progress(state="failed", why="It failed unexpectedly; the log of that host tells more.")
    return DONE
