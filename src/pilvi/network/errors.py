"""The network service's own errors; a class's name is the `type` that clients see."""

from __future__ import annotations

from pilvi.kernel.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed, QuotaExceeded


class _Missing(NotFound):
    """Something that is not there; the sentence names its kind."""

    kind_name = "Resource"

    def __init__(self, ref: str = "") -> None:
        super().__init__(f"{self.kind_name} {ref} could not be found.", kind=self.kind_name, ref=ref)


class NetworkNotFound(_Missing):
    kind_name = "Network"


class SubnetNotFound(_Missing):
    kind_name = "Subnet"


class PortNotFound(_Missing):
    kind_name = "Port"


class RouterNotFound(_Missing):
    kind_name = "Router"


class FloatingIPNotFound(_Missing):
    kind_name = "Floating IP"


class PortForwardingNotFound(_Missing):
    kind_name = "Port Forwarding"


class SecurityGroupNotFound(_Missing):
    kind_name = "Security group"


class SecurityGroupRuleNotFound(_Missing):
    kind_name = "Security group rule"


class DefaultSecurityGroupRuleNotFound(_Missing):
    kind_name = "Default Security Group rule"


class AddressGroupNotFound(_Missing):
    kind_name = "Address group"


class AddressScopeNotFound(_Missing):
    kind_name = "Address scope"


class SubnetPoolNotFound(_Missing):
    kind_name = "Subnet pool"


class RbacPolicyNotFound(_Missing):
    kind_name = "RBAC policy"


class AgentNotFound(_Missing):
    kind_name = "Agent"


class TrunkNotFound(_Missing):
    kind_name = "Trunk"


class TagNotFound(_Missing):
    kind_name = "Tag"


class ExtensionNotFound(_Missing):
    kind_name = "Extension"


class InvalidInput(Invalid):
    """A value that cannot be."""


class InvalidInputForOperation(Invalid):
    """Values that do not go together."""


class BadRequest(Invalid):
    """A request that cannot be understood as it stands."""


class PolicyNotAuthorized(Forbidden):
    """The caller may not do this, or may not say this of it."""

    def __init__(self, rule: str) -> None:
        super().__init__(f"(rule:{rule}) is disallowed by policy")


class OverQuota(QuotaExceeded):
    """The project has used up what it was given."""

    def __init__(self, resource: str, *, limit: int = 0, used: int = 0, asked: int = 0) -> None:
        super().__init__(f"Quota exceeded for resources: ['{resource}'].", resource=resource, limit=limit, used=used, asked=asked)


class NetworkMTUSubnetConflict(Conflict):
    """Packets of the subnet's IP version do not fit."""


class NetworkInUse(Conflict):
    """Ports are on the network still."""


class SubnetInUse(Conflict):
    """Addresses of the subnet are in use."""


class PortInUse(Conflict):
    """The port has another purpose already."""


class ServicePortInUse(Conflict):
    """The port is the cloud's own and goes with what it serves."""


class IpAddressAlreadyAllocated(Conflict):
    """The address is another port's, as subnets say it."""


class MacAddressInUse(Conflict):
    """The MAC address is another port's."""


class IpAddressGenerationFailure(Conflict):
    """No address is free."""


class InvalidIpForNetwork(Invalid):
    """No subnet of the network has that address."""


class InvalidIpForSubnet(Invalid):
    """The subnet does not have that address."""


class GatewayConflictWithAllocationPools(Conflict):
    """The gateway lies in a pool."""


class GatewayIpInUse(Conflict):
    """A router has the gateway's address."""


class OutOfBoundsAllocationPool(Invalid):
    """A pool goes over the subnet's end."""


class OverlappingAllocationPools(Conflict):
    """Two pools share addresses."""


class InvalidAllocationPool(Invalid):
    """A pool that ends before it begins."""


class SubnetAllocationError(Invalid):
    """The subnet pool has no such prefix to give."""


class SubnetPoolInUse(Conflict):
    """Subnets are cut from the pool."""


class SubnetPoolQuotaExceeded(Conflict):
    """The project has had its share of the pool."""


