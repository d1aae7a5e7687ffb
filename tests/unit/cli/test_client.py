"""The API's client: what is tried again and what is not, and how answers become messages and exit statuses."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from igw_cli.client import PAUSES_SECONDS, Client, Exit, FailedError

from tests.unit.cli.api_server import api_server

Answers = list[tuple[int, str]]


@pytest.fixture
def server() -> Iterator[Callable[[Answers], tuple[str, list[str]]]]:
    """Give a function that serves answers, one a request, and gives the URL and the requests seen."""
    servers: list[HTTPServer] = []

    def serve(answers: Answers) -> tuple[str, list[str]]:
        requests: list[str] = []

        class Answer(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                requests.append(f"{self.command} {self.path}")
                status, body = answers[min(len(requests), len(answers)) - 1]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Answer))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}", requests

    yield serve
    for running in servers:
        running.shutdown()
        running.server_close()


Serve = Callable[[Answers], tuple[str, list[str]]]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_reads_are_tried_again(server: Serve, status: int) -> None:
    """A few times, with longer and longer pauses."""
    url, requests = server([(status, ""), (status, ""), (200, '{"items": []}')])
    pauses: list[float] = []
    with Client(url, "token", sleep=pauses.append) as client:
        assert client.get("gateways", updatedAfter="2026-01-31T00:00:00Z") == {"items": []}
    path = "/v1alpha1/inference/gateways?updatedAfter=2026-01-31T00%3A00%3A00Z"
    assert requests == [f"GET {path}"] * 3
    assert pauses == list(PAUSES_SECONDS[:2])


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_writes_are_sent_once(server: Serve, method: str) -> None:
    """Nobody knows what became of one that was not answered well."""
    url, requests = server([(503, '{"code": "unavailable", "message": "later"}')])
    with Client(url, "token") as client, pytest.raises(FailedError, match=r"later \(unavailable\)") as failed:
        client.send(method, "gateways", document={})
    assert (failed.value.status, len(requests)) == (Exit.UNAVAILABLE, 1)


def test_a_server_that_is_not_there() -> None:
    """Reads are tried until the pauses are used up."""
    pauses: list[float] = []
    with (
        Client("http://127.0.0.1:1", "token", sleep=pauses.append) as client,
        pytest.raises(FailedError) as failed,
    ):
        client.get("gateways")
    assert (failed.value.status, pauses) == (Exit.UNAVAILABLE, list(PAUSES_SECONDS))


@pytest.mark.parametrize(
    ("status", "code", "exit_status"),
    [
        (400, "invalid_argument", Exit.INVALID),
        (401, "unauthenticated", Exit.REFUSED),
        (403, "permission_denied", Exit.REFUSED),
        (404, "not_found", Exit.NOT_FOUND),
        (409, "already_exists", Exit.CONFLICT),
        (412, "failed_precondition", Exit.CONFLICT),
        (500, "internal", Exit.FAILED),
    ],
)
def test_errors(server: Serve, status: int, code: str, exit_status: Exit) -> None:
    """The message is the API's; nothing of these is tried again."""
    url, requests = server([(status, json.dumps({"code": code, "message": "why"}))])
    with Client(url, "token") as client, pytest.raises(FailedError) as failed:
        client.get("gateways")
    assert (str(failed.value), failed.value.status, len(requests)) == (f"why ({code})", exit_status, 1)


@pytest.mark.parametrize("answer", [(200, "<html>"), (200, "[]"), (302, ""), (404, "nginx")])
def test_a_server_that_is_not_the_api(server: Serve, answer: tuple[int, str]) -> None:
    """It is said, with its address; a redirect is not followed, for the token would go with it."""
    url, requests = server([answer])
    with Client(url, "token") as client, pytest.raises(FailedError, match="not as the API does"):
        client.get("gateways", secret="x")
    assert len(requests) == 1


def test_ids_and_names_are_one_segment_of_the_path(server: Serve) -> None:
    """Nothing that a person types leads elsewhere."""
    url, requests = server([(200, "{}")])
    with Client(url, "token") as client:
        client.get("gateways", "../events?x=1")
    assert requests == ["GET /v1alpha1/inference/gateways/..%2Fevents%3Fx%3D1"]


def test_this_machine_is_asked_without_a_proxy(server: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token for this machine goes through nobody's proxy; one for another machine goes where the environment says."""
    proxy, proxied = server([(200, "{}")])
    url, requests = server([(200, "{}")])
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, proxy)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with Client(url, "token") as client:
        client.get("gateways")
    assert (len(requests), proxied) == (1, [])
    with Client("http://igw.example", "token") as client:
        client.get("gateways")
    assert proxied == ["GET http://igw.example/v1alpha1/inference/gateways"]


def test_a_token_with_a_line_break_is_refused() -> None:
    """And is not shown."""
    with pytest.raises(FailedError, match=r"^the token has characters that no token has$"):
        Client("http://127.0.0.1:1", "hush\nx-other: header")


def test_ctrl_c(capfd: pytest.CaptureFixture[str]) -> None:
    """Status 130, and no traceback."""
    with api_server() as api:
        command = [sys.executable, "-m", "igw_cli", "get", "gateways", "--watch", "--server", api.url]
        process = subprocess.Popen([*command, "--token", api.admin], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("NAME")
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in capfd.readouterr().err
