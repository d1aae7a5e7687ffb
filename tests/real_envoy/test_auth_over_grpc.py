"""The same decisions where Envoy asks extauth over gRPC."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_envoy.running import Running, chat, igw_up


@pytest.fixture(scope="module")
def asks_over_grpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo whose Envoy asks over gRPC."""
    folder: Path = tmp_path_factory.mktemp("grpc")
    with igw_up(folder, "--demo", "--auth-transport", "grpc") as running:
        yield running


def test_who_may_pass(asks_over_grpc: Running) -> None:
    """No token, an unknown one, another authority's, another organisation's: as over HTTP."""
    gateway = asks_over_grpc
    for token, status, code in (
        ("", 401, "missing_api_key"),
        ("CW-SECRET-nobody", 401, "invalid_api_key"),
        (str(gateway.ready["tokens"]["wandb"]), 401, "invalid_api_key"),
        (gateway.others("coreweave"), 403, "organization_mismatch"),
    ):
        answer = gateway.get("chat", "/v1/models", token=token)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert ("www-authenticate" in answer.headers) == (status == 401)
    assert gateway.get("wandb-chat", "/v1/models", token=gateway.ready["tokens"]["wandb"]).status_code == 200


def test_what_reaches_the_model_server(asks_over_grpc: Running) -> None:
    """It learns who asks, never the token, and a forged name is overwritten."""
    answer = asks_over_grpc.post("chat", chat(), headers={"x-igw-principal": "root"})
    headers = dict(asks_over_grpc.seen()[answer.headers["x-demo-replica"]]["last"]["headers"])
    assert (headers["x-igw-principal"], headers["x-igw-organization"]) == ("demo-user", "demo-org")
    assert "authorization" not in headers


def test_an_unknown_host(asks_over_grpc: Running) -> None:
    """A name without a gateway is refused here too."""
    answer = asks_over_grpc.post("chat", chat(), headers={"Host": "nobody.localhost"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_gateway")
