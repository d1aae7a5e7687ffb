"""TLS towards clients: which certificates Envoy shows, and how it speaks. Pure.

Certificates and keys are secrets of their own (SDS): a renewed one changes no listener, and so ends no connection.
Envoy shows the one that has the name that the client asks for (SNI), by itself or by a wildcard, else the first.
"""

from collections.abc import Iterable, Mapping

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.quic.v3 import quic_transport_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from google.protobuf import wrappers_pb2
from igw_certs.pair import KeyPair

from igw_xds import names
from igw_xds.resources.messages import ads, packed
from igw_xds.snapshot import Resource, resource

HTTP = ("h2", "http/1.1")
HTTP3 = ("h3",)


def secrets(pairs: Mapping[str, KeyPair]) -> list[Resource]:
    """Give the secrets of certificates by name."""
    return [resource(names.certificate(name), _secret(name, pair)) for name, pair in pairs.items()]


def over_tls(certificates: Iterable[str]) -> base_pb2.TransportSocket:
    """Give TLS for TCP, with HTTP/2 for the clients that speak it."""
    config = packed(_context(certificates, HTTP))
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=config)


def over_quic(certificates: Iterable[str]) -> base_pb2.TransportSocket:
    """Give TLS within QUIC, without early data: whoever saw a request in that could send it again."""
    config = quic_transport_pb2.QuicDownstreamTransport(
        downstream_tls_context=_context(certificates, HTTP3),
        enable_early_data=wrappers_pb2.BoolValue(value=False),
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.quic", typed_config=packed(config))


def _context(certificates: Iterable[str], protocols: Iterable[str]) -> tls_pb2.DownstreamTlsContext:
    versions = common_pb2.TlsParameters
    found = [
        secret_pb2.SdsSecretConfig(name=names.certificate(name), sds_config=ads()) for name in certificates
    ]
    common = tls_pb2.CommonTlsContext(
        tls_params=versions(
            tls_minimum_protocol_version=versions.TLSv1_2, tls_maximum_protocol_version=versions.TLSv1_3
        ),
        tls_certificate_sds_secret_configs=found,
        alpn_protocols=protocols,
    )
    return tls_pb2.DownstreamTlsContext(common_tls_context=common)


def _secret(name: str, pair: KeyPair) -> secret_pb2.Secret:
    certificate = common_pb2.TlsCertificate(
        certificate_chain=base_pb2.DataSource(inline_bytes=pair.chain),
        private_key=base_pb2.DataSource(inline_bytes=pair.key),
    )
    return secret_pb2.Secret(name=names.certificate(name), tls_certificate=certificate)
