"""Attach a card to a server, and detach it: the network plugs the port, the hypervisor the card."""

from __future__ import annotations

from typing import ClassVar

from pilvi import network
from pilvi.compute.operations import actions
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound
from pilvi.kernel.workflows import effect, transaction


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
        if server.host:
            self.until_done(self.agent(ctx, server.host).detach_nic(self.server, self.port, self.job(ctx, "unplug", self.port)))

    @transaction
    def note(self, ctx: Context) -> None:
        """The card is gone."""
        give_port_back(self, ctx)
        actions.finish(ctx, self.load(ctx), self.event, self.what)

    def failed(self, ctx: Context, why: str) -> None:
        actions.finish(ctx, self.load(ctx), self.event, self.what, why=why)


def give_port_back(work: AttachInterface | DetachInterface, ctx: Context) -> None:
    """Delete or release the port, and forget the card."""
    server = work.load(ctx)
    nic = next((one for one in server.nics if one.port_id == work.port), None)
    if nic is None:
        return
    try:
        if nic.made:
            network.delete_port(ctx.system(), nic.port_id)
        else:
            network.release_port(ctx.system(), nic.port_id)
    except NotFound:
        pass  # somebody deleted the port
    ctx.db.change(server, nics=[one for one in server.nics if one.port_id != work.port], updated_at=clock.now())
