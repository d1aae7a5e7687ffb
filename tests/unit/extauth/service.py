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
from igw_model.headers import POLICY
from igw_model.policy import Policy, policy_extensions, policy_text

METHOD = "/envoy.service.auth.v3.Authorization/Check"


@dataclass(frozen=True, slots=True)
class Told:
    """What Envoy is told, whatever the transport."""

    status: int
    headers: dict[str, str]
    body: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A running extauth."""

    ports: Ports
    stop: asyncio.Event
    http: httpx.AsyncClient
    http2: httpx.AsyncClient
    grpc: grpc.aio.Channel

    async def ask(self, transport: str, policy: Policy | None, authorization: Sequence[str]) -> Told:
        """Ask as Envoy would, over ``http``, ``http2`` or ``grpc``."""
        match transport:
            case "http":
                return await self.ask_http(self.http, policy, authorization)
            case "http2":
                return await self.ask_http(self.http2, policy, authorization)
            case "grpc":
                return await self.ask_grpc(policy, authorization)
            case _:
                raise AssertionError(transport)

    async def ask_http(
        self, client: httpx.AsyncClient, policy: Policy | None, authorization: Sequence[str]
    ) -> Told:
        """Ask as Envoy does: with a policy for a gateway's virtual host, without one for the default."""
        headers = [("content-length", "0"), *(("authorization", value) for value in authorization)]
        headers += [(POLICY, policy_text(policy))] if policy else []
        response = await client.post("/v1/chat/completions?x=y", headers=headers)
        told = {name: value for name, value in response.headers.items() if name != "content-length"}
        assert response.headers["content-length"] == str(len(response.content))
        return Told(response.status_code, told, response.text)

    async def ask_grpc(self, policy: Policy | None, authorization: Sequence[str]) -> Told:
        """Ask as ext_authz's gRPC client does: several headers of one name are joined by commas."""
        request = external_auth_pb2.CheckRequest()
        request.attributes.context_extensions.update(policy_extensions(policy) if policy else {})
        if authorization:
            request.attributes.request.http.headers["authorization"] = ",".join(authorization)
        check = self.grpc.unary_unary(
            METHOD,
            request_serializer=external_auth_pb2.CheckRequest.SerializeToString,
            response_deserializer=external_auth_pb2.CheckResponse.FromString,
        )
        return _told(await check(request))


def _told(response: Any) -> Told:
    overwrite = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    match response.WhichOneof("http_response"):
        case "ok_response":
            assert response.status.code == 0
            assert {option.append_action for option in response.ok_response.headers} == {overwrite}
            return Told(200, _headers(response.ok_response.headers))
        case "denied_response":
            assert response.status.code != 0
            denied = response.denied_response
            return Told(denied.status.code, _headers(denied.headers), denied.body)
        case other:
            raise AssertionError(other)


def _headers(options: Any) -> dict[str, str]:
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
            "authority_timeout_seconds": 0.4,
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
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}", timeout=10) as http,
        httpx.AsyncClient(base_url=http.base_url, timeout=10, http1=False, http2=True) as http2,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
    ):
        yield Running(ports, stop, http, http2, channel)
        stop.set()
        await serving
