"""The errors of security groups and address groups; a class's name is the `type` that clients see."""

from __future__ import annotations

from pilvi.kernel.errors import Conflict, Invalid, NotFound


class SecurityGroupInUse(Conflict):
    """Ports, or rules of others, use the group."""


class SecurityGroupCannotRemoveDefault(Conflict):
    """A project keeps its default group."""


class SecurityGroupCannotUpdateDefault(Conflict):
    """The default group keeps its name."""


class SecurityGroupConflict(Conflict):
    """Groups that cannot be on one port together."""


class SecurityGroupDefaultAlreadyExists(Conflict):
    """A project has one default group, and only it is called so."""

    message = "Default security group already exists."


class SecurityGroupRuleExists(Conflict):
    """The group has that rule."""


class DefaultSecurityGroupRuleExists(Conflict):
    """The template has that rule."""


class SecurityGroupRuleInvalidProtocol(Invalid):
    """No such protocol."""


class SecurityGroupRulesNotSingleGroup(Invalid):
    """Rules made together belong to one group."""


class SecurityGroupRuleParameterConflict(Invalid):
    """A rule whose parts contradict each other."""


class SecurityGroupInvalidPortRange(Invalid):
    """A range of ports that cannot be."""


class SecurityGroupMultipleRemoteEntites(Invalid):
    """A rule has one remote side."""


class AddressGroupInUse(Conflict):
    """Rules refer to the address group."""


class AddressesAlreadyExist(Invalid):
    """The address group has them."""


class AddressesNotFound(NotFound):
    """The address group does not have them."""
