"""One stack for all tests of this folder, gone with the last of them, and the table of faults that they fill."""

import os
from collections.abc import Iterator

import docker
import pytest

from tests.compose.faults import Row, written
from tests.compose.stack import Stack, packaged, running
from tests.engine import Images
from tests.engine import engine as engine
from tests.engine import images as images


@pytest.fixture(scope="package")
def stack(engine: docker.DockerClient, images: Images) -> Iterator[Stack]:
    """The demo, up; Compose builds for itself, from the layers and packages that are there."""
    named = {"IGW_IMAGE": images.gateway, "IGW_ENVOY_IMAGE": images.envoy}
    if redis := packaged("redis-image", "igw-redis:test"):
        named["IGW_REDIS_IMAGE"] = redis
    with running(engine, named) as found:
        yield found


@pytest.fixture(scope="package")
def rows() -> Iterator[list[Row]]:
    """Collect the rows of the table; IGW_REWRITE=1 writes it into docs/deploy.md."""
    found: list[Row] = []
    yield found
    if os.environ.get("IGW_REWRITE"):
        written(found)
