"""The bus over RabbitMQ: one topic exchange, shared queues, the broker's word for who sends and who is not there.

The exchange is named as the root of the cloud's names, and has these routing keys:

    to.<topic>.any | all | host.<host>      messages
    reply.<sender>.<process>                answers

Of a message the broker checks that `user_id` is the sender's user.  Queues that several servers share are durable, as newer
brokers demand, and go with their last consumer; the others are exclusive.  What is in them is not durable, and every message
has a time after which the broker throws it away.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import msgspec
from aiormq import Channel, Connection, exceptions, spec
from aiormq.abc import DeliveredMessage
from yarl import URL

from pilvi.kernel import log
from pilvi.kernel.bus import MAX_BYTES, WAITING
from pilvi.kernel.bus.brokered import BrokeredBus
from pilvi.kernel.bus.letters import Letter, Server, reason
from pilvi.kernel.bus.names import AGENT, CONTROL, to_all, to_any, to_host, token
from pilvi.kernel.errors import Invalid

_HEARTBEAT = 6  # seconds; a connection that is silent for three times as long has ended
_UNUSED = 60_000  # ms after which a queue without consumers goes
_FLIGHT = 1000  # messages whose arrival the broker has not confirmed yet
_SHARED = {"x-expires": _UNUSED, "x-max-length": WAITING, "x-overflow": "reject-publish"}
_OWN = {"x-expires": _UNUSED, "x-max-length": WAITING}

logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # what it has to tell, it raises too


class _Listening(msgspec.Struct, eq=False):
    """A server's channel: `consumers` are the tags of what is consumed on it."""

    channel: Channel
    consumers: list[str]


