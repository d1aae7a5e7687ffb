"""Each token once, by several callers side by side."""

import asyncio
import time
from collections.abc import Iterator, Sequence

import grpc.aio
from envoy.service.auth.v3 import external_auth_pb2
from igw_model.policy import policy_extensions
from tax.processes import FailedError

from checks.service import OPEN, Service, headers

CALLERS = 32


async def asked(extauth: Service, tokens: Sequence[str], *, over_grpc: bool) -> tuple[int, float]:
    """Ask for each token; give how many checks were answered, and the seconds. Raises FailedError."""
    left, began = iter(tokens), time.monotonic()
    caller = _over_grpc if over_grpc else _over_http
    await asyncio.gather(*(caller(extauth, left) for _ in range(CALLERS)))
    return len(tokens), time.monotonic() - began


async def _over_http(extauth: Service, tokens: Iterator[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", extauth.http)
    for token in tokens:
        lines = [f"{name}: {value}\r\n" for name, value in headers(OPEN, token).items()]
        writer.write(f"GET / HTTP/1.1\r\nhost: x\r\n{''.join(lines)}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise FailedError(f"a check was not let pass: {head!r}")
    writer.close()


async def _over_grpc(extauth: Service, tokens: Iterator[str]) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{extauth.grpc}") as channel:
        check = channel.unary_unary(
            "/envoy.service.auth.v3.Authorization/Check",
            request_serializer=external_auth_pb2.CheckRequest.SerializeToString,
            response_deserializer=external_auth_pb2.CheckResponse.FromString,
        )
        for token in tokens:
            request = external_auth_pb2.CheckRequest()
            request.attributes.context_extensions.update(policy_extensions(OPEN))
            request.attributes.request.http.headers["authorization"] = f"Bearer {token}"
            response = await check(request)
            if response.status.code:
                raise FailedError(f"a check was not let pass: {response.status}")
