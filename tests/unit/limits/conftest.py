"""A real Redis, for the tests that need one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer, redis_server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis that a test may kill."""
    with redis_server(tmp_path) as server:
        yield server
