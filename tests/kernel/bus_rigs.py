"""The three buses as tests use them: connections of the control plane and of agents, and what a stranger can do with a real client."""

from __future__ import annotations

import asyncio
import fcntl
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import aiormq
import msgspec
import nats
from yarl import URL

from pilvi.kernel.bus import Bus, Message
from pilvi.kernel.bus.amqp_rights import definitions
from pilvi.kernel.bus.broker import Broker
from pilvi.kernel.bus.connect import connect
from pilvi.kernel.bus.local import LocalBus
from pilvi.kernel.bus.names import AgentTopics, agent_user
from pilvi.kernel.config import BusSettings
from pilvi.kernel.testing.brokers import Rabbitmq
from pilvi.kernel.testing.ports import take_port

T = TypeVar("T")
HOSTILE = ("a.b", "a", "A", "*", ">", "#", "_", "any", "hôst ☃", "$SYS", "a_2eb", "x" * 250, "x" * 251)
HOSTS = ("north", "south", *HOSTILE)
TOPICS = AgentTopics(call=("told", "told.too"), serve=("sky",))


def said(method: str, **arguments: Any) -> Message:
    return Message(method, msgspec.Raw(msgspec.msgpack.encode(arguments)), "req-1")


def value(raw: msgspec.Raw) -> Any:
    return msgspec.msgpack.decode(raw)


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


class Rig:
    """One kind of bus.  What is opened here is closed with it."""

    def __init__(self) -> None:
        self.opened: list[Bus] = []

    def bus(self) -> Bus:
        """A connection of the control plane."""
        raise AssertionError

    def agent(self, host: str) -> Bus:
        """A connection of the agent of one of HOSTS."""
        raise AssertionError

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()

    def _open(self, settings: BusSettings, host: str) -> Bus:
        bus = connect(settings, host=host, patience=30)
        self.opened.append(bus)
        return bus


class LocalRig(Rig):
    def __init__(self) -> None:
        super().__init__()
        self._bus = LocalBus()
        self.opened.append(self._bus)

    def bus(self) -> Bus:
        return self._bus

    def agent(self, host: str) -> Bus:
        return self._bus.acting_as(host)


class BrokerRig(Rig):
    """A bus with a broker that can be killed, and strangers who speak to it by other means."""

    url: str
    user = ""  # of the control plane
    password = ""
    passwords: dict[str, str]  # by host

    def bus(self) -> Bus:
        return self._open(BusSettings(url=self.url, user=self.user, password=self.password), "control")

    def agent(self, host: str) -> Bus:
        return self._open(BusSettings(url=self.url, user=agent_user(host), password=self.passwords[host]), host)

    def kill(self) -> None:
        raise AssertionError

    def start_again(self) -> None:
        raise AssertionError

    def raw(self, address: str, data: bytes, wait: float = 5.0) -> bytes:
        """The answer to bytes that a client of the control plane sends to an address; b"" when there is none in time."""
        raise AssertionError

    def forge(self, host: str, address: str, data: bytes) -> list[str]:
        """Have an agent try to send under other names, and where it may not; what the broker let pass."""
        raise AssertionError

    def forge_claim(self, host: str, address: str, data: bytes) -> None:
        """Have an agent send bytes under its own name."""
        raise AssertionError

    def eavesdrop(self, host: str) -> list[str]:
        """Have an agent try to listen where it may not; what the broker let pass."""
        raise AssertionError

    def doubled(self, address: str, during: Callable[[], T], first: bytes = b"\x91\x01") -> T:
        """What happens while a server at the address answers each call three times: `first` (the value 1), then 2 and 3."""
        raise AssertionError


