"""The main job through a real Envoy: a client asks, a model answers."""

import shlex
import subprocess

import httpx
import openai
import pytest

from tests.real_envoy.running import Running, chat, eventually


def test_each_printed_curl_line_works(gateway: Running) -> None:
    """What `igw up` prints can be pasted into a shell and answers with a completion."""
    lines = [line for line in gateway.output().splitlines() if line.startswith("curl ")]
    assert len(lines) == len(gateway.ready["gateways"])
    for line in lines:
        answer = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True, timeout=30)
        assert '"chat.completion"' in answer.stdout, line


@pytest.fixture
def client(gateway: Running) -> openai.OpenAI:
    """A stock client: only `base_url` and `api_key` are set."""
    return openai.OpenAI(base_url=f"http://localhost:{gateway.port}/v1", api_key=gateway.token, max_retries=0)


def test_the_openai_package_gets_a_completion(client: openai.OpenAI) -> None:
    """A chat completion comes back whole, with usage."""
    answer = client.chat.completions.create(
        model="demo/small", messages=[{"role": "user", "content": "hello"}]
    )
    assert answer.choices[0].message.content is not None
    assert answer.choices[0].message.content.endswith("You said: hello")
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0


def test_the_openai_package_gets_a_stream(client: openai.OpenAI) -> None:
    """A streamed completion arrives in several chunks that make up the whole."""
    stream = client.chat.completions.create(
        model="demo/small",
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text.endswith("You said: hello")
    assert len(chunks) > 3
    assert chunks[-1].usage is not None


def test_the_openai_package_gets_the_models(client: openai.OpenAI) -> None:
    """The list holds the gateway's models, each once."""
    assert [model.id for model in client.models.list()] == ["demo-large", "demo/small"]


def test_the_openai_package_raises_its_own_errors(client: openai.OpenAI) -> None:
    """Errors of the gateway are OpenAI's errors to OpenAI's client."""
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "hello"}])
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"


def test_a_header_gateway_lists_its_models(gateway: Running) -> None:
    """GET /v1/models needs no model header."""
    answer = gateway.get("by-header", "/v1/models")
    assert answer.headers["content-type"] == "application/json"
    assert [model["id"] for model in answer.json()["data"]] == ["demo-large", "demo/small"]


def test_a_header_names_the_model(gateway: Running) -> None:
    """The body is not read on a header gateway."""
    answer = gateway.post("by-header", b"not json, not read", headers={"x-model-name": "demo/small"})
    assert answer.status_code == 400  # the model server's own complaint
    assert answer.headers["x-demo-replica"].startswith("small-")
    answer = gateway.post("by-header", chat("whatever"), headers={"X-MODEL-NAME": "demo-large"})
    assert (answer.status_code, answer.headers["x-demo-replica"]) == (200, "small-c")


@pytest.mark.parametrize("segment", ["demo%2Fsmall", "demo%2fsmall", "%64emo%2Fsm%61ll", "d%65%6Do%2fsmall"])
def test_every_encoding_of_a_path_segment_is_the_same_model(gateway: Running, segment: str) -> None:
    """The first segment names the model and is taken off before the request goes on."""
    answer = gateway.post("by-path", chat("ignored"), path=f"/{segment}/v1/chat/completions?x=%2Fy")
    assert answer.status_code == 200, answer.text
    last = gateway.seen()[answer.headers["x-demo-replica"]]["last"]
    assert (last["path"], last["query"]) == ("/v1/chat/completions", "x=%2Fy")


@pytest.mark.parametrize("spelling", ["{host}", "{upper}", "{host}.", "{host}:1234", "{upper}.:80"])
def test_host_names_ignore_case_port_and_trailing_dot(gateway: Running, spelling: str) -> None:
    """RFC 9110, section 4.2.3; each strategy must still find its model."""
    for name, path, headers in (
        ("chat", "/v1/chat/completions", {}),
        ("by-header", "/v1/chat/completions", {"x-model-name": "demo/small"}),
        ("by-path", "/demo%2Fsmall/v1/chat/completions", {}),
    ):
        host = gateway.host(name)
        spelled = spelling.format(host=host, upper=host.upper())
        answer = gateway.post(name, chat(), path=path, headers={**headers, "Host": spelled})
        assert answer.status_code == 200, (spelled, answer.text)


def test_a_stream_is_not_held_back(gateway: Running) -> None:
    """The first event arrives while the model server keeps the others."""
    before = cancelled(gateway)
    headers = gateway.headers("chat", **{"x-demo-chunks": "5", "x-demo-hold-after": "1"})
    with httpx.stream(
        "POST", f"{gateway.ready['ingress']}/v1/chat/completions", json=chat(stream=True), headers=headers
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert next(answer.iter_lines()).startswith("data: ")
    eventually(lambda: cancelled(gateway) == before + 1)


def cancelled(gateway: Running) -> int:
    """Give how many clients model servers saw leave."""
    return sum(int(seen["cancelled"]) for seen in gateway.seen().values())


def test_a_client_that_goes_away_cancels_the_upstream(gateway: Running) -> None:
    """The model server hears of it while it is still making the answer."""
    before = cancelled(gateway)
    headers = gateway.headers("chat", **{"x-demo-chunks": "1000", "x-demo-chunk-ms": "100"})
    with httpx.stream(
        "POST", f"{gateway.ready['ingress']}/v1/chat/completions", json=chat(stream=True), headers=headers
    ) as answer:
        next(answer.iter_lines())
    eventually(lambda: cancelled(gateway) == before + 1, seconds=5)


def test_what_reaches_the_model_server(gateway: Running) -> None:
    """It learns who asks and never the token; what a client says under our names is dropped."""
    forged = {
        "x-igw-principal": "root",
        "X_Igw_Principal": "root",
        "x-igw-organization": "other",
        "x-igw-model": "demo-large",
        "x-igw-policy": "coreweave/other-org/x",
        "x-envoy-retry-on": "5xx",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "cookie": "session=secret",
    }
    answer = gateway.post("chat", chat("demo/small"), headers=forged)
    assert answer.status_code == 200
    headers = dict(gateway.seen()[answer.headers["x-demo-replica"]]["last"]["headers"])
    assert headers["x-igw-principal"] == "demo-user"
    assert headers["x-igw-organization"] == "demo-org"
    dropped = {"authorization", "cookie", "x-igw-model", "x_igw_principal", "x-envoy-retry-on"}
    assert not dropped & set(headers)
    assert gateway.token not in str(headers)


@pytest.mark.parametrize("header", ["x-igw-policy", "X-IGW-POLICY", "X_Igw_Policy"])
@pytest.mark.parametrize("name", ["chat", "by-header", "by-path"])
def test_a_client_cannot_choose_what_it_is_held_to(gateway: Running, name: str, header: str) -> None:
    """A stranger's good token stays a stranger's, whatever policy the request claims."""
    headers = gateway.headers(name, gateway.others("coreweave"), **{header: "coreweave/other-org/anything"})
    answer = httpx.get(f"{gateway.ready['ingress']}/demo%2Fsmall/v1/models", headers=headers)
    assert answer.status_code == 403
