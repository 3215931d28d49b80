"""clouds.yaml and openrc: what clients need, written at each start into the state folder, readable by the owner only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilvi.kernel.program import Program


def write(program: Program) -> None:
    """Write both files for the admin of this cloud."""
    kept = program.state / "admin-password"
    password = program.settings.identity.admin_password or (kept.read_text(encoding="utf-8").strip() if kept.exists() else "")
    if not password or "api" not in program.roles:
        return  # another process of this cloud knows it
    url = program.url + "/identity/v3"
    authority = program.tls.ca_file if program.tls else ""
    region = program.settings.region
    _write(
        program.state / "clouds.yaml",
        "clouds:\n  pilvi:\n    auth:\n"
        f"      auth_url: {url}\n      username: admin\n      password: {_quoted(password)}\n      project_name: admin\n"
        "      user_domain_name: Default\n      project_domain_name: Default\n"
        f"    region_name: {region}\n    identity_api_version: 3\n    interface: public\n"
        + (f"    cacert: {_quoted(authority)}\n" if authority else ""),
    )
    variables = {
        "OS_AUTH_URL": url, "OS_USERNAME": "admin", "OS_PASSWORD": password, "OS_PROJECT_NAME": "admin", "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default", "OS_REGION_NAME": region, "OS_IDENTITY_API_VERSION": "3", "OS_INTERFACE": "public",
    } | ({"OS_CACERT": authority} if authority else {})  # fmt: skip
    _write(program.state / "openrc", "".join(f"export {name}={_shell(value)}\n" for name, value in variables.items()))


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and never readable by others in between."""
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _shell(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
