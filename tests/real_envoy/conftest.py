"""One demo gateway that the tests which change nothing share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_envoy.running import Running, igw_up
from tests.redis_server import RedisServer, redis_server


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running demo; use it only to send requests."""
    with igw_up(tmp_path_factory.mktemp("demo"), "--demo") as running:
        yield running


@pytest.fixture
def own_gateway(tmp_path: Path) -> Iterator[Running]:
    """A running demo of the test's own, to change and to break."""
    with igw_up(tmp_path / "up", "--demo") as running:
        yield running


@pytest.fixture(scope="module")
def module_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running demo of a module's own: its tests change and break it, and leave it as they found it."""
    with igw_up(tmp_path_factory.mktemp("module"), "--demo") as running:
        yield running


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis for the tests of one module."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server
