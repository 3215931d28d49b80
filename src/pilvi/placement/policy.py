"""Who may do what in placement, by OpenStack's rule names: the cloud's own services and its admins."""

from __future__ import annotations

from pilvi.kernel.policy import Rule

_CLOUD = "rule:admin_or_service_api"

BASE = [
    Rule("service_api", "role:service", "The cloud's own services."),
    Rule("admin_or_service_api", "role:admin or role:service", "Default rule for most of placement."),
    Rule("project_reader_api", "role:reader and project_id:%(project_id)s", "Readers of the project."),
    Rule("admin_or_project_reader_or_service_api", "role:admin or rule:project_reader_api or role:service", "Default rule for a project's usage."),
]


def _rule(name: str, description: str, check: str = _CLOUD) -> Rule:
    return Rule(f"placement:{name}", check, description, scope_types=("project",))


PROVIDERS_LIST = _rule("resource_providers:list", "List resource providers.")
PROVIDERS_CREATE = _rule("resource_providers:create", "Create a resource provider.")
PROVIDERS_SHOW = _rule("resource_providers:show", "Show a resource provider.")
PROVIDERS_UPDATE = _rule("resource_providers:update", "Rename or move a resource provider.")
PROVIDERS_DELETE = _rule("resource_providers:delete", "Delete a resource provider.")
INVENTORIES_LIST = _rule("resource_providers:inventories:list", "List a provider's inventories.")
INVENTORIES_CREATE = _rule("resource_providers:inventories:create", "Add an inventory.")
INVENTORIES_SHOW = _rule("resource_providers:inventories:show", "Show an inventory.")
INVENTORIES_UPDATE = _rule("resource_providers:inventories:update", "Set inventories.")
INVENTORIES_DELETE = _rule("resource_providers:inventories:delete", "Delete inventories.")
AGGREGATES_LIST = _rule("resource_providers:aggregates:list", "List a provider's aggregates.")
AGGREGATES_UPDATE = _rule("resource_providers:aggregates:update", "Set a provider's aggregates.")
PROVIDER_TRAITS_LIST = _rule("resource_providers:traits:list", "List a provider's traits.")
PROVIDER_TRAITS_UPDATE = _rule("resource_providers:traits:update", "Set a provider's traits.")
PROVIDER_TRAITS_DELETE = _rule("resource_providers:traits:delete", "Remove a provider's traits.")
PROVIDER_ALLOCATIONS_LIST = _rule("resource_providers:allocations:list", "List the allocations against a provider.")
PROVIDER_USAGES = _rule("resource_providers:usages", "Show what of a provider is used.")
CLASSES_LIST = _rule("resource_classes:list", "List resource classes.")
CLASSES_CREATE = _rule("resource_classes:create", "Create a resource class.")
CLASSES_SHOW = _rule("resource_classes:show", "Show a resource class.")
CLASSES_UPDATE = _rule("resource_classes:update", "Create or rename a resource class.")
CLASSES_DELETE = _rule("resource_classes:delete", "Delete a resource class.")
TRAITS_LIST = _rule("traits:list", "List traits.")
TRAITS_SHOW = _rule("traits:show", "Ask whether a trait exists.")
TRAITS_UPDATE = _rule("traits:update", "Create a trait.")
TRAITS_DELETE = _rule("traits:delete", "Delete a trait.")
ALLOCATIONS_MANAGE = _rule("allocations:manage", "Set the allocations of several consumers.")
ALLOCATIONS_LIST = _rule("allocations:list", "Show a consumer's allocations.")
ALLOCATIONS_UPDATE = _rule("allocations:update", "Set a consumer's allocations.")
ALLOCATIONS_DELETE = _rule("allocations:delete", "Delete a consumer's allocations.")
CANDIDATES_LIST = _rule("allocation_candidates:list", "Ask where resources could be allocated.")
USAGES = _rule("usages", "Show what a project uses.", "rule:admin_or_project_reader_or_service_api")
RESHAPE = _rule("reshaper:reshape", "Move inventories with their allocations between providers.", "rule:service_api")
