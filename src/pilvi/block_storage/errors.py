"""Errors of block storage where cinder has sentences of its own."""

from __future__ import annotations

from pilvi.kernel.errors import Invalid, QuotaExceeded


def wrong_state(what: str, kind: str, ref: str, status: str, wanted: str) -> Invalid:
    """The refusal of an action for which the thing is not in the right state."""
    return Invalid(f"Invalid {kind.lower()}: {kind} {ref} cannot be {what}: its status must be {wanted}, but it is {status}.")


def too_many(resource: str, limit: int, used: int) -> QuotaExceeded:
    """One more thing than the project may have."""
    return QuotaExceeded(
        f"Maximum number of {resource} allowed ({limit}) exceeded for quota '{resource}'.", resource=resource, limit=limit, used=used, asked=1
    )


def too_much(resource: str, limit: int, used: int, asked: int) -> QuotaExceeded:
    """More GiB than the project may have."""
    return QuotaExceeded(
        f"Requested volume or snapshot exceeds allowed {resource} quota. Requested {asked}G, quota is {limit}G and {used}G has been consumed.",
        resource=resource, limit=limit, used=used, asked=asked,
    )  # fmt: skip
