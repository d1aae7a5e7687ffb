"""Checks over gRPC: what is under way, what is taken back, what is no check. What is told is in test_transports."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
import pytest_asyncio
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from igw_extauth.keeper import Admitted, Ended, Levels
from igw_extauth.settings import Settings
from igw_extauth.wire.front import Front, listening
from igw_model.policy import Policy, Provider, policy_extensions

from tests.unit.extauth.scene import Counter, until
from tests.unit.extauth.service import METHOD

COREWEAVE = Policy(Provider.COREWEAVE, "org-1", "gw-1")
LIMITED = Policy(Provider.WANDB, "org-1", "gw-1", limited=True)
KEY = "CW-SECRET-" + "k" * 40


def request(policy: Policy = COREWEAVE, token: str = KEY) -> CheckRequest:
    """Give a check."""
    made = CheckRequest()
    made.attributes.context_extensions.update(policy_extensions(policy))
    made.attributes.request.http.headers["authorization"] = f"Bearer {token}"
    return made


@dataclass(frozen=True)
class Asking:
    """The servers, their keeper, and an Envoy that asks."""

    keeper: Counter
    front: Front
    channel: grpc.aio.Channel

    def check(self, asked: CheckRequest) -> grpc.aio.UnaryUnaryCall:
        """Ask."""
        return self.channel.unary_unary(
            METHOD,
            request_serializer=CheckRequest.SerializeToString,
            response_deserializer=CheckResponse.FromString,
        )(asked)

    def stream(self) -> grpc.aio.StreamUnaryCall:
        """Say whatever one likes."""
        return self.channel.stream_unary(
            METHOD, request_serializer=bytes, response_deserializer=CheckResponse.FromString
        )()


@pytest_asyncio.fixture
async def asking() -> AsyncIterator[Asking]:
    """Run the servers; the keeper does not answer yet."""
    keeper = Counter()
    with listening(Settings(http_port=0, grpc_port=0)) as sockets:
        front = Front(keeper, b"0123456789abcdef", 10)
        await front.start(sockets)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{sockets.grpc.getsockname()[1]}") as channel:
            yield Asking(keeper, front, channel)
            keeper.open.set()
            await front.stop(1)


async def test_what_must_be_asked_for_holds_up_nobody(asking: Asking) -> None:
    """Checks of one connection are answered as they can be."""
    slow = asking.check(request())
    await until(lambda: asking.keeper.asked)
    assert (await asking.check(CheckRequest())).denied_response.status.code == 404
    assert not slow.done()
    asking.keeper.open.set()
    assert (await slow).HasField("ok_response")


async def test_a_check_that_is_taken_back_gives_its_slot_back(asking: Asking) -> None:
    """The request is gone before it had an answer: nobody would tell of its end."""
    key = "k" * 40
    asking.keeper.admissions["team-a/inference"] = Admitted("lease-1", Levels())
    asking.keeper.open.set()
    assert (await asking.check(request(LIMITED, key))).HasField("ok_response")
    asking.keeper.open.clear()
    call = asking.check(request(LIMITED, key))
    await until(lambda: asking.keeper.asked.count("team-a/inference") == 2)
    call.cancel()
    await asyncio.sleep(0.05)
    assert asking.keeper.reported == []
    asking.keeper.open.set()
    await until(lambda: asking.keeper.reported)
    assert asking.keeper.reported == [Ended("team-a/inference", "lease-1")]


async def test_a_fault_of_ours_is_no_silence(asking: Asking) -> None:
    """Envoy hears of it and denies; the connection stays."""
    asking.keeper.open.set()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await asking.check(request(LIMITED, "k" * 40))  # the keeper knows of no such project
    assert failure.value.code() is grpc.StatusCode.INTERNAL
    assert (await asking.check(request())).HasField("ok_response")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([b"\xff\xff"], grpc.StatusCode.INVALID_ARGUMENT),
        ([], grpc.StatusCode.INVALID_ARGUMENT),
        ([b"\0" * 300_000], grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["no message", "nothing", "too long"],
)
async def test_what_is_no_check_is_refused(asking: Asking, sent: list[bytes], code: grpc.StatusCode) -> None:
    """And says why."""
    call = asking.stream()
    for message in sent:
        await call.write(message)
    await call.done_writing()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    assert failure.value.code() is code


async def test_the_end_answers_what_is_under_way(asking: Asking) -> None:
    """An access log, which has no end of its own, does not hold it up."""
    logs = asking.channel.stream_unary("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs")()
    await logs.write(b"")
    slow = asking.check(request())
    await until(lambda: asking.keeper.asked)
    stopping = asyncio.create_task(asking.front.stop(3))
    await asyncio.sleep(0.25)
    asking.keeper.open.set()
    assert (await slow).HasField("ok_response")
    async with asyncio.timeout(1):
        await stopping


async def test_the_end_does_not_wait_for_ever(asking: Asking) -> None:
    """What is not answered within the grace is cut off."""
    slow = asking.check(request())
    await until(lambda: asking.keeper.asked)
    async with asyncio.timeout(1):
        await asking.front.stop(0.1)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await slow
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
