"""One stream of Envoy's: passed on to the control plane as it is, or answered from the cache while that is away.

Messages pass unchanged and in order, and the next is read when the one before is written: nothing piles up here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from igw_agent.cache import Stream
from igw_agent.racing import until_one_is_over

Answering = Callable[[bytes], list[bytes]]
"""A stream that answers by itself: a request in, responses out."""

ENVOY_ENDED = "Envoy ended its stream"


class Pipe:
    """Envoy's end of a stream; whoever gives its answers, they are overheard."""

    def __init__(
        self, requests: AsyncIterator[bytes], context: Any, stream: Stream, passed: Callable[[], None]
    ) -> None:
        self._requests = requests
        self._context = context
        self._stream = stream
        self._passed = passed
        """Called after each message."""

    async def through(self, call: Any) -> str:
        """Pass messages on, both ways, until one end is over; say why."""
        return await _first_over(self._up(call), self._down(call))

    async def answered(self, answering: Answering, request: bytes, until: Coroutine[Any, Any, str]) -> str:
        """Answer this request and all that follow, until Envoy's end is over or the other is; say why."""
        return await _first_over(self._answer(answering, request), until)

    def heard(self, request: bytes) -> bytes:
        """Overhear what Envoy says."""
        self._stream.hear(DeltaDiscoveryRequest.FromString(request))
        self._passed()
        return request

    async def tell(self, response: bytes) -> None:
        """Give Envoy a response; overheard first, since Envoy may answer before this returns."""
        self._stream.tell(DeltaDiscoveryResponse.FromString(response))
        self._passed()
        await self._context.write(response)

    async def _up(self, call: Any) -> str:
        async for request in self._requests:
            self.heard(request)
            try:
                await call.write(request)
            except (grpc.RpcError, asyncio.InvalidStateError):
                return f"{(await call.code()).name}: {await call.details()}"
        return ENVOY_ENDED

    async def _down(self, call: Any) -> str:
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                await self.tell(response)
        except grpc.aio.AioRpcError as error:
            return reason(error)
        return "it ended the stream"

    async def _answer(self, answering: Answering, request: bytes) -> str:
        for response in answering(request):
            await self.tell(response)
        async for following in self._requests:
            for response in answering(self.heard(following)):
                await self.tell(response)
        return ENVOY_ENDED


def reason(error: grpc.aio.AioRpcError) -> str:
    """Give the words for how a call ended."""
    return f"{error.code().name}: {error.details()}"


async def _first_over(*works: Coroutine[Any, Any, str]) -> str:
    """Give what the first that was over gave. Raises what it raised."""
    return (await until_one_is_over(*works))[0].result()
