"""What a server does with its messages: a bounded number wait for its threads, each is answered, none can end a thread."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable

import msgspec

from pilvi.kernel import log
from pilvi.kernel.bus import MAX_BYTES, WAITING, Handler, Message, Reply, encode_error, raise_error
from pilvi.kernel.errors import PilviError, Unavailable

_WAITING_BYTES = 8 * MAX_BYTES
_encode = msgspec.msgpack.Encoder().encode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode


class Job(msgspec.Struct):
    """A message that has come in: what to do with it, by when to have begun, and what to do when it cannot be done."""

    work: Callable[[], None]
    refuse: Callable[[str], None]  # told why, in words that end a sentence
    deadline: float  # on the monotonic clock
    size: int = 0


class Workers:
    """Threads that work off one server's jobs; they are begun when they are needed.

    At most `waiting` jobs wait; more are refused, and so are those that wait when it is stopped.
    """

    def __init__(self, name: str, threads: int, waiting: int = WAITING) -> None:
        self.name, self.threads, self.waiting = name, threads, waiting
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # threads that wait, less the jobs that are already on their way to them
        self._begun = 0
        self._bytes = 0
        self._stopped = False

    def put(self, job: Job) -> None:
        """Have the job done by one of the threads, or refused."""
        with self._lock:
            why = ""
            if self._stopped:
                why = "it was stopped"
            elif (self._begun == self.threads and -self._idle >= self.waiting) or self._bytes + job.size > _WAITING_BYTES:
                why = "too many messages wait there"
            else:
                self._bytes += job.size
                self._idle -= 1
                if self._idle < 0 and self._begun < self.threads:
                    self._begun += 1
                    self._idle += 1
                    threading.Thread(target=self._work, name=f"{self.name}-{self._begun}", daemon=True).start()
                self._jobs.put(job)
        if why:
            job.refuse(why)

    def stop(self) -> None:
        """End the threads when they are done with what they are at; what waits is refused."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            begun = self._begun
        waiting: list[Job] = []
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                waiting.append(job)
        for _ in range(begun):
            self._jobs.put(None)
        for job in waiting:
            job.refuse("it was stopped")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if time.monotonic() <= job.deadline:
                    job.work()
                else:
                    job.refuse("it waited for longer than its caller")
            except BaseException as error:  # not even the end of the interpreter's patience ends a server's thread
                log.defect("", f"a message to {self.name}", error)
            with self._lock:
                self._bytes -= job.size
                self._idle += 1
            del job


def answer(handler: Handler, topic: str, message: Message, most: int = MAX_BYTES) -> bytes:
    """The encoded reply of the handler, whatever it raises; an error when the reply would have more than `most` bytes."""
    try:
        reply = Reply(value=msgspec.Raw(handler(message)))
    except PilviError as error:
        reply = encode_error(error)
    except BaseException as error:
        log.defect(message.request_id, f"{topic}.{message.method}", error)
        reply = Reply(error="PilviError", message=f"{topic}.{message.method} failed unexpectedly; the log of that host tells more.")
    if (size := memoryview(reply.value).nbytes) > most:
        reply = Reply(error="Invalid", message=f"The answer of {topic}.{message.method} has {size} bytes; the bus carries at most {most}.")
    return _encode(reply)


def heard(handler: Handler, topic: str, message: Message) -> None:
    """Have a cast handled; what it raises is logged."""
    try:
        handler(message)
    except PilviError as error:
        log.warning("a cast failed", topic=topic, method=message.method, request_id=message.request_id, why=error.message)
    except BaseException as error:
        log.defect(message.request_id, f"cast {topic}.{message.method}", error)


def refusal(where: str, why: str) -> bytes:
    """The encoded reply of a server that does not take a message."""
    return _encode(encode_error(Unavailable(f"{where} does not take the message: {why}.")))


def value(data: bytes) -> msgspec.Raw:
    """The value in an encoded reply; raises the error that it carries."""
    try:
        reply = _decode_reply(data)
    except msgspec.DecodeError:
        raise Unavailable("The answer could not be read.") from None
    raise_error(reply)
    return reply.value


class Call:
    """A call that waits for its answer.  It is settled once, by whoever takes it out of the table of waiting calls."""

    __slots__ = ("_asked", "_heard", "_lock", "address", "began", "error", "reply", "wanting", "where")

    def __init__(self, where: str, address: str = "") -> None:
        self.where = where  # whom it is for, in words
        self.address = address
        self.reply: bytes = b""
        self.error: PilviError | None = None
        self.wanting = False  # whether it should be said once more
        self.began = self._asked = time.monotonic()
        self._heard = 0.0  # when there was the last sign of life
        self._lock = threading.Lock()
        self._lock.acquire()

    def settle(self, reply: bytes = b"", error: PilviError | None = None) -> None:
        self.reply, self.error = reply, error
        self._lock.release()

    def sign(self) -> None:
        """The other side lives."""
        self._heard = time.monotonic()

    def settled_in(self, seconds: float) -> bool:
        """Whether it is settled within so many seconds from this moment."""
        return self._lock.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))

    def wait(self, seconds: float, silence: float = math.inf, again: float = math.inf) -> bool:
        """Whether it is settled within so many seconds from its beginning, and without a silence of so many.

        With `again` also False, and `wanting`, each time that there was no sign of life at all for so many seconds.
        """
        while True:
            over = min(self.began + seconds, (self._heard or self.began) + silence)
            until = over if self._heard else min(over, self._asked + again)
            if self.settled_in(until - time.monotonic()):
                return True
            now = time.monotonic()
            if self._heard and now < min(self.began + seconds, self._heard + silence):
                continue  # there was a sign meanwhile
            self.wanting = not self._heard and until < over
            self._asked = now
            return False

    @property
    def waited(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def result(self) -> msgspec.Raw:
        if self.error is not None:
            raise self.error
        return value(self.reply)
