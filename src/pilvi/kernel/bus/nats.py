"""The bus over NATS: subjects that carry the sender, queue groups for any server, the broker's word for who is not there.

Messages have the subjects `<root>.<sender>.<topic>.any`, `.all` or `.host.<host>`; answers `<root>-inbox.<sender>.<process>.<call>`.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from pilvi.kernel import log
from pilvi.kernel.bus import MAX_BYTES
from pilvi.kernel.bus.brokered import BrokeredBus
from pilvi.kernel.bus.letters import Letter, Server
from pilvi.kernel.bus.names import CONTROL, to_all, to_any, to_host
from pilvi.kernel.errors import Invalid

INBOX = "-inbox"  # what follows the root in the subjects of answers
GROUP = "pilvi"  # of the servers that share a subject's messages
PING_SECONDS = 5  # a connection that is silent for three times as long has ended
_DENIED = re.compile(r'for publish to "[^."]+\.[^."]+\.([^"]+)"', re.IGNORECASE)


class NatsBus(BrokeredBus):
    """A bus over a NATS server or cluster."""

    kind = "NATS"
    _client: Client | None = None

    @property
    def most(self) -> int:
        return MAX_BYTES if self._client is None else min(MAX_BYTES, self._client.max_payload)

    async def _open(self, lost: Callable[[str], None]) -> None:
        host, port = random.choice(self.endpoint.addresses)
        self._inbox = f"{self.endpoint.root}{INBOX}.{self.me}.{secrets.token_hex(8)}"
        client = self._client = Client()
        self._lost, trouble = lost, ""

        async def told(error: Exception) -> None:
            nonlocal trouble
            trouble = _words(error)
            if denied := _DENIED.search(str(error)):
                self._forbidden(denied[1])
            elif "permissions violation" in str(error).lower():
                log.error("the broker refused", bus=self.endpoint.url, why=trouble)

        async def ended() -> None:
            lost(trouble or "the connection has ended")

        def password() -> str:
            self._check_encrypted(client)
            return self.endpoint.password

        try:
            # one connection is one client: its own way back would send what has grown old while it was away
            await client.connect(
                f"{'tls' if self.endpoint.tls else 'nats'}://{f'[{host}]' if ':' in host else host}:{port}",
                error_cb=told, closed_cb=ended, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0,
                connect_timeout=5, name=f"pilvi {self.endpoint.agent}".strip(), tls=self.endpoint.tls, tls_hostname=host,
                user=self.endpoint.user or None, password=password if self.endpoint.user else None,
                ping_interval=PING_SECONDS, max_outstanding_pings=2, pending_size=MAX_BYTES,
            )  # fmt: skip
        except errors.NoServersError:
            raise ConnectionError(trouble or "nobody listens there") from None
        except errors.Error as error:
            if "authorization" in str(error).lower():
                raise Invalid(f"bus.user: the NATS server at {self.endpoint.url} does not know '{self.endpoint.user}' with this password.") from None
            raise
        self._check_encrypted(client)
        await client.subscribe(f"{self._inbox}.*", cb=self._came_back)

    def _check_encrypted(self, client: Client) -> None:
        """The encryption begins when the server asks for it; one in the middle that does not ask must learn nothing."""
        writer: Any = getattr(client._transport, "_io_writer", None)
        if self.endpoint.tls and (writer is None or writer.get_extra_info("ssl_object") is None):
            raise ConnectionError("it does not encrypt")

    async def _listen(self, server: Server) -> None:
        assert self._client is not None
        sender, others = ("*", True) if self.me == CONTROL else (CONTROL, False)
        subjects = [(to_all(server.topic), "")]
        if others:
            subjects.append((to_any(server.topic), GROUP))
        if server.host:
            subjects.append((to_host(server.topic, server.host), GROUP))

        async def came(message: Msg) -> None:
            self._came(server, message)

        server.link = [await self._client.subscribe(f"{self.endpoint.root}.{sender}.{address}", queue=group, cb=came) for address, group in subjects]
        await self._flush()

    async def _unlisten(self, server: Server) -> None:
        subscriptions: list[Subscription] = server.link
        for subscription in subscriptions:
            await subscription.unsubscribe()
        await self._flush()

    async def _send(self, letter: Letter) -> None:
        assert self._client is not None
        address, reply = f"{self.endpoint.root}.{self.me}.{letter.address}", f"{self._inbox}.{letter.call}" if letter.call else ""
        try:
            await self._client.publish(letter.address if letter.kind == "reply" else address, letter.data, reply)
        except errors.ConnectionClosedError:
            self._lost("the connection has ended")  # the library does not always tell, when it ends it after a long sleep
            raise

    async def _flush(self) -> None:
        assert self._client is not None
        # the library's question overtakes what it has not written yet; when the first is answered that is written, and the second is behind it
        await self._client.flush(5)
        await self._client.flush(5)

    async def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(asyncio.CancelledError):
                await client.close()

    def _came(self, server: Server, message: Msg) -> None:
        """A message to a server: its subject's second part is what the broker lets the sender say of itself."""
        sender = message.subject.split(".", 2)[1]
        reply = message.reply
        if reply and not reply.startswith(f"{self.endpoint.root}{INBOX}.{sender}."):
            # our answer would be sent with our rights to where the sender may not speak
            log.warning("a message that wants its answer elsewhere was dropped", topic=server.topic, sender=sender)
            return
        self._arrived(server, sender, message.data, Letter("reply", reply, b"") if reply else None)

    async def _came_back(self, message: Msg) -> None:
        ident = message.subject.rpartition(".")[2]
        if not message.data and (message.headers or {}).get("Status") == "503":
            self._nobody(ident)
        else:
            self._answered(ident, message.data)


def _words(error: Exception) -> str:
    return " ".join(str(error).split()).removeprefix("nats: ") or type(error).__name__
