"""Create a server: a host, its room, ports and volumes, the disks, the machine; another host where one fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import sqlalchemy as sa

from pilvi import network, placement
from pilvi.compute.operations import letting_go, volumes
from pilvi.compute.scheduler import TOPIC as SCHEDULER
from pilvi.compute.scheduler import Scheduler
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import RUNNING, Server, ServerNic
from pilvi.compute.workflows.clean_host import CleanHost
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import agent, clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import Back, effect, transaction


class CreateServer(ServerWork):
    """Build a server: claim room on a host, bind its ports, connect its volumes, start its machine."""

    host: str = ""
    refused: list[str] = []  # hosts on which it failed
    reason: str = ""  # of the last of them

    traced: ClassVar[bool] = False  # its steps are counted in the documentation
    event: ClassVar[str] = "compute__do_build_and_run_instance"
    what: ClassVar[str] = "create"

    @property
    def where(self) -> str:
        return self.host

    @effect(within=120, number="8-11", title="the conductor asks the scheduler for a host; it filters, weighs, claims, and answers")
    def choose_host(self, ctx: Context) -> None:
        scheduler = agent.remote(ctx.bus, Scheduler, SCHEDULER, timeout=60, request_id=ctx.request_id)
        self.host = scheduler.choose(self.server, self.refused).host

    @transaction(number="12", title="ports are created or bound to the host, addresses allocated, volumes reserved")
    def take_place(self, ctx: Context) -> None:
        server = self.load(ctx)
        nics = take_ports(ctx, server, self.host)
        devices = volumes.order(ctx, server)
        doing = "block_device_mapping" if devices else "spawning"
        ctx.db.change(server, nics=nics, task_state=doing, updated_at=clock.now())

    @effect(within=3600)
    def await_volumes(self, ctx: Context) -> None:
        if not volumes.await_made(ctx, self.server):
            raise Back("prepare")

    @transaction
    def reserve_volumes(self, ctx: Context) -> None:
        server = self.load(ctx)
        volumes.reserve(ctx, server)
        ctx.db.change(server, task_state="spawning")

    @effect(within=300, number="26-27", title="the volume connections are opened on the host")
    def connect_volumes(self, ctx: Context) -> None:
        with self.or_elsewhere(ctx):
            volumes.connect(ctx, self.server, self.host)

    @effect(within=7200, number="13-21", title="the host's agent asks for the machine, fetches the image and makes the disks")
    def prepare(self, ctx: Context) -> None:
        with self.or_elsewhere(ctx):
            self.until_done(self.agent(ctx, self.host).prepare(self.server, self.job(ctx, "prepare", self.host)))

    @effect(within=300, number="22-25", title="the network agent plugs the ports: fabric, anti-spoofing, security groups, DHCP, metadata")
    def plug_ports(self, ctx: Context) -> None:
        if self.read(ctx).nics:
            with self.or_elsewhere(ctx):
                network.plug(ctx.program, self.server, self.host)

    @effect(within=600, number="28", title="the agent starts the machine; it runs")
    def start_machine(self, ctx: Context) -> None:
        with self.or_elsewhere(ctx):
            self.until_done(self.agent(ctx, self.host).start(self.server, self.job(ctx, "start", self.host)))

    @transaction
    def announce(self, ctx: Context) -> None:
        """The server is ACTIVE."""
        server = self.load(ctx)
        now = clock.now()
        volumes.complete(ctx, server)
        count_builds(ctx.db, self.host, failed=False)
        self.settle(ctx, server, vm_state="active", power_state=RUNNING, launched_at=now, updated_at=now, progress=100)

    def failed(self, ctx: Context, why: str) -> None:
        if self.reason and not self.host:
            why = f"{self.reason}{'' if self.reason.endswith('.') else '.'} No other host would do. {why}"
        server = ctx.db.get_to_change(Server, self.server)
        ports = [nic.port_id for nic in server.nics] if server is not None else []
        if self.fall(ctx, why, nics=[], host=None, node=None) is not None and self.host:
            count_builds(ctx.db, self.host, failed=True)
            ctx.start(CleanHost(server=self.server, host=self.host, ports=ports))

    def fall(self, ctx: Context, why: str, *, vm_state: str | None = "error", **values: object) -> Server | None:
        """As all work falls, and what the server held is given back first."""
        server = ctx.db.get_to_change(Server, self.server)
        if server is not None and server.deleted_at is None:
            letting_go.give_back(ctx, server, failed=True)
        return super().fall(ctx, why, vm_state=vm_state, **values)

    @contextmanager
    def or_elsewhere(self, ctx: Context) -> Iterator[None]:
        """When this host fails, give back what lies there and go on from the choice of another, a few times."""
        try:
            yield
        except HostError as error:
            server = self.read(ctx)
            tries = ctx.program.settings.compute.scheduler_tries
            if not error.elsewhere or len(self.refused) + 1 >= tries or server.wishes.host:
                raise
            left = self.host
            self.refused, self.reason, self.host = [*self.refused, left], f"On host {left}: {error.message}", ""
            raise Back("choose_host", lambda ctx: leave(ctx, self.server, left)) from error


def take_ports(ctx: Context, server: Server, host: str) -> list[ServerNic]:
    """The server's ports, bound to the host: made or adopted as it was wished, once."""
    nics = list(server.nics)
    if not nics:
        for wish in server.wishes.nics:
            if wish.port_id:
                port = network.adopt_port(ctx, wish.port_id, server.id)
                nics.append(ServerNic(port_id=port.id, made=False, tag=wish.tag))
            else:
                port = network.create_port(
                    ctx, network_id=wish.network_id, server_id=server.id, fixed_ip=wish.fixed_ip or None, security_groups=server.wishes.groups
                )
                nics.append(ServerNic(port_id=port.id, tag=wish.tag))
    system = ctx.system()
    for nic in nics:
        network.bind_port(system, nic.port_id, host)
    return nics


def leave(ctx: Context, server_id: str, host: str) -> None:
    """Give back a host that failed: the claim, the ports' binding, and (later) what lies there."""
    server = ctx.db.get_to_change(Server, server_id)
    if server is None or server.deleted_at is not None or server.host != host:
        return
    for nic in server.nics:
        network.unbind_port(ctx.system(), nic.port_id)
    placement.release(ctx.db, server_id)
    count_builds(ctx.db, host, failed=True)
    ctx.db.change(server, host=None, node=None, task_state="scheduling")
    ctx.start(CleanHost(server=server_id, host=host, ports=[nic.port_id for nic in server.nics]))


def count_builds(tx: Transaction, host: str, *, failed: bool) -> None:
    """Note how a build on the host went: hosts that fail again and again are taken last."""
    c = ComputeHost.c
    if failed:
        tx.update(ComputeHost, c.host == host, version=c.version + 1, failed_builds=sa.case((c.failed_builds < 10, c.failed_builds + 1), else_=10))
    else:
        tx.update(ComputeHost, c.host == host, c.failed_builds > 0, version=c.version + 1, failed_builds=0)

