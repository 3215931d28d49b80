"""Who may do what with images, by OpenStack's rule names."""

from __future__ import annotations

from pilvi.kernel.policy import Rule

_MEMBER = "role:admin or (role:member and project_id:%(project_id)s)"
_READER = "role:admin or (role:reader and project_id:%(project_id)s)"
_SHOWN = 'project_id:%(project_id)s or project_id:%(member_id)s or "community":%(visibility)s or "public":%(visibility)s or "shared":%(visibility)s'

BASE = [
    Rule("metadef_default", "", "Anyone with a token."),
    Rule("metadef_admin", "role:admin", "The cloud's admins."),
]

ADD_IMAGE = Rule("add_image", "role:admin or (role:member and project_id:%(project_id)s and project_id:%(owner)s)", "Create an image.")
DELETE_IMAGE = Rule("delete_image", _MEMBER, "Delete an image.")
GET_IMAGE = Rule("get_image", f"role:admin or (role:reader and ({_SHOWN}))", "Show an image.")
GET_IMAGES = Rule("get_images", _READER, "List images.")
MODIFY_IMAGE = Rule("modify_image", _MEMBER, "Change an image.")
PUBLICIZE_IMAGE = Rule("publicize_image", "role:admin", "Make an image public.")
COMMUNITIZE_IMAGE = Rule("communitize_image", _MEMBER, "Offer an image to the community.")
DOWNLOAD_IMAGE = Rule("download_image", f"role:admin or (role:member and ({_SHOWN}))", "Download an image's data.")
UPLOAD_IMAGE = Rule("upload_image", _MEMBER, "Upload, stage or import an image's data.")
ADD_MEMBER = Rule("add_member", _MEMBER, "Share an image with a project.")
DELETE_MEMBER = Rule("delete_member", _MEMBER, "Share an image with a project no more.")
GET_MEMBER = Rule("get_member", "role:admin or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)", "Show one sharing.")
GET_MEMBERS = Rule("get_members", "role:admin or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)", "List sharings.")
MODIFY_MEMBER = Rule("modify_member", "role:admin or (role:member and project_id:%(member_id)s)", "Accept or reject a shared image.")
DEACTIVATE = Rule("deactivate", _MEMBER, "Keep an image's data from being downloaded.")
REACTIVATE = Rule("reactivate", _MEMBER, "Let an image's data be downloaded again.")
DELETE_LOCATION = Rule("delete_image_location", "role:admin", "Remove an image's data from a store.")
INFO = Rule("get_stores_info", "@", "Ask how images can be stored and imported.")
SCHEMAS = Rule("get_schemas", "@", "Read the schemas.")
USAGE = Rule("get_usage", "@", "Ask what the project uses of its quotas.")
GET_TASKS = Rule("get_tasks", "rule:tasks_api_access", "List tasks.")
GET_TASK = Rule("get_task", "rule:tasks_api_access", "Show a task.")
ADD_TASK = Rule("add_task", "rule:tasks_api_access", "Create a task.")
TASKS_API = Rule("tasks_api_access", "role:admin", "Use the tasks of the whole cloud.")

OTHERS = [PUBLICIZE_IMAGE, COMMUNITIZE_IMAGE, TASKS_API]

_METADEF_READ = 'role:admin or (role:reader and (project_id:%(project_id)s or "public":%(visibility)s))'


def _metadef(name: str, description: str) -> Rule:
    return Rule(name, "rule:metadef_admin", description)


GET_NAMESPACE = Rule("get_metadef_namespace", _METADEF_READ, "Show a namespace of metadata definitions.")
GET_NAMESPACES = Rule("get_metadef_namespaces", _READER, "List namespaces.")
ADD_NAMESPACE = _metadef("add_metadef_namespace", "Create a namespace.")
MODIFY_NAMESPACE = _metadef("modify_metadef_namespace", "Change a namespace.")
DELETE_NAMESPACE = _metadef("delete_metadef_namespace", "Delete a namespace.")
LIST_TYPES = Rule("list_metadef_resource_types", "rule:metadef_default", "List types of resources.")
GET_TYPE = Rule("get_metadef_resource_type", _METADEF_READ, "List a namespace's types of resources.")
ADD_TYPE = _metadef("add_metadef_resource_type_association", "Mean a namespace for a type of resource.")
REMOVE_TYPE = _metadef("remove_metadef_resource_type_association", "Mean a namespace for a type of resource no more.")
# per kind of definition: list, show, create, change, delete
GET_ALL = {
    "objects": Rule("get_metadef_objects", _METADEF_READ, "List objects."),
    "properties": Rule("get_metadef_properties", _METADEF_READ, "List properties."),
    "tags": Rule("get_metadef_tags", _METADEF_READ, "List tags."),
}
GET_ONE = {
    "objects": Rule("get_metadef_object", _METADEF_READ, "Show an object."),
    "properties": Rule("get_metadef_property", _METADEF_READ, "Show a property."),
    "tags": Rule("get_metadef_tag", _METADEF_READ, "Show a tag."),
}
ADD_ONE = {
    "objects": _metadef("add_metadef_object", "Create an object."),
    "properties": _metadef("add_metadef_property", "Create a property."),
    "tags": _metadef("add_metadef_tag", "Create a tag."),
}
MODIFY_ONE = {
    "objects": _metadef("modify_metadef_object", "Change an object."),
    "properties": _metadef("modify_metadef_property", "Change a property."),
    "tags": _metadef("modify_metadef_tag", "Change a tag."),
}
REMOVE_ONE = {
    "objects": _metadef("delete_metadef_object", "Delete an object."),
    "properties": _metadef("remove_metadef_property", "Delete a property."),
    "tags": _metadef("delete_metadef_tag", "Delete a tag."),
}
ADD_TAGS = _metadef("add_metadef_tags", "Set all tags.")
REMOVE_TAGS = _metadef("delete_metadef_tags", "Delete all tags.")
