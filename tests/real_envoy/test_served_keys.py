"""Pairs that we take, Envoy takes; keys that we refuse, Envoy refuses too: so no Envoy ever sees a bad one."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from igw_certs.pair import BadPairError, read_pair
from igw_cli.envoy import envoy_command

from tests.unit.certs.signing import Signed, intermediate, key_of, signed

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def configuration(pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Give a listener that shows all of these, chain and key."""
    certificates = [
        {
            "certificate_chain": {"inline_string": chain.decode()},
            "private_key": {"inline_string": key.decode()},
        }
        for chain, key in pairs
    ]
    context = {"@type": TLS, "common_tls_context": {"tls_certificates": certificates}}
    filters = [{"name": "tcp", "typed_config": {"@type": PROXY, "stat_prefix": "a", "cluster": "a"}}]
    listener = {
        "name": "a",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"transport_socket": {"name": "tls", "typed_config": context}, "filters": filters}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [{"name": "a"}]}}


def envoy_says(folder: Path, *pairs: tuple[bytes, bytes]) -> str:
    """Let Envoy check a configuration; give what it has against it, '' for nothing."""
    (folder / "envoy.json").write_text(json.dumps(configuration(pairs)))
    command = [
        envoy_command(),
        "--mode",
        "validate",
        "--log-level",
        "error",
        "-c",
        str(folder / "envoy.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


def as_read(one: Signed, chain: bytes = b"") -> tuple[bytes, bytes]:
    """Give what Envoy is sent of a pair."""
    pair = read_pair(one.chain + chain, one.secret)
    return pair.chain, bytes(pair.key)


def test_envoy_takes_every_pair_that_we_take(tmp_path: Path) -> None:
    """Each kind of key, a wildcard, a chain, an expired one."""
    kinds = [as_read(signed(f"{kind}.com", key=key_of(kind))) for kind in ("2048", "p256", "p384", "p521")]
    chained = as_read(signed("*.chained.com", by=intermediate()), intermediate().chain)
    expired = as_read(signed("expired.com", days=0.001))
    assert envoy_says(tmp_path, *kinds, chained, expired) == ""


@pytest.mark.parametrize("kind", ["1024", "p224", "k256", "mismatch"])
def test_envoy_refuses_what_we_refuse(tmp_path: Path, kind: str) -> None:
    """It would refuse the whole of a change for it: here it is refused before, with a reason."""
    one = signed("a.com", key=None if kind == "mismatch" else key_of(kind))
    key = key_of("p256") if kind == "mismatch" else one.key
    with pytest.raises(BadPairError):
        read_pair(one.chain, Signed(one.certificate, key).secret)
    assert "Failed to load" in envoy_says(tmp_path, (one.chain, Signed(one.certificate, key).secret))
