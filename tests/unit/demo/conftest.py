"""A real model server on a free port, and the `openai` package's client for it."""

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from igw_demo.model_server import ModelServer, ModelSettings
from igw_demo.serving import Address, running
from openai import AsyncOpenAI

SETTINGS = ModelSettings("small-a", {"demo/small": "small-stable", "demo-large": "large"})
NOW = 1_700_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[tuple[ModelServer, Address]]:
    """Run one model server for the tests of a module: starting and stopping one takes longer than a test."""
    app = ModelServer(SETTINGS, clock=lambda: NOW)
    async with running(app) as address:
        yield app, address


@pytest_asyncio.fixture(loop_scope="module")
async def replica(server: tuple[ModelServer, Address]) -> AsyncIterator[httpx.AsyncClient]:
    """Give an HTTP client of the model server, which has seen nothing yet."""
    app, address = server
    app.seen.reset()
    async with httpx.AsyncClient(base_url=address.url, timeout=10) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def openai(server: tuple[ModelServer, Address]) -> AsyncIterator[AsyncOpenAI]:
    """Give the OpenAI library's client of the same server."""
    _, address = server
    async with AsyncOpenAI(base_url=f"{address.url}/v1", api_key="k", max_retries=0) as client:
        yield client
