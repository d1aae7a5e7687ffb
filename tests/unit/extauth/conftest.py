"""A real authority and a real extauth, for the tests that need them."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.unit.extauth.authority import FakeAuthority, fake_authority
from tests.unit.extauth.service import Running, running, settings


@pytest_asyncio.fixture
async def authority() -> AsyncIterator[FakeAuthority]:
    """Run an authority that knows nobody yet."""
    async with fake_authority() as fake:
        yield fake


@pytest_asyncio.fixture
async def extauth(authority: FakeAuthority) -> AsyncIterator[Running]:
    """Run extauth over the authority."""
    async with running(settings(authority.url)) as service:
        yield service
