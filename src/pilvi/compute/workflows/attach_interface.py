"""Attach a card to a server, and detach it: the network plugs the port, the hypervisor the card."""

from __future__ import annotations

from typing import ClassVar

from pilvi import network
from pilvi.compute.operations import actions
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import HostError, NotFound
from pilvi.kernel.workflows import Wait, effect, transaction

_AGAIN = 5.0  # seconds until a host is asked again that could not unplug the card of a deleted port


class AttachInterface(ServerWork):
    """The port is the server's and bound to its host; make it so."""

    port: str

    event: ClassVar[str] = "compute_attach_interface"
    what: ClassVar[str] = "attach_interface"

    @effect(within=300)
    def plug(self, ctx: Context) -> None:
        """Plug the port on the host, then the card into the machine."""
        server = self.read(ctx)
        if server.host:
            network.plug(ctx.program, self.server, server.host)
            self.until_done(self.agent(ctx, server.host).attach_nic(self.server, self.port, self.job(ctx, "plug", self.port)))

    @transaction
    def note(self, ctx: Context) -> None:
        """The card is there."""
        server = self.load(ctx)
        ctx.db.change(server, updated_at=clock.now())
        actions.finish(ctx, server, self.event, self.what)

    def failed(self, ctx: Context, why: str) -> None:
        """The port is given back; the server is as it was."""
        give_port_back(self, ctx)
        actions.finish(ctx, self.load(ctx), self.event, self.what, why=why)


class DetachInterface(ServerWork):
    """Unplug the card, then the port; the port is deleted if compute made it."""

    port: str

    event: ClassVar[str] = "compute_detach_interface"
    what: ClassVar[str] = "detach_interface"

    @effect(within=300)
    def unplug(self, ctx: Context) -> None:
        """Unplug the card from the machine; the port leaves the host when it is given back."""
        server = self.read(ctx)
        if not server.host:
            return
        try:
            self.until_done(self.agent(ctx, server.host).detach_nic(self.server, self.port, self.job(ctx, "unplug", self.port)))
        except HostError as error:
            with ctx.program.db.transaction(write=False) as tx:
                if self._has_port(tx):
                    raise
            raise Wait(_AGAIN) from error  # the port is gone, so the card cannot stay

    @transaction
    def note(self, ctx: Context) -> None:
        """The card is gone."""
        give_port_back(self, ctx)
        actions.finish(ctx, self.load(ctx), self.event, self.what)

    def failed(self, ctx: Context, why: str) -> None:
        """The card stays, unless its port was deleted: then it is the machine's until its next start."""
        if not self._has_port(ctx.db):
            give_port_back(self, ctx)
        actions.finish(ctx, self.load(ctx), self.event, self.what, why=why)

    def preempted(self, ctx: Context) -> None:
        self.fail_preempted(ctx)

    def _has_port(self, tx: Transaction) -> bool:
        return any(one.id == self.port for one in network.ports_of(tx, [self.server]).get(self.server, []))


def give_port_back(work: AttachInterface | DetachInterface, ctx: Context) -> None:
    """Delete or release the port, and forget the card."""
    server = work.load(ctx)
    nic = next((one for one in server.nics if one.port_id == work.port), None)
    if nic is None:
        return
    ctx.db.change(server, nics=[one for one in server.nics if one.port_id != work.port], updated_at=clock.now())
    try:
        if nic.made:
            network.delete_port(ctx.system(), nic.port_id)
        else:
            network.release_port(ctx.system(), nic.port_id)
    except NotFound:
        pass  # somebody deleted the port
