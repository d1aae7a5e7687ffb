"""Stores for tests: in memory and in a file, which must not differ."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from igw_store.cipher import Cipher
from igw_store.sqlite import SqliteStore, open_store


@pytest.fixture
def cipher() -> Cipher:
    """Give a key."""
    return Cipher.ephemeral()


@pytest_asyncio.fixture(params=["memory", "file"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, cipher: Cipher) -> AsyncIterator[SqliteStore]:
    """Give an empty store."""
    path = tmp_path / "store.db" if request.param == "file" else None
    opened = await open_store(path, cipher, kept_events=3)
    yield opened
    await opened.aclose()


@pytest_asyncio.fixture
async def file_store(tmp_path: Path, cipher: Cipher) -> AsyncIterator[SqliteStore]:
    """Give an empty store in `store.db`."""
    opened = await open_store(tmp_path / "store.db", cipher)
    yield opened
    await opened.aclose()
