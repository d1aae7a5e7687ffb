"""Files of a process of ours in, TLS contexts out that follow the files: each new connection has what lies there then.

Both sides show a certificate of the same authority, and read each other's identity off it (`peer_identity`). What may
be asked by whom is not decided here.
"""

import os
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from igw_certs.files import Signature, UnreadableError, content, signature
from igw_certs.identity import TRUST_DOMAIN, Identity, identity_of
from igw_certs.pair import BadPairError, KeyPair, certificates, read_pair

ALPN = ("h2", "http/1.1")
_Signatures = tuple[Signature, ...]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Where a process's own chain and key lie, and the authorities that it trusts, all PEM."""

    cert: Path
    key: Path
    ca: Path
    trust_domain: str = TRUST_DOMAIN


class BadFilesError(Exception):
    """The files of a process's TLS cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the files held at one moment."""

    pair: KeyPair
    authorities: bytes
    """PEM, one or more."""
    identity: Identity
    """Who we are by our own certificate."""


class Credentials(Collector):
    """The files of one process, followed: what they hold, contexts of it, and metrics where they are registered.

    Broken files, those of another role and those that have ended leave what was; that is logged and counted, once.
    """

    def __init__(
        self,
        tls: ServerTls,
        seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Read the files, and look again at most every `seconds`. Raises BadFilesError."""
        self.tls, self._now = tls, now
        self._seconds, self._clock, self._next = seconds, clock, clock() + seconds
        self._good = _signatures(tls)
        self._bad: _Signatures | None = None
        self._told: _Signatures | None = None
        self._material = _read(tls)
        self._reloads = dict.fromkeys(("renewed", "kept"), 0)

    def current(self) -> Material:
        """Give what is good of the files now."""
        if self._clock() >= self._next:
            self._next = self._clock() + self._seconds
            self._look()
        return self._material

    def server_context(self, alpn: Sequence[str] = ALPN) -> ssl.SSLContext:
        """Give a context for servers: TLS 1.3, and nobody without a certificate of our authorities."""
        return Following.of(ssl.PROTOCOL_TLS_SERVER, self.current, _filling(alpn))

    def client_context(self, alpn: Sequence[str] = ALPN) -> ssl.SSLContext:
        """Give a context for clients: TLS 1.3; the server's certificate must be for its name or address."""
        return Following.of(ssl.PROTOCOL_TLS_CLIENT, self.current, _filling(alpn))

    def call_context(self, alpn: Sequence[str] = ALPN) -> ssl.SSLContext:
        """Give a context for one call to a process of ours: of the server no name, but its identity is to be asked."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        _fill(context, self.current(), alpn)
        return context

    def collect(self) -> Iterator[Metric]:
        """Give to Prometheus when the own certificate ends, and what became of changed files, which this looks for."""
        material = self.current()
        reloads = CounterMetricFamily(
            "igw_tls_reloads",
            "Changes of this process's own TLS files, by what came of them.",
            labels=["outcome"],
        )
        for outcome, number in self._reloads.items():
            reloads.add_metric([outcome], number)
        yield reloads
        yield GaugeMetricFamily(
            "igw_tls_not_after_seconds",
            "When this process's own certificate ends, in Unix time.",
            value=material.pair.not_after.timestamp(),
        )

    def _look(self) -> None:
        now = _signatures(self.tls)
        if now in {self._good, self._told}:
            return
        try:
            self._material = self._renewed()
        except BadFilesError as error:
            # While they are being replaced they do not fit each other: it is trouble if they still do not next time.
            if now == self._bad:
                self._told = now
                self._reloads["kept"] += 1
                log.warning("tls_files_bad", reason=str(error), served="the ones before")
            self._bad = now
            return
        self._good, self._bad, self._told = now, None, None
        self._reloads["renewed"] += 1
        log.info("tls_files_renewed", not_after=self._material.pair.not_after.isoformat())

    def _renewed(self) -> Material:
        """Read the files anew. Raises BadFilesError, also where peers would refuse us for what they hold."""
        found, former = _read(self.tls), self._material
        if found.identity.role != former.identity.role:
            raise BadFilesError(
                f"{self.tls.cert} is of the role {found.identity.role}: the one before was of {former.identity.role}"
            )
        if found.pair.not_after <= self._now() < former.pair.not_after:
            raise BadFilesError(f"{self.tls.cert} ended on {found.pair.not_after:%Y-%m-%d %H:%M} UTC")
        return found


T = TypeVar("T")


class Following(ssl.SSLContext):
    """A context that gives each connection to one of what is good then; those under way keep theirs."""

    _source: Callable[[], Any]
    _fill: Callable[[ssl.SSLContext, Any], None]
    _filled_with: Any
    _present: ssl.SSLContext

    @classmethod
    def of(cls, protocol: int, source: Callable[[], T], fill: Callable[[ssl.SSLContext, T], None]) -> Self:
        """Give a context; it is complete of itself, for those that look at it.

        `source` gives what is good now, the same object while it is; `fill` completes a context with it.
        """
        context = cls(protocol)
        context._source, context._fill = source, fill
        context._filled_with = source()
        fill(context, context._filled_with)
        context._present = _filled(protocol, fill, context._filled_with)
        return context

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """As `ssl` says; asyncio and uvloop call it for each connection."""
        return self._now().wrap_bio(*arguments, **named)

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        """As `ssl` says."""
        return self._now().wrap_socket(*arguments, **named)

    def _now(self) -> ssl.SSLContext:
        good = self._source()
        if good is not self._filled_with:
            self._present = _filled(self.protocol, self._fill, good)
            self._filled_with = good
        return self._present


def _filled(protocol: int, fill: Callable[[ssl.SSLContext, T], None], good: T) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    fill(context, good)
    return context


def _filling(alpn: Sequence[str]) -> Callable[[ssl.SSLContext, Material], None]:
    return lambda context, material: _fill(context, material, tuple(alpn))


def _fill(context: ssl.SSLContext, material: Material, alpn: Sequence[str]) -> None:
    """Complete a context. Raises ssl.SSLError for what OpenSSL does not take."""
    # Of 1.2 a server keeps sessions without tickets too, which `ssl` cannot stop.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        # A session that goes on in another connection would go on with the certificate that it began with.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    context.load_verify_locations(cadata=material.authorities.decode("ascii"))
    show(context, material.pair, alpn)


def show(context: ssl.SSLContext, pair: KeyPair, alpn: Sequence[str]) -> None:
    """Have a context show a pair, and offer protocols. Raises ssl.SSLError for what OpenSSL does not take."""
    with _in_memory(pair.chain + pair.key) as path:
        context.load_cert_chain(path)
    if alpn:
        context.set_alpn_protocols(list(alpn))


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """Give a path to data that is in no file system: OpenSSL, by way of `ssl`, reads keys from paths alone."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"


def _signatures(tls: ServerTls) -> _Signatures:
    return signature(tls.cert), signature(tls.key), signature(tls.ca)


def _read(tls: ServerTls) -> Material:
    try:
        pair = read_pair(content(tls.cert), content(tls.key), named=False)
    except (UnreadableError, BadPairError) as error:
        raise BadFilesError(f"{tls.cert} and {tls.key}: {error}") from None
    try:
        authorities = b"".join(c.public_bytes(Encoding.PEM) for c in certificates(content(tls.ca)))
    except (UnreadableError, BadPairError) as error:
        raise BadFilesError(f"{tls.ca}: {error}") from None
    identity = identity_of(certificates(pair.chain)[0].public_bytes(Encoding.DER), tls.trust_domain)
    if identity is None:
        form = f"spiffe://{tls.trust_domain}/igw/ROLE[/zone/ZONE]"
        raise BadFilesError(f"{tls.cert} says of nobody who it is: it must have one URI, {form}")
    material = Material(pair, authorities, identity)
    try:
        _filled(ssl.PROTOCOL_TLS_SERVER, _filling(ALPN), material)
    except ssl.SSLError as error:
        raise BadFilesError(f"{tls.cert}, {tls.key} and {tls.ca} cannot be used: {error.reason}") from None
    return material


def server_context(tls: ServerTls, alpn: Sequence[str] = ALPN) -> ssl.SSLContext:
    """Give `Credentials(tls).server_context(alpn)` to those that need no more of it. Raises BadFilesError."""
    return Credentials(tls).server_context(alpn)


def peer_identity(connection: ssl.SSLObject | ssl.SSLSocket, trust_domain: str) -> Identity | None:
    """Give who is at the other end, by the certificate that the handshake verified; None for nobody of ours."""
    der = connection.getpeercert(binary_form=True)
    return None if der is None else identity_of(der, trust_domain)
