"""Compute's manifest."""

from __future__ import annotations

from collections.abc import Callable

from pilvi.compute import agent, conductor, console, policy, scheduler
from pilvi.compute.api import (
    attachments,
    beside_servers,
    instance_actions,
    server_actions,
    server_changes,
    server_looks,
    server_moves,
    server_parts,
    servers,
    shares,
)  # fmt: skip
from pilvi.compute.dialect import DIALECT, PATH, PORT
from pilvi.compute.operations import flavors, hearing, purging, resize, shelve
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.workflows.attach_interface import AttachInterface, DetachInterface
from pilvi.compute.workflows.attach_volume import AttachVolume, DetachVolume, GrowDisk
from pilvi.compute.workflows.cache_image import CacheImage
from pilvi.compute.workflows.change_power import ChangePower
from pilvi.compute.workflows.clean_host import CleanHost
from pilvi.compute.workflows.confirm_resize import ConfirmResize
from pilvi.compute.workflows.create_server import CreateServer
from pilvi.compute.workflows.delete_server import DeleteServer
from pilvi.compute.workflows.drain_host import DrainHost
from pilvi.compute.workflows.evacuate_server import EvacuateServer
from pilvi.compute.workflows.heal_server import HealServer
from pilvi.compute.workflows.live_migrate import LiveMigrate
from pilvi.compute.workflows.rebuild_server import RebuildServer
from pilvi.compute.workflows.resize_server import ResizeServer
from pilvi.compute.workflows.return_server import ReturnServer
from pilvi.compute.workflows.revert_resize import RevertResize
from pilvi.compute.workflows.shelve_server import OffloadServer, ShelveServer, UnshelveServer
from pilvi.compute.workflows.snapshot_server import DropSnapshot, SnapshotServer, SnapshotVolumes
from pilvi.kernel.program import Program
from pilvi.kernel.service import Service
from pilvi.kernel.workflows import Periodic

RESOURCES = [
    servers.servers,
    server_actions.actions,
    server_changes.changes,
    server_moves.actions,
    server_moves.migrations,
    server_parts.metadata,
    server_parts.tags,
    server_parts.ips,
    attachments.volumes,
    attachments.interfaces,
    instance_actions.instance_actions,
    server_looks.looks,
    server_looks.tokens,
    server_looks.diagnostics,
    server_looks.passwords,
    server_looks.topology,
    server_looks.groups,
    server_looks.outside,
    shares.shares,
    *beside_servers.RESOURCES,
]
RULES = [
    *policy.BASE,
    *servers.OTHERS,
    *server_actions.OTHERS,
    *server_changes.OTHERS,
    *server_moves.OTHERS,
    *attachments.OTHERS,
    *instance_actions.OTHERS,
    *server_looks.OTHERS,
    *beside_servers.OTHERS,
]
WORKFLOWS = [
    CreateServer, DeleteServer, CleanHost, HealServer, ChangePower, RebuildServer, ResizeServer, ConfirmResize, RevertResize,
    ReturnServer, LiveMigrate, EvacuateServer, DrainHost,
    SnapshotServer, SnapshotVolumes, DropSnapshot, ShelveServer, OffloadServer, UnshelveServer, AttachVolume, DetachVolume, GrowDisk,
    AttachInterface, DetachInterface, CacheImage,
]  # fmt: skip
PERIODIC = [
    Periodic("compute-confirm-resizes", 60, resize.confirm_overdue),
    Periodic("compute-offload-shelved", 60, shelve.offload_overdue),
    Periodic("compute-reclaim", 60, purging.reclaim),
    Periodic("compute-purge", 3600, purging.purge),
]
ROLES: dict[str, Callable[[Program], Callable[[], None]]] = {
    "scheduler": scheduler.serve,
    "conductor": conductor.serve,
    "compute": agent.serve,
    "console": console.serve,
}

SERVICE = Service(
    name="compute",
    type="compute",
    title="nova",
    path=PATH,
    port=PORT,
    catalog="/v2.1",
    dialect=DIALECT,
    resources=RESOURCES,
    rules=RULES,
    workflows=WORKFLOWS,
    hears=hearing.HEARS,
    periodic=PERIODIC,
    roles=ROLES,
    agents_call=[conductor.TOPIC],
    agents_serve=[agent.TOPIC],
    heartbeats=[ComputeHost.c.heartbeat_at],
    bootstrap=flavors.bootstrap,
    project_paths="/v2.1",
    path_aliases={"/v2": "/v2.1"},
)
