"""Which pools can take a volume, in which order, and why the others cannot."""

from __future__ import annotations

import msgspec

from pilvi.block_storage.drivers import Capacity

# what extra specs may ask of a pool beyond its name; everything else is for the driver
_CAPABILITIES = frozenset(
    {"storage_protocol", "vendor_name", "driver_version", "multiattach", "thin_provisioning_support", "QoS_support", "compression_support"}
)


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A back end's pool as it told last."""

    host: str  # host@backend
    zone: str
    capacity: Capacity

    @property
    def name(self) -> str:
        """host@backend#pool: each back end is one pool of its own name."""
        return f"{self.host}#{self.capacity.backend}"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a volume asks of its pool.  `pinned`: where its source lies."""

    size_gib: int
    zone: str = ""
    multiattach: bool = False
    specs: dict[str, str] = {}
    encrypted: bool = False
    pinned: str = ""
    excluded: frozenset[str] = frozenset()
    same_host: tuple[str, ...] = ()
    different_host: tuple[str, ...] = ()


def choose(pools: list[Pool], wish: Wish, *, over_subscription: float, reserved_percent: int) -> tuple[Pool | None, list[str]]:
    """The pool with the most room, and for each pool that cannot take the volume a sentence why."""
    fit: list[tuple[float, str, Pool]] = []
    why: list[str] = []
    for pool in pools:
        reason = refusal(pool, wish, over_subscription=over_subscription, reserved_percent=reserved_percent)
        if reason:
            why.append(f"{pool.name}: {reason}")
        else:
            fit.append((-room(pool.capacity, over_subscription, reserved_percent), pool.name, pool))
    return (min(fit, key=lambda one: one[:2])[2] if fit else None), why


def room(capacity: Capacity, over_subscription: float, reserved_percent: int) -> float:
    """GiB of virtual size that still fit."""
    free = capacity.free_gib - capacity.total_gib * reserved_percent / 100
    if not capacity.thin:
        return free
    return min(capacity.total_gib * over_subscription - capacity.provisioned_gib, free * over_subscription)


def refusal(pool: Pool, wish: Wish, *, over_subscription: float, reserved_percent: int) -> str:
    """Why the pool cannot take the volume; "" when it can."""
    capacity = pool.capacity
    if pool.name in wish.excluded:
        return "it has failed to make this volume"
    if wish.pinned and pool.host != wish.pinned.partition("#")[0]:
        return f"what the volume is made from lies in {wish.pinned}"
    if wish.zone and pool.zone != wish.zone:
        return f"it is in zone {pool.zone}, wanted is {wish.zone}"
    if wish.encrypted:
        return "it does not encrypt volumes, which the volume type asks for"
    if wish.multiattach and not capacity.multiattach:
        return "it does not let several servers attach a volume"
    if wish.same_host and pool.name not in wish.same_host:
        return "the scheduler hint same_host names volumes of other pools"
    if pool.name in wish.different_host:
        return "the scheduler hint different_host names a volume that is here"
    told = capabilities(capacity)
    for key, wanted in wish.specs.items():
        scope, _, name = key.rpartition(":")
        if scope not in ("", "capabilities") or (not scope and name not in _CAPABILITIES | {"volume_backend_name"}):
            continue
        if name in told and not _meets(told[name], wanted):
            return f"its {name} is {told[name]}, the volume type asks for {wanted}"
        if name not in told and scope:
            return f"it does not tell {name}, which the volume type asks for"
    free = room(capacity, over_subscription, reserved_percent)
    if free < wish.size_gib:
        return f"it has {capacity.total_gib:g} GiB, {max(free, 0):g} GiB are free, {wish.size_gib} GiB are needed"
    return ""


def capabilities(capacity: Capacity) -> dict[str, str]:
    """What a pool tells of itself, as extra specs name it."""
    return {
        "volume_backend_name": capacity.backend, "storage_protocol": capacity.protocol, "vendor_name": capacity.vendor,
        "driver_version": capacity.version, "multiattach": str(capacity.multiattach), "thin_provisioning_support": str(capacity.thin),
        "QoS_support": "False", "compression_support": "False",
    }  # fmt: skip


def _meets(told: str, wanted: str) -> bool:
    """Whether a capability is as an extra spec asks: plain, `<is> True`, or `<in> text`."""
    if wanted.startswith("<is>"):
        return told.lower() == wanted.removeprefix("<is>").strip().lower()
    if wanted.startswith("<in>"):
        return wanted.removeprefix("<in>").strip() in told
    if wanted.startswith("<or>"):
        return told in [part.strip() for part in wanted.split("<or>") if part.strip()]
    return told == wanted
