"""Which bus the settings ask for."""

from __future__ import annotations

from pilvi.kernel.bus import Bus
from pilvi.kernel.bus.endpoint import endpoint
from pilvi.kernel.config import BusSettings
from pilvi.kernel.errors import Invalid

PATIENCE = 15.0  # seconds for the broker to answer at first


def connect(settings: BusSettings, *, host: str, patience: float = PATIENCE) -> Bus:
    """The bus at `settings.url`, for the program of this host.

    With the credentials of an agent (its user at the broker is `names.agent_user(host)`) it speaks for that host only; with any others
    it is the control plane.  Raises Invalid for settings that are wrong and for credentials that the broker does not know,
    Unavailable when no broker answers within `patience` seconds.  Afterwards it finds its way back to the broker by itself.
    """
    scheme = settings.url.partition(":")[0]
    if scheme == "local":
        from pilvi.kernel.bus.local import LocalBus

        return LocalBus()
    if scheme in ("nats", "tls"):
        from pilvi.kernel.bus.nats import NatsBus

        return NatsBus(endpoint(settings, host), patience=patience)
    if scheme in ("amqp", "amqps"):
        from pilvi.kernel.bus.amqp import AmqpBus

        return AmqpBus(endpoint(settings, host), patience=patience)
    raise Invalid(f"bus.url: there is no bus for '{settings.url}'.", field="bus.url")
