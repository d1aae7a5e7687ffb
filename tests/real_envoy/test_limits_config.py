"""What Envoy makes of the configuration for W&B's limits, addresses and projects, with servers that say what they like.

extauth's own decisions are not here.
"""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry
from google.protobuf.json_format import MessageToDict
from igw_cli.envoy import envoy_argv, envoy_command
from igw_ops.listening import listening_socket
from igw_ops.server import serving
from igw_xds.bootstrap import static_bootstrap
from igw_xds.settings import DataPlane, HostPort

from tests.builders import deployment, gateway, gateway_id, served, static
from tests.ports import free_ports
from tests.real_envoy.stand_in import Reply, StandIn

LEASE_SECONDS = 0.8
"""So Envoy tells of what goes on every 0.2 s."""
PROJECT = "team/chat%20app"
USED = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 1},
}
BIG = 20_000_000
"""Bytes of an answer that is larger than any buffer here."""
NOTHING: Mapping[str, str] = MappingProxyType({})
LIMITS = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-tokens": "41"}
OPENAI = json.dumps({"error": {"message": "Concurrency limit reached for requests"}}).encode()


def admitted(asked: Mapping[str, str]) -> Reply:
    """Answer as the caller's token says: a status to refuse with, or `limited`, or `open`."""
    wanted = asked.get("authorization", "").removeprefix("Bearer ")
    if wanted == "parser":
        return Reply(400, {})
    if wanted.isdigit():
        return Reply(int(wanted), {"content-type": "application/json", "retry-after": "3", **LIMITS}, OPENAI)
    told = {
        "x-igw-principal": "ada",
        "x-igw-entity": "team",
        "x-igw-project": PROJECT,
        "x-igw-token": "0123abcd",
    }
    return Reply(200, {**told, "x-igw-lease": "lease-1", **LIMITS} if wanted == "limited" else told)


@dataclass
class Model:
    """A model server: answers by path, and keeps the headers of what it was asked."""

    asked: list[dict[str, str]] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, _: Any, send: Any) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] != "http":
            return
        if scope["path"] != "/health":
            self.asked.append({k.decode(): v.decode() for k, v in scope["headers"]})
        event_stream = scope["path"] not in {"/json", "/big", "/health"}
        kind = b"text/event-stream; charset=utf-8" if event_stream else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        async for chunk in self._body(scope["path"]):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _body(self, path: str) -> AsyncIterator[bytes]:
        match path:
            case "/json":
                yield json.dumps({"choices": [], "usage": USED, "service_tier": None}, indent=1).encode()
            case "/big":
                yield b'{"data": "' + b"x" * BIG + b'", "usage": ' + json.dumps(USED).encode() + b"}"
            case "/sse":
                content = '"usage": {"total_tokens": 9}'
                first = {"choices": [{"delta": {"content": content}}], "usage": None}
                yield f"data: {json.dumps(first)}\n\n".encode()
                await self.go_on.wait()
                yield f"data: {json.dumps({'choices': [], 'usage': USED})}\n\ndata: [DONE]\n\n".encode()
            case "/split":
                event = f"data: {json.dumps({'type': 'response.completed', 'response': {'usage': USED}})}\n\n"
                for character in event.encode():
                    yield bytes([character])
                    await asyncio.sleep(0)


@dataclass
class Proxy:
    """A real Envoy with the configuration of two gateways: 1 for everybody, 2 for 192.0.2.0/24 alone."""

    port: int
    folder: Path
    extauth: StandIn
    log_port: int
    model: Model = field(default_factory=Model)

    def client(
        self, number: int = 1, who: str = "limited", headers: Mapping[str, str] = NOTHING
    ) -> httpx.AsyncClient:
        """Give a client of a gateway."""
        told = {"host": f"api.{gateway_id(number)}.gw.example.com", "authorization": f"Bearer {who}"}
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={**told, "x-model": "demo/small", **headers},
            timeout=20,
        )

    async def get(
        self, path: str = "/json", number: int = 1, who: str = "limited", headers: Mapping[str, str] = NOTHING
    ) -> httpx.Response:
        """Send a request."""
        async with self.client(number, who, headers) as client:
            return await client.get(path)

    def told(self, kind: int) -> list[HTTPAccessLogEntry]:
        """Give the entries of a kind that Envoy told."""
        return [e for e in self.extauth.entries if e.common_properties.access_log_type == kind]

    def metadata(self) -> list[dict[str, Any]]:
        """Give what Envoy told of requests that ended."""
        return [
            MessageToDict(entry.common_properties.metadata).get("filterMetadata", {})
            for entry in self.told(AccessLogType.DownstreamEnd)
        ]


