"""Jobs: an agent's long work, in threads, one at a time for each server; begun by the first asking, told at the next."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager

from pilvi.kernel import log, orders
from pilvi.kernel.errors import HostError, PilviError, Unavailable
from pilvi.kernel.progress import DONE, Progress

_PATIENCE = 0.25  # seconds that the asker waits for quick work before it is told "working"


class Stopped(Exception):
    """Raised by work that ends because its agent is being stopped: it is neither done nor failed, and is begun anew by the next agent."""


class _Job:
    def __init__(self, name: str) -> None:
        self.name = name
        self.future: Future[Progress]
        self.left = False  # the asker has gone and is to be told of the end
        self.dropped = False  # nobody wants it any more
        self.lock = threading.Lock()


class Jobs:
    """The long work of one agent; `tell` is called with a server's id when work has ended that nobody waits for.

    `pool`: threads that several agents share, instead of `threads` of its own.
    """

    def __init__(self, tell: Callable[[str], None], *, threads: int = 16, pool: Executor | None = None) -> None:
        self._tell = tell
        self._shared = pool is not None
        self._pool = pool or ThreadPoolExecutor(threads, thread_name_prefix="compute-job")
        self._jobs: dict[str, _Job] = {}
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()
        self._mine = threading.local()  # the job that a thread is at

    def ask(self, server_id: str, name: str, work: Callable[[], None]) -> Progress:
        """Begin the work, or ask how it goes; once it has ended and been told, the same name begins it anew."""
        with self._lock:
            job = self._jobs.get(server_id)
            if job is None or job.name != name:
                if job is not None:
                    job.dropped = True  # its asker was overtaken
                job = self._jobs[server_id] = _Job(name)
                job.future = self._pool.submit(self._run, server_id, job, work)
                job.future.add_done_callback(lambda _, job=job: self._ended(server_id, job))
        try:
            progress = job.future.result(_PATIENCE)
        except NotInTime:
            with job.lock:
                if not job.future.done():
                    job.left = True
                    return Progress(state="working")
            progress = job.future.result()
        except CancelledError:  # the agent is being stopped: the next one begins it anew
            return Progress(state="working")
        with self._lock:
            if self._jobs.get(server_id) is job:
                del self._jobs[server_id]
        return progress

    def forget(self, server_id: str) -> None:
        """Nobody will ask for this server's work again: what is under way ends as soon as it can."""
        with self._lock:
            job = self._jobs.pop(server_id, None)
            if job is not None:
                job.dropped = True

    def dropped(self) -> bool:
        """Whether the work that this thread is at is wanted no more."""
        job = getattr(self._mine, "job", None)
        return job is not None and job.dropped

    @contextmanager
    def turn(self, server_id: str) -> Iterator[bool]:
        """Wait for the server's turn: never two verbs at once for one machine.  Yields whether somebody else was at it."""
        with self._lock:
            lock = self._turns[server_id]
        waited = not lock.acquire(blocking=False)
        if waited:
            lock.acquire()
        try:
            orders.check()
            yield waited
        finally:
            lock.release()

    def stop(self) -> None:
        if not self._shared:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, server_id: str, job: _Job, work: Callable[[], None]) -> Progress:
        self._mine.job = job
        try:
            with self.turn(server_id):
                if not job.dropped:
                    work()
        except Stopped:
            return Progress(state="working")
        except HostError as error:
            return Progress(state="failed", why=error.message, elsewhere=error.elsewhere)
        except Unavailable as error:
            return Progress(state="failed", why=error.message)
        except PilviError as error:
            return Progress(state="failed", why=error.message, elsewhere=False)
        except Exception as error:
            log.defect("", f"work for server {server_id}", error)
            return Progress(state="failed", why="The host's agent failed unexpectedly; its log tells more.")
        return DONE

    def _ended(self, server_id: str, job: _Job) -> None:
        with job.lock:
            left = job.left
        if left:
            self._tell(server_id)
