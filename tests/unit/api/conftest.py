"""A real API over a store in memory."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.unit.api.installation import Installation, installation


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Installation]:
    """Run an API that holds nothing yet."""
    async with installation() as running:
        yield running
