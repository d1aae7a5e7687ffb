"""What `igw up` tells: curl lines that work in a shell, and the ready file."""

import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from igw_cli.report import Serving, curl, show, write_ready
from igw_model.policy import Provider
from igw_xds.plan import plan
from rich.console import Console

from tests.builders import deployment, gateway, gateway_id

URL = f"http://api.{gateway_id(1)}.gw.localhost:8080"
HOST = f"api.{gateway_id(1)}.gw.example.com"


def serving(
    *, domain: str = "gw.localhost", tokens: Any = None, model: str = "demo/small", **fields: Any
) -> Serving:
    """Give what is served: one gateway with one model."""
    planned = plan([gateway(1, **fields)], [deployment(model={"name": model})], domain=domain)
    return Serving(planned, "http://127.0.0.1:8080", 8080, "http://127.0.0.1:9901", domain, tokens or {})


def words(told: Serving) -> list[str]:
    """Give a curl line as the shell reads it."""
    return shlex.split(curl(told.plan.gateways[0], told))


def expected(url: str, *headers: str, model: str = "demo/small") -> list[str]:
    """Give a curl command."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Say hello"}]})
    return ["curl", "-sS", url, *(word for header in headers for word in ("-H", header)), "-d", body]


JSON = "Content-Type: application/json"
CW = "Authorization: Bearer $CW_API_TOKEN"


def test_body_routing() -> None:
    """The model is in the body; the token is taken from the environment."""
    assert words(serving()) == expected(f"{URL}/v1/chat/completions", CW, JSON)


def test_header_routing() -> None:
    """The model is in the gateway's header."""
    told = serving(headerBasedRouting={"headerName": "X-Model"})
    assert words(told) == expected(f"{URL}/v1/chat/completions", CW, JSON, "X-Model: demo/small")


def test_path_routing() -> None:
    """The model is the first segment, percent-encoded."""
    told = serving(pathBasedRouting={}, model="größe/8b$HOME'x")
    url = f"{URL}/gr%C3%B6%C3%9Fe%2F8b%24HOME%27x/v1/chat/completions"
    assert words(told) == expected(url, CW, JSON, model="größe/8b$HOME'x")


def test_wandb() -> None:
    """A W&B gateway wants a W&B key."""
    told = serving(weightsAndBiasesAuth={})
    assert words(told) == expected(f"{URL}/v1/chat/completions", "Authorization: Bearer $WANDB_API_KEY", JSON)


def test_a_known_token_is_in_the_line() -> None:
    """The demo's line works as it is."""
    told = serving(tokens={Provider.COREWEAVE: "CW-SECRET-1"})
    assert words(told) == expected(f"{URL}/v1/chat/completions", "Authorization: Bearer CW-SECRET-1", JSON)


def test_a_name_that_does_not_lead_here() -> None:
    """Outside *.localhost the line asks this machine and says the name in the Host header."""
    told = serving(domain="gw.example.com")
    assert words(told) == expected("http://127.0.0.1:8080/v1/chat/completions", CW, JSON, f"Host: {HOST}")


def test_the_shell_expands_the_token_alone() -> None:
    """Every other part is quoted: a definition's text is never code, and only the variable is expanded."""
    line = curl(serving(model="$(id)`id`").plan.gateways[0], serving(model="$(id)`id`"))
    outside = line.replace('"Authorization: Bearer $CW_API_TOKEN"', "")
    assert "'" not in outside.replace(shlex.quote(shlex.split(line)[-1]), "").replace(f"'{JSON}'", "")
    assert shlex.split(line)[-1].startswith('{"model": "$(id)`id`"')


@pytest.mark.parametrize("models", [True, False])
def test_the_table(*, models: bool) -> None:
    """Each gateway with its routing, provider, models and URLs; curl lines are not wrapped."""
    told = serving(
        headerBasedRouting={"headerName": "X-Model"}, endpointConfiguration={"additionalDns": ["Chat.A.com"]}
    )
    if not models:
        told = Serving(plan([gateway(1)], [], domain="gw.localhost"), *_rest(told))
    out = io.StringIO()
    show(told, Console(file=out, width=80))
    text = out.getvalue()
    assert "gateway-1" in text
    assert ("curl" in text) is models
    assert ("header X-Model" in text, "demo/small" in text, "http://chat.a.com" in text) == (
        models,
        models,
        models,
    )
    if models:
        assert f"\n{curl(told.plan.gateways[0], told)}\n" in text


def _rest(told: Serving) -> tuple[str, int, str, str, dict[Provider, str]]:
    return told.ingress, told.port, told.admin, told.domain, dict(told.tokens)


def test_the_ready_file(tmp_path: Path) -> None:
    """All that a program needs; replaced whole, and readable by its owner only: it holds tokens."""
    path = tmp_path / "ready.json"
    path.write_text("old", encoding="utf-8")
    write_ready(path, serving(tokens={Provider.COREWEAVE: "CW-SECRET-1"}), {"envoy": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "ingress": "http://127.0.0.1:8080",
        "envoyAdmin": "http://127.0.0.1:9901",
        "gateways": [
            {
                "id": gateway_id(1),
                "name": "gateway-1",
                "host": f"api.{gateway_id(1)}.gw.localhost",
                "hosts": [f"api.{gateway_id(1)}.gw.localhost"],
                "routing": "body",
            }
        ],
        "tokens": {"coreweave": "CW-SECRET-1"},
        "pids": {"envoy": 1},
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
