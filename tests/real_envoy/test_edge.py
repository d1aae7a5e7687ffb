"""What is shown of the gateway's inside: nothing to clients, and to model servers nothing but who asks."""

import json
import socket

import pytest

from tests.real_envoy.running import Running, chat


def test_an_answer_tells_nothing_of_what_is_behind(gateway: Running) -> None:
    """No header of Envoy's own, and neither its name nor the model server's."""
    for path in ("/v1/chat/completions", "/v1/no-such-path"):
        answer = gateway.post("chat", chat(), path=path)
        assert answer.headers["x-demo-replica"], "a model server answered"
        assert answer.headers["server"] == "inference-gateway"
        assert not [name for name in answer.headers if name.startswith(("x-envoy", "x-igw", "via"))]


def test_what_a_model_server_is_told_of_the_way(gateway: Running) -> None:
    """A path gateway's first segment is not told, and a request's id is ours: two requests never share one."""
    answer = gateway.post(
        "by-path", chat(), path="/demo%2Fsmall/v1/chat/completions", headers={"x-request-id": "mine"}
    )
    last = dict(gateway.seen()[answer.headers["x-demo-replica"]]["last"]["headers"])
    assert "demo" not in str({name: value for name, value in last.items() if name.startswith("x-envoy")})
    assert last["x-request-id"] != "mine"


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"GET /\r\n\r\n"]
)
def test_what_is_no_request(gateway: Running, sent: bytes) -> None:
    """Even bytes that are no HTTP get an error object, and an end of the connection."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as peer:
        peer.sendall(sent)
        head, _, body = peer.recv(65536).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "bad_request"
