"""What has to happen on hosts after a change: durable work, never more of it waiting than is needed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.workflows import Workflow
from pilvi.kernel.workflows.store import Work
from pilvi.network.tables import Port, SecurityRule
from pilvi.network.workflows.realize import RealizeGroup, RealizeNetwork, RealizePort, RealizeRouter, leisure


def ensure_started(ctx: Context, workflow: Workflow, *, at_leisure: bool = False) -> None:
    """Start the workflow unless the same is waiting to be run: that one will see what this commit writes.

    `at_leisure`: when it has been run a moment ago it rests first, so that the changes of a storm are told together.
    """
    start_at = leisure(ctx.program).next_at(workflow.subject) if at_leisure else 0.0
    waiting = ctx.db.update(
        Work, Work.c.subject == workflow.subject, Work.c.kind == type(workflow).__name__, Work.c.step == 0, Work.c.lease_until < clock.now(),
        Work.c.state == msgspec.json.encode(workflow).decode(), wake_at=start_at,
    )  # fmt: skip
    if waiting:
        ctx.after_commit(ctx.program.workflows.alarm)
        return
    number = ctx.start(workflow)
    if start_at:
        ctx.db.update(Work, Work.c.id == number, wake_at=start_at)


def port_changed(ctx: Context, port: Port, *, members: bool = False) -> None:
    """A bound port is to be made as it is described; `members`: its addresses or groups are others."""
    for host in port.hosts:
        ensure_started(ctx, RealizePort(port=port.id, host=host))
    if members and port.host_id:
        group_members_changed(ctx, port.security_groups)


def port_gone(ctx: Context, port: Port) -> None:
    """A bound port is to vanish from its host (while its server moved: hosts), from DHCP and from others' rules."""
    if not port.hosts:
        return
    for host in port.hosts:
        ensure_started(ctx, RealizePort(port=port.id, host=host, network=port.network_id))
    network_left(ctx, port.network_id, port.hosts)
    group_members_changed(ctx, port.security_groups)


def port_left(ctx: Context, port: Port, host: str) -> None:
    """A port is to vanish from one host, but not from DHCP or others' rules: it is on another."""
    ensure_started(ctx, RealizePort(port=port.id, host=host, network=port.network_id))
    network_left(ctx, port.network_id, [host])


def network_changed(ctx: Context, network_id: str, *, at_leisure: bool = False) -> None:
    """DHCP and peers of the network are to be made as described."""
    ensure_started(ctx, RealizeNetwork(network=network_id), at_leisure=at_leisure)


def network_left(ctx: Context, network_id: str, hosts: Iterable[str]) -> None:
    """Something of the network, or all of it, is to vanish from hosts that had it."""
    wanted = sorted(hosts)
    if wanted:
        ensure_started(ctx, RealizeNetwork(network=network_id, hosts=wanted))


def router_changed(ctx: Context, router_id: str) -> None:
    """The router is to be made as described."""
    ensure_started(ctx, RealizeRouter(router=router_id))


def router_gone(ctx: Context, router_id: str, host: str) -> None:
    """The router is to vanish from its host."""
    if host:
        ctx.start(RealizeRouter(router=router_id, hosts=[host], leave=True))


def group_changed(ctx: Context, group_id: str) -> None:
    """All ports that the group's rules, or its members' addresses, concern are to be made as described."""
    ensure_started(ctx, RealizeGroup(group=group_id))


def group_members_changed(ctx: Context, group_ids: Iterable[str]) -> None:
    """Ports whose rules name these groups as the remote side are to be made as described."""
    for rule_group in {row.remote_group_id for row in ctx.db.by(SecurityRule, SecurityRule.c.remote_group_id, group_ids)}:
        if rule_group:
            ensure_started(ctx, RealizeGroup(group=rule_group, members=True), at_leisure=True)
