"""Names of Envoy resources, made from ids in this one place."""

import hashlib
from collections.abc import Iterable

LISTENER = "ingress"
HTTPS_LISTENER = "ingress-https"
HTTP3_LISTENER = "ingress-http3"
EXTAUTH_CLUSTER = "igw-extauth"
EXTAUTH_LOG_CLUSTER = "igw-extauth-log"
EXTPROC_CLUSTER = "igw-extproc"
USAGE_LOG_CLUSTER = "igw-usage"
TRACES_CLUSTER = "igw-traces"
XDS_CLUSTER = "igw-xds"


def deployment_cluster(deployment_id: str) -> str:
    """Give the cluster of a deployment, and of its endpoints."""
    return f"deployment/{deployment_id}"


def proxyless(deployment_id: str) -> str:
    """Give the cluster of a deployment, and of its endpoints, for clients that are no Envoys."""
    return f"grpc/{deployment_id}"


def split_cluster(deployment_ids: Iterable[str]) -> str:
    """Give the cluster that prefers the first deployment and falls back on the others, in order."""
    first, *others = deployment_ids
    digest = hashlib.sha256("\n".join(others).encode()).hexdigest()[:12]
    return f"split/{first}/{digest}"


def certificate(name: str) -> str:
    """Give the secret of a certificate and its key."""
    return f"certificate/{name}"


def routes(gateway_id: str) -> str:
    """Give the route configuration of a gateway."""
    return f"gateway/{gateway_id}"


def scope(host: str) -> str:
    """Give the scope that leads a host name to its gateway's routes."""
    return f"host/{host}"


_OF_DEFINITIONS = ("deployment/", "split/", "gateway/", "host/")


def is_of_definitions(name: str) -> bool:
    """Say whether a resource is made of a gateway or a deployment; all else is the same whatever is defined."""
    return name.startswith(_OF_DEFINITIONS)
