"""Every reply that the gateway makes itself is an OpenAI error object with a code, and says what to do."""

import json
import subprocess
from typing import Any

import httpx
import pytest

from tests.real_envoy.running import Running, chat

MIB = 1024 * 1024


def check(answer: httpx.Response, status: int, code: str) -> None:
    """Hold a reply to OpenAI's shape of an error."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code, error
    assert error["message"]


@pytest.mark.parametrize("name", ["chat", "by-header", "by-path", "wandb-chat"])
@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        ("", 401, "missing_api_key"),
        ("not a token", 401, "missing_api_key"),
        ("CW-SECRET-nobody", 401, "invalid_api_key"),
        ("wandb_v1_nobody_" + "x" * 40, 401, "invalid_api_key"),
    ],
)
def test_a_bad_token(gateway: Running, name: str, token: str, status: int, code: str) -> None:
    """No token and an unknown one are 401 on every gateway, with the challenge that RFC 6750 asks for."""
    answer = gateway.get(name, "/demo%2Fsmall/v1/models", token=token)
    check(answer, status, code)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_of_the_other_authority(gateway: Running) -> None:
    """A W&B key means nothing on a CoreWeave gateway, nor the other way round."""
    check(gateway.get("chat", "/v1/models", token=gateway.ready["tokens"]["wandb"]), 401, "invalid_api_key")
    check(gateway.get("wandb-chat", "/v1/models", token=gateway.token), 401, "invalid_api_key")


@pytest.mark.parametrize(
    ("name", "kind"), [("chat", "coreweave"), ("by-path", "coreweave"), ("wandb-chat", "wandb")]
)
def test_a_token_of_another_organization(gateway: Running, name: str, kind: str) -> None:
    """A good token of a stranger is 403."""
    check(gateway.get(name, "/v1/models", token=gateway.others(kind)), 403, "organization_mismatch")


BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "missing_model"),
    (b"{", 400, "invalid_json"),
    (b"model=demo/small", 400, "invalid_json"),
    (b'["demo/small"]', 400, "invalid_json"),
    (b'{"messages": []}', 400, "missing_model"),
    (b'{"model": null}', 400, "missing_model"),
    (b'{"model": ""}', 400, "missing_model"),
    (b'{"model": 5}', 400, "invalid_type"),
    (b'{"model": {"model": "demo/small"}}', 400, "invalid_type"),
    (b'{"options": {"model": "demo/small"}}', 400, "missing_model"),
    (b'{"model": "demo/small", "model": "demo-large"}', 400, "duplicate_model"),
    (b'{"model": "demo/small", "mod\\u0065l": "demo-large"}', 400, "duplicate_model"),
    (b'{"model": "no-such-model"}', 404, "model_not_found"),
    (b'{"model": "demo/small\\r\\nx-igw-principal: root"}', 404, "model_not_found"),
    (b'{"model": "' + b"x" * 5000 + b'"}', 404, "model_not_found"),
    (b"[" * 100_000, 400, "invalid_json"),
]


@pytest.mark.parametrize(("body", "status", "code"), BODIES)
def test_a_body_without_a_usable_model(gateway: Running, body: bytes, status: int, code: str) -> None:
    """Each way to name no model, or not one, has its own answer; none reaches a model server."""
    check(gateway.post("chat", body), status, code)


def test_ten_megabytes_before_the_model(gateway: Running) -> None:
    """The model is found wherever it stands."""
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 10 * MIB}], "model": "demo-large"})
    answer = gateway.post("chat", body.encode())
    assert (answer.status_code, answer.headers["x-demo-replica"]) == (200, "small-c")


@pytest.mark.parametrize(
    ("name", "headers", "path"),
    [
        ("chat", {}, "/v1/chat/completions"),
        ("by-header", {"x-model-name": "demo/small"}, "/v1/chat/completions"),
        ("by-path", {}, "/demo%2Fsmall/v1/chat/completions"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit(gateway: Running, name: str, headers: Any, path: str, chunked: bool) -> None:  # noqa: FBT001 - a case
    """Above 16 MiB is 413, with or without Content-Length; just below passes."""
    body = json.dumps(chat(text="x" * (16 * MIB + 1))).encode()
    content: Any = iter([body[i : i + MIB] for i in range(0, len(body), MIB)]) if chunked else body
    headers = gateway.headers(name, **headers)
    url = f"{gateway.ready['ingress']}{path}"
    check(httpx.post(url, content=content, headers=headers, timeout=30), 413, "request_too_large")
    fits = json.dumps(chat(text="x" * (16 * MIB - 200))).encode()
    assert httpx.post(url, content=fits, headers=headers, timeout=30).status_code == 200


def test_no_model_in_the_header_or_path(gateway: Running) -> None:
    """A missing model is 400, an unknown one 404, on each strategy."""
    check(gateway.post("by-header", chat()), 400, "missing_model")
    check(gateway.post("by-header", chat(), headers={"x-model-name": "no-such"}), 404, "model_not_found")
    check(gateway.post("by-path", chat(), path="/"), 400, "missing_model")
    check(gateway.post("by-path", chat(), path="/no-such/v1/chat/completions"), 404, "model_not_found")
    check(gateway.post("by-path", chat(), path="/demo/small/v1/chat/completions"), 404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/models", "/demo%2Fsmall/v1/models"])
def test_an_unknown_host(gateway: Running, path: str) -> None:
    """A name without a gateway is refused whatever the token, before anything is asked."""
    headers = {"Host": "api.nobody.gw.localhost", "Authorization": f"Bearer {gateway.token}"}
    check(httpx.get(f"{gateway.ready['ingress']}{path}", headers=headers), 404, "unknown_gateway")


def test_a_body_less_request_on_a_body_gateway(gateway: Running) -> None:
    """Only the list of models is to be had without a body."""
    check(gateway.get("chat", "/v1/files"), 400, "missing_model")
    check(gateway.get("chat", "/v1/models?x=1", token=""), 401, "missing_api_key")
    assert gateway.get("chat", "/v1/models?x=1").status_code == 200


@pytest.mark.parametrize("arguments", [["-X", "FOO"], ["--path-as-is", "-X", "BREW"]])
def test_methods_that_nobody_knows(gateway: Running, arguments: list[str]) -> None:
    """Over HTTP/2 Envoy lets any method pass: it is checked as all are, and refused in OpenAI's shape."""
    command = ["curl", "-sS", "--http2-prior-knowledge", *arguments, "-H", f"Host: {gateway.host('chat')}"]
    for token, code in ((gateway.token, "missing_model"), ("CW-SECRET-nobody", "invalid_api_key")):
        ask = [*command, "-H", f"Authorization: Bearer {token}", f"{gateway.ready['ingress']}/v1/models"]
        answer = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=30)
        assert json.loads(answer.stdout)["error"]["code"] == code


@pytest.mark.parametrize(("length", "status"), [(1, 200), (20_000, 200), (58_000, 200), (64_000, 431)])
def test_long_headers(gateway: Running, length: int, status: int) -> None:
    """All headers that Envoy takes can be checked: one client's cannot end the connection that checks share."""
    assert gateway.get("chat", f"/v1/models?{'x' * length}").status_code == status


def test_http2_clients(gateway: Running) -> None:
    """HTTP/2 without TLS gets the same answers."""
    command = [
        "curl",
        "-sS",
        "--http2-prior-knowledge",
        "-w",
        "%{http_version} %{http_code}",
        "-o",
        "/dev/null",
    ]
    command += ["-H", f"Host: {gateway.host('chat')}", "-H", f"Authorization: Bearer {gateway.token}"]
    answer = subprocess.run(
        [*command, f"{gateway.ready['ingress']}/v1/models"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert answer.stdout == "2 200"
