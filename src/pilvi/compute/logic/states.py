"""States: which action is allowed when, and which one word (the status) a server's state is told in.

A server has a `vm_state` (what it is) and a `task_state` (what is being done to it).  The table `ACTIONS` says for
each action in which vm_states it may be asked for, and whether anything else may be under way.
"""

from __future__ import annotations

from typing import NamedTuple

from pilvi.kernel.errors import Conflict

# what a server is called while something is being done to it: (vm_state, task_state) -> status
_DOING: dict[str, dict[str, str]] = {
    "active": {
        "rebooting": "REBOOT", "reboot_pending": "REBOOT", "reboot_started": "REBOOT",
        "rebooting_hard": "HARD_REBOOT", "reboot_pending_hard": "HARD_REBOOT", "reboot_started_hard": "HARD_REBOOT",
        "updating_password": "PASSWORD",
        "rebuilding": "REBUILD", "rebuild_block_device_mapping": "REBUILD", "rebuild_spawning": "REBUILD",
        "migrating": "MIGRATING",
        "resize_prep": "RESIZE", "resize_migrating": "RESIZE", "resize_migrated": "RESIZE", "resize_finish": "RESIZE",
    },
    "stopped": {
        "resize_prep": "RESIZE", "resize_migrating": "RESIZE", "resize_migrated": "RESIZE", "resize_finish": "RESIZE",
        "rebuilding": "REBUILD", "rebuild_block_device_mapping": "REBUILD", "rebuild_spawning": "REBUILD",
    },
    "error": {"rebuilding": "REBUILD", "rebuild_block_device_mapping": "REBUILD", "rebuild_spawning": "REBUILD"},
    "resized": {"resize_reverting": "REVERT_RESIZE"},
    "paused": {"migrating": "MIGRATING"},
}  # fmt: skip

# and at rest: vm_state -> status
_BEING: dict[str, str] = {
    "active": "ACTIVE", "building": "BUILD", "stopped": "SHUTOFF", "resized": "VERIFY_RESIZE", "paused": "PAUSED",
    "suspended": "SUSPENDED", "rescued": "RESCUE", "error": "ERROR", "deleted": "DELETED", "soft-delete": "SOFT_DELETED",
    "shelved": "SHELVED", "shelved_offloaded": "SHELVED_OFFLOADED",
}  # fmt: skip
_STATUS = {(vm, task): status for vm, tasks in _DOING.items() for task, status in tasks.items()}


def status(vm_state: str, task_state: str | None) -> str:
    """ACTIVE, BUILD, SHUTOFF, ...: the one word for people."""
    if task_state:
        found = _STATUS.get((vm_state, task_state))
        if found:
            return found
    return _BEING.get(vm_state, "UNKNOWN")


def states_of(word: str) -> tuple[set[str], set[str] | None]:
    """The vm_states and task_states that have this status; the second is None when any will do.  Unknown: two empty sets."""
    word = word.upper()
    vm_states = {vm for vm, being in _BEING.items() if being == word}
    if vm_states:
        return vm_states, None
    pairs = [(vm, task) for (vm, task), name in _STATUS.items() if name == word]
    return {vm for vm, _ in pairs}, {task for _, task in pairs}


def statuses_at_rest() -> frozenset[str]:
    """The statuses that need no task."""
    return frozenset(_BEING.values())


class When(NamedTuple):
    """When an action may be asked for: in these vm_states; while a task is under way only in these (None: in any)."""

    vm_states: frozenset[str] | None
    tasks: frozenset[str] | None = frozenset()
    launched: bool = False  # the server has run at least once


def _in(*states: str, tasks: tuple[str, ...] | None = (), launched: bool = False) -> When:
    return When(frozenset(states), None if tasks is None else frozenset(tasks), launched)


_REBOOTING = (
    "rebooting", "reboot_pending", "reboot_started", "rebooting_hard", "reboot_pending_hard", "reboot_started_hard",
    "pausing", "unpausing", "suspending", "resuming",
)  # fmt: skip
ANY = When(None, None)

ACTIONS: dict[str, When] = {
    "start": _in("stopped"),
    "stop": _in("active", "error"),
    "reboot": _in("active", "stopped", "paused", "suspended", "rescued", "error"),
    "soft reboot": _in("active"),
    "hard reboot": _in("active", "stopped", "paused", "suspended", "rescued", "error", tasks=_REBOOTING),
    "pause": _in("active"),
    "unpause": _in("paused"),
    "suspend": _in("active"),
    "resume": _in("suspended"),
    "rescue": _in("active", "stopped", "error"),
    "unrescue": _in("rescued"),
    "rebuild": _in("active", "stopped", "error"),
    "resize": _in("active", "stopped"),
    "confirmResize": _in("resized"),
    "revertResize": _in("resized"),
    "createImage": _in("active", "stopped", "paused", "suspended"),
    "createBackup": _in("active", "stopped", "paused", "suspended"),
    "changePassword": _in("active"),
    "shelve": _in("active", "stopped", "paused", "suspended"),
    "shelveOffload": _in("shelved"),
    "unshelve": _in("shelved", "shelved_offloaded"),
    "migrate": _in("active", "stopped"),
    "os-migrateLive": _in("active", "paused"),
    "evacuate": _in("active", "stopped", "error", tasks=None),
    "restore": _in("soft-delete"),
    "attach_volume": _in("active", "paused", "stopped", "resized", "soft-delete", "shelved", "shelved_offloaded"),
    "detach_volume": _in("active", "paused", "suspended", "stopped", "resized", "soft-delete", "shelved", "shelved_offloaded"),
    "swap_volume": _in("active", "paused", "resized"),
    "attach_interface": _in("active", "paused", "stopped"),
    "detach_interface": _in("active", "paused", "stopped"),
    "update_metadata": _in("active", "paused", "suspended", "stopped", tasks=None),
    "trigger_crash_dump": _in("active", "paused", "rescued", "resized", "error"),
    "get_diagnostics": _in("active", "paused", "suspended", "stopped", "resized", "rescued", "error", tasks=None, launched=True),
    "get_console_output": _in("active", "paused", "suspended", "stopped", "rescued", "resized", "error", tasks=None),
    "get_vnc_console": _in("active", "paused", "suspended", "stopped", "rescued", "resized", "error", "building", tasks=None),
    "security_group": ANY,
    "delete": ANY,
}


def check(action: str, server_id: str, vm_state: str, task_state: str | None, *, launched: bool = True) -> None:
    """Raise Conflict, in nova's words, unless the action may be asked for now."""
    when = ACTIONS[action]
    if when.vm_states is not None and vm_state not in when.vm_states:
        raise Conflict(f"Cannot '{action.removeprefix('soft ').removeprefix('hard ')}' instance {server_id} while it is in vm_state {vm_state}")
    if task_state and when.tasks is not None and task_state not in when.tasks:
        raise Conflict(f"Cannot '{action.removeprefix('soft ').removeprefix('hard ')}' instance {server_id} while it is in task_state {task_state}")
    if when.launched and not launched:
        raise Conflict(f"Cannot '{action}' instance {server_id} while it has not been launched")
