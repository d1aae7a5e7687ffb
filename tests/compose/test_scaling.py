"""Replicas come and go with their containers: through Docker's events, and through DNS."""

import asyncio
import contextlib
import time

import httpx
import pytest
from docker.models.containers import Container

from tests.compose.counting import load
from tests.compose.stack import Stack, eventually, serving, started_at

CLIENTS = 4
"""So few that the machine has time for containers that start."""
SPLIT_SECONDS = 2.0
"""From a replica that answers to traffic on it; a container that is told to stop gets none after this."""
DNS_SECONDS = 6.0
"""The same by DNS: Envoy resolves every two seconds, and then asks whether the replica is healthy."""


@pytest.mark.parametrize(
    ("service", "model", "limit", "lost"),
    [("llama", "demo/small", SPLIT_SECONDS, 0), ("mistral", "demo-large", DNS_SECONDS, CLIENTS)],
    ids=["dockerBackend", "dnsBackend"],
)
@pytest.mark.timeout(180, func_only=True)
async def test_scaling(stack: Stack, service: str, model: str, limit: float, lost: int) -> None:
    """One container becomes three and one again: the traffic follows in time, and no request fails.

    But by DNS, where nobody hears that a container is told to stop, what was under way on it may.
    """
    addresses = stack.envoys()
    async with load(lambda: addresses, stack.token, stack.trust, model=model, clients=CLIENTS) as tally:
        await asyncio.to_thread(stack.scale, service, 3)
        added = stack.containers(service)[1:]
        answers = await asyncio.gather(*(_answers(stack, container) for container in added))
        await asyncio.sleep(limit + 1)
        names = [str(container.attrs["Config"]["Hostname"]) for container in added]
        for name, answering, container in zip(names, answers, added, strict=True):
            first = tally.first_answer([name])
            assert first - answering <= limit, (first - started_at(container), stack.logs())
        shares = tally.replicas(since=max(answers) + limit)
        assert len(shares.keys() & set(names)) == 2, shares

        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.to_thread(stack.scale, service, 1)
        took = loop.time() - began
        await asyncio.sleep(2)
    assert len(tally.failures) <= lost, (tally.reasons, took)
    eventually(lambda: serving(stack), 30, stack.deployments)


async def _answers(stack: Stack, container: Container) -> float:
    """Wait until a replica answers its health check, asked directly, and give the Unix time."""
    address = stack.address_of(container, "models")
    async with httpx.AsyncClient(timeout=1) as client:
        for _ in range(400):
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(f"http://{address}:8000/health")).status_code == 200:
                    return time.time()
            await asyncio.sleep(0.02)
    raise AssertionError(f"{address} does not answer: {stack.logs()}")
