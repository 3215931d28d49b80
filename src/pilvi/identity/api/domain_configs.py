"""Settings of domains, kept for tools that set and ask for them; users are in identity's own tables whatever they say."""

from __future__ import annotations

from typing import Any

from pilvi.identity.operations.users import need_domain
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER
from pilvi.identity.tables.kept import DomainConfig
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Forbidden, Invalid, NotFound
from pilvi.kernel.http import Answer, Resource
from pilvi.kernel.policy import Rule

GET = Rule("identity:get_domain_config", ADMIN_OR_SYSTEM_READER, "Show the settings of a domain.")
DEFAULT = Rule("identity:get_domain_config_default", ADMIN_OR_SYSTEM_READER, "Show the default settings of domains.")
CREATE = Rule("identity:create_domain_config", ADMIN, "Set the settings of a domain.")
UPDATE = Rule("identity:update_domain_config", ADMIN, "Change the settings of a domain.")
DELETE = Rule("identity:delete_domain_config", ADMIN, "Delete the settings of a domain.")

configs = Resource("/v3/domains")

# what can be set, with the defaults
OPTIONS: dict[str, dict[str, Any]] = {
    "identity": {"driver": "sql", "list_limit": None},
    "ldap": {
        "url": "ldap://localhost", "user": None, "suffix": "cn=example,cn=com", "query_scope": "one", "page_size": 0,
        "alias_dereferencing": "default", "chase_referrals": None, "use_tls": False, "tls_cacertfile": None, "tls_cacertdir": None,
        "tls_req_cert": "demand", "user_tree_dn": None, "user_filter": None, "user_objectclass": "inetOrgPerson", "user_id_attribute": "cn",
        "user_name_attribute": "sn", "user_description_attribute": "description", "user_mail_attribute": "mail",
        "user_pass_attribute": "userPassword", "user_enabled_attribute": "enabled", "user_enabled_invert": False, "user_enabled_mask": 0,
        "user_enabled_default": "True", "user_attribute_ignore": ["default_project_id"], "user_default_project_id_attribute": None,
        "group_tree_dn": None, "group_filter": None, "group_objectclass": "groupOfNames", "group_id_attribute": "cn",
        "group_name_attribute": "ou", "group_member_attribute": "member", "group_members_are_ids": False,
        "group_desc_attribute": "description", "group_attribute_ignore": [],
    },
}  # fmt: skip

Config = dict[str, Any]


@configs.get("/config/default", rule=DEFAULT, out="config")
def show_default(ctx: Context) -> Config:
    """Show what can be set, with the defaults."""
    return OPTIONS


@configs.get("/config/{group}/default", rule=DEFAULT, out="config")
def show_default_group(ctx: Context, group: str) -> Config:
    """Show what can be set in a group, with the defaults."""
    return {group: _known(group)}


@configs.get("/config/{group}/{option}/default", rule=DEFAULT, out="config")
def show_default_option(ctx: Context, group: str, option: str) -> Config:
    """Show the default of one setting."""
    return {option: _known(group, option)[option]}


@configs.put("/{domain_id}/config", rule=CREATE, answers=201, out="config")
def replace(ctx: Context, domain_id: str, config: Config) -> Answer:
    """Set the settings of a domain."""
    need_domain(ctx.db, domain_id)
    was = ctx.db.get(DomainConfig, domain_id)
    row = ctx.db.put(DomainConfig(domain_id=domain_id, config=_checked(config)))
    return Answer(201 if was is None else 200, {"config": row.config})


@configs.get("/{domain_id}/config", rule=GET, out="config")
def show(ctx: Context, domain_id: str) -> Config:
    """Show the settings of a domain."""
    return _row(ctx, domain_id).config


@configs.patch("/{domain_id}/config", rule=UPDATE, out="config")
def update(ctx: Context, domain_id: str, config: Config) -> Config:
    """Change some settings of a domain."""
    return _merge(ctx, _row(ctx, domain_id), _checked(config))