@contextlib.asynccontextmanager
async def envoy(folder: Path, **settings: Any) -> AsyncIterator[Proxy]:
    """Run an Envoy and the servers behind it."""
    ingress, admin, extauth, log, model = free_ports(5)
    it = Proxy(ingress, folder, StandIn(admitted), log)
    data_plane = DataPlane(
        listen=HostPort("127.0.0.1", ingress),
        extauth=HostPort("127.0.0.1", extauth),
        extauth_log=HostPort("127.0.0.1", log),
        extproc=HostPort("127.0.0.1", extauth),  # nobody is asked there
        lease_seconds=LEASE_SECONDS,
        **settings,
    )
    by_header = {"bodyBasedRouting": None, "headerBasedRouting": {"headerName": "X-Model"}}
    there = {"endpointConfiguration": {"allowedSourceIpRanges": ["192.0.2.0/24"]}}
    definitions = (
        gateway(1, **by_header, coreWeaveAuth=None, weightsAndBiasesAuth={"enableRateLimiting": True}),
        gateway(2, **by_header, **there),
        deployment(on=[1, 2], staticBackend=static(model)),
    )
    file = folder / "envoy.json"
    bootstrap = static_bootstrap(served(*definitions, data_plane=data_plane), HostPort("127.0.0.1", admin))
    file.write_text(json.dumps(bootstrap))
    async with (
        it.extauth.serving(extauth),
        it.extauth.serving(log),
        serving(it.model, listening_socket("model", "127.0.0.1", model)),
    ):
        with (folder / "log").open("wb") as out:
            process = subprocess.Popen(  # noqa: ASYNC220 - it takes a moment
                envoy_argv(envoy_command(), file, "info", 1), stdout=out, stderr=out
            )
        try:
            await until(lambda: process.poll() is None and _ready(admin), 30)
            yield it
        finally:
            process.kill()
            process.wait()


def _ready(admin: int) -> bool:
    try:
        text = httpx.get(f"http://127.0.0.1:{admin}/clusters").text
    except httpx.HTTPError:
        return False
    return "/failed_active_hc" not in text and httpx.get(f"http://127.0.0.1:{admin}/ready").status_code == 200


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - it is another process's
            await asyncio.sleep(0.01)


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    """Give an Envoy with no proxy before it."""
    async with envoy(tmp_path) as running:
        yield running


async def test_a_request_that_holds_a_slot(proxy: Proxy) -> None:
    """Everybody is told what is theirs: extauth, the model server, the client, and extauth again when it ended."""
    answer = await proxy.get(
        headers={"openai-project": "team/chat app", "accept-encoding": "gzip", "x-igw-lease": "forged"}
    )
    assert (answer.status_code, answer.json()["usage"]) == (200, USED)
    assert {name: answer.headers.get(name) for name in LIMITS} == LIMITS
    assert not [name for name in answer.headers if name.startswith("x-igw-")]
    [asked] = proxy.extauth.checks
    assert asked["openai-project"] == "team/chat app"
    assert asked["x-igw-policy"] == f"wandb/acme/{gateway_id(1)}/any/limited"
    [request] = proxy.model.asked
    assert (request["x-igw-entity"], request["x-igw-project"]) == ("team", PROJECT)
    assert request.keys().isdisjoint({"authorization", "x-igw-lease", "x-igw-token", "accept-encoding"})
    await until(lambda: len(proxy.metadata()) == 1)
    [metadata] = proxy.metadata()
    used = {"prompt_tokens": 7, "completion_tokens": 5, "cached_tokens": 1, "total_tokens": 12, "whole": True}
    assert metadata["igw.usage"] == used
    assert metadata["envoy.filters.http.ext_authz"]["x-igw-lease"] == "lease-1"
    [entry] = proxy.told(AccessLogType.DownstreamEnd)
    assert dict(entry.request.request_headers) == {"x-igw-project": PROJECT}
    assert b"Bearer" not in entry.SerializeToString()


async def test_requests_that_hold_none_are_not_told_of(proxy: Proxy) -> None:
    """Nor is anything of their answers looked at; Envoy's own log has one line of each, with the token's short hash."""
    assert (await proxy.get(who="open", headers={"accept-encoding": "gzip"})).status_code == 200
    assert (await proxy.get(who="429")).status_code == 429
    assert proxy.model.asked[0]["accept-encoding"] == "gzip"
    assert (await proxy.get()).status_code == 200
    await until(lambda: len(proxy.metadata()) == 1)
    await until(lambda: len(lines(proxy)) == 3)
    first = lines(proxy)[0]
    assert (first["entity"], first["project"], first["token"]) == ("team", PROJECT, "0123abcd")


