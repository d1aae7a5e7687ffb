"""TLS between Envoy and our services: what Envoy shows, whom it trusts, and whose certificate a service must have.

Envoy's own key and its authorities are secrets in two files beside it (`secret_files`), which it reads again when they
are replaced; secrets in a bootstrap it never reads again. The files' names are in resources, the same for every Envoy,
so they are relative to the folder that Envoy runs in. Nothing secret is sent by xDS.
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import wrappers_pb2
from google.protobuf.json_format import MessageToDict
from igw_certs.identity import Identity, Role

from igw_xds.resources.messages import packed

IDENTITY: Final = "igw-identity"
AUTHORITY: Final = "igw-authority"
FOLDER: Final = "igw-tls"
"""Where Envoy finds both, below the folder that it runs in."""


def transport_socket(trust_domain: str, role: Role) -> base_pb2.TransportSocket:
    """Give how Envoy connects to services of a role, in whatever zone they are."""
    return base_pb2.TransportSocket(
        name="envoy.transport_sockets.tls", typed_config=packed(_context(trust_domain, role))
    )


def secret_files(chain: bytes, key: bytes, authorities: bytes) -> Mapping[str, str]:
    """Give the files that Envoy reads, by name in `FOLDER`; all in PEM. Whoever reads one has the key."""
    pair = common_pb2.TlsCertificate(certificate_chain=_inline(chain), private_key=_inline(key))
    trusted = common_pb2.CertificateValidationContext(trusted_ca=_inline(authorities))
    secrets = (
        secret_pb2.Secret(name=IDENTITY, tls_certificate=pair),
        secret_pb2.Secret(name=AUTHORITY, validation_context=trusted),
    )
    return {_file(secret.name): json.dumps({"resources": [_resource(secret)]}) for secret in secrets}


def _context(trust_domain: str, role: Role) -> tls_pb2.UpstreamTlsContext:
    parameters = common_pb2.TlsParameters(
        tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
        tls_maximum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
    )
    validation = tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=common_pb2.CertificateValidationContext(
            match_typed_subject_alt_names=_names(Identity(role).uri(trust_domain))
        ),
        validation_context_sds_secret_config=_found(AUTHORITY),
    )
    return tls_pb2.UpstreamTlsContext(
        common_tls_context=tls_pb2.CommonTlsContext(
            tls_params=parameters,
            tls_certificate_sds_secret_configs=[_found(IDENTITY)],
            combined_validation_context=validation,
            alpn_protocols=["h2"],
        ),
        # A session that goes on would go on with the certificate that it began with.
        max_session_keys=wrappers_pb2.UInt32Value(value=0),
    )


def _names(uri: str) -> list[common_pb2.SubjectAltNameMatcher]:
    """Match a role, be it held in a zone or not."""
    matchers = (string_pb2.StringMatcher(exact=uri), string_pb2.StringMatcher(prefix=f"{uri}/zone/"))
    return [
        common_pb2.SubjectAltNameMatcher(san_type=common_pb2.SubjectAltNameMatcher.URI, matcher=matcher)
        for matcher in matchers
    ]


def _found(name: str) -> secret_pb2.SdsSecretConfig:
    return secret_pb2.SdsSecretConfig(
        name=name,
        sds_config=config_source_pb2.ConfigSource(
            path_config_source=config_source_pb2.PathConfigSource(path=f"{FOLDER}/{_file(name)}"),
            resource_api_version=config_source_pb2.V3,
        ),
    )


def _file(name: str) -> str:
    return f"{name}.json"


def _inline(pem: bytes) -> base_pb2.DataSource:
    return base_pb2.DataSource(inline_string=pem.decode("ascii"))


def _resource(secret: secret_pb2.Secret) -> dict[str, Any]:
    document = MessageToDict(packed(secret), preserving_proto_field_name=True)
    return dict(document)
