"""What identity remembers."""

from pilvi.identity.tables.catalog import CatalogService, Endpoint, Region
from pilvi.identity.tables.credentials import AccessRule, ApplicationCredential, Credential
from pilvi.identity.tables.limits import Limit, RegisteredLimit
from pilvi.identity.tables.projects import Project
from pilvi.identity.tables.roles import Assignment, Role, RoleImplication
from pilvi.identity.tables.tokens import KeyRow, Mark, Revocation
from pilvi.identity.tables.trusts import Trust
from pilvi.identity.tables.users import Failure, Group, GroupMember, Password, User

__all__ = [
    "AccessRule", "ApplicationCredential", "Assignment", "CatalogService", "Credential", "Endpoint", "Failure", "Group", "GroupMember",
    "KeyRow", "Limit", "Mark", "Password", "Project", "Region", "RegisteredLimit", "Revocation", "Role", "RoleImplication", "Trust", "User",
]  # fmt: skip