def lines(proxy: Proxy) -> list[dict[str, Any]]:
    """Give Envoy's own log."""
    text = (proxy.folder / "log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("path", ["/big", "/split"])
async def test_the_tokens_used_are_found_in_any_answer(proxy: Proxy, path: str) -> None:
    """In one larger than any buffer, and in one that comes byte by byte; the answer is passed on as it is."""
    answer = await proxy.get(path)
    assert answer.status_code == 200
    assert len(answer.content) > (BIG if path == "/big" else 0)
    await until(lambda: len(proxy.metadata()) == 1)
    assert proxy.metadata()[0]["igw.usage"]["total_tokens"] == 12


async def test_a_stream_is_told_of_while_it_goes_on(proxy: Proxy) -> None:
    """It is passed on as it comes, told of every fourth of a lease, and what its text says of usage is not believed."""
    async with proxy.client() as client, client.stream("GET", "/sse") as answer:
        chunks = answer.aiter_bytes()
        assert b"choices" in await anext(chunks)
        await until(lambda: len(proxy.told(AccessLogType.DownstreamPeriodic)) > 1)
        assert not proxy.told(AccessLogType.DownstreamEnd)
        proxy.model.go_on.set()
        rest = b"".join([chunk async for chunk in chunks])
    assert rest.endswith(b"data: [DONE]\n\n")
    await until(lambda: bool(proxy.metadata()))
    assert proxy.metadata()[0]["igw.usage"]["total_tokens"] == 12
    assert len(lines(proxy)) <= 1


async def test_a_client_that_goes_away_ends_its_request(proxy: Proxy) -> None:
    """Its slot is free at once."""
    async with proxy.client() as client, client.stream("GET", "/sse") as answer:
        await anext(answer.aiter_bytes())
    await until(lambda: bool(proxy.metadata()), 1)
    assert proxy.metadata()[0]["igw.usage"] == {"streamed": True, "events": 1}  # not whole, and no tokens
    proxy.model.go_on.set()


async def test_capitals_in_the_host_name_pass_nobody_by(proxy: Proxy) -> None:
    """A host name whose spelling is put right on the way is counted as any other."""
    answer = await proxy.get(headers={"host": f"API.{gateway_id(1)}.GW.Example.com"})
    assert answer.status_code == 200
    await until(lambda: bool(proxy.metadata()))
    assert proxy.metadata()[0]["igw.usage"]["total_tokens"] == 12


async def test_a_refusal_reaches_the_client_as_it_is(proxy: Proxy) -> None:
    """With its body, when to come back, and the limits; what has none, or is an outage to Envoy, gets one of ours."""
    for status in (400, 402, 403, 429):
        answer = await proxy.get(who=str(status))
        assert (answer.status_code, answer.content) == (status, OPENAI)
        assert answer.headers["retry-after"] == "3"
        assert {name: answer.headers.get(name) for name in LIMITS} == LIMITS
    for who, status, code in (("parser", 400, "bad_request"), ("503", 503, "auth_unavailable")):
        answer = await proxy.get(who=who)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_without_the_log_requests_go_on(proxy: Proxy) -> None:
    """Nobody waits for a log that is not there; once it is back it is told of what ends then."""
    assert (await proxy.get()).status_code == 200
    await until(lambda: len(proxy.metadata()) == 1)
    proxy.extauth.leave(proxy.log_port)
    for _ in range(3):
        assert (await proxy.get()).status_code == 200
    async with proxy.extauth.serving(proxy.log_port):
        async with asyncio.timeout(10):
            while len(proxy.metadata()) < 2:
                assert (await proxy.get()).status_code == 200
                await asyncio.sleep(0.1)


FROM_THERE = "192.0.2.7"


@pytest.mark.parametrize(
    ("proxies", "forwarded"),
    [
        (0, {"": 403, FROM_THERE: 403, f"198.51.100.1, {FROM_THERE}": 403}),
        (
            1,
            {
                "": 403,
                FROM_THERE: 200,
                f"198.51.100.1, {FROM_THERE}": 200,
                f"{FROM_THERE}, 198.51.100.1": 403,
            },
        ),
    ],
)
async def test_from_where_a_gateway_may_be_used(
    tmp_path: Path, proxies: int, forwarded: Mapping[str, int]
) -> None:
    """With no proxy before Envoy what a client says of its address counts for nothing; with one, what that added."""
    async with envoy(tmp_path, trusted_proxies=proxies) as running:
        for said, status in forwarded.items():
            answer = await running.get(number=2, headers={"x-forwarded-for": said} if said else {})
            assert answer.status_code == status, said
            if status == 403:
                assert answer.json()["error"]["code"] == "address_not_allowed"
    assert len(running.extauth.checks) == list(forwarded.values()).count(200)
