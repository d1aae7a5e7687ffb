"""Who may call what on the discovery port, and for which zone, by the client's certificate.

Envoys are given resources, operators' tools are told what Envoys have: neither the other, for what is told is of all
zones. A proxy's zone is that of its certificate. What it says of itself must agree; where it says nothing, the
certificate counts. A certificate without a zone is good for none, unless every proxy is given everything.
"""

from collections.abc import Callable, Container
from dataclasses import replace
from typing import TypeVar

from igw_certs.identity import Identity, Role
from igw_certs.peers import Peers, Reason
from igw_ops.grpc.call import Call, Stream
from igw_ops.grpc.wire import GrpcStatus
from igw_ops.guard import certificate_of

from igw_xds.plan import zone_key
from igw_xds.stream import Node

C = TypeVar("C", bound=Call)


class WrongZoneError(Exception):
    """A proxy asks for a zone that its certificate is not for; the text is for it."""


def admitted(identity: Identity | None, node: Node, *, together: bool) -> Node:
    """Give who a proxy is, its zone from its certificate. Raises WrongZoneError.

    `together`: every proxy is given everything, so that a certificate needs no zone.
    """
    if identity is None or not identity.zone:
        if together:
            return node
        raise WrongZoneError("the certificate names no zone, and so is good for none")
    if not node.zone:
        return replace(node, zone=identity.zone)
    if zone_key(node.zone) != zone_key(identity.zone):
        raise WrongZoneError(f"the certificate is for the zone {identity.zone}, the node names {node.zone}")
    return node


def identity(peers: Peers, stream: Stream) -> Identity | None:
    """Give who is at the other end."""
    return peers.identity(certificate_of(stream.transport))


def for_role(
    opening: Callable[[Stream], C | None], methods: Container[str], role: Role, peers: Peers
) -> Callable[[Stream], C | None]:
    """Give an opening for one role alone; others are told so, and counted."""

    def opened(stream: Stream) -> C | None:
        if stream.path not in methods:
            return None
        found = identity(peers, stream)
        if found is not None and found.role is role:
            return opening(stream)
        text = f"a certificate of the role {role} is needed"
        peers.refused(Reason.WRONG_ROLE, stream.peer, f"{stream.path}: {text}")
        stream.end(GrpcStatus.PERMISSION_DENIED, text)
        return None

    return opened
