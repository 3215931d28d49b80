"""What the buses with a broker share: a thread with the event loop, the way back after a loss, waiting calls, servers, the outbox.

A driver says how to open a connection, listen, send and hang up, all on the loop; it tells what came in.  Domain threads never
touch the loop: they put letters into the outbox, and wait for their answer on a lock.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

import msgspec

from pilvi.kernel import log
from pilvi.kernel.bus import CAST_SECONDS, Handler, Message, check_size, encode_error, place, signs
from pilvi.kernel.bus.endpoint import Endpoint
from pilvi.kernel.bus.letters import ENVELOPE, Letter, Request, Server, decode_request, encode, reason
from pilvi.kernel.bus.loop import LoopThread, cease, within
from pilvi.kernel.bus.names import sender_token, to_all, to_any, to_host
from pilvi.kernel.bus.signs import Signs
from pilvi.kernel.bus.workers import Call, Job, Workers, answer, heard, refusal
from pilvi.kernel.errors import Forbidden, Invalid, PilviError, Unavailable

_OUTBOX_BYTES = 64 * 1024 * 1024
_OPEN_SECONDS = 10.0  # for one attempt to connect
_SLOWEST = 2.0  # seconds between two attempts
_LISTEN_SECONDS = 15.0
_AGAIN = 5.0  # seconds until a topic that could not be listened to is tried again


class BrokeredBus(ABC):
    """A bus over a broker.  Raises Unavailable when none answers within `patience` seconds at first; later it comes back by itself."""

    kind = "broker"

    def __init__(self, endpoint: Endpoint, *, patience: float) -> None:
        self.endpoint = endpoint
        self.me = sender_token(endpoint.agent)
        self._lock = threading.Lock()
        self.is_up = False
        self._closed = False
        self._reason = "no connection yet"
        self._calls: dict[str, Call] = {}
        self._signs = Signs()
        self._servers: list[Server] = []
        self._outbox: deque[Letter] = deque()
        self._outbox_bytes = 0
        self._woken = False
        self._dropped, self._told = 0, 0.0
        self._first: Future[None] = Future()
        self._wake, self._listening = asyncio.Event(), asyncio.Lock()
        self._thread = LoopThread(f"bus-{self.kind}")
        self.loop = self._thread.loop
        self._thread.wait_for(self._be_born(), 5.0)
        try:
            self._first.result(patience)
        except TimeoutError:
            why = self._reason
            self.close()
            raise Unavailable(f"No {self.kind} server answers at {endpoint.url}: {why}.") from None
        except BaseException:
            self.close()
            raise

    # -- the bus, said by any thread -----------------------------------------------------------------

    def call(self, topic: str, message: Message, *, host: str = "", timeout: float = 60.0) -> msgspec.Raw:
        where = place(topic, host)
        address = to_host(topic, host) if host else to_any(topic)
        ident = secrets.token_hex(12)
        call = Call(where, address)
        letter = Letter("call", address, self._encode(topic, message, timeout), ident, timeout)
        self._calls[ident] = call
        if trouble := self._post(letter):
            self._calls.pop(ident, None)
            raise Unavailable(f"{where} cannot be asked: {trouble}.")
        while not call.wait(timeout, signs.SILENCE, math.inf if host else signs.AGAIN):
            if call.wanting:
                self._post(letter)  # another of those who serve the topic may get it
            elif self._calls.pop(ident, None) is None:
                call.settled_in(1.0)  # the answer is being put down in this moment
                break
            elif call.waited >= timeout:
                raise Unavailable(f"No answer from {where} within {timeout:g} s.")
            else:
                raise Unavailable(f"No sign of life from {where} for {signs.SILENCE:g} s.")
        return call.result()

    def cast(self, topic: str, message: Message, *, host: str = "") -> None:
        self._cast(Letter("cast", to_host(topic, host) if host else to_any(topic), self._encode(topic, message, CAST_SECONDS)))

    def fanout(self, topic: str, message: Message) -> None:
        self._cast(Letter("fanout", to_all(topic), self._encode(topic, message, CAST_SECONDS)))

    def serve(self, topic: str, handler: Handler, *, host: str = "", threads: int = 4, workers: Workers | None = None) -> Callable[[], None]:
        own = workers or Workers(f"{topic}{'@' + host if host else ''}", threads)
        server = Server(topic, handler, host, own, shared=workers is not None)
        with self._lock:
            if self._closed:
                raise Unavailable("The bus is closed.")
            self._servers.append(server)
        self._thread.wait_for(self._begin(server), _LISTEN_SECONDS)

        def stop() -> None:
            with self._lock:
                if server not in self._servers:
                    return
                self._servers.remove(server)
            server.stopped = True
            self._thread.wait_for(self._end(server), _LISTEN_SECONDS)
            server.stop()

        return stop

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            servers, self._servers = self._servers, []
        self._thread.wait_for(self._shut(), 5.0)
        for server in servers:
            server.stop()
        self._thread.close()

    # -- what a driver says, on the loop -------------------------------------------------------------

    @property
    @abstractmethod
    def most(self) -> int:
        """Bytes that the broker carries in one message."""

    @abstractmethod
    async def _open(self, lost: Callable[[str], None]) -> None:
        """Connect, and have answers come in; `lost` is told when the connection has ended, and why.

        Raises Invalid when the broker does not know us, anything else when it may go better later.
        """

    @abstractmethod
    async def _listen(self, server: Server) -> None:
        """Have the server's messages come in; when this returns, others reach it."""

    @abstractmethod
    async def _unlisten(self, server: Server) -> None:
        """Have no more of them come in."""

    @abstractmethod
    async def _send(self, letter: Letter) -> None: ...

    @abstractmethod
    async def _flush(self) -> None:
        """Have what was sent arrive at the broker."""

    @abstractmethod
    async def _hang_up(self) -> None:
        """Leave nothing of the connection, whatever state it is in."""

    # -- what a driver tells, on the loop ------------------------------------------------------------

    def _answered(self, ident: str, data: bytes) -> None:
        """An answer has come, or a sign of life; late and doubled ones find no call and are dropped."""
        call = self._calls.pop(ident, None) if data else self._calls.get(ident)
        if call is None:
            return
        if data:
            call.settle(data)
        else:
            call.sign()

    def _nobody(self, ident: str, why: str = "") -> None:
        """The broker has nobody for a call, or the call could not be brought to it."""
        call = self._calls.pop(ident, None)
        if call is not None:
            call.settle(error=Unavailable(f"{call.where} could not be asked: {why}." if why else f"Nobody answers for {call.where}."))

    def _forbidden(self, address: str) -> None:
        """The broker does not let us speak to an address."""
        log.error("the broker does not let us speak there", bus=self.endpoint.url, user=self.endpoint.user, address=address)
        for ident, call in self._calls.copy().items():
            if call.address.casefold() == address.casefold() and self._calls.pop(ident, None) is not None:
                call.settle(error=Forbidden(f"The broker does not let {self.endpoint.user or 'us'} speak to {call.where}."))

    def _arrived(self, server: Server, sender: str, data: bytes, reply: Letter | None, taken: Callable[[], None] | None = None) -> None:
        """A message for a server, from the one for whom the broker vouches (a token); `reply` is an empty letter to who waits for it.

        `taken` is called, in any thread, when the message does not wait any more.
        """
        try:
            request = decode_request(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("a message could not be read and was dropped", topic=server.topic, sender=sender, why=str(error))
            self._decline(reply, taken, Invalid(f"{server.topic} cannot read the message."))
            return
        if sender_token(request.sender) != sender:
            log.warning("a message under a false name was dropped", topic=server.topic, sender=sender, claimed=request.sender)
            self._decline(reply, taken, Forbidden("The message claims to be of another host."))
            return
        message = Message(request.method, request.arguments, request.request_id, request.sender, request.order)
        if reply is not None and not self._signs.begin(reply):
            if taken is not None:
                taken()
            return

        def work() -> None:
            if server.stopped:
                refuse("it was stopped")
                return
            if taken is not None:
                taken()
            if reply is None:
                heard(server.handler, server.topic, message)
            else:
                self._answer(reply, answer(server.handler, server.topic, message, self.most - ENVELOPE))

        def refuse(why: str) -> None:
            if taken is not None:
                taken()
            if reply is None:
                log.warning("a cast was dropped", topic=server.topic, method=message.method, why=why)
            else:
                self._answer(reply, refusal(place(server.topic, server.host), why))

        server.workers.put(Job(work, refuse, time.monotonic() + request.seconds, len(data)))

    def _decline(self, reply: Letter | None, taken: Callable[[], None] | None, error: PilviError) -> None:
        if taken is not None:
            taken()
        if reply is not None:
            self._answer(reply, encode(encode_error(error)))

    def _answer(self, reply: Letter, data: bytes) -> None:
        self._signs.end(reply)
        if trouble := self._post(msgspec.structs.replace(reply, data=data)):
            self._drop(1, trouble)

    # -- within --------------------------------------------------------------------------------------

    def _encode(self, topic: str, message: Message, seconds: float) -> bytes:
        check_size(topic, message, self.most - ENVELOPE)
        return encode(Request(message.method, message.arguments, message.request_id, self.endpoint.agent, seconds, message.order))

    def _cast(self, letter: Letter) -> None:
        if trouble := self._post(letter):
            self._drop(1, trouble)

    def _drop(self, count: int, why: str) -> None:
        """Tell of casts and answers that were dropped, at most once a second."""
        self._dropped += count
        if self._dropped and time.monotonic() - self._told > 1.0:
            log.warning("casts or answers were dropped", count=self._dropped, why=why)
            self._dropped, self._told = 0, time.monotonic()

    def _post(self, letter: Letter) -> str:
        """Have the letter sent; answers why it cannot be, or "".  Never waits."""
        with self._lock:
            if not self.is_up:
                return f"the message bus {self.endpoint.url} is away ({self._reason})"
            if self._outbox_bytes > _OUTBOX_BYTES:
                return f"the message bus {self.endpoint.url} does not keep up"
            self._outbox.append(letter)
            self._outbox_bytes += len(letter.data)
            if not self._woken:
                self._woken = True
                self._thread.do(self._wake.set)
        return ""

    async def _be_born(self) -> None:
        self._life = self.loop.create_task(self._live())

    async def _live(self) -> None:
        """Connect, be there until the connection is lost, and again."""
        delay = 0.05
        while not self._closed:
            gone: asyncio.Future[str] = self.loop.create_future()

            def lost(why: str, gone: asyncio.Future[str] = gone) -> None:
                if not gone.done():
                    gone.set_result(why)

            try:
                await within(_OPEN_SECONDS, self._open(lost))
            except Exception as error:
                self._reason = reason(error)
                await self._leave()
                if isinstance(error, Invalid) and not self._first.done():
                    self._first.set_exception(error)
                    return
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, _SLOWEST)
                continue
            delay = 0.05
            with self._lock:
                self.is_up = True  # before we listen: what has waited for us comes at once, and wants an answer
            work = [self.loop.create_task(one) for one in (self._pump(), self._listen_to_all(), self._signs.give(self._post))]
            if not self._first.done():
                self._first.set_result(None)
            else:
                log.info("the bus is back", bus=self.endpoint.url)
            try:
                self._reason = await gone
                log.warning("the bus is away", bus=self.endpoint.url, why=self._reason)
            finally:
                await cease(work)
                await self._leave()

    async def _listen_to_all(self) -> None:
        async with self._listening:
            for server in list(self._servers):
                await self._try_to_listen(server)

    async def _leave(self) -> None:
        """Nothing is sent any more, and nobody waits any more for what was."""
        with self._lock:
            self.is_up = False
            casts = sum(letter.kind != "call" for letter in self._outbox)
            self._outbox.clear()
            self._outbox_bytes = 0
        self._drop(casts, self._reason)
        while self._calls:
            _, call = self._calls.popitem()
            call.settle(error=Unavailable(f"No answer from {call.where}: the message bus went away ({self._reason})."))
        for server in self._servers:
            server.link = None
        with suppress(Exception):
            await within(2.0, self._hang_up())

    async def _pump(self) -> None:
        """Send what is in the outbox."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            with self._lock:
                self._woken = False
            while True:
                with self._lock:
                    if not self._outbox:
                        break
                    letter = self._outbox.popleft()
                    self._outbox_bytes -= len(letter.data)
                if letter.kind == "call" and letter.call not in self._calls:
                    continue  # its caller has given up
                try:
                    await self._send(letter)
                except Exception as error:
                    self._not_sent(letter, reason(error))

    def _not_sent(self, letter: Letter, why: str) -> None:
        if letter.kind == "call":
            self._nobody(letter.call, why)
        else:
            self._drop(1, why)

    async def _begin(self, server: Server) -> None:
        async with self._listening:
            await self._try_to_listen(server)

    async def _try_to_listen(self, server: Server) -> None:
        """Listen, or try again later: the broker may not let us, or may have lost what is to be listened to."""
        if not self.is_up or server.stopped or server.link is not None:
            return
        try:
            await self._listen(server)
        except Exception as error:
            log.error("a topic cannot be listened to", bus=self.endpoint.url, topic=server.topic, host=server.host, why=reason(error))
            self.loop.call_later(_AGAIN, lambda: self.loop.create_task(self._begin(server)))

    async def _end(self, server: Server) -> None:
        async with self._listening:
            if self.is_up and server.link is not None:
                with suppress(Exception):  # the connection is being lost, and the listening with it
                    await self._unlisten(server)

    async def _shut(self) -> None:
        """What was said before the end is still sent; then the connection ends."""
        with suppress(Exception):
            async with asyncio.timeout(1.0):
                while self.is_up and self._outbox:
                    await asyncio.sleep(0.002)
                if self.is_up:
                    await self._flush()
        self._reason = "it was closed"
        self._life.cancel()
        await asyncio.wait([self._life], timeout=3.0)
        await self._leave()