@configs.delete("/{domain_id}/config", rule=DELETE, answers=204)
def delete(ctx: Context, domain_id: str) -> None:
    """Delete the settings of a domain."""
    ctx.db.remove(_row(ctx, domain_id))


@configs.get("/{domain_id}/config/{group}", rule=GET, out="config")
def show_group(ctx: Context, domain_id: str, group: str) -> Config:
    """Show a group of settings."""
    return {group: _group(_row(ctx, domain_id), group)}


@configs.patch("/{domain_id}/config/{group}", rule=UPDATE, out="config")
def update_group(ctx: Context, domain_id: str, group: str, config: Config) -> Config:
    """Change some settings of a group."""
    if set(config) != {group}:
        raise Invalid(f"The config must have the group {group}, and no other.", field="config")
    row = _row(ctx, domain_id)
    _group(row, group)
    return _merge(ctx, row, _checked(config))


@configs.delete("/{domain_id}/config/{group}", rule=DELETE, answers=204)
def delete_group(ctx: Context, domain_id: str, group: str) -> None:
    """Delete a group of settings."""
    row = _row(ctx, domain_id)
    _group(row, group)
    _write(ctx, row, {name: value for name, value in row.config.items() if name != group})


@configs.get("/{domain_id}/config/{group}/{option}", rule=GET, out="config")
def show_option(ctx: Context, domain_id: str, group: str, option: str) -> Config:
    """Show one setting."""
    return {option: _option(_row(ctx, domain_id), group, option)}


@configs.patch("/{domain_id}/config/{group}/{option}", rule=UPDATE, out="config")
def update_option(ctx: Context, domain_id: str, group: str, option: str, config: Config) -> Config:
    """Change one setting."""
    if set(config) != {option}:
        raise Invalid(f"The config must have the option {option}, and no other.", field="config")
    row = _row(ctx, domain_id)
    _option(row, group, option)
    return _merge(ctx, row, _checked({group: config}))


@configs.delete("/{domain_id}/config/{group}/{option}", rule=DELETE, answers=204)
def delete_option(ctx: Context, domain_id: str, group: str, option: str) -> None:
    """Delete one setting."""
    row = _row(ctx, domain_id)
    _option(row, group, option)
    rest = {name: value for name, value in row.config[group].items() if name != option}
    _write(ctx, row, {**row.config, group: rest})


def _known(group: str, option: str | None = None) -> Config:
    if group not in OPTIONS or (option is not None and option not in OPTIONS[group]):
        raise Forbidden(f"There is no setting {group}{'.' + option if option is not None else ''} of domains.")
    return OPTIONS[group]


def _checked(config: Any) -> dict[str, Config]:
    """The settings, if there are such."""
    if not isinstance(config, dict) or not config or not all(isinstance(value, dict) and value for value in config.values()):
        raise Invalid("A config must be a mapping of groups to mappings of options to values.", field="config")
    for group, options in config.items():
        for option in options:
            _known(group, option)
    return config


def _row(ctx: Context, domain_id: str) -> DomainConfig:
    need_domain(ctx.db, domain_id)
    row = ctx.db.get_to_change(DomainConfig, domain_id)
    if row is None:
        raise NotFound(f"Domain {domain_id} has no settings of its own.")
    return row


def _group(row: DomainConfig, group: str) -> Config:
    _known(group)
    if group not in row.config:
        raise NotFound(f"Domain {row.domain_id} has no settings of the group {group}.")
    return row.config[group]


def _option(row: DomainConfig, group: str, option: str) -> Any:
    _known(group, option)
    if option not in _group(row, group):
        raise NotFound(f"Domain {row.domain_id} has no setting {group}.{option}.")
    return row.config[group][option]


def _merge(ctx: Context, row: DomainConfig, config: dict[str, Config]) -> Config:
    merged = {group: {**row.config.get(group, {}), **config.get(group, {})} for group in {**row.config, **config}}
    return _write(ctx, row, merged)


def _write(ctx: Context, row: DomainConfig, config: dict[str, Config]) -> Config:
    return ctx.db.change(row, config={group: options for group, options in config.items() if options}).config
