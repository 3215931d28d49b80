"""The manifest of block storage: all that the program knows of it."""

from __future__ import annotations

from pilvi.block_storage import agent, checks, conductor, policy, scheduler
from pilvi.block_storage.api import about, hosts, quotas, type_extras, volume_actions, volume_attaching, volume_metadata
from pilvi.block_storage.api.attachments import attachments
from pilvi.block_storage.api.backups import backups
from pilvi.block_storage.api.group_types import group_types
from pilvi.block_storage.api.groups import group_snapshots, groups
from pilvi.block_storage.api.messages import messages
from pilvi.block_storage.api.snapshots import snapshots
from pilvi.block_storage.api.transfers import older_transfers, transfers
from pilvi.block_storage.api.types import types
from pilvi.block_storage.api.versions import versions
from pilvi.block_storage.api.volumes import volumes
from pilvi.block_storage.dialect import DIALECT, PATH, PORT
from pilvi.block_storage.operations.messages import sweep as messages_sweep
from pilvi.block_storage.operations.types import bootstrap
from pilvi.block_storage.tables.hosts import ServiceHost
from pilvi.block_storage.workflows.change_volume import ExtendVolume, ReimageVolume, RevertVolume
from pilvi.block_storage.workflows.close_export import CloseExport
from pilvi.block_storage.workflows.copies import CreateBackup, DeleteBackup, RestoreBackup, SweepCopy, UploadVolume
from pilvi.block_storage.workflows.create_volume import CreateVolume
from pilvi.block_storage.workflows.delete_volume import DeleteVolume
from pilvi.block_storage.workflows.groups import EmptyGroup, EmptyGroupSnapshot, FillGroup, FillGroupSnapshot
from pilvi.block_storage.workflows.snapshots import CreateSnapshot, DeleteSnapshot
from pilvi.kernel.service import Service
from pilvi.kernel.workflows import Periodic

SERVICE = Service(
    name="block_storage",
    type="block-storage",
    title="cinder",
    path=PATH,
    port=PORT,
    catalog="/v3",
    project_paths="/v3",
    aliases=("volumev3",),
    dialect=DIALECT,
    resources=[
        versions, volumes, volume_actions.actions, volume_attaching.attaching, volume_metadata.actions, volume_metadata.volume_metadata,
        snapshots, volume_metadata.snapshot_metadata, attachments, types, type_extras.encryption, type_extras.qos, type_extras.default_types,
        group_types, groups, group_snapshots, backups, older_transfers, transfers, messages,
        quotas.quota_sets, quotas.class_sets, quotas.limits, hosts.services, hosts.pools,
        hosts.capabilities, hosts.hosts, hosts.availability_zones, about.extensions, about.resource_filters, about.manage_volumes,
        about.manage_snapshots, about.manageable_volumes, about.manageable_snapshots, about.workers, about.clusters, about.volume_encryption,
    ],
    rules=policy.FURTHER,
    workflows=[
        CreateVolume, DeleteVolume, ExtendVolume, ReimageVolume, RevertVolume, CreateSnapshot, DeleteSnapshot, UploadVolume, SweepCopy, CreateBackup,
        DeleteBackup, RestoreBackup, FillGroup, EmptyGroup, FillGroupSnapshot, EmptyGroupSnapshot,
        CloseExport,
    ],
    roles={"conductor": conductor.serve, "scheduler": scheduler.serve, "volume": agent.serve},
    agents_call=[conductor.TOPIC],
    agents_serve=[agent.TOPIC],
    heartbeats=[ServiceHost.c.beat_at],
    periodic=[Periodic("block_storage.messages", 3600.0, messages_sweep)],
    checks=[checks.volumes, checks.backups, checks.servers],
    bootstrap=bootstrap,
)  # fmt: skip
