"""A real extauth on free ports, and one way to ask it over either transport."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from igw_extauth.service import Ports, serve
from igw_extauth.settings import Settings
from igw_model.headers import LEASE, POLICY, TOKEN
from igw_model.policy import Policy, policy_extensions, policy_text

METHOD = "/envoy.service.auth.v3.Authorization/Check"


@dataclass(frozen=True, slots=True)
class Told:
    """What Envoy is told, whatever the transport."""

    status: int
    headers: dict[str, str]
    body: str = ""


@dataclass(frozen=True, slots=True)
class Envoy:
    """Asks as Envoy does, over each transport."""

    http: httpx.AsyncClient
    http2: httpx.AsyncClient
    grpc: grpc.aio.Channel

    async def ask(
        self,
        transport: str,
        policy: Policy | None,
        authorization: Sequence[str],
        projects: Sequence[str] = (),
    ) -> Told:
        """Ask over ``http``, ``http2`` or ``grpc``."""
        sent = [("authorization", value) for value in authorization]
        sent += [("openai-project", value) for value in projects]
        match transport:
            case "http":
                return await self.ask_http(self.http, policy, sent)
            case "http2":
                return await self.ask_http(self.http2, policy, sent)
            case "grpc":
                return await self.ask_grpc(policy, sent)
            case _:
                raise AssertionError(transport)

    async def ask_http(
        self, client: httpx.AsyncClient, policy: Policy | None, sent: Sequence[tuple[str, str]]
    ) -> Told:
        """Ask with a policy for a gateway's virtual host, without one for the default."""
        headers = [("content-length", "0"), *sent]
        headers += [(POLICY, policy_text(policy))] if policy else []
        octets = [(name.encode(), value.encode()) for name, value in headers]
        response = await client.post("/v1/chat/completions?x=y", headers=octets)
        told = {name: value for name, value in response.headers.items() if name != "content-length"}
        assert response.headers["content-length"] == str(len(response.content))
        return Told(response.status_code, told, response.text)

    async def ask_grpc(self, policy: Policy | None, sent: Sequence[tuple[str, str]]) -> Told:
        """Ask as ext_authz's gRPC client does: several headers of one name are joined by commas."""
        request = external_auth_pb2.CheckRequest()
        request.attributes.context_extensions.update(policy_extensions(policy) if policy else {})
        headers = request.attributes.request.http.headers
        for name, value in sent:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        check = self.grpc.unary_unary(
            METHOD,
            request_serializer=external_auth_pb2.CheckRequest.SerializeToString,
            response_deserializer=external_auth_pb2.CheckResponse.FromString,
        )
        return _told(await check(request))


@dataclass(frozen=True, slots=True)
class Running(Envoy):
    """A running extauth."""

    ports: Ports
    stop: asyncio.Event


def _told(response: Any) -> Told:
    """Give all that HTTP has as headers; each has one place in a response over gRPC."""
    match response.WhichOneof("http_response"):
        case "ok_response":
            assert response.status.code == 0
            added = _headers(response.ok_response.headers)
            client = _headers(response.ok_response.response_headers_to_add)
            metadata = {name: value.string_value for name, value in response.dynamic_metadata.fields.items()}
            assert all(name.startswith("x-ratelimit-") for name in client)
            assert set(metadata) <= {LEASE, TOKEN}
            return Told(200, {**added, **client, **metadata})
        case "denied_response":
            assert response.status.code != 0
            assert not response.HasField("dynamic_metadata")
            denied = response.denied_response
            return Told(denied.status.code, _headers(denied.headers), denied.body)
        case other:
            raise AssertionError(other)


def _headers(options: Any) -> dict[str, str]:
    overwrite = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    assert {option.append_action for option in options} <= {overwrite}
    return {option.header.key: option.header.value for option in options}


def settings(authority_url: str, **overrides: Any) -> Settings:
    """Give settings for a fake authority, on free ports."""
    return Settings(
        **{
            "http_port": 0,
            "grpc_port": 0,
            "ops_port": 0,
            "coreweave_whoami_url": f"{authority_url}/whoami",
            "wandb_graphql_url": f"{authority_url}/graphql",
            "authority_timeout_seconds": 20,  # on a busy machine an answer may come late
            **overrides,
        }
    )


def _tell(ready: asyncio.Future[Ports], ended: asyncio.Task[None]) -> None:
    if not ready.done():
        ready.set_exception(ended.exception() or AssertionError("ended before it was ready"))


@asynccontextmanager
async def running(given: Settings) -> AsyncIterator[Running]:
    """Run extauth until the block ends."""
    stop = asyncio.Event()
    ready: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(given, stop, ready.set_result))
    serving.add_done_callback(lambda ended: _tell(ready, ended))
    ports = await ready
    async with asking(ports.http, ports.grpc) as envoy:
        yield Running(envoy.http, envoy.http2, envoy.grpc, ports, stop)
        stop.set()
        await serving


@asynccontextmanager
async def asking(http_port: int, grpc_port: int) -> AsyncIterator[Envoy]:
    """Give clients of an extauth."""
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{http_port}", timeout=10) as http,
        httpx.AsyncClient(base_url=http.base_url, timeout=10, http1=False, http2=True) as http2,
        grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        yield Envoy(http, http2, channel)
