"""What an operator may set of block storage."""

from __future__ import annotations

import msgspec


class QuotaSettings(msgspec.Struct, forbid_unknown_fields=True):
    """Default limits of a project; -1 is no limit.  Gigabytes count volumes and snapshots."""

    volumes: int = 10
    snapshots: int = 10
    gigabytes: int = 1000
    backups: int = 10
    backup_gigabytes: int = 1000
    per_volume_gigabytes: int = -1
    groups: int = 10


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """The section `block_storage`."""

    driver: str = "file"
    backend: str = ""  # volume_backend_name of this host's back end; "": the driver's name
    address: str = ""  # where volumes are served to other hosts' guests; "": to this host's only
    port: int = 10809
    availability_zone: str = "nova"
    fake_total_gib: float = 1000.0  # the size of a fake back end
    default_volume_type: str = "__DEFAULT__"
    over_subscription: float = 20.0  # how often a thin back end's space may be promised
    reserved_percent: int = 0  # of a back end's space, kept free
    heartbeat: float = 10.0  # seconds between two reports of a back end
    down_after: float = 60.0  # seconds without a report until a back end is down
    max_page: int = 1000  # things in one answer
    scheduler_tries: int = 3  # back ends tried for one volume
    create_timeout: float = 7200.0  # seconds for filling a volume
    copy_timeout: float = 7200.0  # seconds for a copy of a volume: upload, backup, snapshot
    busy_timeout: float = 600.0  # seconds that removing or growing waits for a copy to end
    message_ttl: float = 30 * 86400.0  # seconds that user messages are kept
    quota: QuotaSettings = msgspec.field(default_factory=QuotaSettings)
