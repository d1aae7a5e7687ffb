"""Whose word counts for a proxy's zone, and who may call what on the discovery port."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from igw_certs.identity import Identity, Role
from igw_certs.peers import Peers, Reason
from igw_ops.grpc.wire import GrpcStatus
from igw_xds import csds, session
from igw_xds.admission import WrongZoneError, admitted, for_role
from igw_xds.stream import Node


@pytest.mark.parametrize(
    ("certified", "named", "served"),
    [
        ("east", "east", "east"),
        ("east", "EAST", "EAST"),  # as it is spelled in definitions
        ("east", "", "east"),
        ("east", "west", None),
        ("east", "east/zone/west", None),
        ("", "east", None),
        ("", "", None),
    ],
)
def test_the_certificate_decides_the_zone(certified: str, named: str, served: str | None) -> None:
    """A node may say less than its certificate, and nothing else; a certificate without a zone is good for none."""
    identity, node = Identity(Role.PROXY, certified), Node(id="a", zone=named)
    if served is None:
        with pytest.raises(WrongZoneError):
            admitted(identity, node, together=False)
    else:
        assert admitted(identity, node, together=False) == Node(id="a", zone=served)


def test_where_everybody_is_given_everything() -> None:
    """A certificate needs no zone; one that has a zone must still be for the one that is named."""
    node = Node(zone="west")
    assert admitted(Identity(Role.PROXY), node, together=True) == node
    with pytest.raises(WrongZoneError):
        admitted(Identity(Role.PROXY, "east"), node, together=True)


def test_who_has_no_certificate_is_not_admitted() -> None:
    """It cannot be here; if it is all the same, it gets nothing."""
    with pytest.raises(WrongZoneError):
        admitted(None, Node(zone="east"), together=False)


@dataclass
class Stream:
    """A call of a client in a role."""

    path: str
    role: Role | None
    peer: str = "10.0.0.1:1"
    ended: list[GrpcStatus] = field(default_factory=list)

    @property
    def transport(self) -> Any:
        return self

    def get_extra_info(self, _: str) -> Any:
        return self

    def getpeercert(self, *, binary_form: bool) -> Any:
        assert binary_form
        return self.role

    def end(self, status: GrpcStatus, _: str) -> None:
        self.ended.append(status)


@dataclass
class KnownRoles:
    """Peers whose certificate is their role."""

    refusals: list[Reason] = field(default_factory=list)

    def identity(self, role: Any) -> Identity | None:
        return None if role is None else Identity(role)

    def refused(self, reason: Reason, peer: str, detail: str) -> None:
        assert peer
        assert detail
        self.refusals.append(reason)


DISCOVERY, INQUIRY = next(iter(session.METHODS)), next(iter(csds.METHODS))


@pytest.mark.parametrize(
    ("path", "role", "opened", "ended", "refusals"),
    [
        (DISCOVERY, Role.PROXY, True, [], []),
        (DISCOVERY, Role.API, False, [GrpcStatus.PERMISSION_DENIED], [Reason.WRONG_ROLE]),
        (DISCOVERY, None, False, [GrpcStatus.PERMISSION_DENIED], [Reason.WRONG_ROLE]),
        (INQUIRY, Role.PROXY, False, [], []),  # another opening's
    ],
)
def test_a_method_is_for_one_role(
    path: str,
    role: Role | None,
    opened: bool,  # noqa: FBT001
    ended: list[GrpcStatus],
    refusals: list[Reason],
) -> None:
    """Others are told so, and counted; what another opening answers is left to it."""
    peers, stream, call = KnownRoles(), Stream(path, role), object()
    opening = for_role(lambda _: cast("Any", call), session.METHODS, Role.PROXY, cast("Peers", peers))
    assert opening(cast("Any", stream)) is (call if opened else None)
    assert (stream.ended, peers.refusals) == (ended, refusals)
