"""Usage audit logs over HTTP: kept for old clients.  Use is counted when it is asked for, so no host has such a log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pilvi.compute import policy
from pilvi.compute.operations import hosts as operations
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.http import Resource

audit_logs = Resource("/v2.1/os-instance_usage_audit_log", tag="usage audit logs")

LIST = policy.admin("os-instance-usage-audit-log:list", "List the usage audit logs of the last month.")
SHOW = policy.admin("os-instance-usage-audit-log:show", "Show the usage audit logs of the month before a moment.")


def _log(ctx: Context, before: float) -> dict[str, Any]:
    """The whole month before this moment, in which no host wrote a log."""
    end = datetime.fromtimestamp(before, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begin = end.replace(year=end.year - 1, month=12) if end.month == 1 else end.replace(month=end.month - 1)
    names = [row.host for row in operations.all_hosts(ctx)]
    return {
        "hosts_not_run": names, "log": {}, "num_hosts": len(names), "num_hosts_done": 0, "num_hosts_not_run": len(names),
        "num_hosts_running": 0, "overall_status": f"0 of {len(names)} hosts done. 0 errors.", "period_beginning": _moment(begin),
        "period_ending": _moment(end), "total_errors": 0, "total_instances": 0,
    }  # fmt: skip


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")


@audit_logs.get("", rule=LIST, out="instance_usage_audit_logs")
def index(ctx: Context) -> dict[str, Any]:
    """Show last month's logs."""
    return _log(ctx, clock.now())


@audit_logs.get("/{before}", rule=SHOW, out="instance_usage_audit_log")
def show(ctx: Context, before: str) -> dict[str, Any]:
    """Show the logs of the month before a moment."""
    return _log(ctx, clock.parse(before, "before"))