class AmqpBus(BrokeredBus):
    """A bus over a RabbitMQ server or cluster."""

    kind = "RabbitMQ"
    _connection: Connection | None = None

    @property
    def most(self) -> int:
        return MAX_BYTES

    async def _open(self, lost: Callable[[str], None]) -> None:
        host, port = random.choice(self.endpoint.addresses)
        self._lost, self._flight = lost, set[asyncio.Task[bool]]()
        self._user = self.endpoint.user or "guest"
        url = URL.build(
            scheme="amqps" if self.endpoint.tls else "amqp", host=host, port=port, user=self._user, password=self.endpoint.password or "guest",
            path=f"/{self.endpoint.path}", query={"heartbeat": str(_HEARTBEAT), "name": f"pilvi {self.endpoint.agent}".strip()},
        )  # fmt: skip
        connection = self._connection = Connection(url, context=self.endpoint.tls)
        try:
            await connection.connect()
        except (exceptions.AuthenticationError, exceptions.ProbableAuthenticationError):
            raise Invalid(f"bus.user: the RabbitMQ server at {self.endpoint.url} does not know '{self._user}' with this password.") from None
        connection.closing.add_done_callback(lambda closing: lost(_ending(closing)))
        if self.me == CONTROL:
            channel = await self._channel()
            await channel.exchange_declare(self.endpoint.root, exchange_type="topic", durable=True)
            await channel.close()
        self._sending: Channel | None = None
        self._allowed: set[str] = set()  # addresses to which an agent has spoken
        self._answering = await self._channel()
        self._inbox = f"reply.{self.me}.{secrets.token_hex(8)}"
        queue = f"{self._own()}.{self._inbox}"
        await self._answering.queue_declare(queue, exclusive=True, auto_delete=True, arguments={"x-max-length": WAITING * 8})
        await self._answering.queue_bind(queue, self.endpoint.root, self._inbox)
        await self._answering.basic_consume(queue, self._came_back, no_ack=True)
        self._answering.closing.add_done_callback(lambda closing: lost(_ending(closing)))

    async def _channel(self, *, confirms: bool = False) -> Channel:
        if self._connection is None:
            raise ConnectionError("the connection has ended")
        return cast(Channel, await self._connection.channel(publisher_confirms=confirms))

    def _own(self) -> str:
        """What the names of our own queues begin with."""
        return f"{self.endpoint.root}.{'control' if self.me == CONTROL else 'host.' + self.me}"

    async def _listen(self, server: Server) -> None:
        shared = {}
        if self.me == CONTROL:
            shared[to_any(server.topic)] = f"{self.endpoint.root}.any.{token(server.topic)}"
        if server.host:
            shared[to_host(server.topic, server.host)] = f"{self.endpoint.root}.host.{token(server.host)}.{token(server.topic)}"
        own = {to_all(server.topic): f"{self._own()}.all.{token(server.topic)}.{secrets.token_hex(8)}"}

        for attempt in range(5):
            channel = await self._channel()
            try:
                server.link = await self._consume(channel, server, shared, own)
                break
            except exceptions.ChannelNotFoundEntity:
                # the last consumer of a shared queue has gone, and the queue with it, between our declaring and our consuming
                if attempt == 4:
                    raise
                await asyncio.sleep(0.05)

    async def _consume(self, channel: Channel, server: Server, shared: dict[str, str], own: dict[str, str]) -> _Listening:
        listening = _Listening(channel, [])

        async def came(message: DeliveredMessage) -> None:
            self._came(server, channel, message)

        def ended(closing: Any) -> None:
            if server.link is listening:
                self._lost(f"{server.topic} is not listened to any more: {_ending(closing)}")

        def cancelled(_: Any) -> None:
            ended(None)

        await channel.basic_qos(prefetch_count=WAITING)  # what waits must wait here: from the broker's queue comes no sign of life
        for address, queue in (own | shared).items():  # who can be called hears what is said to all
            alone = address in own
            await channel.queue_declare(queue, durable=not alone, exclusive=alone, auto_delete=True, arguments=dict(_OWN if alone else _SHARED))
            await channel.queue_bind(queue, self.endpoint.root, f"to.{address}")
            tag = (await channel.basic_consume(queue, came)).consumer_tag
            listening.consumers.append(str(tag))
        channel.closing.add_done_callback(ended)
        channel.on_consumer_cancel_callbacks.add(cancelled)  # its node of a cluster has gone
        return listening

    async def _unlisten(self, server: Server) -> None:
        listening: _Listening = server.link
        server.link = None
        for tag in listening.consumers:
            await listening.channel.basic_cancel(tag)
        # what was delivered and not begun goes back to the queue, and so to others
        await listening.channel.close()

    async def _send(self, letter: Letter) -> None:
        if letter.kind == "reply":
            properties = self._properties(letter, correlation_id=letter.call)
            await self._answering.basic_publish(
                letter.data, exchange=self.endpoint.root, routing_key=letter.address, properties=properties, wait=False
            )
            return
        if len(self._flight) >= _FLIGHT:
            await asyncio.wait(self._flight, return_when=asyncio.FIRST_COMPLETED)
        if self.me != CONTROL and letter.address not in self._allowed:
            await self._try(letter)
            return
        if self._sending is None or self._sending.is_closed:
            self._sending = await self._channel(confirms=True)
        task = self.loop.create_task(self._publish(self._sending, letter))
        self._flight.add(task)
        task.add_done_callback(self._flight.discard)

    async def _try(self, letter: Letter) -> None:
        """An agent's first message to an address: where the broker does not let it speak, the channel ends, and so it has one of its own."""
        channel = await self._channel(confirms=True)
        if await self._publish(channel, letter):
            self._allowed.add(letter.address)
            await channel.close()

    async def _publish(self, channel: Channel, letter: Letter) -> bool:
        """Send a message, and hear whether the broker has it and has somebody for it; answers whether we may speak there."""
        properties = self._properties(letter, message_id=letter.call or secrets.token_hex(12), reply_to=self._inbox if letter.call else None)
        key = f"to.{letter.address}"
        try:
            await channel.basic_publish(letter.data, exchange=self.endpoint.root, routing_key=key, properties=properties, mandatory=True, wait=False)
        except exceptions.PublishError:
            self._nobody(letter.call)
        except exceptions.DeliveryError:
            self._not_sent(letter, "too many messages wait there")
        except exceptions.ChannelAccessRefused:
            self._forbidden(letter.address)
            return False
        except Exception as error:
            self._not_sent(letter, reason(error))
            return False
        return True

    def _properties(self, letter: Letter, **more: Any) -> spec.Basic.Properties:
        milliseconds = str(max(1, min(int(letter.seconds * 1000), 86_400_000)))
        return spec.Basic.Properties(delivery_mode=1, user_id=self._user, expiration=milliseconds, **more)

    async def _flush(self) -> None:
        if self._flight:
            await asyncio.wait(self._flight, timeout=1.0)

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        for task in getattr(self, "_flight", ()):
            task.cancel()
        if connection is not None and not connection.is_closed:
            with suppress(asyncio.CancelledError):
                await connection.close()

    def _came(self, server: Server, channel: Channel, message: DeliveredMessage) -> None:
        """A message to a server.  It is acknowledged when it is begun: if we die at it, nobody begins it once more."""
        properties = message.header.properties
        tag = message.delivery_tag

        def taken() -> None:
            self._thread.do(self._acknowledge, channel, tag)

        user = properties.user_id or ""
        sender = user.removeprefix(AGENT) if user.startswith(AGENT) else CONTROL
        reply = properties.reply_to
        if not user or (reply and not reply.startswith(f"reply.{sender}.")):
            log.warning("a message without a sender, or that wants its answer elsewhere, was dropped", topic=server.topic, sender=user)
            taken()
            return
        answer_to = Letter("reply", reply, b"", call=properties.message_id or "") if reply else None
        self._arrived(server, sender, message.body, answer_to, taken)

    def _acknowledge(self, channel: Channel, tag: int | None) -> None:
        if tag is not None and not channel.is_closed:
            self.loop.create_task(self._acknowledged(channel, tag))

    async def _acknowledged(self, channel: Channel, tag: int) -> None:
        with suppress(Exception):  # the channel is ending: the message goes to others
            await channel.basic_ack(tag, wait=False)

    async def _came_back(self, message: DeliveredMessage) -> None:
        self._answered(message.header.properties.correlation_id or "", message.body)


def _ending(closing: Any) -> str:
    """Why something of the library has ended."""
    if closing is None or closing.cancelled():
        return "the connection has ended"
    error = closing.exception()
    return "the connection has ended" if error is None else reason(error)
