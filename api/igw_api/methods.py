"""The API's methods by name, the same for every transport; which ones write; which service has them.

A method takes one JSON document, flat, in the API's names (protobuf JSON), and gives one. What REST has in the
path or the query (`id`, `updatedAfter`, `parentGatewayId`, `gatewayIds`) is in the document too.
"""

from enum import StrEnum

PACKAGE = "coreweave.inference.v1alpha1"


class Method(StrEnum):
    """One method; the text is its name in the protobuf service."""

    CREATE_GATEWAY = "CreateGateway"
    GET_GATEWAY = "GetGateway"
    LIST_GATEWAYS = "ListGateways"
    UPDATE_GATEWAY = "UpdateGateway"
    DELETE_GATEWAY = "DeleteGateway"
    GET_GATEWAY_PARAMETERS = "GetGatewayParameters"
    CREATE_DEPLOYMENT = "CreateDeployment"
    GET_DEPLOYMENT = "GetDeployment"
    LIST_DEPLOYMENTS = "ListDeployments"
    UPDATE_DEPLOYMENT = "UpdateDeployment"
    DELETE_DEPLOYMENT = "DeleteDeployment"
    GET_DEPLOYMENT_PARAMETERS = "GetDeploymentParameters"
    CREATE_CAPACITY_CLAIM = "CreateCapacityClaim"
    GET_CAPACITY_CLAIM = "GetCapacityClaim"
    LIST_CAPACITY_CLAIMS = "ListCapacityClaims"
    UPDATE_CAPACITY_CLAIM = "UpdateCapacityClaim"
    DELETE_CAPACITY_CLAIM = "DeleteCapacityClaim"
    GET_CAPACITY_CLAIM_PARAMETERS = "GetCapacityClaimParameters"
    # This project's extensions, over REST alone.
    PUT_REPLICA = "PutReplica"
    DELETE_REPLICA = "DeleteReplica"
    LIST_REPLICAS = "ListReplicas"
    LIST_EVENTS = "ListEvents"
    LIST_PROXIES = "ListProxies"
    GET_PROXY = "GetProxy"
    LIST_PROXY_RESOURCES = "ListProxyResources"
    GET_PROXY_RESOURCE = "GetProxyResource"
    GET_USAGE = "GetUsage"


SERVICES = {
    "GatewayService": [method for method in Method if "Gateway" in method],
    "DeploymentService": [method for method in Method if "Deployment" in method],
    "CapacityClaimService": [method for method in Method if "CapacityClaim" in method],
}
"""The public services and their methods."""


def writes(method: Method) -> bool:
    """Say whether a method changes anything, and so needs the role admin."""
    return not method.startswith(("Get", "List"))
