"""The rights of block storage, by cinder's names."""

from __future__ import annotations

from pilvi.kernel.policy import Rule

RULES = [
    Rule("context_is_admin", "role:admin", "Decides what is an administrator."),
    Rule("admin_api", "role:admin", "Administrators."),
    Rule("xena_system_admin_or_project_reader", "role:admin or (role:reader and project_id:%(project_id)s)", "Readers of the project."),
    Rule("xena_system_admin_or_project_member", "role:admin or (role:member and project_id:%(project_id)s)", "Members of the project."),
]


def reader(name: str, description: str) -> Rule:
    """A right of a project's readers, and of administrators."""
    return Rule(name, "rule:xena_system_admin_or_project_reader", description)


def member(name: str, description: str) -> Rule:
    """A right of a project's members, and of administrators."""
    return Rule(name, "rule:xena_system_admin_or_project_member", description)


def admin(name: str, description: str) -> Rule:
    """A right of administrators."""
    return Rule(name, "rule:admin_api", description)


def everyone(name: str, description: str) -> Rule:
    """A right of everyone who has a token."""
    return Rule(name, "@", description)


SEE_HOST = admin("volume_extension:volume_host_attribute", "See which back end a volume is in.")
SEE_PROJECT = reader("volume_extension:volume_tenant_attribute", "See which project a volume belongs to.")
SEE_MIGRATION = admin("volume_extension:volume_mig_status_attribute", "See whether a volume is being migrated.")
SEE_IMAGE_METADATA = reader("volume_extension:volume_image_metadata:show", "See what a volume keeps of its image.")
CREATE_MULTIATTACH = member("volume:multiattach", "Create a volume that several servers may attach.")
EXTEND_ATTACHED = member("volume:extend_attached_volume", "Grow a volume that is attached.")
UPLOAD_PUBLIC = admin("volume_extension:volume_actions:upload_public", "Upload a volume as a public image.")
SEE_TYPE_SPECS = reader("volume_extension:access_types_extra_specs", "See the extra specs of a volume type.")
SEE_TYPE_QOS = admin("volume_extension:access_types_qos_specs_id", "See the qos specs of a volume type.")
SEE_BACKUP_PROJECT = admin("backup:backup_project_attribute", "See which project a backup belongs to.")
SEE_SNAPSHOT_EXTRA = reader("volume_extension:extended_snapshot_attributes", "See progress and project of a snapshot.")
USED_LIMITS = reader("limits_extension:used_limits", "See how much of the limits is used.")

FURTHER = [
    *RULES, SEE_HOST, SEE_PROJECT, SEE_MIGRATION, SEE_IMAGE_METADATA, CREATE_MULTIATTACH, EXTEND_ATTACHED, UPLOAD_PUBLIC,
    SEE_TYPE_SPECS, SEE_TYPE_QOS, SEE_BACKUP_PROJECT, SEE_SNAPSHOT_EXTRA, USED_LIMITS,
]  # fmt: skip