class NatsRig(BrokerRig):
    user = "control"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.broker = Broker(BusSettings(serve=f"127.0.0.1:{take_port()}"), folder, TOPICS)
        self.broker.ensure()
        self.url = self.broker.url
        self.password = (folder / "control.password").read_text()
        self.passwords = {host: self.broker.ensure_user(host) for host in HOSTS}

    def kill(self) -> None:
        self.broker.stop()

    def start_again(self) -> None:
        self.broker.ensure()

    def _with(self, user: str, password: str, do: Callable[[Any, list[str]], Awaitable[T]]) -> T:
        async def run() -> T:
            refused: list[str] = []

            async def told(error: Exception) -> None:
                refused.append(str(error))

            client = await nats.connect(self.url, user=user, password=password, error_cb=told)
            try:
                return await do(client, refused)
            finally:
                await client.close()

        return asyncio.run(run())

    def raw(self, address: str, data: bytes, wait: float = 5.0) -> bytes:
        async def do(client: Any, _: list[str]) -> bytes:
            inbox = f"pilvi-inbox._.{secrets.token_hex(4)}.1"
            answers = await client.subscribe(inbox)
            await client.publish(f"pilvi._.{address}", data, inbox)
            try:
                return (await answers.next_msg(wait)).data
            except nats.errors.TimeoutError:
                return b""

        return self._with(self.user, self.password, do)

    def forge(self, host: str, address: str, data: bytes) -> list[str]:
        async def do(client: Any, refused: list[str]) -> list[str]:
            passed: list[str] = []
            for sender in ("_", "south", "*"):
                before = len(refused)
                await client.publish(f"pilvi.{sender}.{address}", data, f"pilvi-inbox.{host}.1.1")
                await client.flush()
                await asyncio.sleep(0.05)
                if len(refused) == before:
                    passed.append(sender)
            for subject in ("pilvi.north.secret.any", "pilvi.north.told.all", "pilvi-inbox._.1.1", "pilvi-inbox.south.1.1", "$SYS.REQ.SERVER.PING"):
                before = len(refused)
                await client.publish(subject, data)
                await client.flush()
                await asyncio.sleep(0.05)
                if len(refused) == before:
                    passed.append(subject)
            # under its own name, but the answer is to go where only the control plane may speak
            await client.publish(f"pilvi.{host}.{address}", data, "pilvi._.sky.host.south")
            await client.flush()
            return passed

        return self._with(agent_user(host), self.passwords[host], do)

    def forge_claim(self, host: str, address: str, data: bytes) -> None:
        async def do(client: Any, _: list[str]) -> None:
            await client.publish(f"pilvi.{host}.{address}", data)
            await client.flush()

        self._with(agent_user(host), self.passwords[host], do)

    def eavesdrop(self, host: str) -> list[str]:
        async def do(client: Any, refused: list[str]) -> list[str]:
            passed: list[str] = []
            for subject in (">", "pilvi.>", "pilvi._.sky.host.south", "pilvi._.sky.any", "pilvi.*.told.any", "pilvi-inbox.>", "pilvi-inbox._.>"):
                before = len(refused)
                await client.subscribe(subject)
                await client.flush()
                await asyncio.sleep(0.05)
                if len(refused) == before:
                    passed.append(subject)
            return passed

        return self._with(agent_user(host), self.passwords[host], do)

    def doubled(self, address: str, during: Callable[[], T], first: bytes = b"\x91\x01") -> T:
        async def do(client: Any, _: list[str]) -> T:
            async def answer(message: Any) -> None:
                for data in (first, b"\x91\x02", b"\x91\x03"):
                    await client.publish(message.reply, data)

            await client.subscribe(f"pilvi.*.{address}", cb=answer)
            await client.flush()
            return await asyncio.get_running_loop().run_in_executor(None, during)

        return self._with(self.user, self.password, do)


