"""What Envoy is told of TLS to our services, and the files that it reads."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from google.protobuf import any_pb2
from google.protobuf.json_format import ParseDict
from igw_xds.bootstrap import Node, bootstrap
from igw_xds.resources.clusters import service_clusters
from igw_xds.resources.mutual_tls import secret_files
from igw_xds.settings import DataPlane, HostPort

PLAIN = DataPlane(usage_log=HostPort("127.0.0.1", 1), traces=HostPort("127.0.0.1", 2))
SECURED = replace(PLAIN, trust_domain="gw.test")


def names_of(context: tls_pb2.UpstreamTlsContext) -> list[tuple[str, str]]:
    """Give the names that a server's certificate may have."""
    combined = context.common_tls_context.combined_validation_context
    matchers = [one.matcher for one in combined.default_validation_context.match_typed_subject_alt_names]
    return [(str(m.WhichOneof("match_pattern")), m.exact or m.prefix) for m in matchers]


def context_of(cluster: Any) -> tls_pb2.UpstreamTlsContext:
    """Give how a cluster speaks TLS."""
    context = tls_pb2.UpstreamTlsContext()
    assert cluster.transport_socket.typed_config.Unpack(context)
    return context


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("igw-extauth", "extauth"),
        ("igw-extauth-log", "extauth"),
        ("igw-extproc", "extproc"),
        ("igw-usage", "collector"),
    ],
)
def test_each_service_must_have_its_own_role(name: str, role: str) -> None:
    """By itself or in a zone; another service's certificate of the same authority is not enough."""
    [cluster] = [one for one in service_clusters(SECURED) if one.name == name]
    uri = f"spiffe://gw.test/igw/{role}"
    assert names_of(context_of(cluster)) == [("exact", uri), ("prefix", f"{uri}/zone/")]


def test_resources_hold_no_secret() -> None:
    """They name files of Envoy's own, relative to where it runs."""
    for cluster in service_clusters(SECURED)[:-1]:
        common = context_of(cluster).common_tls_context
        sources = [
            *common.tls_certificate_sds_secret_configs,
            common.combined_validation_context.validation_context_sds_secret_config,
        ]
        assert [(s.name, s.sds_config.path_config_source.path) for s in sources] == [
            ("igw-identity", "igw-tls/igw-identity.json"),
            ("igw-authority", "igw-tls/igw-authority.json"),
        ]
        assert not common.tls_certificates


def test_who_is_not_ours_is_spoken_to_in_clear() -> None:
    """An OpenTelemetry collector has no certificate of ours; and without a trust domain nobody has."""
    assert [c.name for c in service_clusters(SECURED) if not c.HasField("transport_socket")] == ["igw-traces"]
    assert not any(cluster.HasField("transport_socket") for cluster in service_clusters(PLAIN))


def test_the_bootstrap() -> None:
    """The control plane must be one; at a Unix socket it is our own agent, in clear."""
    node = Node("a", "east", HostPort("127.0.0.1", 1), HostPort("127.0.0.1", 2), trust_domain="gw.test")
    [cluster] = bootstrap(node)["static_resources"]["clusters"]
    found = any_pb2.Any()
    ParseDict(cluster["transport_socket"]["typed_config"], found)
    context = tls_pb2.UpstreamTlsContext()
    assert found.Unpack(context)
    assert names_of(context)[0] == ("exact", "spiffe://gw.test/igw/xds")
    assert cluster["connect_timeout"] == "5s"
    [beside] = bootstrap(replace(node, xds=Path("/run/ads")))["static_resources"]["clusters"]
    assert "transport_socket" not in beside


def test_the_files_that_envoy_reads() -> None:
    """One with the pair, one with the authorities, each a secret that xDS's files can hold."""
    files = secret_files(b"CHAIN", b"KEY", b"CA")
    assert sorted(files) == ["igw-authority.json", "igw-identity.json"]
    found = {name: _secret(text) for name, text in files.items()}
    pair, trusted = found["igw-identity.json"], found["igw-authority.json"]
    assert pair.name == "igw-identity"
    assert pair.tls_certificate.certificate_chain.inline_string == "CHAIN"
    assert pair.tls_certificate.private_key.inline_string == "KEY"
    assert trusted.name == "igw-authority"
    assert trusted.validation_context.trusted_ca.inline_string == "CA"


def _secret(text: str) -> secret_pb2.Secret:
    [resource] = json.loads(text)["resources"]
    packed, secret = any_pb2.Any(), secret_pb2.Secret()
    ParseDict(resource, packed)
    assert packed.Unpack(secret)
    return secret
