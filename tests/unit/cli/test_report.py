"""What `igw up` tells: curl lines that work in a shell, and the ready file."""

import io
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from igw_cli.report import Serving, curl, show, show_start, told, write_ready
from igw_model.policy import Provider
from igw_xds.plan import Plan, plan
from rich.console import Console

from tests.builders import deployment, gateway, gateway_id

URL = f"http://api.{gateway_id(1)}.gw.localhost:8080"
HOST = f"api.{gateway_id(1)}.gw.example.com"


def serving(
    *,
    domain: str = "gw.localhost",
    tokens: Any = None,
    model: str = "demo/small",
    https_only: bool = False,
    **fields: Any,
) -> Serving:
    """Give what is served: one gateway with one model."""
    planned = plan([gateway(1, **fields)], [deployment(model={"name": model})], domain=domain)
    return Serving(
        plan=planned,
        ingress="http://127.0.0.1:8080",
        port=8080,
        address="127.0.0.1",
        https_port=8443,
        https_only=https_only,
        authority=Path("/a state/authority/ca.crt"),
        admin="http://127.0.0.1:9901",
        domain=domain,
        tokens=tokens or {},
        api="http://127.0.0.1:8081",
        admin_token=Path("/a state/admin-token"),
        organization="acme",
    )


def words(there: Serving, *, https: bool = False) -> list[str]:
    """Give a curl line as the shell reads it."""
    return shlex.split(curl(there.plan.gateways[0], there, https=https))


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
    there = serving(headerBasedRouting={"headerName": "X-Model"})
    assert words(there) == expected(f"{URL}/v1/chat/completions", CW, JSON, "X-Model: demo/small")


def test_path_routing() -> None:
    """The model is the first segment, percent-encoded."""
    there = serving(pathBasedRouting={}, model="größe/8b$HOME'x")
    url = f"{URL}/gr%C3%B6%C3%9Fe%2F8b%24HOME%27x/v1/chat/completions"
    assert words(there) == expected(url, CW, JSON, model="größe/8b$HOME'x")


def test_wandb() -> None:
    """A W&B gateway wants a W&B key."""
    there = serving(weightsAndBiasesAuth={})
    assert words(there) == expected(
        f"{URL}/v1/chat/completions", "Authorization: Bearer $WANDB_API_KEY", JSON
    )


def test_a_known_token_is_in_the_line() -> None:
    """The demo's line works as it is."""
    there = serving(tokens={Provider.COREWEAVE: "CW-SECRET-1"})
    assert words(there) == expected(f"{URL}/v1/chat/completions", "Authorization: Bearer CW-SECRET-1", JSON)


def test_a_name_that_does_not_lead_here() -> None:
    """Outside *.localhost the line asks this machine and says the name in the Host header."""
    there = serving(domain="gw.example.com")
    assert words(there) == expected("http://127.0.0.1:8080/v1/chat/completions", CW, JSON, f"Host: {HOST}")


def test_the_shell_expands_the_token_alone() -> None:
    """Every other part is quoted: a definition's text is never code, and only the variable is expanded."""
    line = curl(serving(model="$(id)`id`").plan.gateways[0], serving(model="$(id)`id`"))
    outside = line.replace('"Authorization: Bearer $CW_API_TOKEN"', "")
    assert "'" not in outside.replace(shlex.quote(shlex.split(line)[-1]), "").replace(f"'{JSON}'", "")
    assert shlex.split(line)[-1].startswith('{"model": "$(id)`id`"')


@pytest.mark.parametrize("models", [True, False])
def test_the_table(*, models: bool) -> None:
    """Each gateway with its routing, provider, models and URLs; curl lines are not wrapped."""
    there = serving(
        headerBasedRouting={"headerName": "X-Model"}, endpointConfiguration={"additionalDns": ["Chat.A.com"]}
    )
    if not models:
        there = replace(there, plan=plan([gateway(1)], [], domain="gw.localhost"))
    out = io.StringIO()
    show(there, there.plan.gateways, Console(file=out, width=80))
    text = out.getvalue()
    assert "gateway-1" in text
    assert ("curl" in text) is models
    assert ("header X-Model" in text, "demo/small" in text, "http://chat.a.com" in text) == (
        models,
        models,
        models,
    )
    if models:
        assert f"\n{curl(there.plan.gateways[0], there)}\n" in text


def test_the_start_tells_how_to_manage_it() -> None:
    """Two lines that work in a shell and do not show the token, whose organisation is said."""
    out = io.StringIO()
    show_start(serving(), Console(file=out, width=80))
    text = out.getvalue()
    assert "http://127.0.0.1:8081/docs" in text
    assert (
        "\n  curl -sS http://127.0.0.1:8081/v1alpha1/inference/gateways "
        "-H \"Authorization: Bearer $(cat '/a state/admin-token')\"\n"
        "  igw get gateways --server http://127.0.0.1:8081 --token-file '/a state/admin-token'\n"
    ) in text
    assert "# the admin token manages organisation acme" in text


@pytest.mark.parametrize("only", [False, True])
def test_https(only: bool) -> None:  # noqa: FBT001 - a case
    """The same line once more, with what is to be trusted; where there is nothing but HTTPS, it is the only one."""
    host = f"api.{gateway_id(1)}.gw.localhost"
    there = serving(https_only=only)
    assert words(there, https=True)[2:5] == [
        "--cacert",
        "/a state/authority/ca.crt",
        f"https://{host}:8443/v1/chat/completions",
    ]
    elsewhere = words(serving(domain="example.com", https_only=only), https=True)
    assert elsewhere[4:6] == ["--resolve", f"api.{gateway_id(1)}.example.com:8443:127.0.0.1"]
    out = io.StringIO()
    show_start(there, Console(file=out, width=80))
    lines = [line for line in out.getvalue().splitlines() if "--cacert" in line]
    assert [line.startswith("curl") for line in lines] == [only]


def test_the_start_of_an_empty_gateway() -> None:
    """It says how to get the first one."""
    out = io.StringIO()
    show_start(replace(serving(), plan=Plan()), Console(file=out, width=80))
    assert out.getvalue().startswith("No gateway yet: make one through the management API")


def test_what_is_worth_telling() -> None:
    """Another weight is not; another name, host, strategy or model is."""
    one, heavier = (
        plan([gateway(1)], [deployment(1, weight=1), deployment(2, weight=weight)], domain="d").gateways[0]
        for weight in (1, 2)
    )
    assert one != heavier
    assert told(one) == told(heavier)
    for other in (gateway(1, name="other"), gateway(1, pathBasedRouting={}), gateway(2)):
        assert told(plan([other], [], domain="d").gateways[0]) != told(one)


def test_the_ready_file(tmp_path: Path) -> None:
    """All that a program needs; replaced whole, and readable by its owner only: it holds tokens."""
    path = tmp_path / "ready.json"
    path.write_text("old", encoding="utf-8")
    write_ready(path, serving(tokens={Provider.COREWEAVE: "CW-SECRET-1"}), {"envoy": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "ingress": "http://127.0.0.1:8080",
        "https": "https://127.0.0.1:8443",
        "authority": "/a state/authority/ca.crt",
        "envoyAdmin": "http://127.0.0.1:9901",
        "api": "http://127.0.0.1:8081",
        "adminTokenFile": "/a state/admin-token",
        "organization": "acme",
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