class IllegalSubnetPoolPrefixBounds(Invalid):
    """Prefix lengths in the wrong order."""


class IllegalSubnetPoolPrefixUpdate(Invalid):
    """A prefix that subnets are cut from cannot go."""


class IllegalSubnetPoolAssociationToAddressScope(Invalid):
    """The pool cannot be in that scope."""


class AddressScopePrefixConflict(Conflict):
    """Prefixes in one scope overlap."""


class AddressScopeInUse(Conflict):
    """Pools are in the scope."""


class NoNetworkAvailable(Conflict):
    """No segment is free."""


class FlatNetworkInUse(Conflict):
    """A physical network carries one flat network."""


class TunnelIdInUse(Conflict):
    """The tunnel id is another network's."""


class VlanIdInUse(Conflict):
    """The VLAN id is another network's."""


class RouterInUse(Conflict):
    """The router has interfaces still."""


class RouterInterfaceInUseByFloatingIP(Conflict):
    """Floating IPs need this interface."""


class RouterInterfaceInUseByRoute(Conflict):
    """A route of the router goes through this subnet."""


class RouterExternalGatewayInUseByFloatingIp(Conflict):
    """Floating IPs need this gateway."""


class RouterInterfaceNotFoundForSubnet(NotFound):
    """The router is not in that subnet."""


class RouterInterfaceNotFound(NotFound):
    """The router does not have that port."""


class InvalidRoutes(Invalid):
    """A route that the router cannot take."""


class RoutesExhausted(Invalid):
    """More routes than one router may have."""


class ExternalIpAddressExhausted(Invalid):
    """The external network has no address to give."""


class ExternalGatewayForFloatingIPNotFound(NotFound):
    """No router joins the port with the external network."""


class FloatingIPPortAlreadyAssociated(Conflict):
    """The address has a floating IP already."""


class FipInUseByPortForwarding(Conflict):
    """Port forwardings use the floating IP."""


class PortHasPortForwarding(Conflict):
    """Port forwardings lead to the port."""


class PortForwardingConflict(Invalid):
    """Two port forwardings would clash."""


class ExternalNetworkInUse(Conflict):
    """Gateways or floating IPs need the network to be external."""


class InvalidSharedSetting(Conflict):
    """Others use what would no longer be shared."""


class AddressPairAndPortSecurityRequired(Conflict):
    """Address pairs mean nothing without port security."""


class PortSecurityPortHasSecurityGroup(Conflict):
    """Security groups mean nothing without port security."""


class AddressPairsExhausted(Invalid):
    """More pairs than one port may have."""


class DuplicateAddressPairInRequest(Invalid):
    """The same pair twice."""


class RbacPolicyInUse(Conflict):
    """Someone uses what they would no longer be shared."""


class DuplicateRbacPolicy(Conflict):
    """The same is said already."""


class RevisionNumberConstraintFailed(PreconditionFailed):
    """It was changed since the caller looked."""


class AgentIsAlive(Conflict):
    """A living agent cannot be deleted."""


class NetworkHostedByDHCPAgent(Conflict):
    """It is there already."""


class NetworkNotHostedByDhcpAgent(Conflict):
    """It is not there."""


class RouterHostedByL3Agent(Conflict):
    """It is there already."""


class RouterNotHostedByL3Agent(Conflict):
    """It is not there."""


class InvalidDHCPAgent(Invalid):
    """Not a DHCP agent."""


class InvalidL3Agent(Invalid):
    """Not an L3 agent."""


class AutoAllocationFailure(Conflict):
    """No network can be made by itself."""


class DefaultExternalNetworkExists(Conflict):
    """There is one default external network."""


class TrunkPortInUse(Conflict):
    """The port is a trunk's parent."""


class ParentPortInUse(Conflict):
    """The port cannot be a parent."""


class TrunkDisabled(Conflict):
    """The trunk is switched off."""


class DuplicateSubPort(Conflict):
    """The VLAN id is in use in the trunk."""


class SubPortNotFound(NotFound):
    """The trunk does not carry that port."""