class RabbitRig(BrokerRig):
    user = "control"
    started: ClassVar[dict[Path, RabbitRig]] = {}  # by this process

    @classmethod
    def at(cls, folder: Path) -> RabbitRig:
        """The one of the folder, which this or another process has started; started again if it has ended with that process."""
        rig = cls.started.get(folder)
        if rig is None:
            rig = cls.started[folder] = RabbitRig(folder)
        elif not rig.broker.runs():
            rig.broker.start_again()
        return rig

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(exist_ok=True)
        known = folder / "passwords.json"
        if not known.exists():
            known.write_text(json.dumps({host: secrets.token_hex(8) for host in (*HOSTS, "")}))
        self.passwords = json.loads(known.read_text())
        self.password = self.passwords[""]
        hosts = {host: self.passwords[host] for host in HOSTS}
        self.broker = Rabbitmq(folder, definitions(hosts, {self.user: self.password}, TOPICS))
        self.url = self.broker.url

    def kill(self) -> None:
        self.broker.kill()

    def start_again(self) -> None:
        self.broker.start_again()

    def _with(self, user: str, password: str, do: Callable[[aiormq.Connection], Awaitable[T]]) -> T:
        async def run() -> T:
            connection = aiormq.Connection(URL(self.url).with_user(user).with_password(password))
            await connection.connect()
            try:
                return await do(connection)
            finally:
                await connection.close()

        return asyncio.run(run())

    def raw(self, address: str, data: bytes, wait: float = 5.0) -> bytes:
        async def do(connection: aiormq.Connection) -> bytes:
            channel = await connection.channel()
            key, answers = f"reply._.{secrets.token_hex(4)}", asyncio.Queue[bytes]()

            async def came(message: Any) -> None:
                answers.put_nowait(message.body)

            queue = (await channel.queue_declare(exclusive=True)).queue
            await channel.queue_bind(queue, "pilvi", key)
            await channel.basic_consume(queue, came, no_ack=True)
            properties = aiormq.spec.Basic.Properties(user_id=self.user, reply_to=key, message_id="1")
            await channel.basic_publish(data, exchange="pilvi", routing_key=f"to.{address}", properties=properties)
            try:
                return await asyncio.wait_for(answers.get(), wait)
            except TimeoutError:
                return b""

        return self._with(self.user, self.password, do)

    def forge(self, host: str, address: str, data: bytes) -> list[str]:
        async def do(connection: aiormq.Connection) -> list[str]:
            passed: list[str] = []
            mine = agent_user(host)
            tries = [("pilvi", f"to.{address}", user) for user in (self.user, agent_user("south"), "guest")]
            tries += [("pilvi", key, mine) for key in ("to.secret.any", "to.told.all", "to.sky.host.south", "to.sky.all")]
            tries += [("", "pilvi.any.told", mine), ("amq.topic", f"to.{address}", mine)]
            for exchange, key, user in tries:
                channel = await connection.channel()
                try:
                    properties = aiormq.spec.Basic.Properties(user_id=user, reply_to=f"reply.{host}.1", message_id="1")
                    await channel.basic_publish(data, exchange=exchange, routing_key=key, properties=properties)
                    passed.append(f"{exchange} {key} {user}")
                except aiormq.exceptions.ChannelClosed:
                    pass
            channel = await connection.channel()
            # what the broker lets pass, and the receiver must not: without a name, and with an answer that is to go to somebody else
            for properties in (
                aiormq.spec.Basic.Properties(reply_to=f"reply.{host}.1", message_id="1"),
                aiormq.spec.Basic.Properties(user_id=mine, reply_to="to.sky.host.south", message_id="1"),
            ):
                await channel.basic_publish(data, exchange="pilvi", routing_key=f"to.{address}", properties=properties)
            return passed

        return self._with(agent_user(host), self.passwords[host], do)

    def forge_claim(self, host: str, address: str, data: bytes) -> None:
        async def do(connection: aiormq.Connection) -> None:
            properties = aiormq.spec.Basic.Properties(user_id=agent_user(host))
            await (await connection.channel()).basic_publish(data, exchange="pilvi", routing_key=f"to.{address}", properties=properties)

        self._with(agent_user(host), self.passwords[host], do)

    def eavesdrop(self, host: str) -> list[str]:
        async def do(connection: aiormq.Connection) -> list[str]:
            passed: list[str] = []
            queue = f"pilvi.host.{host}.curious"
            for key in ("#", "to.#", "to.sky.host.south", "to.sky.any", "to.told.any", "reply.#", "reply._.*", "to.*.host.*"):
                channel = await connection.channel()
                try:
                    await channel.queue_declare(queue, exclusive=True)
                    await channel.queue_bind(queue, "pilvi", key)
                    passed.append(key)
                except aiormq.exceptions.ChannelClosed:
                    pass
            for name in ("pilvi.any.told", "pilvi.host.south.sky"):
                channel = await connection.channel()
                try:
                    await channel.basic_consume(name, _nothing)
                    passed.append(name)
                except aiormq.exceptions.ChannelClosed:
                    pass
            return passed

        return self._with(agent_user(host), self.passwords[host], do)

    def doubled(self, address: str, during: Callable[[], T], first: bytes = b"\x91\x01") -> T:
        async def do(connection: aiormq.Connection) -> T:
            channel = await connection.channel(publisher_confirms=False)

            async def answer(message: Any) -> None:
                asked = message.header.properties
                for data in (first, b"\x91\x02", b"\x91\x03"):
                    properties = aiormq.spec.Basic.Properties(correlation_id=asked.message_id)
                    await channel.basic_publish(data, exchange="pilvi", routing_key=asked.reply_to, properties=properties)

            queue = (await channel.queue_declare(exclusive=True)).queue
            await channel.queue_bind(queue, "pilvi", f"to.{address}")
            await channel.basic_consume(queue, answer, no_ack=True)
            return await asyncio.get_running_loop().run_in_executor(None, during)

        return self._with(self.user, self.password, do)


async def _nothing(_: Any) -> None: ...


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Have no other process of the tests here at the same time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
