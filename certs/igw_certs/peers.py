"""Who may connect to a server of ours: clients with a certificate of our authority, in one of some roles.

Everybody else is refused before the server hears of the connection; that is counted, and logged once a second at most
for each reason. It is an `igw_ops.guard.Guard`.
"""

import ssl
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import prometheus_client
import structlog
from igw_ops.tally import Tally
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from igw_certs.contexts import Credentials, ServerTls
from igw_certs.identity import Identity, Role, identity_of

QUIET_SECONDS: Final = 1.0
_ALPN: Final = ("h2", "http/1.1")
log = structlog.get_logger(__name__)


class Reason(StrEnum):
    """Why a client is refused."""

    NO_CERTIFICATE = "no_certificate"
    OTHER_AUTHORITY = "other_authority"
    """Its certificate is not of an authority that we trust, or not of this time."""
    HANDSHAKE = "handshake"
    """It speaks no TLS, or none that we do; it does not trust our certificate; it took too long."""
    WRONG_ROLE = "wrong_role"
    """Its certificate is for another role, another trust domain, or nobody of ours."""
    WRONG_ZONE = "wrong_zone"
    """It asks for another zone than its certificate's; decided where zones are."""


class Peers(Collector):
    """The guard of one server."""

    def __init__(
        self,
        credentials: Credentials,
        roles: Collection[Role],
        alpn: Sequence[str] = _ALPN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let in clients of these roles; `credentials` are the server's own."""
        self.credentials = credentials
        self._roles = frozenset(roles)
        self._context = credentials.server_context(alpn)
        self._clock = clock
        self._quiet_until: dict[Reason, float] = {}
        self._unsaid: dict[Reason, int] = {}
        self._refused = Tally("igw_tls_refused", "Clients that were refused, by reason.", ["reason"])
        for reason in Reason:
            self._refused.begin(reason)

    def context(self) -> ssl.SSLContext:
        """Give what connections are made with; it follows the files."""
        return self._context

    def identity(self, certificate: bytes | None) -> Identity | None:
        """Give whose a certificate (DER) is; None for nobody of ours."""
        return None if certificate is None else identity_of(certificate, self.credentials.tls.trust_domain)

    def admits(self, certificate: bytes | None, peer: str) -> bool:
        """Say whether a client may connect; who may not is counted."""
        identity = self.identity(certificate)
        if identity is None:
            self.refused(Reason.WRONG_ROLE, peer, "its certificate is for nobody of ours")
        elif identity.role not in self._roles:
            self.refused(Reason.WRONG_ROLE, peer, f"its certificate is of the role {identity.role}")
        else:
            return True
        return False

    def refused(self, reason: Reason, peer: str, detail: str) -> None:
        """Count a client that was refused, and log it unless one was a moment ago."""
        self._refused.count(reason)
        now = self._clock()
        if now < self._quiet_until.get(reason, 0.0):
            self._unsaid[reason] = self._unsaid.get(reason, 0) + 1
            return
        self._quiet_until[reason] = now + QUIET_SECONDS
        more = self._unsaid.pop(reason, 0)
        log.warning("client refused", reason=str(reason), peer=peer, detail=detail, refused_unsaid=more)

    def failed(self, error: Exception, peer: str) -> None:
        """Hear of a handshake that failed. Who only knocked, as probes of a port do, was no client."""
        if not isinstance(error, ConnectionResetError | BrokenPipeError | ssl.SSLEOFError):
            self.refused(_reason(error), peer, _detail(error))

    def collect(self) -> Iterator[Metric]:
        """Give the counts to Prometheus."""
        yield from self._refused.collect()


def _reason(error: Exception) -> Reason:
    match error:
        case ssl.SSLCertVerificationError():
            return Reason.OTHER_AUTHORITY
        case ssl.SSLError(reason="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            return Reason.NO_CERTIFICATE
        case _:
            return Reason.HANDSHAKE


def _detail(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError(verify_message=str(text)):
            return text
        case ssl.SSLError(reason=str(text)):
            return text.lower().replace("_", " ")
        case _:
            return str(error)


@contextmanager
def guarding(tls: ServerTls, *roles: Role, alpn: Sequence[str] = _ALPN) -> Iterator[Peers]:
    """Give the guard of this process's servers, whose metrics are there meanwhile. Raises BadFilesError."""
    credentials = Credentials(tls)
    peers = Peers(credentials, roles, alpn)
    for collector in (credentials, peers):
        prometheus_client.REGISTRY.register(collector)
    try:
        yield peers
    finally:
        for collector in (credentials, peers):
            prometheus_client.REGISTRY.unregister(collector)
